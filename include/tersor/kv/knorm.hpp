// tersor - Knorm: tokens with the longest keys go
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/budget.hpp>

namespace tersor::kv {

/// Eviction by key norm (arXiv:2406.11430, official code alessiodevoto/l2compress; `KnormPress` of
/// NVIDIA/kvpress): short keys receive much attention, so those with the largest 2-norm go. Queries are not
/// needed. Nothing is dropped at decode.
///
/// Cost: O(kv_heads T head_dim). Guarantee: exact counts, whatever the queries. Stored: capacity / T of the
/// elements.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::knorm{.ratio = 0.5} | tersor::kv::dense{});
struct knorm {
  index_t capacity = 0;
  double ratio = 0.5;

  static constexpr solve::stage_kind kind = solve::stage_kind::eviction;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "knorm",
      .family = "kv",
      .title = "Eviction of the longest keys",
      .arxiv = "2406.11430",
      .header = "tersor/kv/knorm.hpp",
      .guarantee = "exact counts in every head, whatever the queries"};
  static constexpr auto options() { return budget_options<knorm>(); }
  void validate() const { validate_budget(*this); }

  /// Minus the norms of the keys, [kv_heads, T].
  matrix<float> scores(const prompt& p, const context& = {}) const {
    validate();
    p.validate();
    matrix<float> result(p.layout.kv_heads, p.tokens());
    for (index_t h = 0; h < result.rows(); ++h)
      for (index_t t = 0; t < result.cols(); ++t) {
        double squares = 0;
        for (index_t c = 0; c < p.layout.head_dim; ++c) {
          const auto x = static_cast<double>(p.keys(h, t, c));
          squares += x * x;
        }
        result(h, t) = static_cast<float>(-std::sqrt(squares));
      }
    return result;
  }
  selection select(const prompt& p, const context& ctx = {}) const { return select_by_score(*this, p, ctx); }
};

}  // namespace tersor::kv
