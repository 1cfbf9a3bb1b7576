// tersor - codes in tile format with their columns' order, and products with it
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/activation_codes.hpp>
#include <tersor/kernel/aligned_bytes.hpp>
#include <tersor/kernel/tile_product.hpp>
#include <tersor/op/operator.hpp>

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

/// Tiles of a task. One of few tokens reads half a megabyte: starting it, and the wait for its first lines,
/// cost nothing beside. Tiles of a task of many tokens share the activations in a cache.
inline index_t tiles_of_task(index_t tokens, index_t tile_bytes) {
  return tokens > kernel::tile_tokens
             ? 8
             : std::max<index_t>(1, (index_t{1} << 19) / std::max<index_t>(tile_bytes, 1));
}

/// The stream of a prepared operator. What a group's header holds beside the codes is its owner's.
class tile_stream {
 public:
  static constexpr index_t tile_rows = kernel::tile_format::tile_rows;
  static constexpr index_t chunk_columns = kernel::tile_format::chunk_columns;

  tile_stream() = default;
  /// Room for a weight [format.rows, cols] in groups of `group_size` columns, or those that `g_idx` [cols]
  /// says.
  tile_stream(kernel::tile_format format, index_t cols, index_t groups, index_t group_size,
              std::span<const std::int32_t> g_idx, const prepare_options& options)
      : format_(std::move(format)), cols_(cols), options_(options) {
    require(kernel::is_supported(options.target), "prepare: target",
            option_text<kernel::target>::format(options.target), "one that this processor has");
    order_columns(groups, group_size, g_idx);
    for (const auto& p : kernel::segments_of(format_)) segment_columns_.push_back(p.chunks * chunk_columns);
    bytes_ = kernel::aligned_bytes(static_cast<std::size_t>(size()));
  }

  const kernel::tile_format& format() const { return format_; }
  const prepare_options& options() const { return options_; }
  /// Bytes that a product reads, padding included.
  index_t size() const { return format_.tiles() * format_.tile_bytes(); }

  /// Writes codes [rows, cols], and headers by write_header(first row, rows, group, where).
  template <class Header>
  void fill(const matrix<std::uint8_t>& codes, const Header& write_header) {
    matrix<std::uint8_t> chunk(tile_rows, chunk_columns);
    std::uint8_t* p = bytes_.data();
    for (index_t row = 0; row < format_.rows; row += tile_rows) {
      const index_t rows = std::min(tile_rows, format_.rows - row);
      index_t column = 0;
      for (index_t g = 0; g < format_.groups(); ++g) {
        write_header(row, rows, g, p);
        p += format_.header_bytes();
        for (index_t c = 0; c < chunks(g); ++c, p += format_.chunk_bytes()) {
          for (index_t k = 0; k < chunk_columns; ++k, ++column) {
            const index_t from = source(column);
            for (index_t r = 0; r < tile_rows; ++r)
              chunk(r, k) = from < 0 || r >= rows ? std::uint8_t{0} : codes(row + r, from);
          }
          kernel::pack_chunk(chunk.view(), format_.bits, p);
        }
      }
    }
  }
  /// The codes, and headers by read_header(first row, rows, group, where).
  template <class Header>
  matrix<std::uint8_t> read(const Header& read_header) const {
    matrix<std::uint8_t> codes(format_.rows, cols_), chunk(tile_rows, chunk_columns);
    const std::uint8_t* p = bytes_.data();
    for (index_t row = 0; row < format_.rows; row += tile_rows) {
      const index_t rows = std::min(tile_rows, format_.rows - row);
      index_t column = 0;
      for (index_t g = 0; g < format_.groups(); ++g) {
        read_header(row, rows, g, p);
        p += format_.header_bytes();
        for (index_t c = 0; c < chunks(g); ++c, p += format_.chunk_bytes()) {
          kernel::unpack_chunk(p, format_.bits, chunk.view());
          for (index_t k = 0; k < chunk_columns; ++k, ++column)
            if (const index_t from = source(column); from >= 0)
              for (index_t r = 0; r < rows; ++r) codes(row + r, from) = chunk(r, k);
        }
      }
    }
    return codes;
  }

