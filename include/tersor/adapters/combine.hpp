// tersor - adapters put together: sums, exports to LoRA, merging into compressed weights
// SPDX-License-Identifier: MIT
#pragma once

// No paper: the algebra of the methods in this folder.

#include <tersor/adapters/adalora.hpp>
#include <tersor/adapters/aflora.hpp>
#include <tersor/adapters/any_adapter.hpp>
#include <tersor/adapters/bone.hpp>
#include <tersor/adapters/lamda.hpp>
#include <tersor/adapters/vera.hpp>
#include <tersor/core/error_statistics.hpp>

namespace tersor::adapters {

/// The same change as a LoRA, where the method is one: LoRA, AdaLoRA, VeRA, AFLoRA, LaMDA (their factors
/// folded, the same scale) and Bone. Error, by name, for the others: LoHa and LoKr have a larger rank than
/// any factor of theirs, DoRA, IA3, OFT and Bat depend on the weight.
inline lora_state<float> as_lora(const any_adapter& adapter) {
  if (const auto* s = adapter.as<lora_state<float>>()) return *s;
  if (const auto* s = adapter.as<bone_state<float>>()) return s->as_lora();
  std::optional<lora_state<float>> result;
  const auto fold = [&](const auto* s) {
    if (s == nullptr) return;
    const auto p = s->product();
    require(p.rank() > 0, concat(adapter.id(), " as LoRA: rank"), p.rank(), "at least 1");
    result.emplace(p.right(), p.left(), static_cast<double>(p.scale));
  };
  fold(adapter.as<adalora_state<float>>());
  fold(adapter.as<vera_state<float>>());
  fold(adapter.as<aflora_state<float>>());
  fold(adapter.as<lamda_state<float>>());
  require(result.has_value(), "as LoRA: adapter", adapter.id(), "lora, adalora, vera, aflora, lamda or bone");
  return *std::move(result);
}

/// Σ w_i ΔW_i as one LoRA, by concatenation of the factors; exact up to rounding of the weights. Adapters of
/// weight 0 are left out, and a single one of weight 1 is returned as it is. The scale is that of the first
/// one kept; the others' factors B are scaled to it. Error, by name, for adapters that are no LoRA: a DoRA
/// and a LoRA have no exact sum of this form (`combined_weight` adds any). Stored types are those of the
/// first.
inline lora_state<float> combine(std::span<const any_adapter> adapters, std::span<const double> weights) {
  require(weights.size() == adapters.size(), "combine: weights", weights.size(), adapters.size());
  std::vector<lora_state<float>> parts;
  std::vector<double> kept;
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    require(std::isfinite(weights[i]), concat("combine: weights[", i, "]"), weights[i], "a finite number");
    if (weights[i] == 0) continue;
    parts.push_back(as_lora(adapters[i]));
    kept.push_back(weights[i]);
  }
  require(!parts.empty(), "combine: weights", "all zero", "at least one that is not");
  const auto& first = parts.front();
  if (parts.size() == 1 && kept[0] == 1) return first;
  index_t rank = 0;
  bool bias = false;
  for (const auto& p : parts) {
    require(p.out_features() == first.out_features() && p.in_features() == first.in_features(),
            "combine: layer", concat(p.out_features(), " x ", p.in_features()), first.out_features(), " x ",
            first.in_features());
    rank += p.rank();
    bias = bias || p.has_bias();
  }
  require(first.scale() != 0, "combine: scale of the first adapter", first.scale(), "not 0");
  matrix<float> a(rank, first.in_features()), b(first.out_features(), rank);
  std::vector<float> sum(bias ? static_cast<std::size_t>(first.out_features()) : 0);
  index_t at = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& p = parts[i];
    const auto factor = static_cast<float>(kept[i] * (p.scale() / first.scale()));
    copy(p.a().view(), a.view().rows(at, p.rank()));
    for (index_t o = 0; o < b.rows(); ++o)
      for (index_t k = 0; k < p.rank(); ++k) b(o, at + k) = factor * p.b()(o, k);
    if (p.has_bias())
      for (std::size_t o = 0; o < sum.size(); ++o) sum[o] += factor * p.tensors()[2].value.values()[o];
    at += p.rank();
  }
  lora_state<float> result(std::move(a), std::move(b), first.scale(), std::move(sum));
  result.for_each_tensor([&](parameter<float>& p) { p.stored_type = first.tensors()[0].stored_type; });
  return result;
}

