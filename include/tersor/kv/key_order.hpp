// tersor - K-sort: an order of key channels that puts equal sizes side by side, folded into the weights
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/prompt.hpp>

namespace tersor::kv {

/// Channels in the order of decreasing size; of equal ones the lower first.
inline std::vector<index_t> decreasing_order(std::span<const double> size) {
  std::vector<index_t> order(size.size());
  std::iota(order.begin(), order.end(), index_t{0});
  std::ranges::stable_sort(order, [&](index_t a, index_t b) {
    return size[static_cast<std::size_t>(a)] > size[static_cast<std::size_t>(b)];
  });
  return order;
}

/// What K-sort may permute.
enum class key_sort {
  pairs,    ///< rotary pairs stay pairs: the order works with a rotary whose frequencies are permuted
  channels  ///< each channel by itself: rotation then follows the permuted pairs (`key_order::rotate`)
};

/// K-sort (arXiv:2403.20137): a compile-time order of each key-value head's channels, such that channels of
/// similar size share a block of a block codec (`bfp`). Permuting the rows of W_k and the same rows of W_q of
/// every query head of the group changes no product of a query with a key, so there is no cost when the model
/// runs.
///
/// A free order moves the two channels of a rotary pair to any two places, so queries and keys are then
/// rotated by `rotate`; with whole pairs sorted, a rotary with permuted frequencies (`rotary_of`) does so.
struct key_order {
  attention_layout layout;
  std::vector<std::vector<index_t>> channels;  ///< [kv_heads][head_dim]: place j holds channel channels[h][j]

  /// The order for W_k [kv_heads * head_dim, in_features]: rows by decreasing norm, or pairs by the norm of
  /// both.
  static key_order of(matrix_view<const float> w_k, const attention_layout& layout,
                      key_sort what = key_sort::pairs) {
    layout.validate();
    const index_t dim = layout.head_dim;
    require(w_k.rows() == layout.kv_heads * dim, "key_order: rows of w_k", w_k.rows(), layout.kv_heads,
            " heads of ", dim);
    require_finite(w_k, "key_order: w_k");
    key_order result{layout, {}};
    for (index_t h = 0; h < layout.kv_heads; ++h) {
      std::vector<double> squares(static_cast<std::size_t>(dim));
      for (index_t c = 0; c < dim; ++c)
        for (index_t j = 0; j < w_k.cols(); ++j)
          squares[static_cast<std::size_t>(c)] +=
              static_cast<double>(w_k(h * dim + c, j)) * static_cast<double>(w_k(h * dim + c, j));
      result.channels.push_back(what == key_sort::channels ? decreasing_order(squares)
                                                           : order_of_pairs(squares, layout.rotary));
    }
    return result;
  }

  /// The rows of w [heads * head_dim, in_features] in this order, for W_q (layout.heads) and W_k
  /// (layout.kv_heads). A bias is a matrix of one column.
  matrix<float> permuted(matrix_view<const float> w, index_t heads) const {
    const index_t dim = layout.head_dim;
    require(heads == layout.heads || heads == layout.kv_heads, "key_order: heads", heads, layout.heads,
            " or ", layout.kv_heads);
    require(w.rows() == heads * dim, "key_order: rows of w", w.rows(), heads, " heads of ", dim);
    matrix<float> y(w.rows(), w.cols());
    for (index_t h = 0; h < heads; ++h) {
      const auto& order = channels[static_cast<std::size_t>(h / (heads / layout.kv_heads))];
      for (index_t j = 0; j < dim; ++j)
        copy(w.rows(h * dim + order[static_cast<std::size_t>(j)], 1), y.view().rows(h * dim + j, 1));
    }
    return y;
  }
  /// Rotates x [tokens, head_dim], whose channels are in the order of a key-value head, to `positions`: what
  /// the rotary does before the permutation.
  void rotate(matrix_view<float> x, index_t kv_head, std::span<const index_t> positions) const {
    require_shape(x, static_cast<index_t>(positions.size()), layout.head_dim, "key_order: x");
    const auto place = inverse(kv_head);
    const auto& f = layout.rotary.frequencies();
    for (index_t t = 0; t < x.rows(); ++t)
      for (std::size_t i = 0; i < f.size(); ++i) {
        const auto [a, b] = layout.rotary.channels(static_cast<index_t>(i));
        const double angle = static_cast<double>(positions[static_cast<std::size_t>(t)]) * f[i];
        const auto c = static_cast<float>(std::cos(angle)), s = static_cast<float>(std::sin(angle));
        float& first = x(t, place[static_cast<std::size_t>(a)]);
        float& second = x(t, place[static_cast<std::size_t>(b)]);
        const float u = first, v = second;
        first = u * c - v * s;
        second = v * c + u * s;
      }
  }
  /// The rotary of a key-value head's permuted channels, and of its query heads. Error unless whole pairs
  /// were sorted.
  kernel::rotary rotary_of(index_t kv_head) const {
    const auto place = inverse(kv_head);
    const auto& f = layout.rotary.frequencies();
    std::vector<double> permuted(f.size());
    const auto pairs = static_cast<index_t>(f.size());
    for (index_t i = 0; i < pairs; ++i) {
      const auto [a, b] = layout.rotary.channels(i);
      index_t at = 0;
      while (at < pairs && layout.rotary.channels(at) != std::pair{place[static_cast<std::size_t>(a)],
                                                                   place[static_cast<std::size_t>(b)]})
        ++at;
      require(at < pairs, concat("key_order: pair ", i, " of head ", kv_head), "taken apart",
              "an order of whole pairs (key_sort::pairs)");
      permuted[static_cast<std::size_t>(at)] = f[static_cast<std::size_t>(i)];
    }
    return kernel::rotary(std::move(permuted), layout.rotary.pairing());
  }

 private:
  /// The place of each channel.
  std::vector<index_t> inverse(index_t kv_head) const {
    const auto& order = channels[static_cast<std::size_t>(kv_head)];
    std::vector<index_t> place(order.size());
    for (std::size_t j = 0; j < order.size(); ++j)
      place[static_cast<std::size_t>(order[j])] = static_cast<index_t>(j);
    return place;
  }
  /// Pairs by decreasing norm in the places of pairs; channels that are not rotated by their own, behind
  /// them.
  static std::vector<index_t> order_of_pairs(std::span<const double> squares, const kernel::rotary& rotary) {
    const auto pairs = static_cast<index_t>(rotary.frequencies().size());
    std::vector<index_t> order(squares.size());
    std::vector<double> of_pair;
    for (index_t i = 0; i < pairs; ++i) {
      const auto [a, b] = rotary.channels(i);
      of_pair.push_back(squares[static_cast<std::size_t>(a)] + squares[static_cast<std::size_t>(b)]);
    }
    const auto sorted = decreasing_order(of_pair);
    for (index_t i = 0; i < pairs; ++i) {
      const auto to = rotary.channels(i), from = rotary.channels(sorted[static_cast<std::size_t>(i)]);
      order[static_cast<std::size_t>(to.first)] = from.first;
      order[static_cast<std::size_t>(to.second)] = from.second;
    }
    const auto rest = decreasing_order(squares.subspan(static_cast<std::size_t>(2 * pairs)));
    for (std::size_t j = 0; j < rest.size(); ++j)
      order[static_cast<std::size_t>(2 * pairs) + j] = 2 * pairs + rest[j];
    return order;
  }
};

}  // namespace tersor::kv
