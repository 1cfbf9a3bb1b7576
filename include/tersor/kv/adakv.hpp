// tersor - AdaKV: the heads of a layer share one budget
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>       // std::isnan
#include <functional>  // std::greater

#include <tersor/kv/snapkv.hpp>

namespace tersor::kv {

/// How many tokens each head keeps of one budget (AdaKV, arXiv:2407.11550): the heads * count best of all
/// scores [heads, T], after the int(alpha count) best of each head. Of equal scores go first those that stand
/// higher in their own head, then those of the lower head, so heads with the same scores in any order get
/// the same. Scores must be comparable between heads, as attention is and norms of keys are not. Cost heads T
/// log T.
inline std::vector<index_t> adaptive_budgets(const matrix<float>& scores, index_t count, double alpha,
                                             std::string_view technique = "adaptive_budgets") {
  const index_t heads = scores.rows(), tokens = scores.cols();
  require(count >= 0 && count <= tokens, concat(technique, ": tokens kept"), count, "0 .. ", tokens);
  const auto safe = static_cast<index_t>(alpha * static_cast<double>(count));
  std::vector<float> by_rank(static_cast<std::size_t>(heads * tokens));  // [rank, head]
  for (index_t h = 0; h < heads; ++h) {
    const auto row = scores.row(h);
    require(!std::ranges::any_of(row, [](float x) { return std::isnan(x); }),
            concat(technique, ": scores of head ", h), "NaN", "numbers");
    const auto fixed = static_cast<index_t>(std::ranges::count(row, always_kept));
    require(fixed <= count, concat(technique, ": tokens kept of ", tokens), count, "at least the ", fixed,
            " that must stay (window, sinks)");
    std::vector<float> sorted(row.begin(), row.end());
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    for (index_t rank = 0; rank < tokens; ++rank)
      if (rank < safe)
        by_rank[static_cast<std::size_t>(rank * heads + h)] = always_kept;
      else
        by_rank[static_cast<std::size_t>(rank * heads + h)] = sorted[static_cast<std::size_t>(rank)];
  }
  std::vector<index_t> budgets(static_cast<std::size_t>(heads));
  for (const index_t i : highest(by_rank, heads * count)) ++budgets[static_cast<std::size_t>(i % heads)];
  return budgets;
}

/// AdaKV (arXiv:2407.11550, official code FFY0/AdaKV; `AdaKVPress` of NVIDIA/kvpress): heads differ in how
/// widely they attend, so the heads of a layer share one budget, and where attention is narrow fewer tokens
/// stay. Each head is sure of the share `alpha` of the uniform budget. Tokens are chosen by SnapKV's scores
/// with the options here, or, in code, by any other `score` that is comparable between heads. Heads end with
/// different numbers of tokens, which the cache stores as such. Nothing is dropped at decode.
///
/// Cost: that of the scores. Guarantee: a layer keeps kv_heads times the uniform budget, every head at least
/// int(alpha budget); alpha = 1 is the uniform budget. Stored: capacity / T of the elements.
///
///     auto policy = tersor::kv::adakv{.ratio = 0.7} | tersor::kv::dense{};          // by SnapKV's scores
///     auto other = tersor::kv::adakv{.ratio = 0.7, .score = tersor::kv::expected{}};
struct adakv {
  index_t capacity = 0;
  double ratio = 0.5;
  double alpha = 0.2;
  index_t window = 64;
  index_t kernel = 5;
  vote_pooling pooling = vote_pooling::avg;
  group_reduction reduce = group_reduction::mean;
  any_score score{};  ///< in code only; then the four options above have no meaning

  static constexpr solve::stage_kind kind = solve::stage_kind::eviction;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "adakv",
      .family = "kv",
      .title = "One budget for the heads of a layer",
      .arxiv = "2407.11550",
      .header = "tersor/kv/adakv.hpp",
      .guarantee = "exact counts in every layer, and in every head the share alpha of the uniform budget"};
  static constexpr auto options() {
    return std::tuple_cat(budget_options<adakv>(),
                          std::tuple{option{"alpha",
                                            &adakv::alpha,
                                            {.help = "share of the uniform budget that each head is sure of",
                                             .symbol = "α",
                                             .min = 0,
                                             .max = 1}}},
                          snapkv_score_options<adakv>());
  }
  void validate() const {
    validate_budget(*this);
    require_odd_kernel(kernel, info.id);
    require(!score.empty() || capacity == 0 || capacity >= window, concat(info.id, ": capacity"), capacity,
            "at least the window, ", window);
  }

  selection select(const prompt& p, const context& ctx = {}) const {
    validate();
    const index_t count = kept_tokens(*this, p.tokens());
    if (count == p.tokens()) return selection::all(p.layout.kv_heads, p.tokens());
    const any_score by = score.empty() ? any_score(snapkv_scores_of(*this)) : score;
    const auto scores = by.scores(p, ctx);
    const auto budgets = adaptive_budgets(scores, count, alpha, info.id);
    selection s;
    for (index_t h = 0; h < scores.rows(); ++h)
      s.kept.push_back(highest(scores.row(h), budgets[static_cast<std::size_t>(h)]));
    return s;
  }
};

}  // namespace tersor::kv
