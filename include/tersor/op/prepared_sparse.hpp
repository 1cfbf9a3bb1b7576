// tersor - sparse operators laid out for fast products: 2:4, masked columns, compressed rows
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/deal.hpp>
#include <tersor/kernel/sparse_tile_product.hpp>
#include <tersor/op/restored_operator.hpp>
#include <tersor/op/sparse_bitmap.hpp>
#include <tersor/op/sparse_csr.hpp>
#include <tersor/op/sparse_nm.hpp>
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

/// A `sparse_bitmap` or `sparse_nm` of reals as masks of 16 rows and values, column after column. For
/// densities above a few per cent: a column costs some ten instructions even where it is empty.
template <class Source>
class prepared_masked : public tiled_operator<prepared_masked<Source>> {
  using base = tiled_operator<prepared_masked>;
  using base::cols_, base::options_, base::rows_, base::tile_rows;

 public:
  /// Error for values on a grid.
  explicit prepared_masked(const Source& w, const prepare_options& options = {})
      : base(w.rows(), w.cols(), options) {
    require(fits(w), concat("prepare: ", kind()), "values on a grid", "reals");
    options_.activations = activation_type::f32;
    value_type_ = w.values().reals().type();
    if constexpr (std::is_same_v<Source, sparse_nm>) {
      n_ = w.n();
      m_ = w.m();
    }
    fill(w);
  }
  static constexpr std::string_view kind() { return Source::kind(); }
  static bool fits(const Source& w) { return !w.values().is_quantized(); }
  /// Bytes that a product reads of the weight, padding included.
  index_t stream_bytes() const { return offsets_.back(); }

  template <class Next>
  void with_product(matrix_view<const float> x, const context&, const Next& next) const {
    matrix<float> copy;
    const auto activations = base::padded(x, padded_columns(), copy);
    const kernel::masked_operand w{.stream = stream_.data(),
                                   .offsets = offsets_.data(),
                                   .rows = rows_,
                                   .columns = padded_columns(),
                                   .value_type = value_type_};
    next([&](index_t first, index_t last, float* y, index_t y_stride, bool add) {
      kernel::sparse_product(options_.target, w, activations, first, last, y, y_stride, add);
    });
  }
  /// The operator that it was made of.
  Source restore() const {
    matrix<std::uint8_t> kept(rows_, cols_);
    std::vector<std::vector<std::byte>> rows(static_cast<std::size_t>(rows_));
    for (index_t tile = 0; tile + 1 < static_cast<index_t>(offsets_.size()); ++tile) {
      const std::uint8_t* p = stream_.data() + offsets_[static_cast<std::size_t>(tile)];
      for (index_t c = 0; c < padded_columns(); c += block) {
        const std::uint8_t* masks = p;
        p += 2 * block;
        for (index_t i = 0; i < block; ++i)
          for (index_t r = 0; r < tile_rows; ++r) {
            if ((masks[2 * i + r / 8] >> r % 8 & 1) == 0) continue;
            kept(tile * tile_rows + r, c + i) = 1;
            auto& row = rows[static_cast<std::size_t>(tile * tile_rows + r)];
            const auto* value = reinterpret_cast<const std::byte*>(p);
            row.insert(row.end(), value, value + real_bytes());
            p += real_bytes();
          }
      }
    }
    std::vector<std::byte> all;
    for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
    element_store values(real_array(value_type_, all, nullptr));
    if constexpr (std::is_same_v<Source, sparse_nm>)
      return {n_, m_, kept, std::move(values)};
    else
      return {kept, std::move(values)};
  }

 private:
  static constexpr index_t block = 32;  ///< columns whose masks lie together

  void fill(const Source& w) {
    const index_t columns = padded_columns();
    const auto* reals = w.values().reals().bytes().data();
    std::vector<std::uint8_t> bytes;
    for (index_t row = 0; row < rows_; row += tile_rows) {
      std::vector<std::uint16_t> masks(static_cast<std::size_t>(columns));
      std::array<const std::byte*, tile_rows> next{};
      for (index_t r = 0; r < std::min(tile_rows, rows_ - row); ++r) {
        next[static_cast<std::size_t>(r)] = reals;
        const auto kept = w.columns(row + r);
        reals += static_cast<index_t>(kept.size()) * real_bytes();
        for (const auto c : kept) {
          auto& mask = masks[static_cast<std::size_t>(c)];
          mask = static_cast<std::uint16_t>(mask | 1U << r);
        }
      }
      for (std::size_t c = 0; c < masks.size(); ++c) {
        if (c % block == 0)
          for (std::size_t i = c; i < c + block; ++i) {
            bytes.push_back(static_cast<std::uint8_t>(masks[i] & 0xffU));
            bytes.push_back(static_cast<std::uint8_t>(masks[i] >> 8U));
          }
        for (std::size_t r = 0; r < next.size(); ++r) {
          if ((masks[c] >> r & 1U) == 0) continue;
          const auto* value = reinterpret_cast<const std::uint8_t*>(next[r]);
          bytes.insert(bytes.end(), value, value + real_bytes());
          next[r] += real_bytes();
        }
      }
      offsets_.push_back(static_cast<index_t>(bytes.size()));
    }
    stream_ = kernel::aligned_bytes(bytes.size());
    std::copy(bytes.begin(), bytes.end(), stream_.data());
  }
  index_t padded_columns() const { return (cols_ + block - 1) / block * block; }
  index_t real_bytes() const { return bits_of(value_type_) / 8; }

