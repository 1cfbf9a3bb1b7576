// tersor - the vocabulary of KV caches: layout, prompt, selection of kept tokens
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::nth_element, std::sort
#include <cmath>      // std::isnan
#include <numeric>    // std::iota
#include <vector>     // std::vector

#include <tersor/core/matrix.hpp>
#include <tersor/kernel/rotary.hpp>

namespace tersor::kv {

// No paper: what all techniques of this folder share. Arrays are [heads, tokens, head_dim], the channels of a
// token contiguous; one cache holds one layer of one sequence.

template <class T>
using heads_view = tensor_view<T, 3>;

/// The rows of one head, [tokens, head_dim].
template <class T>
constexpr matrix_view<T> head(heads_view<T> x, index_t h) {
  return {tersor::detail::shifted(x.data, h * x.strides[0]),
          {x.extents[1], x.extents[2]},
          {x.strides[1], x.strides[2]}};
}
/// Tokens [first, first + count) of every head.
template <class T>
constexpr heads_view<T> tokens(heads_view<T> x, index_t first, index_t count) {
  assert(first >= 0 && count >= 0 && first + count <= x.extents[1]);
  return {
      tersor::detail::shifted(x.data, first * x.strides[1]), {x.extents[0], count, x.extents[2]}, x.strides};
}
/// Projections [tokens, heads * head_dim] as [heads, tokens, head_dim], without a copy.
template <class T>
heads_view<T> split_heads(matrix_view<T> x, index_t heads) {
  require(heads > 0 && x.cols() % heads == 0, "split_heads: columns", x.cols(), "a multiple of ", heads,
          " heads");
  const index_t dim = x.cols() / heads;
  return {x.data, {heads, x.rows(), dim}, {dim * x.strides[1], x.strides[0], x.strides[1]}};
}

/// The shape of one layer's attention. Query head h reads key-value head h / group().
struct attention_layout {
  index_t heads = 0, kv_heads = 0, head_dim = 0;
  kernel::rotary rotary{};        ///< of queries and keys; empty: the model has none
  index_t layer = 0, layers = 1;  ///< which of how many, for budgets that differ between layers

  index_t group() const { return heads / kv_heads; }
  void validate() const {
    require(kv_heads > 0, "attention_layout: kv_heads", kv_heads, "at least 1");
    require(heads > 0 && heads % kv_heads == 0, "attention_layout: heads", heads, "a multiple of kv_heads, ",
            kv_heads);
    require(head_dim > 0, "attention_layout: head_dim", head_dim, "at least 1");
    require(2 * static_cast<index_t>(rotary.frequencies().size()) <= head_dim,
            "attention_layout: rotated channels", 2 * rotary.frequencies().size(), "at most head_dim, ",
            head_dim);
    require(layers > 0 && layer >= 0 && layer < layers, "attention_layout: layer", layer, "0 .. ",
            layers - 1);
  }
};

/// What an eviction policy sees of a prompt. Keys and queries are rotated to positions 0 .. T - 1; with
/// `layout.rotary` at the negative positions they become plain again.
struct prompt {
  const attention_layout& layout;
  heads_view<const float> keys;     ///< [kv_heads, T, head_dim]
  heads_view<const float> values;   ///< [kv_heads, T, head_dim]
  heads_view<const float> queries;  ///< [heads, Q, head_dim], of the last Q <= T tokens

  index_t tokens() const { return keys.extents[1]; }
  /// The last `count` queries of a query head, [count, head_dim]; an error that names the technique if the
  /// prompt has fewer.
  matrix_view<const float> last_queries(index_t query_head, index_t count, std::string_view technique) const {
    const index_t held = queries.extents[1];
    require(count <= held, concat(technique, ": queries of the prompt"), held, "at least the last ", count);
    return head(queries, query_head).rows(held - count, count);
  }
  void validate() const {
    layout.validate();
    const auto shape = [](heads_view<const float> x) {
      return concat("[", x.extents[0], ", ", x.extents[1], ", ", x.extents[2], "]");
    };
    require(keys.extents[0] == layout.kv_heads && keys.extents[2] == layout.head_dim, "prompt: keys",
            shape(keys), "[", layout.kv_heads, ", tokens, ", layout.head_dim, "]");
    require(values.extents == keys.extents, "prompt: values", shape(values), "the shape of the keys, ",
            shape(keys));
    require(queries.extents[0] == layout.heads && queries.extents[2] == layout.head_dim &&
                queries.extents[1] <= tokens(),
            "prompt: queries", shape(queries), "[", layout.heads, ", at most ", tokens(), ", ",
            layout.head_dim, "]");
  }
};

/// Which tokens of a prompt stay, for each key-value head.
struct selection {
  std::vector<std::vector<index_t>> kept;  ///< [kv_heads] ascending token indices; lengths may differ
  /// The policy's scores of the kept tokens, where it goes on with them at decode (H2O); may be empty.
  std::vector<std::vector<float>> scores{};

  static selection all(index_t kv_heads, index_t tokens) {
    std::vector<index_t> every(static_cast<std::size_t>(tokens));
    std::iota(every.begin(), every.end(), index_t{0});
    return {std::vector(static_cast<std::size_t>(kv_heads), every), {}};
  }
  /// Do all heads keep the same number?
  bool is_rectangular() const {
    return std::ranges::all_of(kept, [&](const auto& k) { return k.size() == kept.front().size(); });
  }
  /// The rule of every policy's result; errors name the technique.
  void check(index_t kv_heads, index_t tokens, std::string_view technique) const {
    require(static_cast<index_t>(kept.size()) == kv_heads, concat(technique, ": heads of the selection"),
            kept.size(), kv_heads);
    require(scores.empty() || scores.size() == kept.size(), concat(technique, ": heads of the scores"),
            scores.size(), "0 or ", kv_heads);
    for (std::size_t h = 0; h < kept.size(); ++h) {
      index_t last = -1;
      for (const index_t t : kept[h]) {
        require(t > last && t < tokens, concat(technique, ": kept token of head ", h), t,
                "ascending indices below ", tokens);
        last = t;
      }
      require(scores.empty() || scores[h].size() == kept[h].size(), concat(technique, ": scores of head ", h),
              scores.empty() ? 0 : scores[h].size(), "one for each of ", kept[h].size(), " kept tokens");
    }
  }
};

/// int(tokens * (1 - ratio)), rounded as NVIDIA/kvpress does it: in double, toward zero. `ratio` is the share
/// removed.
inline index_t kept_count(index_t tokens, double ratio) {
  return static_cast<index_t>(static_cast<double>(tokens) * (1.0 - ratio));
}

/// The indices of the k highest scores, ascending; of equal scores the lowest index first. Error on NaN. Cost
/// O(n).
inline std::vector<index_t> highest(std::span<const float> score, index_t k) {
  const auto n = static_cast<index_t>(score.size());
  require(k >= 0 && k <= n, "highest: k", k, "0 .. ", n);
  for (std::size_t i = 0; i < score.size(); ++i)
    require(!std::isnan(score[i]), concat("score[", i, "]"), score[i], "a number");
  std::vector<index_t> order(score.size());
  std::iota(order.begin(), order.end(), index_t{0});
  const auto before = [&](index_t a, index_t b) {
    const float x = score[static_cast<std::size_t>(a)], y = score[static_cast<std::size_t>(b)];
    return x > y || (x == y && a < b);
  };
  if (k < n) std::nth_element(order.begin(), order.begin() + k, order.end(), before);
  order.resize(static_cast<std::size_t>(k));
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace tersor::kv
