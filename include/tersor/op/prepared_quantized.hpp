// tersor - quantized operators laid out for fast products
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/quantized.hpp>
#include <tersor/op/restored_operator.hpp>
#include <tersor/op/tile_stream.hpp>

namespace tersor::op {

/// What operators in tile format share.
template <class Op>
class prepared_operator : public restored_operator<Op> {
 public:
  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(Op::kind(), x, cols_, y, rows_);
    self().with_operand([&](const kernel::tile_operand& w) {
      detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
        stream_.multiply(w, input, output, ctx);
      });
    });
  }
  /// next(product) with product(first tile, last, y, y_stride) for x [tokens, cols], rows contiguous: tiles
  /// of 16 rows of y [tokens, rows] := x Wᵀ.
  template <class Next>
  void with_product(matrix_view<const float> x, const context& ctx, const Next& next) const {
    self().with_operand([&](const kernel::tile_operand& w) { stream_.with_product(w, x, ctx, next); });
  }

  static constexpr bool only_writes = true;  ///< products by tiles do not add to what is there
  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  const prepare_options& options() const { return stream_.options(); }
  /// Bytes that a product reads of the weight, padding included.
  index_t stream_bytes() const { return stream_.size(); }

 protected:
  prepared_operator(index_t rows, index_t cols) : rows_(rows), cols_(cols) {}
  /// Sixteen reals of a header.
  void write_reals(std::span<const float> values, std::uint8_t* p) const {
    const auto stored = store_as(stream_.format().scale_type, values);
    std::memcpy(p, stored.bytes().data(), stored.bytes().size());
  }
  real_array read_reals(const std::uint8_t* p) const {
    const dtype type = stream_.format().scale_type;
    return {
        type, {reinterpret_cast<const std::byte*>(p), static_cast<std::size_t>(2 * bits_of(type))}, nullptr};
  }

  index_t rows_, cols_;
  tile_stream stream_;

 private:
  using restored_operator<Op>::self;
};

/// A `quantized` in tile format (kernel/tile_format.hpp): the same codes, scales and zero points, in the
/// order in which a product reads them; inputs go through the permutation that brings the columns of a group
/// together. Zero points take a byte instead of their bits, groups are padded to 32 columns, rows to 16.
class prepared_quantized : public prepared_operator<prepared_quantized> {
 public:
  explicit prepared_quantized(const quantized& w, const prepare_options& options = {})
      : prepared_operator(w.rows(), w.cols()), group_size_(w.grid().group_size()), g_idx_(w.grid().g_idx()) {
    const auto& grid = w.grid();
    const index_t groups = grid.groups();
    units_ = groups == 0 ? 0 : grid.scales().size() / groups;
    if (units_ > 0 && groups > 0) zero_point_ = static_cast<float>(grid.zero_point(0, 0));
    stream_ = tile_stream({.rows = rows_,
                           .bits = grid.bits(),
                           .scale_type = grid.scales().type(),
                           .zero_points = grid.has_zero_points(),
                           .chunks = {}},
                          cols_, groups, group_size_, g_idx_, options);
    stream_.fill(w.codes(), [&](index_t row, index_t rows, index_t g, std::uint8_t* p) {
      std::array<float, tile_stream::tile_rows> scale{};
      for (index_t r = 0; r < rows; ++r) scale[static_cast<std::size_t>(r)] = grid.scale(row + r, g);
      write_reals(scale, p);
      if (!grid.has_zero_points()) return;
      p += stream_.format().header_bytes() - tile_stream::tile_rows;
      for (index_t r = 0; r < rows; ++r) p[r] = static_cast<std::uint8_t>(grid.zero_point(row + r, g));
    });
  }
  static constexpr std::string_view kind() { return quantized::kind(); }

  /// f(operand), all of it but the stream.
  template <class F>
  void with_operand(const F& f) const {
    static constexpr std::array<float, 16> numbers{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    kernel::tile_operand w;
    w.levels = numbers.data();
    w.zero_point = zero_point_;
    f(w);
  }
  /// The operator that it was made of.
  quantized restore() const {
    const auto& format = stream_.format();
    matrix<float> scale(units_, format.groups()), zero(units_, format.groups(), zero_point_);
    const auto codes = stream_.read([&](index_t row, index_t rows, index_t g, const std::uint8_t* p) {
      const auto scales = read_reals(p);
      const std::uint8_t* zeros = p + format.header_bytes() - tile_stream::tile_rows;
      for (index_t r = 0; r < rows && row + r < units_; ++r) {
        scale(row + r, g) = scales[r];
        if (format.zero_points) zero(row + r, g) = static_cast<float>(zeros[r]);
      }
    });
    return {codes, affine_grid(format.bits, rows_, cols_, group_size_, scale.view(), zero.view(),
                               format.scale_type, g_idx_)};
  }

 private:
  index_t group_size_, units_ = 0;
  std::vector<std::int32_t> g_idx_;
  float zero_point_ = 0;  // of all, where the grid has none for each group
};

}  // namespace tersor::op
