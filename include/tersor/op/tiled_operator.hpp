// tersor - what prepared sparse and thin operators share: products over tiles of 16 rows
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/sparse_tile_product.hpp>
#include <tersor/op/restored_operator.hpp>
#include <tersor/op/tile_stream.hpp>

namespace tersor::op {

/// What prepared sparse operators share: shapes, options, and products over tiles of 16 rows. An Op has
/// `with_product(x, ctx, next)`, which calls next(product) with product(first tile, last, y, y_stride, add):
/// those tiles of y [tokens, rows] := x Wᵀ, or += if `add`; x's rows are contiguous.
template <class Op>
class tiled_operator : public restored_operator<Op> {
 public:
  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(Op::kind(), x, cols_, y, rows_);
    detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
      self().with_product(input, ctx, [&](const auto& product) {
        const index_t tiles = (rows_ + tile_rows - 1) / tile_rows;
        const index_t tile_bytes = self().stream_bytes() / std::max<index_t>(tiles, 1);
        const index_t grain =
            x.rows() > kernel::tile_tokens ? Op::tiles_of_many : tiles_of_task(x.rows(), tile_bytes);
        parallel_chunks(tiles, grain, ctx, [&](index_t first, index_t last) {
          product(first, last, output.data, output.strides[0], false);
        });
      });
    });
  }
  static constexpr bool only_writes = false;
  static constexpr index_t tiles_of_many = 8;  ///< tiles of a task of more than `tile_tokens` tokens
  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  const prepare_options& options() const { return options_; }

 protected:
  static constexpr index_t tile_rows = kernel::tile_format::tile_rows;
  tiled_operator(index_t rows, index_t cols, const prepare_options& options)
      : rows_(rows), cols_(cols), options_(options) {
    require(kernel::is_supported(options.target), "prepare: target",
            option_text<kernel::target>::format(options.target), "one that this processor has");
  }
  using restored_operator<Op>::self;
  /// x with its columns followed by zeros up to `width`: x itself where it has that many, else in `copy`.
  static kernel::float_activations padded(matrix_view<const float> x, index_t width, matrix<float>& copy) {
    if (x.cols() != width) {
      copy = matrix<float>(x.rows(), width);
      for (index_t t = 0; t < x.rows(); ++t)
        std::copy_n(x.data + t * x.strides[0], x.cols(), copy.row(t).data());
    }
    return {.values = x.cols() == width ? x.data : copy.data(),
            .stride = x.cols() == width ? x.strides[0] : width,
            .sums = nullptr,
            .tokens = x.rows(),
            .groups = 0};
  }

  index_t rows_, cols_;
  prepare_options options_;
};

}  // namespace tersor::op
