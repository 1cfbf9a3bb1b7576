// tersor - PyramidKV: budgets that shrink from layer to layer
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/snapkv.hpp>

namespace tersor::kv {

/// The budget of one layer (PyramidKV, arXiv:2406.02069, as `PyramidKVPress` of NVIDIA/kvpress computes it):
/// tokens that each of its heads keeps of a prompt. From the first to the last of `layers` budgets fall on a
/// straight line, from the mean's double less lo to lo = mean / beta. Where the line leaves the prompt it is
/// cut at tokens - window, and where it cannot be drawn at all every layer keeps the mean.
/// @param mean tokens kept in the mean over layers, not rounded: T (1 - ratio). @param beta steepness, >= 1.
inline index_t pyramid_budget(index_t tokens, double mean, index_t window, double beta, index_t layer,
                              index_t layers) {
  const auto t = static_cast<double>(tokens), w = static_cast<double>(window);
  const auto capacity = w + mean;  // in the program's order of rounding
  double low = (capacity - w) / beta, high = (capacity - w) * 2 - low;
  if (high >= t - w) {
    high = t - w;
    low = (capacity - w) * 2 - high;
  }
  // std::nearbyint rounds half to even, as Python does
  if (!(t >= high && high >= low && low >= w) || layers == 1)
    return static_cast<index_t>(std::nearbyint(mean));
  const double step = (high - low) / static_cast<double>(layers - 1);
  return static_cast<index_t>(std::nearbyint(high - static_cast<double>(layer) * step));
}

/// PyramidKV (arXiv:2406.02069, official code Zefan-Cai/KVCache-Factory; `PyramidKVPress` of NVIDIA/kvpress):
/// attention is broad in the first layers and narrow in the last ones, so the first layers keep more. The
/// budget is the mean over the `layers` of the layout; a layer's own is `pyramid_budget`, uniform over its
/// heads. Tokens are chosen by SnapKV's scores with the options here, or, in code, by any other `score`.
/// Nothing is dropped at decode.
///
/// Cost: that of the scores. Guarantee: budgets do not grow from layer to layer, and their sum over L layers
/// is L times the mean, within L / 2. Stored: in the mean capacity / T of the elements.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::pyramid{.ratio = 0.8} | tersor::kv::dense{});
struct pyramid {
  index_t capacity = 0;
  double ratio = 0.5;
  double beta = 20;
  index_t window = 64;
  index_t kernel = 5;
  vote_pooling pooling = vote_pooling::avg;
  group_reduction reduce = group_reduction::mean;
  any_score score{};  ///< in code only; then `kernel`, `pooling` and `reduce` have no meaning

  static constexpr solve::stage_kind kind = solve::stage_kind::eviction;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "pyramid",
      .family = "kv",
      .title = "Budgets that shrink from layer to layer",
      .arxiv = "2406.02069",
      .header = "tersor/kv/pyramid.hpp",
      .guarantee = "budgets that never grow with the layer and sum to the mean's, within half a token each"};
  static constexpr auto options() {
    return std::tuple_cat(
        budget_options<pyramid>(),
        std::tuple{
            option{"beta",
                   &pyramid::beta,
                   {.help = "the mean over the last layer's budget", .symbol = "β", .min = 1, .max = 1e6}}},
        snapkv_score_options<pyramid>());
  }
  void validate() const {
    validate_budget(*this);
    require_odd_kernel(kernel, info.id);
    require(capacity == 0 || capacity >= window, concat(info.id, ": capacity"), capacity,
            "at least the window, ", window);
  }

  /// Tokens that each head of the layout's layer keeps of a prompt of that length.
  index_t budget(const attention_layout& layout, index_t tokens) const {
    if (kept_tokens(*this, tokens) == tokens) return tokens;
    const double mean =
        capacity > 0 ? static_cast<double>(capacity) : static_cast<double>(tokens) * (1 - ratio);
    return pyramid_budget(tokens, mean, window, beta, layout.layer, layout.layers);
  }
  selection select(const prompt& p, const context& ctx = {}) const {
    validate();
    const index_t count = budget(p.layout, p.tokens());
    if (count == p.tokens()) return selection::all(p.layout.kv_heads, p.tokens());
    const any_score by = score.empty() ? any_score(snapkv_scores_of(*this)) : score;
    return best_of_each_head(by.scores(p, ctx), count, info.id);
  }
};

}  // namespace tersor::kv
