// tersor - SnapKV: the last queries of a prompt vote for the tokens to keep
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/budget.hpp>

namespace tersor::kv {

/// How neighbours share their votes.
enum class vote_pooling { avg, max };
constexpr auto option_names(vote_pooling) {
  using row = std::pair<std::string_view, vote_pooling>;
  return std::array<row, 2>{{{"avg", vote_pooling::avg}, {"max", vote_pooling::max}}};
}

/// Pooling over `kernel` (odd) neighbours with stride 1. Outside of x, `avg` sees zeros that count, and `max`
/// nothing.
inline std::vector<float> pooled_votes(std::span<const float> x, index_t kernel, vote_pooling pooling) {
  const auto n = static_cast<index_t>(x.size());
  std::vector<float> y(x.size());
  for (index_t t = 0; t < n; ++t) {
    const index_t first = std::max<index_t>(t - kernel / 2, 0), end = std::min(t + kernel / 2 + 1, n);
    const auto near = x.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(end - first));
    float& out = y[static_cast<std::size_t>(t)];
    if (pooling == vote_pooling::max)
      out = *std::ranges::max_element(near);
    else
      out = std::accumulate(near.begin(), near.end(), 0.0F) / static_cast<float>(kernel);
  }
  return y;
}

/// The rows of an option list for the fields `window`, `kernel`, `pooling` and `reduce` of SnapKV's scores.
template <class T>
constexpr auto snapkv_score_options() {
  return std::tuple{
      option{"window",
             &T::window,
             {.help = "last tokens, whose queries vote and which stay", .symbol = "w", .min = 1, .max = 1e9}},
      option{"kernel",
             &T::kernel,
             {.help = "neighbours that share a vote, odd", .symbol = "κ", .min = 1, .max = 1e6}},
      option{"pooling", &T::pooling, {.help = "how they share it"}},
      option{"reduce", &T::reduce, {.help = "how the query heads of a group agree"}}};
}

/// Their pooling has a middle. @param id the policy, for errors.
inline void require_odd_kernel(index_t kernel, std::string_view id) {
  require(kernel % 2 == 1, concat(id, ": kernel"), kernel, "an odd number");
}

/// SnapKV (arXiv:2404.14469, official code FasterDecoding/SnapKV; `SnapKVPress` of NVIDIA/kvpress): what the
/// end of a prompt attends to is what the answer will need. The attention of the last `window` queries is
/// averaged for each earlier token, pooled over `kernel` neighbours and joined over the query heads of a
/// group; each key-value head keeps its best tokens and the window. Nothing is dropped at decode. A prompt
/// that the budget covers stays as it is.
///
/// The official program chooses a set for each *query* head and stores keys and values as often: `reduce =
/// none` on a layout with kv_heads = heads and `repeat_heads`. It sums votes where this averages them; the
/// sets are the same.
///
/// Cost: heads window T head_dim. Guarantee: the window stays; exact counts. Stored: capacity / T of the
/// elements.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::snapkv{.capacity = 1024} | tersor::kv::kivi{});
struct snapkv {
  index_t capacity = 2048;
  double ratio = 0;
  index_t window = 32;
  index_t kernel = 5;
  vote_pooling pooling = vote_pooling::avg;
  group_reduction reduce = group_reduction::mean;

  static constexpr solve::stage_kind kind = solve::stage_kind::eviction;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "snapkv",
                                              .family = "kv",
                                              .title = "Eviction by the votes of a prompt's last queries",
                                              .arxiv = "2404.14469",
                                              .header = "tersor/kv/snapkv.hpp",
                                              .guarantee = "the window stays, exact counts in every head"};
  static constexpr auto options() {
    return std::tuple_cat(budget_options<snapkv>(), snapkv_score_options<snapkv>());
  }
  void validate() const {
    validate_budget(*this);
    require_odd_kernel(kernel, info.id);
    require(capacity == 0 || capacity >= window, concat(info.id, ": capacity"), capacity,
            "at least the window, ", window);
  }

  /// Votes [kv_heads, T]; those of the window are `always_kept`.
  matrix<float> scores(const prompt& p, const context& ctx = {}) const {
    validate();
    p.validate();
    require_reduction(reduce, p.layout, info.id);
    const index_t w = std::min(window, p.tokens()), prefix = p.tokens() - w, group = p.layout.group();
    require(p.queries.extents[1] >= w, concat(info.id, ": queries of the prompt"), p.queries.extents[1],
            "at least the last ", w);
    matrix<float> result(p.layout.kv_heads, p.tokens());
    parallel_for(p.layout.kv_heads, ctx, [&](index_t h) {
      const auto row = result.row(h);
      std::ranges::fill(row, always_kept);
      if (prefix == 0) return;
      std::vector<float> votes(static_cast<std::size_t>(prefix));
      for (index_t j = 0; j < group; ++j) {
        const auto a = prompt_attention(p, h * group + j, prefix, w, ctx);
        for (index_t t = 0; t < prefix; ++t) {
          float sum = 0;
          for (index_t i = 0; i < w; ++i) sum += a(i, t);
          votes[static_cast<std::size_t>(t)] = sum / static_cast<float>(w);
        }
        join_head(reduce, j, group, pooled_votes(votes, kernel, pooling), row.first(votes.size()));
      }
    });
    return result;
  }
  selection select(const prompt& p, const context& ctx = {}) const { return select_by_score(*this, p, ctx); }
};

/// SnapKV's scores with the fields of another policy that has them.
template <class T>
snapkv snapkv_scores_of(const T& policy) {
  return {.capacity = 0,
          .ratio = 0,
          .window = policy.window,
          .kernel = policy.kernel,
          .pooling = policy.pooling,
          .reduce = policy.reduce};
}

}  // namespace tersor::kv
