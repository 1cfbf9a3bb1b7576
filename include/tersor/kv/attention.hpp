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

/// Attention of the queries of one group over the tokens of all segments, in pieces of `piece_tokens` tokens
/// (as Flash-Decoding, arXiv:2307.08691, splits a long context; no code taken). Pieces may run in any order
/// and on any threads; they are cut by the number of tokens alone and merged in their order, so results are
/// the same bits for any number of threads.
class piecewise_attention {
 public:
  static constexpr index_t piece_tokens = 2048;

  /// @param q [queries, head_dim], rows contiguous; referred to. Errors: no tokens; keys and values of
  /// different numbers.
  piecewise_attention(segment_lists segments, index_t head, matrix_view<const float> q,
                      matrix<float>* weights = nullptr)
      : segments_(std::move(segments)),
        head_(head),
        q_(q),
        weights_(weights),
        tokens_(segments_.tokens()),
        out_(pieces() * q.rows(), q.cols()),
        parts_(static_cast<std::size_t>(pieces() * q.rows())) {
    assert(q.strides[1] == 1);
    require(tokens_ > 0, "attention: cached tokens", tokens_, "at least 1");
    require(segment_lists::tokens(segments_.values) == tokens_, "attention: tokens of the values",
            segment_lists::tokens(segments_.values), tokens_, ", as many as keys");
    if (weights_) *weights_ = matrix<float>(q.rows(), tokens_);
  }
  index_t pieces() const { return (tokens_ + piece_tokens - 1) / piece_tokens; }

  /// Piece i: logits, exponentials, sum of values. Touches nothing that another piece does.
  void run(index_t i) {
    const index_t first = i * piece_tokens, count = std::min(piece_tokens, tokens_ - first), n = q_.rows();
    matrix<float> own(weights_ ? 0 : n, count);
    const auto a = weights_ ? weights_->view().block(0, first, n, count) : own.view();
    for_each_segment(segments_.keys, first, count,
                     [&](const segment& s, index_t from, index_t at, index_t m) {
                       s.scores(head_, from, q_, a.block(0, at, n, m));
                     });
    const float scale = 1.0F / std::sqrt(static_cast<float>(q_.cols()));
    for (index_t j = 0; j < n; ++j)
      parts_[static_cast<std::size_t>(i * n + j)] = kernel::exponentials(&a(j, index_t{0}), count, scale);
    const matrix_view<const float> p = a;
    for_each_segment(segments_.values, first, count,
                     [&](const segment& s, index_t from, index_t at, index_t m) {
                       s.accumulate(head_, from, p.block(0, at, n, m), out_.view().rows(i * n, n));
                     });
  }
  /// After all pieces: out [queries, head_dim], and the weights where they are wanted.
  void finish(matrix_view<float> out) {
    const index_t n = q_.rows();
    std::vector<float> share(static_cast<std::size_t>(pieces()));
    for (index_t j = 0; j < n; ++j) {
      const auto part = [&](index_t i) { return parts_[static_cast<std::size_t>(i * n + j)]; };
      float largest = part(0).largest;
      for (index_t i = 1; i < pieces(); ++i) largest = std::max(largest, part(i).largest);
      double sum = 0;
      for (index_t i = 0; i < pieces(); ++i) sum += part(i).sum * weight(part(i).largest, largest);
      for (index_t c = 0; c < out.cols(); ++c) out(j, c) = 0.0F;
      for (index_t i = 0; i < pieces(); ++i) {
        const auto w = static_cast<float>(weight(part(i).largest, largest) / sum);
        const auto row = out_.row(i * n + j);
        for (index_t c = 0; c < out.cols(); ++c) out(j, c) += w * row[static_cast<std::size_t>(c)];
        if (weights_)
          for (index_t t = i * piece_tokens; t < std::min(tokens_, (i + 1) * piece_tokens); ++t)
            (*weights_)(j, t) *= w;
      }
    }
  }

 private:
  static double weight(float mine, float largest) {
    return std::exp(static_cast<double>(mine) - static_cast<double>(largest));
  }
  /// f(segment, its first token, the place in the piece, tokens) for what [first, first + count) touches.
  template <class F>
  static void for_each_segment(const std::vector<const segment*>& list, index_t first, index_t count,
                               const F& f) {
    index_t begin = 0;  // of the segment
    for (const segment* s : list) {
      const index_t low = std::max(first, begin), high = std::min(first + count, begin + s->tokens());
      if (low < high) f(*s, low - begin, low - first, high - low);
      begin += s->tokens();
    }
  }

  segment_lists segments_;
  index_t head_;
  matrix_view<const float> q_;
  matrix<float>* weights_;
  index_t tokens_;
  matrix<float> out_;  // of every piece and query, not yet divided by a sum
  std::vector<kernel::scaled_exponentials> parts_;
};

/// Attention of the queries of one group (no paper: the definition): out [queries, head_dim] = softmax(q Kᵀ /
/// √head_dim) V with one softmax in float over the tokens of all segments. Rows of q and out are contiguous.
/// Cost: every segment is read once for scores and once for the sum. Error if there is no token.
/// @param weights null, or [queries, tokens] that receives the attention weights.
inline void attend(const segment_lists& segments, index_t head, matrix_view<const float> q,
                   matrix_view<float> out, matrix<float>* weights = nullptr) {
  piecewise_attention a(segments, head, q, weights);
  for (index_t i = 0; i < a.pieces(); ++i) a.run(i);
  a.finish(out);
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
