// tersor - segments: runs of cached tokens, dense or compressed, that attention reads tile by tile
// SPDX-License-Identifier: MIT
#pragma once

#include <memory>  // std::unique_ptr

#include <tersor/core/context.hpp>
#include <tersor/kernel/activations.hpp>
#include <tersor/kernel/row_products.hpp>
#include <tersor/kv/prompt.hpp>
#include <tersor/kv/real_list.hpp>
#include <tersor/op/archive.hpp>

namespace tersor::kv {

namespace detail {

/// Query-key products of a tile, sixteen partial sums each: out[j, t] = q[j] . tile[t].
struct tile_scores {
  TERSOR_ALWAYS_INLINE static void run(const float* q, index_t q_stride, index_t queries, const float* tile,
                                       index_t tokens, index_t dim, float* out, index_t out_stride) {
    constexpr index_t lanes = 16;
    const index_t whole = dim - dim % lanes;
    for (index_t t = 0; t < tokens; ++t)
      for (index_t j = 0; j < queries; ++j) {
        const float *a = q + j * q_stride, *b = tile + t * dim;
        float sum[lanes] = {};
        for (index_t c = 0; c < whole; c += lanes)
          for (index_t l = 0; l < lanes; ++l) sum[l] += a[c + l] * b[c + l];
        for (index_t c = whole; c < dim; ++c) sum[c - whole] += a[c] * b[c];
        for (index_t half = lanes / 2; half > 0; half /= 2)
          for (index_t l = 0; l < half; ++l) sum[l] += sum[l + half];
        out[j * out_stride + t] = sum[0];
      }
  }
};
/// out[j] += Σ a[j, t] tile[t].
struct tile_sum {
  TERSOR_ALWAYS_INLINE static void run(const float* a, index_t a_stride, index_t queries, const float* tile,
                                       index_t tokens, index_t dim, float* out, index_t out_stride) {
    for (index_t j = 0; j < queries; ++j)
      for (index_t t = 0; t < tokens; ++t) {
        const float weight = a[j * a_stride + t];
        const float* x = tile + t * dim;
        float* y = out + j * out_stride;
        kernel::detail::for_each(dim, [=](index_t c) { y[c] += weight * x[c]; });
      }
  }
};

}  // namespace detail

/// Adds `count` elements of a stored tensor to a report; parts of one name are summed up.
inline void add_storage(op::storage_report& report, std::string name, dtype type, index_t count,
                        std::size_t bytes) {
  if (count == 0 && bytes == 0) return;
  for (auto& part : report.parts)
    if (part.name == name) {
      part.shape.front() += count;
      part.bytes += bytes;
      return;
    }
  report.parts.push_back({std::move(name), type, {count}, bytes});
}

/// Products of rows of floats [tokens, head_dim], without gaps: what every segment can be decoded to.
inline void tile_scores(const float* tile, index_t tokens, matrix_view<const float> q, float* out,
                        index_t out_stride) {
  const auto t = kernel::best_target();
  if (kernel::real_rows::fits(q.cols()))
    return kernel::row_scores(t, {reinterpret_cast<const std::uint8_t*>(tile), dtype::f32, tokens, q.cols()},
                              {q.data, q.strides[0], q.rows()}, out, out_stride);
  kernel::run<detail::tile_scores>(t, q.data, q.strides[0], q.rows(), tile, tokens, q.cols(), out,
                                   out_stride);
}
inline void tile_sums(const float* tile, matrix_view<const float> a, matrix_view<float> out) {
  const auto t = kernel::best_target();
  if (kernel::real_rows::fits(out.cols()))
    return kernel::row_sums(t,
                            {reinterpret_cast<const std::uint8_t*>(tile), dtype::f32, a.cols(), out.cols()},
                            {a.data, a.strides[0], a.rows()}, out.data, out.strides[0]);
  kernel::run<detail::tile_sum>(t, a.data, a.strides[0], a.rows(), tile, a.cols(), out.cols(), out.data,
                                out.strides[0]);
}

/// Keys or values of a run of tokens of some heads, in any stored form (no paper: the contract of all
/// codecs). A derived class writes `read`; the two products of attention decode tiles of at most
/// `tile_tokens` tokens with it, share them among the queries of a group, and never hold the whole run as
/// floats. Override them where a form allows less work.
class segment {
 public:
  static constexpr index_t tile_tokens = 64;

  virtual ~segment() = default;
  virtual index_t heads() const = 0;
  virtual index_t tokens() const = 0;
  virtual index_t head_dim() const = 0;
  /// Tokens first, first + 1, ... of `head` into out [count, head_dim], rows contiguous and without gaps.
  virtual void read(index_t head, index_t first, matrix_view<float> out) const = 0;
  /// Exact bytes of what is stored, part by part: codes, scales, indices, factors.
  virtual op::storage_report storage() const = 0;

  /// Of tokens first, first + 1, ...: out [queries, count] = q [queries, head_dim] X^ᵀ, rows of both
  /// contiguous.
  virtual void scores(index_t head, index_t first, matrix_view<const float> q, matrix_view<float> out) const {
    for_each_tile(head, first, out.cols(), [&](index_t at, const matrix<float>& tile, index_t count) {
      tile_scores(tile.data(), count, q, out.data + at, out.strides[0]);
    });
  }
  /// Of tokens first, first + 1, ...: out [queries, head_dim] += a [queries, count] X^, rows of both
  /// contiguous.
  virtual void accumulate(index_t head, index_t first, matrix_view<const float> a,
                          matrix_view<float> out) const {
    for_each_tile(head, first, a.cols(), [&](index_t at, const matrix<float>& tile, index_t count) {
      tile_sums(tile.data(), a.block(0, at, a.rows(), count), out);
    });
  }
  /// The same of all tokens.
  void scores(index_t head, matrix_view<const float> q, matrix_view<float> out) const {
    scores(head, 0, q, out);
  }
  void accumulate(index_t head, matrix_view<const float> a, matrix_view<float> out) const {
    accumulate(head, 0, a, out);
  }
  /// All tokens of a head, [tokens, head_dim].
  matrix<float> to_dense(index_t head) const {
    matrix<float> x(tokens(), head_dim());
    read(head, 0, x.view());
    return x;
  }

