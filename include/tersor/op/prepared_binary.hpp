// tersor - binary-coded weights laid out for products by table look-up
// SPDX-License-Identifier: MIT
#pragma once

// T-MAC (arXiv:2407.00088) and LUT-GEMM (arXiv:2206.09557): tables of signed sums of four activations.

#include <memory>  // std::unique_ptr

#include <tersor/kernel/binary_product.hpp>
#include <tersor/op/binary_coded.hpp>
#include <tersor/op/tile_stream.hpp>

namespace tersor::op {

/// A `binary_coded` in the layout of kernel/binary_format.hpp. With f32 activations products look up tables
/// of floats, exact to rounding; with int8 ones tables of bytes with one scale for at most 128 columns,
/// |error of an entry| <= the largest |entry| / 254, and all targets give the same bits. Tables are built
/// once a product: 4 * cols entries a token. Groups are padded to 32 columns, rows to 16.
class prepared_binary {
 public:
  explicit prepared_binary(const binary_coded& w, const prepare_options& options = {})
      : rows_(w.rows()), cols_(w.cols()), group_size_(w.group_size()), options_(options) {
    require(kernel::is_supported(options.target), "prepare: target",
            option_text<kernel::target>::format(options.target), "one that this processor has");
    format_.rows = rows_;
    format_.planes = w.planes();
    format_.scale_type = w.scales().type();
    format_.offsets = !w.offsets().empty();
    format_.offset_type = w.offsets().type();
    for (index_t j = 0; j < cols_; j += group_size_)
      format_.chunks.push_back(static_cast<std::int32_t>((width(j) + chunk_columns - 1) / chunk_columns));
    bytes_ = kernel::aligned_bytes(static_cast<std::size_t>(stream_bytes()));
    fill(w);
  }
  static constexpr std::string_view kind() { return binary_coded::kind(); }
  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  const prepare_options& options() const { return options_; }
  const kernel::binary_format& format() const { return format_; }
  /// Bytes that a product reads of the weight, padding included.
  index_t stream_bytes() const { return format_.tiles() * format_.tile_bytes(); }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, cols_, y, rows_);
    detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
      if (options_.activations == activation_type::f32)
        multiply_in_passes<kernel::float_tables, float>(input, output, ctx);
      else
        multiply_in_passes<kernel::byte_tables, std::uint8_t>(input, output, ctx);
    });
  }
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    restore().apply_transposed(x, y, ctx);
  }
  matrix<float> to_dense() const { return restore().to_dense(); }
  void save(archive_writer& out) const { restore().save(out); }
  /// The operator that it was made of.
  binary_coded restore() const {
    const index_t groups = format_.groups();
    real_array scales(format_.scale_type, rows_ * groups * format_.planes);
    real_array offsets(format_.offset_type, format_.offsets ? rows_ * groups : 0);
    matrix<std::uint8_t> codes(rows_, cols_), chunk(tile_rows, chunk_columns);
    for_each_group([&](index_t row, index_t g, index_t rows, index_t header) {
      const std::uint8_t* p = bytes_.data() + header;
      for (index_t r = 0; r < rows; ++r) {
        const index_t at = (row + r) * groups + g;
        for (index_t i = 0; i < format_.planes; ++i)
          copy_real(p + i * format_.scale_bytes(), r, scales, at * format_.planes + i);
        if (format_.offsets) copy_real(p + format_.planes * format_.scale_bytes(), r, offsets, at);
      }
      for_each_chunk(g, header, [&](index_t column, index_t place, index_t apart) {
        std::ranges::fill(chunk.values(), std::uint8_t{0});
        for (int i = 0; i < format_.planes; ++i)
          kernel::unpack_signs(bytes_.data() + place + i * apart, i, chunk.view());
        const index_t used = std::min(chunk_columns, g * group_size_ + width(g * group_size_) - column);
        for (index_t r = 0; r < rows; ++r)
          for (index_t c = 0; c < used; ++c) codes(row + r, column + c) = chunk(r, c);
      });
    });
    return {codes, format_.planes, group_size_, std::move(scales), std::move(offsets)};
  }

 private:
  static constexpr index_t tile_rows = kernel::binary_format::tile_rows;
  static constexpr index_t chunk_columns = kernel::binary_format::chunk_columns;

  /// Of a token: sixteen for four columns.
  index_t table_entries() const { return format_.total_chunks() * chunk_columns * 4; }
  /// Every tile reads the tables of all tokens of a pass: they are to stay in the second-level cache, beside
  /// the stream. Reading the stream again for the next tokens costs less.
  index_t tokens_of_a_pass() const {
    const index_t entry_bytes = options_.activations == activation_type::f32 ? 4 : 1;
    const index_t token_bytes = table_entries() * entry_bytes;
    const index_t n = (index_t{1} << 18) / std::max<index_t>(token_bytes, 1);
    return n < 4 ? std::max<index_t>(n, 1) : std::min(n / 4 * 4, kernel::tile_tokens);
  }
  /// Of the group that begins at a column.
  index_t width(index_t column) const { return std::min(group_size_, cols_ - column); }
  index_t chunks(index_t g) const { return format_.chunks[static_cast<std::size_t>(g)]; }
  static void copy_real(const std::uint8_t* p, index_t i, real_array& to, index_t at) {
    const index_t size = bits_of(to.type()) / 8;
    std::memcpy(to.bytes().data() + at * size, p + i * size, static_cast<std::size_t>(size));
  }
  static void copy_real(const real_array& from, index_t at, std::uint8_t* p, index_t i) {
    const index_t size = bits_of(from.type()) / 8;
    std::memcpy(p + i * size, from.bytes().data() + at * size, static_cast<std::size_t>(size));
  }
  /// f(first row, group, rows, where the group begins in the stream).
  template <class F>
  void for_each_group(const F& f) const {
    index_t place = 0;
    for (index_t row = 0; row < rows_; row += tile_rows)
      for (index_t g = 0; g < format_.groups(); ++g) {
        f(row, g, std::min(tile_rows, rows_ - row), place);
        place += format_.header_bytes() + chunks(g) * format_.planes * kernel::binary_format::chunk_bytes;
      }
  }
  /// f(first column, place of the first plane's chunk, bytes between planes), of a group at `header`.
  template <class F>
  void for_each_chunk(index_t g, index_t header, const F& f) const {
    using format = kernel::binary_format;
    index_t place = header + format_.header_bytes(), column = g * group_size_;
    for (index_t rest = chunks(g); rest > 0;) {
      const index_t n = std::min(rest, format::segment_chunks);
      for (index_t c = 0; c < n; ++c, column += chunk_columns)
        f(column, place + c * format::chunk_bytes, n * format::chunk_bytes);
      place += n * format_.planes * format::chunk_bytes;
      rest -= n;
    }
  }
  void fill(const binary_coded& w) {
    const auto codes = w.codes();
    const index_t groups = format_.groups();
    matrix<std::uint8_t> chunk(tile_rows, chunk_columns);
    for_each_group([&](index_t row, index_t g, index_t rows, index_t header) {
      std::uint8_t* p = bytes_.data() + header;
      for (index_t r = 0; r < rows; ++r) {
        const index_t at = (row + r) * groups + g;
        for (index_t i = 0; i < format_.planes; ++i)
          copy_real(w.scales(), at * format_.planes + i, p + i * format_.scale_bytes(), r);
        if (format_.offsets) copy_real(w.offsets(), at, p + format_.planes * format_.scale_bytes(), r);
      }
      for_each_chunk(g, header, [&](index_t column, index_t place, index_t apart) {
        std::ranges::fill(chunk.values(), std::uint8_t{0});
        const index_t used = std::min(chunk_columns, g * group_size_ + width(g * group_size_) - column);
        for (index_t r = 0; r < rows; ++r)
          for (index_t c = 0; c < used; ++c) chunk(r, c) = codes(row + r, column + c);
        for (int i = 0; i < format_.planes; ++i)
          kernel::pack_signs(std::as_const(chunk).view(), i, bytes_.data() + place + i * apart);
      });
    });
  }

  template <class Tables, class Entry>
  void multiply_in_passes(matrix_view<const float> x, matrix_view<float> y, const context& ctx) const {
    const index_t step = std::min(tokens_of_a_pass(), x.rows());
    // one room for all passes, whose pages the system clears once; all entries are written
    const auto entries = static_cast<std::size_t>(step * table_entries());
    const std::unique_ptr<Entry[]> room(new Entry[entries]);
    for (index_t t = 0; t < x.rows(); t += step) {
      const index_t n = std::min(step, x.rows() - t);
      multiply<Tables>(x.block(t, 0, n, cols_), y.block(t, 0, n, rows_), room.get(), ctx);
    }
  }
  template <class Tables, class Entry>
  void multiply(matrix_view<const float> x, matrix_view<float> y, Entry* values, const context& ctx) const {
    using format = kernel::binary_format;
    const index_t groups = format_.groups(), segments = format_.segments();
    Tables a;
    a.stride = table_entries();
    a.tokens = x.rows();
    a.groups = groups;
    std::vector<float> sums(static_cast<std::size_t>(format_.offsets ? a.tokens * groups : 0));
    std::vector<float> scales(static_cast<std::size_t>(a.tokens * segments));
    a.values = values;
    a.sums = sums.data();
    if constexpr (std::is_same_v<Tables, kernel::byte_tables>) {
      a.scales = scales.data();
      a.segments = segments;
    }
    parallel_for(a.tokens, ctx, [&](index_t t) {
      const float* row = x.data + t * x.strides[0];
      Entry* to = values + t * a.stride;
      float* scale = scales.data() + t * segments;
      float padded[format::segment_chunks * chunk_columns];
      for (index_t g = 0, column = 0; g < groups; ++g) {
        const index_t end = column + width(column);
        if (format_.offsets)
          sums[static_cast<std::size_t>(t * groups + g)] =
              static_cast<float>(kernel::sum(row + column, end - column, options_.target));
        for (index_t rest = chunks(g); rest > 0;) {
          const index_t n = std::min(rest, format::segment_chunks) * chunk_columns;
          const index_t used = std::min(n, end - column);
          const float* from = row + column;
          if (used < n) {
            std::copy_n(from, used, padded);
            std::fill(padded + used, padded + n, 0.0F);
            from = padded;
          }
          if constexpr (std::is_same_v<Entry, float>)
            kernel::fill_sign_tables(options_.target, from, n / 4, to);
          else
            *scale++ = kernel::fill_sign_tables(options_.target, from, n / 4, to);
          to += 4 * n;
          column += used;
          rest -= n / chunk_columns;
        }
      }
    });
    const auto w = kernel::operand_of(format_, bytes_.data());
    const index_t grain = std::max<index_t>(1, (index_t{1} << 19) / std::max<index_t>(w.tile_bytes, 1));
    parallel_chunks(format_.tiles(), grain, ctx, [&](index_t first, index_t last) {
      kernel::sign_product(options_.target, w, a, first, last, y.data, y.strides[0]);
    });
  }

  index_t rows_, cols_, group_size_;
  prepare_options options_;
  kernel::binary_format format_;
  kernel::aligned_bytes bytes_;
};

}  // namespace tersor::op
