// tersor - ternary weights laid out for fast products
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/ternary_product.hpp>
#include <tersor/op/ternary.hpp>
#include <tersor/op/tile_stream.hpp>

namespace tersor::op {

/// A `ternary` in the layout of kernel/ternary_format.hpp, five weights in a byte still. With int8
/// activations sums of a segment are exact, and all targets give the same bits. Rows are padded to 16, a
/// row's columns to 20; every row has its scales, also where the operator has one for all.
class prepared_ternary {
 public:
  explicit prepared_ternary(const ternary& w, const prepare_options& options = {})
      : rows_(w.rows()), cols_(w.cols()), units_(w.units()), options_(options) {
    require(kernel::is_supported(options.target), "prepare: target",
            option_text<kernel::target>::format(options.target), "one that this processor has");
    format_ = kernel::ternary_format(rows_, cols_, w.group_size(), w.scales().type());
    bytes_ = kernel::aligned_bytes(static_cast<std::size_t>(stream_bytes()));
    fill(w);
  }
  static constexpr std::string_view kind() { return ternary::kind(); }
  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  const prepare_options& options() const { return options_; }
  const kernel::ternary_format& format() const { return format_; }
  /// Bytes that a product reads of the weight, padding included.
  index_t stream_bytes() const { return format_.tiles() * format_.tile_bytes; }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, cols_, y, rows_);
    detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
      if (options_.activations == activation_type::f32)
        multiply<kernel::ternary_floats, float>(input, output, ctx);
      else
        multiply<kernel::ternary_bytes, std::int8_t>(input, output, ctx);
    });
  }
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    restore().apply_transposed(x, y, ctx);
  }
  matrix<float> to_dense() const { return restore().to_dense(); }
  void save(archive_writer& out) const { restore().save(out); }
  /// The operator that it was made of.
  ternary restore() const {
    const index_t groups = cols_ / format_.group_size + (cols_ % format_.group_size != 0);
    matrix<float> scales(units_, groups);
    matrix<std::uint8_t> digits(rows_, cols_), block(tile_rows, block_columns);
    const index_t size = bits_of(format_.scale_type) / 8;
    for (index_t row = 0; row < rows_; row += tile_rows) {
      const std::uint8_t* tile = bytes_.data() + row / tile_rows * format_.tile_bytes;
      const index_t rows = std::min(tile_rows, rows_ - row);
      for (const auto& s : format_.segments) {
        const real_array sixteen(
            format_.scale_type,
            {reinterpret_cast<const std::byte*>(tile + s.header), static_cast<std::size_t>(tile_rows * size)},
            nullptr);
        for (index_t r = 0; r < rows && row + r < units_; ++r) scales(row + r, s.group) = sixteen[r];
      }
      for_each_block([&](index_t column, index_t place) {
        kernel::unpack_trit_block(tile + place, block.view());
        for (index_t r = 0; r < rows; ++r)
          for (index_t c = 0; c < block_columns && column + c < cols_; ++c)
            digits(row + r, column + c) = block(r, c);
      });
    }
    return {digits, format_.group_size, scales.view(), format_.scale_type};
  }

 private:
  static constexpr index_t tile_rows = kernel::ternary_format::tile_rows;
  static constexpr index_t block_columns = kernel::ternary_format::block_columns;

  /// f(first column, where it lies in a tile).
  template <class F>
  void for_each_block(const F& f) const {
    index_t column = 0;
    for (const auto& s : format_.segments) {
      const index_t own = s.blocks - (s.shared >= 0);
      for (index_t i = 0; i < own; ++i, column += block_columns)
        f(column, s.codes + i * kernel::ternary_format::block_bytes);
    }
  }
  void fill(const ternary& w) {
    const auto digits = w.digits();
    matrix<std::uint8_t> block(tile_rows, block_columns);
    for (index_t row = 0; row < rows_; row += tile_rows) {
      std::uint8_t* tile = bytes_.data() + row / tile_rows * format_.tile_bytes;
      const index_t rows = std::min(tile_rows, rows_ - row);
      for (const auto& s : format_.segments) {
        std::array<float, tile_rows> scale{};
        for (index_t r = 0; r < rows; ++r) scale[static_cast<std::size_t>(r)] = w.scale(row + r, s.group);
        const auto stored = store_as(format_.scale_type, std::span<const float>(scale));
        std::memcpy(tile + s.header, stored.bytes().data(), stored.bytes().size());
      }
      for_each_block([&](index_t column, index_t place) {
        std::ranges::fill(block.values(), std::uint8_t{0});
        for (index_t r = 0; r < rows; ++r)
          for (index_t c = 0; c < block_columns && column + c < cols_; ++c)
            block(r, c) = digits(row + r, column + c);
        kernel::pack_trit_block(std::as_const(block).view(), tile + place);
      });
    }
  }

  template <class Activations, class Value>
  void multiply(matrix_view<const float> x, matrix_view<float> y, const context& ctx) const {
    const auto segments = static_cast<index_t>(format_.segments.size());
    std::vector<Value> values(static_cast<std::size_t>(x.rows() * format_.activations));
    std::vector<float> sums(static_cast<std::size_t>(x.rows() * segments)), scales(sums.size());
    Activations a;
    a.values = values.data();
    a.stride = format_.activations;
    a.sums = sums.data();
    a.tokens = x.rows();
    a.segments = segments;
    if constexpr (std::is_same_v<Value, std::int8_t>) a.scales = scales.data();
    parallel_for(x.rows(), ctx, [&](index_t t) {
      for (index_t i = 0; i < segments; ++i) {
        const auto& s = format_.segments[static_cast<std::size_t>(i)];
        const float* from = x.data + t * x.strides[0] + s.begin;
        Value* to = values.data() + t * a.stride + s.place + s.begin % block_columns;
        const auto at = static_cast<std::size_t>(t * segments + i);
        if constexpr (std::is_same_v<Value, std::int8_t>) {
          const auto run = kernel::quantize_run(from, s.end - s.begin, to, options_.target);
          scales[at] = run.scale;
          sums[at] = static_cast<float>(run.sum);
        } else {
          std::copy_n(from, s.end - s.begin, to);
          sums[at] = static_cast<float>(kernel::sum(from, s.end - s.begin, options_.target));
        }
      }
    });
    const kernel::ternary_operand w{.stream = bytes_.data(),
                                    .tile_bytes = format_.tile_bytes,
                                    .rows = rows_,
                                    .segments = format_.segments.data(),
                                    .segment_count = segments,
                                    .scale_type = format_.scale_type};
    const index_t grain = std::max<index_t>(1, (index_t{1} << 19) / std::max<index_t>(w.tile_bytes, 1));
    parallel_chunks(format_.tiles(), grain, ctx, [&](index_t first, index_t last) {
      kernel::trit_product(options_.target, w, a, first, last, y.data, y.strides[0]);
    });
  }

  index_t rows_, cols_, units_;
  prepare_options options_;
  kernel::ternary_format format_;
  kernel::aligned_bytes bytes_;
};

}  // namespace tersor::op