  int n_ = 0, m_ = 0;
  dtype value_type_ = dtype::f32;
  std::vector<index_t> offsets_{0};  // [tiles + 1]
  kernel::aligned_bytes stream_;
};

/// A `sparse_csr` with the entries of 16 rows dealt to sixteen lanes (kernel/sparse_tile_operand.hpp): a
/// product takes sixteen at a time, whatever the rows' lengths, or sixteen tokens. Columns are cut in blocks
/// whose activations stay in the nearest cache. Padding of 16 rows in a block: 144 bytes, fewer than 16
/// entries, and some more where they can't be dealt evenly.
class prepared_csr : public tiled_operator<prepared_csr> {
 public:
  explicit prepared_csr(const sparse_csr& w, const prepare_options& options = {})
      : tiled_operator(w.rows(), w.cols(), options), value_type_(w.values().type()) {
    options_.activations = activation_type::f32;
    // blocks of few entries would be headers for the most part
    const index_t worth = w.kept() / std::max<index_t>(1, rows_ * least_entries);
    blocks_ = std::clamp(worth, pieces(cols_, most_columns), pieces(cols_, cached_columns));
    block_columns_ = pieces(cols_, blocks_);
    fill(w);
  }
  static constexpr std::string_view kind() { return sparse_csr::kind(); }
  /// So many that a task finds most activations in a cache which its other rows have brought there.
  static constexpr index_t tiles_of_many = 64;
  /// Bytes that a product reads of the weight, padding included.
  index_t stream_bytes() const {
    return static_cast<index_t>(stream_.size() + tiles_.size() * sizeof(kernel::dealt_tile));
  }

  template <class Next>
  void with_product(matrix_view<const float> x, const context& ctx, const Next& next) const {
    const kernel::dealt_operand w{.stream = stream_.data(),
                                  .tiles = tiles_.data(),
                                  .rows = rows_,
                                  .blocks = blocks_,
                                  .block_columns = block_columns_,
                                  .value_type = value_type_};
    const auto run = [&](const auto& activations) {
      next([&](index_t first, index_t last, float* y, index_t y_stride, bool add) {
        kernel::sparse_product(options_.target, w, activations, first, last, y, y_stride, add);
      });
    };
    if (x.rows() <= kernel::dealt_tokens)
      return run(kernel::float_activations{
          .values = x.data, .stride = x.strides[0], .sums = nullptr, .tokens = x.rows(), .groups = 0});
    const index_t token_blocks = pieces(x.rows(), 16);
    std::vector<float> values(static_cast<std::size_t>(token_blocks * cols_ * 16));
    parallel_for(token_blocks, ctx, [&](index_t b) {
      for (index_t c0 = 0; c0 < cols_; c0 += 256)  // what is written to stays in the nearest cache
        for (index_t t = 16 * b; t < std::min(x.rows(), 16 * (b + 1)); ++t)
          for (index_t c = c0; c < std::min(c0 + 256, cols_); ++c)
            values[static_cast<std::size_t>((b * cols_ + c) * 16 + t % 16)] = x(t, c);
    });
    run(kernel::block_activations{.values = values.data(), .columns = cols_, .tokens = x.rows()});
  }
  /// The operator that it was made of.
  sparse_csr restore() const {
    std::vector<std::int32_t> offsets{0}, columns;
    std::vector<std::byte> values;
    for (index_t row = 0; row < rows_; ++row) {
      for (index_t b = 0; b < blocks_; ++b) {
        const std::uint8_t* p = stream_.data() + tiles_[tile_number(b, row / tile_rows)].offset;
        each_entry(dealt(p), row % tile_rows, [&](index_t column_at, index_t value_at) {
          std::uint16_t c;
          std::memcpy(&c, p + column_at, sizeof c);
          columns.push_back(static_cast<std::int32_t>(b * block_columns_ + c));
          const auto* value = reinterpret_cast<const std::byte*>(p + value_at);
          values.insert(values.end(), value, value + real_bytes());
        });
      }
      offsets.push_back(static_cast<std::int32_t>(columns.size()));
    }
    return {rows_, cols_, std::move(offsets), columns, real_array(value_type_, values, nullptr)};
  }

 private:
  static constexpr index_t cached_columns = 8192, most_columns = 65536, least_entries = 24;

