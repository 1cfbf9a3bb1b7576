// tersor - scores of cached tokens: attention that a prompt pays them, joined over the query heads of a group
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>  // std::function
#include <limits>      // std::numeric_limits

#include <tersor/kernel/activations.hpp>
#include <tersor/kv/prompt.hpp>
#include <tersor/linalg/gemm.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::kv {

// No paper: what score policies share, with the conventions of NVIDIA/kvpress. Scores are [kv_heads, T], the
// higher the more a token is worth keeping; `always_kept` is the score of a token that must stay.

inline constexpr float always_kept = std::numeric_limits<float>::infinity();

/// What the query heads of a group, each with scores of its own, say together.
enum class group_reduction {
  none,  ///< nothing: each query head has a key-value head of its own (see `repeat_heads`)
  mean,
  max
};
constexpr auto option_names(group_reduction) {
  using row = std::pair<std::string_view, group_reduction>;
  return std::array<row, 3>{
      {{"none", group_reduction::none}, {"mean", group_reduction::mean}, {"max", group_reduction::max}}};
}

/// Error for `reduce = none` where query heads share a key-value head: a set of tokens for each query head
/// needs a copy of the keys and values for each of them.
inline void require_reduction(group_reduction r, const attention_layout& layout, std::string_view technique) {
  require(r != group_reduction::none || layout.group() == 1,
          concat(technique, ": reduce=none, kv_heads of the layout"), layout.kv_heads, "heads, ",
          layout.heads, ", with keys and values of repeat_heads");
}

/// Adds what head `j` of a group says, x [n], to `joined` [n]. Called for j = 0, 1 ... group - 1; the first
/// call overwrites `joined`. NaN stays NaN.
inline void join_head(group_reduction r, index_t j, index_t group, std::span<const float> x,
                      std::span<float> joined) {
  assert(x.size() == joined.size());
  const float share = r == group_reduction::mean ? 1.0F / static_cast<float>(group) : 1.0F;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float value = x[i] * share;
    if (j == 0)
      joined[i] = value;
    else if (r == group_reduction::mean)
      joined[i] += value;
    else if (value > joined[i] || std::isnan(value))
      joined[i] = value;
  }
}

/// Each head `group` times in a row: [heads, tokens, head_dim] as [heads * group * tokens, head_dim], the
/// memory of a `heads_view` of heads * group heads. For caches with one key-value head for each query head,
/// as the official programs of SnapKV and H2O hold them, `group` times as large.
///
///     auto k = tersor::kv::repeat_heads(keys, group);
///     cache.prefill({k.data(), {heads, tokens, head_dim}}, ...);
inline matrix<float> repeat_heads(heads_view<const float> x, index_t group) {
  require(group > 0, "repeat_heads: group", group, "at least 1");
  const index_t tokens = x.extents[1];
  matrix<float> y(x.extents[0] * group * tokens, x.extents[2]);
  for (index_t h = 0; h < x.extents[0] * group; ++h)
    copy(head(x, h / group), y.view().rows(h * tokens, tokens));
  return y;
}

/// Attention weights that a prompt's tokens first, first + 1 ... pay to its keys, [count, T]: softmax in
/// float over the tokens up to their own, 0 behind it. The prompt must hold their queries. Cost count T
/// head_dim.
inline matrix<float> prompt_attention(const prompt& p, index_t query_head, index_t first, index_t count,
                                      const context& ctx = {}) {
  const index_t tokens = p.tokens(), missing = tokens - p.queries.extents[1], seen = first + count;
  assert(first >= missing && count >= 0 && seen <= tokens);
  matrix<float> a(count, tokens);
  linalg::gemm<float>(1.0F / std::sqrt(static_cast<float>(p.layout.head_dim)),
                      head(p.queries, query_head).rows(first - missing, count),
                      head(p.keys, query_head / p.layout.group()).rows(0, seen).transposed(), 0.0F,
                      a.view().block(0, 0, count, seen), ctx);
  for (index_t i = 0; i < count; ++i) {
    const auto row = a.row(i);
    const index_t own = first + i + 1;
    kernel::softmax(row.data(), own);
    std::ranges::fill(row.subspan(static_cast<std::size_t>(own)), 0.0F);
  }
  return a;
}

/// Attention that each token of a prompt receives from all of its queries, [kv_heads, T]: column sums of the
/// causal attention, joined query by query over the group. Runs over tiles of 64 queries. The prompt must
/// hold every query; errors name the technique. Cost heads T² head_dim / 2 multiply-adds, memory 64 T floats
/// for each of at most two tiles of a kv head.
inline matrix<float> attention_sums(const prompt& p, group_reduction r, std::string_view technique,
                                    const context& ctx = {}) {
  constexpr index_t tile = 64;
  const index_t tokens = p.tokens(), group = p.layout.group();
  require_reduction(r, p.layout, technique);
  require(p.queries.extents[1] == tokens, concat(technique, ": queries of the prompt"), p.queries.extents[1],
          "all ", tokens);
  matrix<float> sums(p.layout.kv_heads, tokens);
  parallel_for(p.layout.kv_heads, ctx, [&](index_t h) {
    std::vector<double> sum(static_cast<std::size_t>(tokens));
    for (index_t first = 0; first < tokens; first += tile) {
      const index_t count = std::min(tile, tokens - first);
      matrix<float> joined(count, tokens);
      for (index_t j = 0; j < group; ++j)
        join_head(r, j, group, prompt_attention(p, h * group + j, first, count, ctx).values(),
                  joined.values());
      for (index_t i = 0; i < count; ++i)
        for (index_t t = 0; t <= first + i; ++t)
          sum[static_cast<std::size_t>(t)] += static_cast<double>(joined(i, t));
    }
    std::ranges::transform(sum, sums.row(h).begin(), [](double x) { return static_cast<float>(x); });
  });
  return sums;
}

/// Error unless scores are [kv_heads, T] numbers.
inline void require_scores(const matrix<float>& scores, const prompt& p, std::string_view technique) {
  require_shape(scores.view(), p.layout.kv_heads, p.tokens(), concat(technique, ": scores"));
  for (index_t h = 0; h < scores.rows(); ++h)
    for (index_t t = 0; t < scores.cols(); ++t)
      require(!std::isnan(scores(h, t)), concat(technique, ": score of head ", h, ", token ", t),
              scores(h, t), "a number");
}

/// A technique that scores tokens: `scores(prompt, ctx)` returns [kv_heads, T].
template <class S>
concept token_score = requires(const S& s, const prompt& p, const context& ctx) {
  { s.scores(p, ctx) } -> std::same_as<matrix<float>>;
  { S::info } -> std::convertible_to<solve::technique_info>;
  s.validate();
};

/// Holds one such technique with its options, for the budgets that work with any; or nothing.
class any_score {
 public:
  any_score() = default;
  template <token_score S>
  any_score(S s) : id_(S::info.id) {
    s.validate();
    scores_ = [held = std::move(s)](const prompt& p, const context& ctx) { return held.scores(p, ctx); };
  }
  bool empty() const { return !scores_; }
  std::string_view id() const { return id_; }
  /// Checked: [kv_heads, T] numbers.
  matrix<float> scores(const prompt& p, const context& ctx = {}) const {
    assert(!empty());
    auto s = scores_(p, ctx);
    require_scores(s, p, id_);
    return s;
  }

 private:
  std::string_view id_;
  std::function<matrix<float>(const prompt&, const context&)> scores_;
};

}  // namespace tersor::kv
