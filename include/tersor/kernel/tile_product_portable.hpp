// tersor - products with tiles of codes in plain C++: what the kernels of every target must equal
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>  // std::fma

#include <tersor/core/float16.hpp>
#include <tersor/core/float8.hpp>
#include <tersor/kernel/tile_operand.hpp>

namespace tersor::kernel::portable {

/// Tokens of a block of packed activations.
inline constexpr index_t block_tokens = 4;

/// The tiles of one weight. Formulas and the order of additions of byte products are those of the other
/// targets, so that the results are the same bits.
class tiles {
 public:
  using lanes = std::array<float, 16>;
  struct header {
    lanes scale, minus_zero;
  };

  explicit tiles(const tile_operand& w) : w_(w) {}

  header read_header(index_t row, index_t group, index_t part, const std::uint8_t* p) const {
    header h;
    const std::size_t width = static_cast<std::size_t>(bits_of(w_.scale_type)) / 8;
    const std::uint8_t* zeros = p + 16 * width * static_cast<std::size_t>(w_.parts);
    p += 16 * width * static_cast<std::size_t>(part);
    for (std::size_t r = 0; r < 16; ++r) {
      float scale = 0;
      if (w_.coded) {
        const auto& c = *w_.coded;
        const index_t i = (row + static_cast<index_t>(r)) * w_.groups + group;
        scale = std::max(c.levels[p[r]] * c.largest[i / c.block_size] + c.offset, 0.0F);
      } else if (w_.scale_type == dtype::f32) {
        std::memcpy(&scale, p + 4 * r, 4);
      } else if (w_.scale_type == dtype::f8_e4m3) {
        scale = f8_e4m3::from_bits(p[r]);
      } else if (w_.scale_type == dtype::f8_e5m2) {
        scale = f8_e5m2::from_bits(p[r]);
      } else if (w_.scale_type == dtype::f8_e8m0) {
        scale = f8_e8m0::from_bits(p[r]);
      } else {
        std::uint16_t bits;
        std::memcpy(&bits, p + 2 * r, 2);
        scale = w_.scale_type == dtype::f16 ? tersor::detail::float_from_f16(bits)
                                            : tersor::detail::float_from_bf16(bits);
      }
      h.scale[r] = scale * w_.unit;
      h.minus_zero[r] = w_.has_zeros ? -static_cast<float>(zeros[r]) : -w_.zero_point;
    }
    return h;
  }
  /// The codes of a chunk, [8 quads of columns][16 rows][4].
  std::array<std::uint8_t, 512> quads(const std::uint8_t* p) const {
    std::array<std::uint8_t, 512> codes{};
    for (int low = 0; low < w_.bits;) {
      const int width = widest_plane(w_.bits - low), in_block = 8 / width;
      const unsigned mask = (1U << width) - 1U;
      for (int quad = 0; quad < 8; ++quad) {
        const std::uint8_t* plane = p + index_t{64} * (quad / in_block);
        const int place = quad % in_block * width;
        std::uint8_t* out = codes.data() + index_t{64} * quad;
        for (int i = 0; i < 64; ++i)
          out[i] = static_cast<std::uint8_t>(out[i] |
                                             (((static_cast<unsigned>(plane[i]) >> place) & mask) << low));
      }
      p += index_t{64} * width;
      low += width;
    }
    return codes;
  }

  /// y [tokens, rows] of one tile := for few tokens, group by group.
  void few(index_t tile, const float_activations& a, float* y, index_t y_stride) const {
    groups(tile, a, y, y_stride,
           [&](const std::uint8_t* p, index_t chunks, index_t t, index_t column, index_t, index_t which) {
             return float_sums(p, chunks, a.values + t * a.stride + column, 1, which);
           });
  }
  void few(index_t tile, const byte_activations& a, float* y, index_t y_stride) const {
    groups(tile, a, y, y_stride,
           [&](const std::uint8_t* p, index_t chunks, index_t t, index_t column, index_t segment,
               index_t which) {
             lanes part{};
             while (chunks > 0) {
               const index_t n = std::min(chunks, tile_format::segment_chunks);
               const auto dots = byte_sums(p, n, a.codes + t * a.stride + column, 4, which);
               const float scale = a.scales[t * a.segments + segment++];
               for (std::size_t r = 0; r < 16; ++r)
                 part[r] = std::fma(static_cast<float>(dots[r]), scale, part[r]);
               p += n * chunk_bytes();
               column += n * tile_format::chunk_columns;
               chunks -= n;
             }
             return part;
           });
  }
  /// For many, segment by segment.
  template <class Packed>
  void many(index_t tile, const Packed& a, float* y, index_t y_stride) const {
    const index_t row = tile * tile_format::tile_rows, rows = rows_at(row);
    const std::uint8_t* p = w_.stream + tile * w_.tile_bytes;
    for (index_t i = 0; i < a.segments; ++i) {
      const auto& s = a.places[i];
      for (index_t which = 0; which < w_.parts; ++which) {
        const auto h = read_header(row, s.group, which, p + s.header);
        for (index_t t = 0; t < a.tokens; ++t) {
          const auto part = segment_sums(p + s.codes, h, s, a, t, which);
          float* to = y + t * y_stride + row;
          for (index_t r = 0; r < rows; ++r) {
            const auto k = static_cast<std::size_t>(r);
            to[r] = std::fma(h.scale[k], part[k], i == 0 && which == 0 ? 0.0F : to[r]);
          }
        }
      }
    }
  }

 private:
  index_t chunk_bytes() const { return index_t{64} * w_.bits; }
  index_t rows_at(index_t row) const { return std::min(tile_format::tile_rows, w_.rows - row); }