/// PiSSA, OLoRA: the trained adapter on the changed base as a plain LoRA of twice the rank on the original
/// one, A* = [A; A₀], B* = [B, -B₀] with the scale unchanged, so s B* A* = s (B A - B₀ A₀). In a file the
/// rank is doubled and alpha too (times √2 for rsLoRA). @param start as `init` returned it.
inline lora_state<float> as_plain_lora(const lora_state<float>& trained, const lora_state<float>& start) {
  require(trained.scale() == start.scale() && trained.rank() == start.rank(), "as_plain_lora: start",
          concat("rank ", start.rank(), ", scale ", start.scale()), "rank ", trained.rank(), ", scale ",
          trained.scale(), ", as trained");
  const any_adapter both[] = {trained, start};
  const double signs[] = {1, -1};
  return combine(both, signs);
}

/// W + Σ w_i (F_i(W) - W) for adapters of any kind, each seeing the original W and b (never a merged one).
inline dense_layer<float> combined_weight(std::span<const any_adapter> adapters,
                                          std::span<const double> weights, const dense_layer<float>& layer) {
  require(weights.size() == adapters.size(), "combine: weights", weights.size(), adapters.size());
  if (adapters.size() == 1 && weights[0] == 1) return adapters[0].effective(layer);
  matrix<double> w = copy_as<double>(layer.weight.view());
  std::vector<double> b(layer.bias.begin(), layer.bias.end());
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    if (weights[i] == 0) continue;
    const auto changed = adapters[i].effective(layer);
    for (std::size_t e = 0; e < w.values().size(); ++e)
      w.values()[e] += weights[i] * (static_cast<double>(changed.weight.values()[e]) -
                                     static_cast<double>(layer.weight.values()[e]));
    b.resize(changed.bias.size());
    for (std::size_t o = 0; o < b.size(); ++o)
      b[o] += weights[i] * (static_cast<double>(changed.bias[o]) -
                            (layer.bias.empty() ? 0.0 : static_cast<double>(layer.bias[o])));
  }
  return {copy_as<float>(w.view()), std::vector<float>(b.begin(), b.end())};
}

/// A compressed weight with an adapter merged into it.
struct merged_operator {
  op::any_operator op;
  std::vector<float> bias;
  double relative_error = 0;  ///< ‖W' - Ŵ'‖_F / ‖W'‖_F of the new compression against the merged weight
  double change_kept = 0;  ///< 1 - ‖(Ŵ' - W) - (W' - W)‖_F / ‖W' - W‖_F: 1 all of it, 0 or less none
};

/// Merges into a compressed weight: decoded, changed, compressed again by `compressor`, a call operator of a
/// technique (quant::rtn{...}). The adapter may be smaller than a step of the grid and then be lost: both
/// errors say how much is kept. Cost: that of the compressor.
template <class Compressor>
merged_operator merge_compressed(const any_adapter& adapter, const op::any_operator& weight,
                                 std::span<const float> bias, const Compressor& compressor) {
  const dense_layer<float> before{weight.to_dense(), {bias.begin(), bias.end()}};
  dense_layer<float> after = adapter.effective(before);
  merged_operator result{compressor(after.weight).op, std::move(after.bias)};
  const matrix<float> stored = result.op.to_dense();
  error_statistics errors;
  errors.add(after.weight, stored);
  result.relative_error = errors.relative_frobenius();
  double change = 0;
  for (std::size_t i = 0; i < after.weight.values().size(); ++i) {
    const double d =
        static_cast<double>(after.weight.values()[i]) - static_cast<double>(before.weight.values()[i]);
    change += d * d;
  }
  result.change_kept = change > 0 ? 1 - std::sqrt(errors.squared_error / change) : 1;
  return result;
}

}  // namespace tersor::adapters
