// tersor - KeyDiff: keys that point like all others go
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/budget.hpp>

namespace tersor::kv {

/// KeyDiff (arXiv:2504.15364; `KeyDiffPress` of NVIDIA/kvpress): tokens whose keys differ
/// from the others receive more attention. A head's anchor is the mean of its keys at length 1; the score is
/// minus the cosine of a key with it. Queries are not needed. Nothing is dropped at decode. (The paper runs
/// it block by block over the prompt; this is one block.)
///
/// Cost: O(kv_heads T head_dim). Guarantee: exact counts, whatever the queries. Stored: capacity / T of the
/// elements.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::keydiff{.ratio = 0.5} | tersor::kv::dense{});
struct keydiff {
  index_t capacity = 0;
  double ratio = 0.5;

  static constexpr solve::stage_kind kind = solve::stage_kind::eviction;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "keydiff",
      .family = "kv",
      .title = "Eviction of keys that point like all others",
      .arxiv = "2504.15364",
      .header = "tersor/kv/keydiff.hpp",
      .guarantee = "exact counts in every head, whatever the queries"};
  static constexpr auto options() { return budget_options<keydiff>(); }
  void validate() const { validate_budget(*this); }

  /// Minus cosines [kv_heads, T]; 0 of a key that is zero.
  matrix<float> scores(const prompt& p, const context& ctx = {}) const {
    validate();
    p.validate();
    const index_t tokens = p.tokens(), dim = p.layout.head_dim;
    matrix<float> result(p.layout.kv_heads, tokens);
    parallel_for(p.layout.kv_heads, ctx, [&](index_t h) {
      const auto keys = head(p.keys, h);
      std::vector<double> anchor(static_cast<std::size_t>(dim)), length(static_cast<std::size_t>(tokens));
      const auto dot = [&](index_t t, const auto& other) {
        double sum = 0;
        for (index_t c = 0; c < dim; ++c) sum += static_cast<double>(keys(t, c)) * other(c);
        return sum;
      };
      const auto of_anchor = [&](index_t c) { return anchor[static_cast<std::size_t>(c)]; };
      for (index_t t = 0; t < tokens; ++t) {
        const double n = std::sqrt(dot(t, [&](index_t c) { return static_cast<double>(keys(t, c)); }));
        length[static_cast<std::size_t>(t)] = n;
        if (n != 0)
          for (index_t c = 0; c < dim; ++c)
            anchor[static_cast<std::size_t>(c)] += static_cast<double>(keys(t, c)) / n;
      }
      double squares = 0;  // the sum serves as well as the mean: cosines do not see its length
      for (const double a : anchor) squares += a * a;
      for (index_t t = 0; t < tokens; ++t) {
        const double lengths = length[static_cast<std::size_t>(t)] * std::sqrt(squares);
        result(h, t) = lengths == 0 ? 0.0F : static_cast<float>(-dot(t, of_anchor) / lengths);
      }
    });
    return result;
  }
  selection select(const prompt& p, const context& ctx = {}) const { return select_by_score(*this, p, ctx); }
};

}  // namespace tersor::kv