  /// y [tokens, rows] = x [tokens, cols] Wᵀ, rows contiguous. @param w all but the stream and its sizes.
  void multiply(const kernel::tile_operand& w, matrix_view<const float> x, matrix_view<float> y,
                const context& ctx) const {
    with_product(w, x, ctx, [&](const auto& product) {
      parallel_chunks(format_.tiles(), tiles_of_task(x.rows(), format_.tile_bytes()), ctx,
                      [&](index_t first, index_t last) { product(first, last, y.data, y.strides[0]); });
    });
  }
  /// next(product) with product(first, last, y, y_stride): those tiles of the same. It may be called by many
  /// threads, until `next` returns.
  template <class Next>
  void with_product(kernel::tile_operand w, matrix_view<const float> x, const context& ctx,
                    const Next& next) const {
    w.stream = bytes_.data();
    w.tile_bytes = format_.tile_bytes();
    w.rows = format_.rows;
    w.chunks = format_.chunks.data();
    w.groups = format_.groups();
    w.bits = format_.bits;
    w.scale_type = format_.scale_type;
    w.parts = format_.parts;
    w.has_zeros = format_.zero_points;
    const bool shifted = w.has_zeros || w.zero_point != 0;
    const auto run = [&](const auto& input) {
      next([&](index_t first, index_t last, float* y, index_t y_stride) {
        kernel::tile_product(options_.target, w, input.activations, first, last, y, y_stride);
      });
    };
    const bool floats = options_.activations == activation_type::f32;
    if (x.rows() > kernel::tile_tokens)
      floats ? run(packed_float_input(x, ctx)) : run(packed_byte_input(x, ctx));
    else
      floats ? run(float_input(x, shifted)) : run(byte_input(x));
  }

 private:
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

  /// Of a chunk's parts.
  index_t part_columns() const { return chunk_columns / format_.parts; }
  std::int32_t part_sum(const std::int8_t* codes) const {
    std::int32_t sum = 0;
    for (index_t c = 0; c < part_columns(); ++c) sum += codes[c];
    return sum;
  }
  index_t chunks(index_t group) const { return format_.chunks[static_cast<std::size_t>(group)]; }
  /// The column of W at a place of the stream, -1 for padding.
  index_t source(index_t column) const {
    return source_.empty() ? column : source_[static_cast<std::size_t>(column)];
  }
  void order_columns(index_t groups, index_t group_size, std::span<const std::int32_t> g_idx) {
    std::vector<std::vector<std::int32_t>> members(static_cast<std::size_t>(groups));
    const index_t columns = groups == 0 ? 0 : cols_;  // a weight without rows has no scales to count
    for (index_t j = 0; j < columns; ++j) {
      const index_t g = g_idx.empty() ? j / group_size : g_idx[static_cast<std::size_t>(j)];
      members[static_cast<std::size_t>(g)].push_back(static_cast<std::int32_t>(j));
    }
    bool identity = true;
    for (const auto& m : members) {
      const auto count = static_cast<index_t>(m.size());
      const index_t n = (count + chunk_columns - 1) / chunk_columns;
      format_.chunks.push_back(static_cast<std::int32_t>(n));
      for (index_t k = 0; k < n * chunk_columns; ++k) {
        source_.push_back(k < count ? m[static_cast<std::size_t>(k)] : -1);
        identity = identity && source_.back() == static_cast<std::int32_t>(source_.size()) - 1;
      }
    }
    if (identity) source_.clear();
  }

