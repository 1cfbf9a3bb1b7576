// tersor - 2:4 operators laid out for fast products
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/sparse_nm.hpp>
#include <tersor/op/tiled_operator.hpp>

namespace tersor::op {

/// A 2:4 `sparse_nm` in tiles (kernel/sparse_tile_operand.hpp): values on a grid or reals, and positions, in
/// the order in which a product reads them. Codes of 1 bit take 2, of 5 to 7 bits 8; groups are padded to 64
/// columns, rows to 16. Products with 8-bit activations (grids only) are exact but for the rounding of the
/// activations, and the same bits on every target.
class prepared_sparse24 : public tiled_operator<prepared_sparse24> {
 public:
  /// Error for a pattern other than 2:4, and for a grid with a g_idx or groups that end inside a run of 4.
  explicit prepared_sparse24(const sparse_nm& w, const prepare_options& options = {})
      : tiled_operator(w.rows(), w.cols(), options), quantized_(w.values().is_quantized()) {
    require(fits(w), "prepare: sparse_nm", concat(w.n(), ":", w.m()),
            "2:4, and groups of whole runs of 4 columns");
    if (quantized_)
      read_grid(w.values().grid());
    else
      value_type_ = w.values().reals().type(), options_.activations = activation_type::f32;
    count_chunks();
    stream_ = kernel::aligned_bytes(static_cast<std::size_t>(stream_bytes()));
    fill(w);
  }
  static constexpr std::string_view kind() { return sparse_nm::kind(); }
  /// Can this operator be prepared?
  static bool fits(const sparse_nm& w) {
    if (w.n() != 2 || w.m() != 4) return false;
    if (!w.values().is_quantized()) return true;
    const auto& grid = w.values().grid();
    return grid.g_idx().empty() && (grid.groups() <= 1 || grid.group_size() % 4 == 0);
  }
  /// Bytes that a product reads of the weight, padding included.
  index_t stream_bytes() const { return tiles() * tile_bytes_; }

  template <class Next>
  void with_product(matrix_view<const float> x, const context& ctx, const Next& next) const {
    std::array<float, 16> levels{};
    for (std::size_t i = 0; i < levels.size(); ++i) levels[i] = static_cast<float>(i) - zero_point_;
    kernel::pair_operand w;
    w.stream = stream_.data();
    w.tile_bytes = tile_bytes_;
    w.rows = rows_;
    w.chunks = chunks_.data();
    w.groups = static_cast<index_t>(chunks_.size());
    w.bits = stored_bits();
    w.scale_type = scale_type_;
    w.has_zeros = zero_points_;
    w.zero_point = zero_point_;
    w.levels = levels.data();
    w.value_type = value_type_;
    const auto run = [&](const auto& activations) {
      next([&](index_t first, index_t last, float* y, index_t y_stride, bool add) {
        kernel::sparse_product(options_.target, w, activations, first, last, y, y_stride, add);
      });
    };
    matrix<float> copy;
    const auto floats = float_input(x, copy);
    if (options_.activations == activation_type::f32) return run(floats);
    const index_t width = padded_columns();
    std::vector<std::int8_t> codes(static_cast<std::size_t>(x.rows() * width));
    std::vector<float> scales(static_cast<std::size_t>(x.rows() * segments()));
    const auto quantize = [&](index_t t) {
      const float* from = floats.values + t * floats.stride;
      std::int8_t* code = codes.data() + t * width;
      float* scale = scales.data() + t * segments();
      for (const auto chunks : chunks_)
        for (index_t rest = chunks; rest > 0; rest -= kernel::pair_segment_chunks) {
          const index_t n = std::min(rest, kernel::pair_segment_chunks) * kernel::pair_chunk_columns;
          *scale++ = kernel::quantize_run(from, n, code, options_.target).scale;
          from += n;
          code += n;
        }
    };
    if (x.rows() > kernel::tile_tokens)
      parallel_for(x.rows(), ctx, quantize);
    else
      for (index_t t = 0; t < x.rows(); ++t) quantize(t);
    run(kernel::byte_activations{.codes = codes.data(),
                                 .stride = width,
                                 .scales = scales.data(),
                                 .segments = segments(),
                                 .sums = nullptr,
                                 .tokens = x.rows(),
                                 .groups = 0});
  }
  /// The operator that it was made of.
  sparse_nm restore() const {
    const index_t in_row = cols_ / 4 * 2 + std::min<index_t>(2, cols_ % 4);
    matrix<std::uint8_t> kept(rows_, cols_), chunk(tile_rows, chunk_kept), places(tile_rows, chunk_kept);
    std::vector<std::uint8_t> codes(quantized_ ? static_cast<std::size_t>(rows_ * in_row) : 0);
    real_array reals(quantized_ ? dtype::f32 : value_type_, quantized_ ? 0 : rows_ * in_row);
    matrix<float> scale(units_, groups()), zero(units_, groups(), zero_point_);
    each_chunk(
        [&](index_t row, index_t rows, index_t g, const std::uint8_t* p) {
          const auto scales = read_reals(p);
          for (index_t r = 0; r < rows && row + r < units_; ++r) {
            scale(row + r, g) = scales[r];
            if (zero_points_) zero(row + r, g) = static_cast<float>(p[header_bytes() - tile_rows + r]);
          }
        },
        [&](index_t row, index_t rows, index_t first, index_t last, const std::uint8_t* p) {
          if (quantized_) kernel::unpack_chunk(p, stored_bits(), chunk.view());
          kernel::unpack_chunk(p + value_bytes(), 2, places.view());
          for (index_t r = 0; r < rows; ++r)
            for (index_t k = first; k < last; ++k) {
              kept(row + r, k / 2 * 4 + places(r, k - first)) = 1;
              const index_t at = (row + r) * in_row + k;
              if (quantized_)
                codes[static_cast<std::size_t>(at)] = chunk(r, k - first);
              else
                std::memcpy(reals.bytes().data() + at * real_bytes(),
                            p + ((k - first) * tile_rows + r) * real_bytes(),
                            static_cast<std::size_t>(real_bytes()));
            }
        });
    if (!quantized_) return {2, 4, kept, element_store(std::move(reals))};
    return {2, 4, kept,
            element_store(codes, affine_grid(bits_, rows_, cols_, group_size_, scale.view(), zero.view(),
                                             scale_type_))};
  }

