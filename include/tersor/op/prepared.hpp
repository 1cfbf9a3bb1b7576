// tersor - operators laid out for fast products: an explicit step between loading and use
// SPDX-License-Identifier: MIT
#pragma once

#include <array>    // std::array
#include <memory>   // std::shared_ptr
#include <numeric>  // std::iota

#include <tersor/kernel/activation_codes.hpp>
#include <tersor/kernel/aligned_bytes.hpp>
#include <tersor/kernel/tile_product.hpp>
#include <tersor/op/any_operator.hpp>
#include <tersor/op/codebook.hpp>
#include <tersor/op/quantized.hpp>

namespace tersor::op {

/// What the activations are in a product.
enum class activation_type {
  f32,  ///< as they are
  int8  ///< quantized on the fly, one scale for at most 128 columns: |error of x| <= max |x| / 254 of its run
};
constexpr auto option_names(activation_type) {
  using row = std::pair<std::string_view, activation_type>;
  return std::array<row, 2>{{{"f32", activation_type::f32}, {"int8", activation_type::int8}}};
}

struct prepare_options {
  activation_type activations = activation_type::f32;
  kernel::target target = kernel::best_target();
};

namespace detail {

/// Where the columns of a tile stream come from: the groups' columns, each group padded to whole chunks.
struct column_order {
  std::vector<std::int32_t> source;  ///< [padded columns], -1 for padding; empty: the input as it is
  std::vector<std::int32_t> chunks;  ///< of each group