  /// Row t of the input in the stream's order.
  const float* ordered(matrix_view<const float> x, index_t t, std::span<float> buffer) const {
    const float* row = x.data + t * x.strides[0];
    if (source_.empty()) return row;
    for (std::size_t j = 0; j < buffer.size(); ++j) buffer[j] = source_[j] < 0 ? 0.0F : row[source_[j]];
    return buffer.data();
  }
  /// @param with_sums else they are left 0: nothing is multiplied with them.
  float_block float_input(matrix_view<const float> x, bool with_sums) const {
    const index_t width = format_.padded_columns(), groups = format_.groups() * format_.parts;
    float_block b;
    if (!source_.empty()) b.copy = matrix<float>(x.rows(), width);
    b.sums.resize(static_cast<std::size_t>(x.rows() * groups));
    for (index_t t = 0; t < x.rows(); ++t) {
      const float* row = ordered(x, t, source_.empty() ? std::span<float>() : b.copy.row(t));
      for (index_t g = 0; g < groups && with_sums; ++g) {
        const index_t n = chunks(g / format_.parts) * chunk_columns / format_.parts;
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
    const index_t width = format_.padded_columns(), groups = format_.groups() * format_.parts,
                  segments = format_.segments();
    byte_block b;
    b.codes.resize(static_cast<std::size_t>(x.rows() * width));
    b.scales.resize(static_cast<std::size_t>(x.rows() * segments));
    b.sums.resize(static_cast<std::size_t>(x.rows() * groups));
    std::vector<float> buffer(source_.size());
    std::vector<kernel::code_run> runs(segment_columns_.size());
    for (index_t t = 0; t < x.rows(); ++t) {
      kernel::quantize_runs(ordered(x, t, buffer), segment_columns_, b.codes.data() + t * width, runs.data(),
                            options_.target);
      auto run = runs.begin();
      float* scale = b.scales.data() + t * segments;
      if (format_.parts > 1) {
        for (index_t g = 0; g < groups; ++g)
          b.sums[static_cast<std::size_t>(t * groups + g)] =
              runs[static_cast<std::size_t>(g / format_.parts)].scale *
              static_cast<float>(part_sum(b.codes.data() + t * width + g * part_columns()));
        for (const auto& r : runs) *scale++ = r.scale;
        continue;
      }
      for (index_t g = 0; g < groups; ++g) {
        float& sum = b.sums[static_cast<std::size_t>(t * groups + g)];
        for (index_t rest = chunks(g); rest > 0; rest -= kernel::tile_format::segment_chunks, ++run) {
          *scale++ = run->scale;
          sum = std::fma(run->scale, static_cast<float>(run->sum), sum);
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
  struct packed_float_block {
    std::vector<kernel::tile_segment> places;
    std::vector<float> values;
    kernel::packed_floats activations;
  };
  struct packed_byte_block {
    std::vector<kernel::tile_segment> places;
    std::vector<std::int8_t> codes;
    std::vector<float> scales, sums;
    kernel::packed_bytes activations;
  };
  kernel::packed_activations packing(index_t tokens, const std::vector<kernel::tile_segment>& places,
                                     index_t bytes) const {
    kernel::packed_activations a;
    const index_t block = kernel::block_tokens(options_.target);
    a.tokens = tokens;
    a.padded_tokens = (tokens + block - 1) / block * block;
    a.places = places.data();
    a.segments = static_cast<index_t>(places.size());
    constexpr index_t segment = kernel::tile_format::segment_chunks * chunk_columns;
    a.segments_in_cache = std::max<index_t>(1, (index_t{1} << 20) / (a.padded_tokens * segment * bytes));
    return a;
  }
  packed_float_block packed_float_input(matrix_view<const float> x, const context& ctx) const {
    packed_float_block b;
    b.places = kernel::segments_of(format_);
    auto& a = b.activations;
    static_cast<kernel::packed_activations&>(a) = packing(x.rows(), b.places, 4);
    b.values.resize(static_cast<std::size_t>(a.padded_tokens * format_.padded_columns()));
    a.values = b.values.data();
    const index_t block = kernel::block_tokens(options_.target);
    parallel_chunks(x.rows(), block, ctx, [&](index_t first, index_t last) {
      matrix<float> buffers(block, static_cast<index_t>(source_.size()));
      std::vector<const float*> rows;
      for (index_t t = first; t < last; ++t) rows.push_back(ordered(x, t, buffers.row(t - first)));
      for (const auto& s : b.places) {
        float* to = b.values.data() + a.at(s, first);
        for (index_t c = s.column; c < s.column + s.chunks * chunk_columns; ++c, to += block)
          for (std::size_t t = 0; t < rows.size(); ++t) to[t] = rows[t][c];
      }
    });
    return b;
  }
  packed_byte_block packed_byte_input(matrix_view<const float> x, const context& ctx) const {
    packed_byte_block b;
    b.places = kernel::segments_of(format_);
    auto& a = b.activations;
    static_cast<kernel::packed_activations&>(a) = packing(x.rows(), b.places, 1);
    b.codes.resize(static_cast<std::size_t>(a.padded_tokens * format_.padded_columns()));
    b.scales.resize(static_cast<std::size_t>(a.tokens * a.segments));
    b.sums.resize(b.scales.size() * static_cast<std::size_t>(format_.parts));
    a.codes = b.codes.data();
    a.scales = b.scales.data();
    a.sums = b.sums.data();
    const index_t block = kernel::block_tokens(options_.target);
    parallel_for(x.rows(), ctx, [&](index_t t) {
      std::vector<float> buffer(source_.size());
      const float* row = ordered(x, t, buffer);
      std::array<std::int8_t, kernel::tile_format::segment_chunks * chunk_columns> codes;
      for (const auto& s : b.places) {
        const index_t columns = s.chunks * chunk_columns;
        const auto run = kernel::quantize_run(row + s.column, columns, codes.data(), options_.target);
        b.scales[static_cast<std::size_t>(t * a.segments + s.index)] = run.scale;
        const index_t at = (t * a.segments + s.index) * format_.parts;
        for (index_t part = 0; part < format_.parts; ++part)
          b.sums[static_cast<std::size_t>(at + part)] = static_cast<float>(
              format_.parts == 1 ? run.sum : part_sum(codes.data() + part * part_columns()));
        std::int8_t* to = b.codes.data() + a.at(s, t / block * block) + 4 * (t % block);
        for (index_t q = 0; q < columns / 4; ++q) std::memcpy(to + q * 4 * block, codes.data() + 4 * q, 4);
      }
    });
    return b;
  }

  kernel::tile_format format_;
  index_t cols_ = 0;
  prepare_options options_;
  std::vector<index_t> segment_columns_;
  std::vector<std::int32_t> source_;  // [padded columns]; empty: the columns as they are
  kernel::aligned_bytes bytes_;
};

}  // namespace tersor::op