 private:
  static constexpr index_t chunk_kept = kernel::tile_format::chunk_columns;

  void read_grid(const affine_grid& grid) {
    bits_ = grid.bits();
    group_size_ = grid.group_size();
    units_ = grid.groups() == 0 ? 0 : grid.scales().size() / grid.groups();
    scale_type_ = grid.scales().type();
    zero_points_ = grid.has_zero_points();
    if (units_ > 0 && !zero_points_) zero_point_ = static_cast<float>(grid.zero_point(0, 0));
  }
  void count_chunks() {
    const index_t size = quantized_ ? std::min(group_size_, std::max<index_t>(cols_, 1)) : cols_;
    for (index_t c = 0; c < cols_; c += size)
      chunks_.push_back(static_cast<std::int32_t>(
          (std::min(size, cols_ - c) + kernel::pair_chunk_columns - 1) / kernel::pair_chunk_columns));
    tile_bytes_ = groups() * header_bytes();
    for (const auto c : chunks_) tile_bytes_ += c * (value_bytes() + kernel::pair_position_bytes);
  }
  void fill(const sparse_nm& w) {
    const index_t in_row = w.kept_per_row();
    const auto codes = quantized_ ? w.values().codes() : std::vector<std::uint8_t>();
    std::vector<std::vector<std::int32_t>> columns(static_cast<std::size_t>(tile_rows));
    matrix<std::uint8_t> chunk(tile_rows, chunk_kept), places(tile_rows, chunk_kept);
    index_t decoded = -1;
    each_chunk(
        [&](index_t row, index_t rows, index_t g, std::uint8_t* p) {
          const auto& grid = w.values().grid();
          std::array<float, tile_rows> scale{};
          for (index_t r = 0; r < rows; ++r) scale[static_cast<std::size_t>(r)] = grid.scale(row + r, g);
          const auto stored = store_as(scale_type_, std::span<const float>(scale));
          std::memcpy(p, stored.bytes().data(), stored.bytes().size());
          if (!zero_points_) return;
          p += header_bytes() - tile_rows;
          for (index_t r = 0; r < rows; ++r) p[r] = static_cast<std::uint8_t>(grid.zero_point(row + r, g));
        },
        [&](index_t row, index_t rows, index_t first, index_t last, std::uint8_t* p) {
          if (decoded != row)
            for (index_t r = 0; r < rows; ++r) columns[static_cast<std::size_t>(r)] = w.columns(row + r);
          decoded = row;
          for (auto& v : chunk.values()) v = 0;
          // what stands for nothing chooses the last column of its run, which is one of padding
          for (auto& v : places.values()) v = 3;
          for (index_t r = 0; r < rows; ++r)
            for (index_t k = first; k < last; ++k) {
              const index_t at = (row + r) * in_row + k;
              places(r, k - first) = static_cast<std::uint8_t>(
                  columns[static_cast<std::size_t>(r)][static_cast<std::size_t>(k)] % 4);
              if (quantized_)
                chunk(r, k - first) = codes[static_cast<std::size_t>(at)];
              else
                std::memcpy(p + ((k - first) * tile_rows + r) * real_bytes(),
                            w.values().reals().bytes().data() + at * real_bytes(),
                            static_cast<std::size_t>(real_bytes()));
            }
          if (quantized_) kernel::pack_chunk(chunk.view(), stored_bits(), p);
          kernel::pack_chunk(places.view(), 2, p + value_bytes());
        });
  }
  /// header(row, rows, group, where) and body(row, rows, first kept entry of a row, last, where) in the order
  /// of the stream.
  template <class Header, class Body>
  void each_chunk(const Header& header, const Body& body) const {
    // the memory is this object's own: only the constructor writes to it
    auto* p = const_cast<std::uint8_t*>(stream_.data());
    const index_t in_row = cols_ / 4 * 2 + std::min<index_t>(2, cols_ % 4);
    for (index_t row = 0; row < rows_; row += tile_rows) {
      const index_t rows = std::min(tile_rows, rows_ - row);
      for (index_t g = 0; g < groups(); ++g) {
        if (quantized_) header(row, rows, g, p);
        p += header_bytes();
        const index_t end = g + 1 == groups() ? in_row : (g + 1) * group_size_ / 2;
        index_t first = quantized_ ? g * group_size_ / 2 : 0;
        for (index_t c = 0; c < chunks_[static_cast<std::size_t>(g)]; ++c, first += chunk_kept) {
          body(row, rows, first, std::min(first + chunk_kept, end), p);
          p += value_bytes() + kernel::pair_position_bytes;
        }
      }
    }
  }
  kernel::float_activations float_input(matrix_view<const float> x, matrix<float>& copy) const {
    const index_t width = padded_columns();
    const bool gaps = groups() > 1 && group_size_ % kernel::pair_chunk_columns != 0;
    if (!gaps) return padded(x, width, copy);
    copy = matrix<float>(x.rows(), width);
    for (index_t t = 0; t < x.rows(); ++t) {
      float* to = copy.row(t).data();
      for (index_t g = 0; g < groups(); ++g) {
        const index_t first = g * group_size_;
        std::copy_n(x.data + t * x.strides[0] + first, std::min(group_size_, cols_ - first), to);
        to += chunks_[static_cast<std::size_t>(g)] * kernel::pair_chunk_columns;
      }
    }
    return {.values = copy.data(), .stride = width, .sums = nullptr, .tokens = x.rows(), .groups = 0};
  }
  real_array read_reals(const std::uint8_t* p) const {
    return {scale_type_,
            {reinterpret_cast<const std::byte*>(p), static_cast<std::size_t>(2 * bits_of(scale_type_))},
            nullptr};
  }

