// tersor - low-rank operators laid out for fast products of few tokens
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/low_rank.hpp>
#include <tersor/op/prepared_sparse.hpp>

namespace tersor::op {

/// A `low_rank` with both factors in tiles of 16 rows, which a product reads as they are stored: f16 and
/// bf16 factors are half the traffic. The product with B is cut in runs of columns, so that thin factors
/// give work to all threads; runs are added up in order.
class prepared_low_rank : public tiled_operator<prepared_low_rank> {
 public:
  explicit prepared_low_rank(const low_rank& w, const prepare_options& options = {})
      : tiled_operator(w.rows(), w.cols(), options), rank_(w.rank()), type_(w.type()) {
    options_.activations = activation_type::f32;
    a_ = tiled(w.a());
    b_ = tiled(w.b());
  }
  static constexpr std::string_view kind() { return low_rank::kind(); }
  index_t rank() const { return rank_; }
  /// Bytes that a product reads of the weight, padding included.
  index_t stream_bytes() const { return static_cast<index_t>(a_.size() + b_.size()); }

  template <class Next>
  void with_product(matrix_view<const float> x, const context& ctx, const Next& next) const {
    const auto z = inner(x, ctx);
    const auto w = operand(a_, rows_, rank_);
    next([&](index_t first, index_t last, float* y, index_t y_stride, bool add) {
      const kernel::float_activations activations{
          .values = z.data(), .stride = z.cols(), .sums = nullptr, .tokens = z.rows(), .groups = 0};
      kernel::sparse_product(options_.target, w, activations, first, last, y, y_stride, add);
    });
  }
  /// The operator that it was made of.
  low_rank restore() const {
    return {untiled(a_, rows_, rank_).view(), untiled(b_, rank_, cols_).view(), type_};
  }

 private:
  static constexpr index_t run_columns = 1024;

  kernel::aligned_bytes tiled(const matrix<float>& m) const {
    const index_t tiles = (m.rows() + tile_rows - 1) / tile_rows;
    kernel::aligned_bytes bytes(static_cast<std::size_t>(tiles * tile_rows * m.cols() * real_bytes()));
    std::array<float, tile_rows> column{};
    std::uint8_t* p = bytes.data();
    for (index_t row = 0; row < m.rows(); row += tile_rows)
      for (index_t c = 0; c < m.cols(); ++c, p += tile_rows * real_bytes()) {
        for (index_t r = 0; r < tile_rows; ++r)
          column[static_cast<std::size_t>(r)] = row + r < m.rows() ? m(row + r, c) : 0.0F;
        const auto stored = store_as(type_, std::span<const float>(column));
        std::memcpy(p, stored.bytes().data(), stored.bytes().size());
      }
    return bytes;
  }
  matrix<float> untiled(const kernel::aligned_bytes& bytes, index_t rows, index_t cols) const {
    const auto size = bytes.size();
    const real_array all(type_, {reinterpret_cast<const std::byte*>(bytes.data()), size}, nullptr);
    matrix<float> m(rows, cols);
    for (index_t r = 0; r < rows; ++r)
      for (index_t c = 0; c < cols; ++c)
        m(r, c) = all[(r / tile_rows * cols + c) * tile_rows + r % tile_rows];
    return m;
  }
  kernel::real_operand operand(const kernel::aligned_bytes& bytes, index_t rows, index_t cols) const {
    return {.stream = bytes.data(),
            .tile_bytes = tile_rows * cols * real_bytes(),
            .rows = rows,
            .first = 0,
            .columns = cols,
            .value_type = type_};
  }
  /// z [tokens, rank] = x Bᵀ.
  matrix<float> inner(matrix_view<const float> x, const context& ctx) const {
    const index_t runs = (cols_ + run_columns - 1) / run_columns, tiles = (rank_ + tile_rows - 1) / tile_rows;
    matrix<float> parts(runs * x.rows(), rank_), z(x.rows(), rank_);
    parallel_for(runs * tiles, ctx, [&](index_t i) {
      const index_t run = i / tiles, tile = i % tiles, first = run * run_columns;
      auto w = operand(b_, rank_, cols_);
      w.first = first;
      w.columns = std::min(run_columns, cols_ - first);
      const kernel::float_activations activations{
          .values = x.data + first, .stride = x.strides[0], .sums = nullptr, .tokens = x.rows(), .groups = 0};
      kernel::sparse_product(options_.target, w, activations, tile, tile + 1,
                             parts.data() + run * x.rows() * rank_, rank_, false);
    });
    for (index_t i = 0; i < parts.rows(); ++i)
      for (index_t k = 0; k < rank_; ++k) z(i % x.rows(), k) += parts(i, k);
    return z;
  }
  index_t real_bytes() const { return bits_of(type_) / 8; }

  index_t rank_;
  dtype type_;
  kernel::aligned_bytes a_, b_;
};

}  // namespace tersor::op