  /// Groups of `group_size` columns, or those that `g_idx` [cols] says, in its order.
  static column_order of(index_t cols, index_t groups, index_t group_size,
                         std::span<const std::int32_t> g_idx) {
    std::vector<std::vector<std::int32_t>> members(static_cast<std::size_t>(groups));
    for (index_t j = 0; j < cols; ++j) {
      const auto g = g_idx.empty() ? static_cast<std::size_t>(j / group_size)
                                   : static_cast<std::size_t>(g_idx[static_cast<std::size_t>(j)]);
      members[g].push_back(static_cast<std::int32_t>(j));
    }
    column_order order;
    bool identity = true;
    for (const auto& m : members) {
      const auto count = static_cast<index_t>(m.size());
      const index_t chunks =
          (count + kernel::tile_format::chunk_columns - 1) / kernel::tile_format::chunk_columns;
      order.chunks.push_back(static_cast<std::int32_t>(chunks));
      for (index_t k = 0; k < chunks * kernel::tile_format::chunk_columns; ++k) {
        order.source.push_back(k < count ? m[static_cast<std::size_t>(k)] : -1);
        identity = identity && order.source.back() == static_cast<std::int32_t>(order.source.size()) - 1;
      }
    }
    if (identity) order.source.clear();
    return order;
  }
};

}  // namespace detail

/// A weight of codes in tile format (kernel/tile_format.hpp): the same codes, scales and zero points, in the
/// order in which a product reads them. In files it is the operator that it was made of.
class prepared {
 public:
  prepared(const quantized& w, const prepare_options& options = {}) : prepared(w.rows(), w.cols(), options) {
    const auto& grid = w.grid();
    group_size_ = grid.group_size();
    g_idx_ = grid.g_idx();
    units_ = grid.scales().size() / std::max<index_t>(grid.groups(), 1);
    start(grid.bits(), grid.groups(), grid.scales().type(), grid.has_zero_points());
    zero_point_ = static_cast<float>(rows_ > 0 && grid.groups() > 0 ? grid.zero_point(0, 0) : 0);
    for (int i = 0; i < 16; ++i) levels_[static_cast<std::size_t>(i)] = static_cast<float>(i);
    fill(w.codes(),
         [&](index_t r, std::span<float> scale, std::span<float> zero) { grid.row(r, scale, zero); });
  }

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  static constexpr std::string_view kind() { return quantized::kind(); }
  const prepare_options& options() const { return options_; }
  /// Bytes that a product reads of the weight, padding included.
  index_t stream_bytes() const { return format_.tiles() * format_.tile_bytes(); }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, cols_, y, rows_);
    detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
      if (options_.activations == activation_type::f32)
        multiply(float_input(input), output, ctx);
      else
        multiply(byte_input(input), output, ctx);
    });
  }
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    restore().apply_transposed(x, y, ctx);
  }
  matrix<float> to_dense() const { return restore().to_dense(); }
  void save(archive_writer& out) const { restore().save(out); }

  /// The operator that it was made of.
  quantized restore() const {
    const index_t groups = format_.groups();
    matrix<std::uint8_t> codes(rows_, cols_);
    matrix<float> scale(units_, groups), zero(units_, groups);
    matrix<std::uint8_t> chunk(kernel::tile_format::tile_rows, kernel::tile_format::chunk_columns);
    for (index_t tile = 0; tile < format_.tiles(); ++tile) {
      const std::uint8_t* p = stream_.data() + tile * format_.tile_bytes();
      const index_t row = tile * kernel::tile_format::tile_rows;
      const index_t rows = std::min(kernel::tile_format::tile_rows, rows_ - row);
      index_t column = 0;
      for (index_t g = 0; g < groups; ++g) {
        const auto header = read_header(p);
        p += format_.header_bytes();
        for (index_t r = 0; r < rows && row + r < units_; ++r) {
          scale(row + r, g) = header[0][static_cast<std::size_t>(r)];
          zero(row + r, g) = header[1][static_cast<std::size_t>(r)];
        }
        for (index_t c = 0; c < format_.chunks[static_cast<std::size_t>(g)];
             ++c, p += format_.chunk_bytes()) {
          kernel::unpack_chunk(p, format_.bits, chunk.view());
          for (index_t k = 0; k < kernel::tile_format::chunk_columns; ++k, ++column) {
            const index_t from = source(column);
            if (from < 0) continue;
            for (index_t r = 0; r < rows; ++r) codes(row + r, from) = chunk(r, k);
          }
        }
      }
    }
    return {codes, affine_grid(format_.bits, rows_, cols_, group_size_, scale.view(), zero.view(),
                               format_.scale_type, g_idx_)};
  }

 private:
  prepared(index_t rows, index_t cols, const prepare_options& options)
      : rows_(rows), cols_(cols), options_(options) {
    require(kernel::is_supported(options.target), "prepare: target",
            option_text<kernel::target>::format(options.target), "one that this processor has");
  }
  void start(int bits, index_t groups, dtype scale_type, bool zero_points) {
    auto order = detail::column_order::of(cols_, groups, group_size_, g_idx_);
    source_ = std::move(order.source);
    format_ = {.rows = rows_,
               .bits = bits,
               .scale_type = scale_type,
               .zero_points = zero_points,
               .chunks = std::move(order.chunks)};
    stream_ = kernel::aligned_bytes(static_cast<std::size_t>(stream_bytes()));
  }
  index_t source(index_t column) const {
    return source_.empty() ? column : source_[static_cast<std::size_t>(column)];
  }
  template <class Row>
  void fill(const matrix<std::uint8_t>& codes, const Row& row_of) {
    const index_t groups = format_.groups();
    constexpr index_t high = kernel::tile_format::tile_rows, wide = kernel::tile_format::chunk_columns;
    matrix<float> scale(high, groups), zero(high, groups);
    matrix<std::uint8_t> chunk(high, wide);
    for (index_t tile = 0; tile < format_.tiles(); ++tile) {
      std::uint8_t* p = stream_.data() + tile * format_.tile_bytes();
      const index_t row = tile * high, rows = std::min(high, rows_ - row);
      scale = matrix<float>(high, groups);
      zero = matrix<float>(high, groups);
      for (index_t r = 0; r < rows; ++r) row_of(row + r, scale.row(r), zero.row(r));
      index_t column = 0;
      for (index_t g = 0; g < groups; ++g) {
        std::vector<float> lanes(static_cast<std::size_t>(high));
        for (index_t r = 0; r < high; ++r) lanes[static_cast<std::size_t>(r)] = scale(r, g);
        const auto stored = store_as(format_.scale_type, std::span<const float>(lanes));
        std::memcpy(p, stored.bytes().data(), stored.bytes().size());
        p += stored.bytes().size();
        if (format_.zero_points)
          for (index_t r = 0; r < high; ++r) *p++ = static_cast<std::uint8_t>(zero(r, g));
        for (index_t c = 0; c < format_.chunks[static_cast<std::size_t>(g)];
             ++c, p += format_.chunk_bytes()) {
          for (index_t k = 0; k < wide; ++k, ++column) {
            const index_t from = source(column);
            for (index_t r = 0; r < high; ++r)
              chunk(r, k) = from < 0 || r >= rows ? std::uint8_t{0} : codes(row + r, from);
          }
          kernel::pack_chunk(chunk.view(), format_.bits, p);
        }
      }
    }
  }
  /// Scales and zero points of a tile's group.
  std::array<std::array<float, 16>, 2> read_header(const std::uint8_t* p) const {
    const auto width = static_cast<std::size_t>(bits_of(format_.scale_type) / 8);
    const std::span bytes(reinterpret_cast<const std::byte*>(p), 16 * width);
    const real_array scales(format_.scale_type, bytes, nullptr);
    std::array<std::array<float, 16>, 2> header;
    for (std::size_t r = 0; r < 16; ++r) {
      header[0][r] = scales[static_cast<index_t>(r)];
      header[1][r] = format_.zero_points ? static_cast<float>(p[16 * width + r]) : zero_point_;
    }
    return header;
  }

  struct float_block {
    matrix<float> copy;
    std::vector<float> sums;
    kernel::float_activations activations;
  };
  struct byte_block {
    std::vector<std::int8_t> codes;
    std::vector<float> scales, sums;
    kernel::byte_activations activations;
  };
  /// Row t of the input in the tiles' order.
  const float* ordered(matrix_view<const float> x, index_t t, std::span<float> buffer) const {
    const float* row = x.data + t * x.strides[0];
    if (source_.empty()) return row;
    for (std::size_t j = 0; j < buffer.size(); ++j) buffer[j] = source_[j] < 0 ? 0.0F : row[source_[j]];
    return buffer.data();
  }
  float_block float_input(matrix_view<const float> x) const {
    const index_t width = format_.padded_columns(), groups = format_.groups();
    float_block b;
    if (!source_.empty()) b.copy = matrix<float>(x.rows(), width);
    b.sums.resize(static_cast<std::size_t>(x.rows() * groups));
    for (index_t t = 0; t < x.rows(); ++t) {
      const float* row = ordered(x, t, source_.empty() ? std::span<float>() : b.copy.row(t));
      for (index_t g = 0; g < groups; ++g) {
        const index_t n = format_.chunks[static_cast<std::size_t>(g)] * kernel::tile_format::chunk_columns;
        b.sums[static_cast<std::size_t>(t * groups + g)] =
            static_cast<float>(kernel::sum(row, n, options_.target));
        row += n;
      }
    }
    b.activations = {.values = source_.empty() ? x.data : b.copy.data(),
                     .stride = source_.empty() ? x.strides[0] : width,
                     .sums = b.sums.data(),
                     .tokens = x.rows(),
                     .groups = groups};
    return b;
  }
  byte_block byte_input(matrix_view<const float> x) const {
    const index_t width = format_.padded_columns(), groups = format_.groups(), segments = format_.segments();
    byte_block b;
    b.codes.resize(static_cast<std::size_t>(x.rows() * width));
    b.scales.resize(static_cast<std::size_t>(x.rows() * segments));
    b.sums.resize(static_cast<std::size_t>(x.rows() * groups));
    std::vector<float> buffer(source_.size());
    for (index_t t = 0; t < x.rows(); ++t) {
      const float* row = ordered(x, t, buffer);
      std::int8_t* code = b.codes.data() + t * width;
      float* scale = b.scales.data() + t * segments;
      for (index_t g = 0; g < groups; ++g) {
        float& sum = b.sums[static_cast<std::size_t>(t * groups + g)];
        index_t chunks = format_.chunks[static_cast<std::size_t>(g)];
        while (chunks > 0) {
          const index_t n = std::min(chunks, kernel::tile_format::segment_chunks);
          const index_t columns = n * kernel::tile_format::chunk_columns;
          const auto run = kernel::quantize_run(row, columns, code, options_.target);
          *scale++ = run.scale;
          sum = std::fma(run.scale, static_cast<float>(run.sum), sum);
          row += columns;
          code += columns;
          chunks -= n;
        }
      }
    }
    b.activations = {.codes = b.codes.data(),
                     .stride = width,
                     .scales = b.scales.data(),
                     .segments = segments,
                     .sums = b.sums.data(),
                     .tokens = x.rows(),
                     .groups = groups};
    return b;
  }
  template <class Block>
  void multiply(const Block& input, matrix_view<float> y, const context& ctx) const {
    const kernel::tile_operand w{.stream = stream_.data(),
                                 .tile_bytes = format_.tile_bytes(),
                                 .rows = rows_,
                                 .chunks = format_.chunks.data(),
                                 .groups = format_.groups(),
                                 .bits = format_.bits,
                                 .scale_type = format_.scale_type,
                                 .has_zeros = format_.zero_points,
                                 .zero_point = zero_point_,
                                 .levels = levels_.data()};
    // so many tiles are a task that starting it costs nothing beside reading them
    const index_t grain = std::max<index_t>(1, 131072 / std::max<index_t>(w.tile_bytes, 1));
    parallel_chunks(format_.tiles(), grain, ctx, [&](index_t first, index_t last) {
      kernel::tile_product(options_.target, w, input.activations, first, last, y.data, y.strides[0]);
    });
  }

  index_t rows_ = 0, cols_ = 0, group_size_ = 1, units_ = 0;
  prepare_options options_;
  kernel::tile_format format_;
  std::vector<std::int32_t> source_, g_idx_;
  float zero_point_ = 0;
  std::array<float, 16> levels_{};
  kernel::aligned_bytes stream_;
};

}  // namespace tersor::op
