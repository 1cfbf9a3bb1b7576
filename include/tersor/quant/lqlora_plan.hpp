// tersor - LQ-LoRA's plan: a configuration for every matrix under one budget of bits
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/quant/lqlora.hpp>
#include <tersor/solve/allocate.hpp>

namespace tersor::quant {

/// The official program's configurations (HanGuo97/lq-lora; arXiv:2311.12023): codes and scales of 2, 3, 4 or
/// 8 bits, maxima in bf16, f16 or f32, blocks of 16, 32 or 64 weights, of 16, 64 or 256 scales: 432 in all.
/// @param base whatever they share: rank, iterations, types of the factors.
inline std::vector<lqlora> lqlora_configurations(const lqlora& base = {}) {
  std::vector<lqlora> all;
  for (const int bits : {2, 3, 4, 8})
    for (const int scale_bits : {2, 3, 4, 8})
      for (const dtype type : {dtype::bf16, dtype::f16, dtype::f32})
        for (const index_t block : {16, 32, 64})
          for (const index_t scale_block : {16, 64, 256}) {
            lqlora c = base;
            c.bits = bits;
            c.scale_bits = scale_bits;
            c.scale_type = type;
            c.block_size = block;
            c.scale_block_size = scale_block;
            all.push_back(c);
          }
  return all;
}

struct lqlora_plan {
  std::vector<lqlora> layers;  ///< the configuration of each matrix
  double bits_per_weight = 0;  ///< of all matrices together, Q alone
  double error = 0;            ///< √ of the sum of the squared errors
};

/// The configurations whose decompositions have the least sum of squared (weighted) errors, where Q takes at
/// most `bits_per_weight` bits for each weight of all matrices together. Costs are those of the full
/// decomposition, factors included: without them they mislead. Cost: a decomposition for each matrix and
/// configuration. Error if the budget is below the smallest configuration.
/// @param fisher [out, in] of each matrix, or empty: unweighted.
inline lqlora_plan plan_lqlora(std::span<const matrix<float>> weights, std::span<const lqlora> configurations,
                               double bits_per_weight, std::span<const matrix<float>> fisher = {},
                               const context& ctx = {}) {
  require(!weights.empty(), "plan_lqlora: matrices", 0, "at least 1");
  require(!configurations.empty(), "plan_lqlora: configurations", 0, "at least 1");
  require(fisher.empty() || fisher.size() == weights.size(), "plan_lqlora: fisher", fisher.size(), "0 or ",
          weights.size());
  std::vector<std::vector<solve::knapsack_choice>> items(weights.size());
  double count = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const auto n = static_cast<double>(weights[i].size());
    count += n;
    for (const auto& c : configurations) {
      const double error = c.decompose(weights[i], fisher.empty() ? nullptr : &fisher[i], ctx).error;
      items[i].push_back({c.quantized_bits() * n, error * error});
    }
    ctx.step("plan_lqlora", static_cast<long long>(i) + 1, static_cast<long long>(weights.size()));
  }
  const auto chosen = solve::choose_under_budget(items, bits_per_weight * count);
  lqlora_plan plan;
  for (const std::size_t k : chosen.choice) plan.layers.push_back(configurations[k]);
  plan.bits_per_weight = chosen.size / count;
  plan.error = std::sqrt(chosen.cost);
  return plan;
}

}  // namespace tersor::quant