  /// Quads of columns of a part in each chunk: [first, first + count).
  std::size_t quads_of_part() const { return 8 / static_cast<std::size_t>(w_.parts); }
  std::size_t first_quad(index_t part) const { return static_cast<std::size_t>(part) * quads_of_part(); }

  /// Σ of a part of the chunks' values times x, whose columns are `step` apart.
  lanes float_sums(const std::uint8_t* p, index_t chunks, const float* x, index_t step, index_t part) const {
    x += static_cast<index_t>(4 * first_quad(part)) * step;
    lanes sum{};
    for (index_t c = 0; c < chunks; ++c, p += chunk_bytes()) {
      const auto codes = quads(p);
      for (std::size_t quad = first_quad(part); quad < first_quad(part + 1); ++quad)
        for (std::size_t b = 0; b < 4; ++b, x += step)
          for (std::size_t r = 0; r < 16; ++r) {
            const std::uint8_t code = codes[64 * quad + 4 * r + b];
            sum[r] += *x * (w_.meaning_is_level ? w_.levels[code] : static_cast<float>(code));
          }
    }
    return sum;
  }
  /// The same of bytes; four columns of x lie together, the next four are `step` further.
  std::array<std::int32_t, 16> byte_sums(const std::uint8_t* p, index_t chunks, const std::int8_t* x,
                                         index_t step, index_t part) const {
    x += static_cast<index_t>(first_quad(part)) * step;
    std::array<std::int32_t, 16> sum{};
    for (index_t c = 0; c < chunks; ++c, p += chunk_bytes()) {
      auto codes = quads(p);
      if (w_.meaning_is_level)
        for (auto& code : codes) code = w_.byte_levels[code];
      for (std::size_t quad = first_quad(part); quad < first_quad(part + 1); ++quad, x += step)
        for (std::size_t r = 0; r < 16; ++r)
          for (std::size_t b = 0; b < 4; ++b) sum[r] += codes[64 * quad + 4 * r + b] * x[b];
    }
    return sum;
  }

  /// sums(codes, chunks, token, column, segment, part): Σ of a group's part without scale and zero point.
  template <class Activations, class Sums>
  void groups(index_t tile, const Activations& a, float* y, index_t y_stride, const Sums& sums) const {
    const index_t row = tile * tile_format::tile_rows, rows = rows_at(row);
    for (index_t t = 0; t < a.tokens; ++t) {
      const std::uint8_t* p = w_.stream + tile * w_.tile_bytes;
      lanes sum{};
      index_t column = 0, segment = 0;
      for (index_t g = 0; g < w_.groups; ++g) {
        const std::uint8_t* codes =
            p + tile_format::tile_rows * (w_.parts * bits_of(w_.scale_type) / 8 + (w_.has_zeros ? 1 : 0));
        for (index_t which = 0; which < w_.parts; ++which) {
          const auto h = read_header(row, g, which, p);
          const auto part = sums(codes, w_.chunks[g], t, column, segment, which);
          const float x_sum = a.sums[t * a.groups + g * w_.parts + which];
          for (std::size_t r = 0; r < 16; ++r)
            sum[r] = std::fma(h.scale[r], std::fma(h.minus_zero[r], x_sum, part[r]), sum[r]);
        }
        p = codes + w_.chunks[g] * chunk_bytes();
        column += w_.chunks[g] * tile_format::chunk_columns;
        segment += (w_.chunks[g] + tile_format::segment_chunks - 1) / tile_format::segment_chunks;
      }
      std::copy_n(sum.begin(), rows, y + t * y_stride + row);
    }
  }
  lanes segment_sums(const std::uint8_t* codes, const header& h, const tile_segment& s,
                     const packed_floats& a, index_t t, index_t which) const {
    const float* x = a.values + a.at(s, t / block_tokens * block_tokens) + t % block_tokens;
    auto sum = float_sums(codes, s.chunks, x, block_tokens, which);
    const index_t columns = s.chunks * tile_format::chunk_columns / w_.parts;
    float x_sum = 0;
    for (index_t c = which * columns; c < (which + 1) * columns; ++c) x_sum += x[c * block_tokens];
    for (std::size_t r = 0; r < 16; ++r) sum[r] += h.minus_zero[r] * x_sum;
    return sum;
  }
  lanes segment_sums(const std::uint8_t* codes, const header& h, const tile_segment& s, const packed_bytes& a,
                     index_t t, index_t which) const {
    const std::int8_t* x = a.codes + a.at(s, t / block_tokens * block_tokens) + 4 * (t % block_tokens);
    const auto dots = byte_sums(codes, s.chunks, x, 4 * block_tokens, which);
    const index_t at = t * a.segments + s.index;
    lanes part;
    for (std::size_t r = 0; r < 16; ++r)
      part[r] = std::fma(h.minus_zero[r], a.sums[at * w_.parts + which], static_cast<float>(dots[r])) *
                a.scales[at];
    return part;
  }

  const tile_operand& w_;
};

inline void product(const tile_operand& w, const float_activations& a, index_t first, index_t last, float* y,
                    index_t y_stride) {
  for (index_t tile = first; tile < last; ++tile) tiles(w).few(tile, a, y, y_stride);
}
inline void product(const tile_operand& w, const byte_activations& a, index_t first, index_t last, float* y,
                    index_t y_stride) {
  for (index_t tile = first; tile < last; ++tile) tiles(w).few(tile, a, y, y_stride);
}
template <class Packed>
void product(const tile_operand& w, const Packed& a, index_t first, index_t last, float* y,
             index_t y_stride) {
  for (index_t tile = first; tile < last; ++tile) tiles(w).many(tile, a, y, y_stride);
}

}  // namespace tersor::kernel::portable