 protected:
  segment() = default;
  segment(const segment&) = default;
  segment& operator=(const segment&) = default;
  /// f(at, tile, count) for tiles of tokens first + at, ... in [first, first + tokens).
  template <class F>
  void for_each_tile(index_t head, index_t first, index_t tokens, const F& f) const {
    if (tokens == 0) return;
    matrix<float> tile(std::min(tile_tokens, tokens), head_dim());
    for (index_t at = 0; at < tokens; at += tile_tokens) {
      const index_t count = std::min(tile_tokens, tokens - at);
      read(head, first + at, tile.view().rows(0, count));
      f(at, tile, count);
    }
  }
};

/// A segment that grows at its end: what a codec makes of keys or of values.
class body : public segment {
 public:
  /// Encodes the tokens of rows [heads, n, head_dim] (channels contiguous) behind those that are held.
  /// `is_prompt`: they come at once from a prompt, not from a buffer of decoded tokens.
  virtual void append(heads_view<const float> rows, bool is_prompt, const context& ctx) = 0;
  /// Removes token `t` of every head. Only bodies of codecs that say they can (`drops()`) do so.
  virtual void drop(index_t) {
    fail("kv: removal of a token", "", "a codec that stores each token by itself");
  }
  virtual std::unique_ptr<body> clone() const = 0;
};

/// Tokens as plain reals of one type.
class dense_tokens final : public body {
 public:
  dense_tokens(index_t heads, index_t head_dim, dtype type)
      : head_dim_(head_dim), rows_(static_cast<std::size_t>(heads), real_list(type)) {}

  index_t heads() const override { return static_cast<index_t>(rows_.size()); }
  index_t head_dim() const override { return head_dim_; }
  index_t tokens() const override { return rows_.empty() ? 0 : rows_.front().size() / head_dim_; }
  void read(index_t head, index_t first, matrix_view<float> out) const override {
    rows_[static_cast<std::size_t>(head)].read(first * head_dim_,
                                               {out.data, static_cast<std::size_t>(out.size())});
  }
  using segment::accumulate;
  using segment::scores;
  void scores(index_t head, index_t first, matrix_view<const float> q,
              matrix_view<float> out) const override {
    if (!kernel::real_rows::fits(head_dim_)) return segment::scores(head, first, q, out);
    kernel::row_scores(kernel::best_target(), rows(head, first, out.cols()), {q.data, q.strides[0], q.rows()},
                       out.data, out.strides[0]);
  }
  void accumulate(index_t head, index_t first, matrix_view<const float> a,
                  matrix_view<float> out) const override {
    if (!kernel::real_rows::fits(head_dim_)) return segment::accumulate(head, first, a, out);
    kernel::row_sums(kernel::best_target(), rows(head, first, a.cols()), {a.data, a.strides[0], a.rows()},
                     out.data, out.strides[0]);
  }
  op::storage_report storage() const override {
    op::storage_report report;
    for (const auto& r : rows_) add_storage(report, "dense", r.type(), r.size(), r.bytes());
    return report;
  }
  void append(heads_view<const float> rows, bool, const context& = {}) override {
    for (index_t h = 0; h < heads(); ++h)
      for (index_t t = 0; t < rows.extents[1]; ++t)
        rows_[static_cast<std::size_t>(h)].append(
            std::span(&rows(h, t, index_t{0}), static_cast<std::size_t>(head_dim_)));
  }
  void drop(index_t t) override { drop_range(t, 1); }
  void drop_range(index_t first, index_t count) {
    for (auto& r : rows_) r.erase(first * head_dim_, count * head_dim_);
  }
  std::unique_ptr<body> clone() const override { return std::make_unique<dense_tokens>(*this); }

 private:
  kernel::real_rows rows(index_t head, index_t first, index_t count) const {
    const auto& list = rows_[static_cast<std::size_t>(head)];
    return {list.data(first * head_dim_), list.type(), count, head_dim_};
  }

  index_t head_dim_ = 0;
  std::vector<real_list> rows_;  // one for each head, [tokens, head_dim]
};

/// Plain keys as they are after rotation to their positions, without changing what is stored: the view that a
/// pre-RoPE cache hands to attention.
class rotated_view final : public segment {
 public:
  /// Token i of `inner` sits at positions[first + i], or at first + i where `positions` is empty. The table
  /// must reach that far.
  rotated_view(const segment& inner, const kernel::rotation_table& table,
               std::span<const std::int32_t> positions, index_t first)
      : inner_(inner), table_(table), positions_(positions), first_(first) {}

  index_t heads() const override { return inner_.heads(); }
  index_t tokens() const override { return inner_.tokens(); }
  index_t head_dim() const override { return inner_.head_dim(); }
  op::storage_report storage() const override { return inner_.storage(); }
  void read(index_t head, index_t first, matrix_view<float> out) const override {
    inner_.read(head, first, out);
    for (index_t t = 0; t < out.rows(); ++t) {
      const index_t place = first_ + first + t;
      table_.apply(out.row(t).data, positions_.empty() ? place : positions_[static_cast<std::size_t>(place)]);
    }
  }

 private:
  const segment& inner_;
  const kernel::rotation_table& table_;
  std::span<const std::int32_t> positions_;
  index_t first_;
};

}  // namespace tersor::kv
