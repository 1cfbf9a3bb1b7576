// tersor - attention of one step over mixed segments: one softmax over all of them, or merged parts
// SPDX-License-Identifier: MIT
#pragma once

#include <limits>  // std::numeric_limits

#include <tersor/kernel/activations.hpp>
#include <tersor/kv/segment.hpp>

namespace tersor::kv {

/// The segments of some key-value heads in the order of their tokens. Keys and values may be cut at different
/// tokens, as in KIVI.
struct segment_lists {
  std::vector<const segment*> keys, values;

  static index_t tokens(const std::vector<const segment*>& list) {
    index_t n = 0;
    for (const segment* s : list) n += s->tokens();
    return n;
  }
  index_t tokens() const { return tokens(keys); }
};

/// Attention of the queries of one group (no paper: the definition): out [queries, head_dim] = softmax(q Kᵀ /
/// √head_dim) V with one softmax in float over the tokens of all segments. Rows of q and out are contiguous.
/// Cost: every segment is decoded once for scores and once for the sum. Error if there is no token.
/// @param weights null, or [queries, tokens] that receives the attention weights.
inline void attend(const segment_lists& segments, index_t head, matrix_view<const float> q,
                   matrix_view<float> out, matrix<float>* weights = nullptr) {
  assert(q.strides[1] == 1 && out.strides[1] == 1);
  const index_t tokens = segments.tokens();
  require(tokens > 0, "attention: cached tokens", tokens, "at least 1");
  require(segment_lists::tokens(segments.values) == tokens, "attention: tokens of the values",
          segment_lists::tokens(segments.values), tokens, ", as many as keys");
  matrix<float> own;
  matrix<float>& a = weights ? *weights : own;
  a = matrix<float>(q.rows(), tokens);
  index_t first = 0;
  for (const segment* s : segments.keys) {
    s->scores(head, q, a.view().block(0, first, q.rows(), s->tokens()));
    first += s->tokens();
  }
  const float scale = 1.0F / std::sqrt(static_cast<float>(q.cols()));
  for (index_t j = 0; j < q.rows(); ++j) {
    for (float& x : a.row(j)) x *= scale;
    kernel::softmax(a.row(j).data(), tokens);
    for (index_t c = 0; c < out.cols(); ++c) out(j, c) = 0.0F;
  }
  first = 0;
  for (const segment* s : segments.values) {
    s->accumulate(head, std::as_const(a).view().block(0, first, q.rows(), s->tokens()), out);
    first += s->tokens();
  }
}

/// Attention over some of the tokens, to be merged with that over others: for each query the largest logit,
/// the sum of e^(logit - largest), and the normalised output.
struct partial_attention {
  std::vector<float> largest;  ///< [queries]; -infinity without tokens
  std::vector<double> sum;     ///< [queries]
  matrix<float> out;           ///< [queries, head_dim]
};

/// The part of attention that these segments, which hold the same tokens, contribute.
inline partial_attention attend_part(const segment& keys, const segment& values, index_t head,
                                     matrix_view<const float> q) {
  const index_t tokens = keys.tokens();
  require(values.tokens() == tokens, "attention: tokens of the values", values.tokens(), tokens,
          ", as many as keys");
  const auto queries = static_cast<std::size_t>(q.rows());
  partial_attention part{std::vector(queries, -std::numeric_limits<float>::infinity()),
                         std::vector<double>(queries), matrix<float>(q.rows(), values.head_dim())};
  if (tokens == 0) return part;
  matrix<float> a(q.rows(), tokens);
  keys.scores(head, q, a.view());
  const float scale = 1.0F / std::sqrt(static_cast<float>(q.cols()));
  for (index_t j = 0; j < q.rows(); ++j) {
    const auto row = a.row(j);
    for (float& x : row) x *= scale;
    const float largest = *std::ranges::max_element(row);
    const double log_sum = kernel::log_sum_exp(row.data(), tokens);
    part.largest[static_cast<std::size_t>(j)] = largest;
    part.sum[static_cast<std::size_t>(j)] = std::exp(log_sum - static_cast<double>(largest));
    kernel::softmax(row.data(), tokens);
  }
  values.accumulate(head, std::as_const(a).view(), part.out.view());
  return part;
}

/// Attention over the tokens of both parts.
inline partial_attention merge(const partial_attention& a, const partial_attention& b) {
  require(a.sum.size() == b.sum.size() && a.out.cols() == b.out.cols(), "merge: queries and channels of b",
          concat(b.sum.size(), " x ", b.out.cols()), a.sum.size(), " x ", a.out.cols());
  partial_attention both = a;
  for (std::size_t j = 0; j < a.sum.size(); ++j) {
    if (b.sum[j] == 0) continue;
    const float largest = std::max(a.largest[j], b.largest[j]);
    const auto mass = [largest](const partial_attention& part, std::size_t k) {
      return part.sum[k] * std::exp(static_cast<double>(part.largest[k]) - static_cast<double>(largest));
    };
    const double left = a.sum[j] == 0 ? 0.0 : mass(a, j), right = mass(b, j);
    both.largest[j] = largest;
    both.sum[j] = left + right;
    const auto r = static_cast<index_t>(j);
    for (index_t c = 0; c < a.out.cols(); ++c)
      both.out(r, c) = static_cast<float>(
          (static_cast<double>(a.out(r, c)) * left + static_cast<double>(b.out(r, c)) * right) /
          (left + right));
  }
  return both;
}

}  // namespace tersor::kv