  static index_t pieces(index_t n, index_t size) {
    return std::max<index_t>(1, (n + size - 1) / std::max<index_t>(size, 1));
  }
  index_t tiles() const { return (rows_ + tile_rows - 1) / tile_rows; }
  std::size_t tile_number(index_t block, index_t tile) const {
    return static_cast<std::size_t>(block * tiles() + tile);
  }
  void fill(const sparse_csr& w) {
    const auto column = [&](std::int32_t k) {
      const auto at = static_cast<std::size_t>(k);
      return w.narrow_columns().empty() ? index_t{w.wide_columns()[at]} : index_t{w.narrow_columns()[at]};
    };
    std::vector<std::int32_t> next(w.offsets().begin(), w.offsets().end() - 1);  // of each row
    std::vector<std::int32_t> firsts;                                            // of each block and row
    std::vector<kernel::deal> deals;
    index_t size = 0;
    for (index_t b = 0; b < blocks_; ++b)
      for (index_t row = 0; row < rows_; row += tile_rows) {
        std::array<std::uint32_t, tile_rows> lengths{};
        for (index_t r = row; r < std::min(row + tile_rows, rows_); ++r) {
          auto& k = next[static_cast<std::size_t>(r)];
          const std::int32_t first = k;
          while (k < w.offsets()[static_cast<std::size_t>(r) + 1] && column(k) < (b + 1) * block_columns_)
            ++k;
          firsts.push_back(first);
          lengths[static_cast<std::size_t>(r - row)] = static_cast<std::uint32_t>(k - first);
        }
        const auto& d = deals.emplace_back(kernel::deal_rows(lengths));
        tiles_.push_back({size, static_cast<std::int32_t>(d.steps()), static_cast<std::int32_t>(d.even())});
        size += kernel::dealt_operand::header_bytes + d.steps() * step_bytes();
      }
    stream_ = kernel::aligned_bytes(static_cast<std::size_t>(size));
    for (index_t b = 0; b < blocks_; ++b)
      for (index_t row = 0; row < rows_; ++row) {
        const std::size_t tile = tile_number(b, row / tile_rows);
        std::uint8_t* p = stream_.data() + tiles_[tile].offset;
        if (row % tile_rows == 0) write_header(deals[tile], p);
        std::int32_t k = firsts[static_cast<std::size_t>(b * rows_ + row)];
        each_entry(deals[tile], row % tile_rows, [&](index_t column_at, index_t value_at) {
          const auto c = static_cast<std::uint16_t>(column(k) - b * block_columns_);
          std::memcpy(p + column_at, &c, sizeof c);
          std::memcpy(p + value_at, w.values().bytes().data() + k++ * real_bytes(),
                      static_cast<std::size_t>(real_bytes()));
        });
      }
  }
  /// entry(where in the tile its column is, where its value) for those of a row, in order.
  template <class Entry>
  void each_entry(const kernel::deal& d, index_t row, const Entry& entry) const {
    const auto share = [&](std::size_t lane, index_t first, index_t last) {
      const auto l = static_cast<index_t>(lane);
      for (index_t k = first; k < last; ++k) {
        const index_t step = kernel::dealt_operand::header_bytes + k * step_bytes();
        entry(step + 2 * l, step + 2 * tile_rows + l * real_bytes());
      }
    };
    const auto own = static_cast<std::size_t>(row);
    share(own, 0, d.own[own]);
    for (std::size_t l = 0; l < d.helped.size(); ++l)
      if (d.helped[l] == row && d.end[l] > d.own[l]) share(l, d.own[l], d.end[l]);
  }
  static void write_header(const kernel::deal& d, std::uint8_t* p) {
    for (std::size_t l = 0; l < d.own.size(); ++l) {
      const std::uint32_t own = d.own[l] << 4U | d.helped[l];
      std::memcpy(p + 4 * l, &own, sizeof own);
      std::memcpy(p + 64 + 4 * l, &d.end[l], sizeof own);
    }
  }
  static kernel::deal dealt(const std::uint8_t* p) {
    kernel::deal d;
    for (std::size_t l = 0; l < d.own.size(); ++l) {
      std::memcpy(&d.own[l], p + 4 * l, 4);
      std::memcpy(&d.end[l], p + 64 + 4 * l, 4);
      d.helped[l] = static_cast<std::uint8_t>(d.own[l] & 15U);
      d.own[l] >>= 4U;
    }
    return d;
  }
  index_t real_bytes() const { return bits_of(value_type_) / 8; }
  index_t step_bytes() const { return tile_rows * (2 + real_bytes()); }

  dtype value_type_;
  index_t blocks_ = 1, block_columns_ = 1;
  std::vector<kernel::dealt_tile> tiles_;  // [blocks][tiles of 16 rows]
  kernel::aligned_bytes stream_;
};

}  // namespace tersor::op