  index_t tiles() const { return (rows_ + tile_rows - 1) / tile_rows; }
  index_t groups() const { return static_cast<index_t>(chunks_.size()); }
  int stored_bits() const { return bits_ <= 2 ? 2 : bits_ <= 4 ? bits_ : 8; }
  index_t real_bytes() const { return bits_of(value_type_) / 8; }
  index_t value_bytes() const { return index_t{64} * (quantized_ ? stored_bits() : bits_of(value_type_)); }
  index_t header_bytes() const {
    return quantized_ ? tile_rows * (bits_of(scale_type_) / 8 + (zero_points_ ? 1 : 0)) : 0;
  }
  index_t padded_columns() const {
    index_t n = 0;
    for (const auto c : chunks_) n += c * kernel::pair_chunk_columns;
    return n;
  }
  index_t segments() const {
    index_t n = 0;
    for (const auto c : chunks_) n += (c + kernel::pair_segment_chunks - 1) / kernel::pair_segment_chunks;
    return n;
  }

  bool quantized_, zero_points_ = false;
  int bits_ = 4;
  index_t group_size_ = 1, units_ = 0, tile_bytes_ = 0;
  float zero_point_ = 0;  // of all, where the grid has none for each group
  dtype value_type_ = dtype::u8, scale_type_ = dtype::f32;
  std::vector<std::int32_t> chunks_;  // of each group, 64 columns each
  kernel::aligned_bytes stream_;
};

}  // namespace tersor::op
