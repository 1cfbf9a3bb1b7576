// tersor - random eviction, the control of every policy
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/random.hpp>
#include <tersor/kv/eviction.hpp>

namespace tersor::kv {

/// Random eviction (no paper; `RandomPress` of NVIDIA/kvpress): each key-value head keeps int(T (1 - ratio))
/// tokens of the prompt at random; nothing is dropped at decode. A policy that does not beat it knows
/// nothing.
///
/// Cost: O(kv_heads T). Guarantee: exact counts; the same tokens for the same seed, layer and head.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::random{.ratio = 0.5} | tersor::kv::dense{});
struct random {
  double ratio = 0.5;

  static constexpr solve::stage_kind kind = solve::stage_kind::eviction;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "random",
                                              .family = "kv",
                                              .title = "Random eviction, a control",
                                              .arxiv = "",
                                              .header = "tersor/kv/random.hpp",
                                              .guarantee = "exact counts in every head"};
  static constexpr auto options() {
    return std::tuple{
        option{"ratio",
               &random::ratio,
               {.help = "share of the prompt that is removed", .symbol = "ρ", .min = 0, .max = 1}}};
  }
  void validate() const { validate_options(*this, info.id); }

  selection select(const prompt& p, const context& ctx = {}) const {
    validate();
    const auto generator = random_generator(ctx.seed).fork(static_cast<std::uint64_t>(p.layout.layer));
    selection s;
    std::vector<float> score(static_cast<std::size_t>(p.tokens()));
    for (index_t h = 0; h < p.layout.kv_heads; ++h) {
      auto head = generator.fork(static_cast<std::uint64_t>(h));
      for (float& x : score) x = static_cast<float>(head.uniform());
      s.kept.push_back(highest(score, kept_count(p.tokens(), ratio)));
    }
    return s;
  }
};

}  // namespace tersor::kv
