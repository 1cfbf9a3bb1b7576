// tersor - products with sparse and thin tiles in plain C++: what the kernels of every target must equal
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/sparse_tile_operand.hpp>
#include <tersor/kernel/tile_product_portable.hpp>

namespace tersor::kernel::portable {

/// Real number i of an array.
inline float real_at(dtype type, const std::uint8_t* p, index_t i) {
  if (type == dtype::f32) {
    float x;
    std::memcpy(&x, p + 4 * i, 4);
    return x;
  }
  std::uint16_t bits;
  std::memcpy(&bits, p + 2 * i, 2);
  return type == dtype::f16 ? tersor::detail::float_from_f16(bits) : tersor::detail::float_from_bf16(bits);
}
inline void put(float& y, float value, bool add) { y = add ? y + value : value; }
inline index_t rows_of_tile(index_t tile, index_t rows) {
  return std::min(tile_format::tile_rows, rows - tile * tile_format::tile_rows);
}

/// The tiles of one 2:4 weight. The order of additions of byte products is that of the other targets.
class pair_tiles {
 public:
  explicit pair_tiles(const pair_operand& w) : w_(w) { positions_.bits = 2; }

  void multiply(index_t tile, const float_activations& a, index_t t, float* y, bool add) const {
    const bool coded = w_.value_type == dtype::u8;
    std::array<float, 16> sum{};
    groups(tile, [&](const auto& h, const std::uint8_t* p, index_t chunks, index_t column, index_t) {
      std::array<float, 16> part{};
      for (index_t c = 0; c < chunks; ++c, p += chunk_bytes(), column += pair_chunk_columns) {
        const auto places = tiles(positions_).quads(p + value_bytes());
        std::array<std::uint8_t, 512> codes{};
        if (coded) codes = tiles(w_).quads(p);
        for (std::size_t k = 0; k < 32; ++k)
          for (std::size_t r = 0; r < 16; ++r) {
            const std::size_t at = 64 * (k / 4) + 4 * r + k % 4;
            const float v = coded ? static_cast<float>(codes[at]) + h.minus_zero[r]
                                  : real_at(w_.value_type, p, static_cast<index_t>(16 * k + r));
            const index_t run = column + static_cast<index_t>(k / 2 * 4);
            part[r] += v * a.values[t * a.stride + run + places[at]];
          }
      }
      for (std::size_t r = 0; r < 16; ++r) sum[r] = std::fma(h.scale[r], part[r], sum[r]);
    });
    store(tile, sum, y, add);
  }
  void multiply(index_t tile, const byte_activations& a, index_t t, float* y, bool add) const {
    std::array<float, 16> sum{};
    groups(tile, [&](const auto& h, const std::uint8_t* p, index_t chunks, index_t column, index_t segment) {
      std::array<float, 16> part{};
      while (chunks > 0) {
        const index_t n = std::min(chunks, pair_segment_chunks);
        std::array<std::int32_t, 16> dots{}, kept{};
        for (index_t c = 0; c < n; ++c, p += chunk_bytes(), column += pair_chunk_columns) {
          const auto codes = tiles(w_).quads(p), places = tiles(positions_).quads(p + value_bytes());
          for (std::size_t k = 0; k < 32; ++k)
            for (std::size_t r = 0; r < 16; ++r) {
              const std::size_t at = 64 * (k / 4) + 4 * r + k % 4;
              const index_t run = column + static_cast<index_t>(k / 2 * 4);
              const std::int8_t x = a.codes[t * a.stride + run + places[at]];
              dots[r] += codes[at] * x;
              kept[r] += x;
            }
        }
        const float scale = a.scales[t * a.segments + segment++];
        for (std::size_t r = 0; r < 16; ++r) {
          const float shifted =
              std::fma(h.minus_zero[r], static_cast<float>(kept[r]), static_cast<float>(dots[r]));
          part[r] = std::fma(shifted, scale, part[r]);
        }
        chunks -= n;
      }
      for (std::size_t r = 0; r < 16; ++r) sum[r] = std::fma(h.scale[r], part[r], sum[r]);
    });
    store(tile, sum, y, add);
  }

 private:
  index_t value_bytes() const {
    return w_.value_type == dtype::u8 ? index_t{64} * w_.bits : index_t{64} * bits_of(w_.value_type);
  }
  index_t chunk_bytes() const { return value_bytes() + pair_position_bytes; }
  /// part(header, codes, chunks, column, segment) for every group.
  template <class Part>
  void groups(index_t tile, const Part& part) const {
    const std::uint8_t* p = w_.stream + tile * w_.tile_bytes;
    index_t column = 0, segment = 0;
    for (index_t g = 0; g < w_.groups; ++g) {
      tiles::header h{};
      h.scale.fill(1.0F);
      if (w_.value_type == dtype::u8) {
        h = tiles(w_).read_header(tile * tile_format::tile_rows, g, 0, p);
        p += tile_format::tile_rows * (bits_of(w_.scale_type) / 8 + (w_.has_zeros ? 1 : 0));
      }
      part(h, p, w_.chunks[g], column, segment);
      p += w_.chunks[g] * chunk_bytes();
      column += w_.chunks[g] * pair_chunk_columns;
      segment += (w_.chunks[g] + pair_segment_chunks - 1) / pair_segment_chunks;
    }
  }
  void store(index_t tile, const std::array<float, 16>& sum, float* y, bool add) const {
    const index_t row = tile * tile_format::tile_rows;
    for (index_t r = 0; r < rows_of_tile(tile, w_.rows); ++r)
      put(y[row + r], sum[static_cast<std::size_t>(r)], add);
  }

  const pair_operand& w_;
  tile_operand positions_;
};
template <class Activations>
void sparse_product(const pair_operand& w, const Activations& a, index_t first, index_t last, float* y,
                    index_t y_stride, bool add) {
  for (index_t tile = first; tile < last; ++tile)
    for (index_t t = 0; t < a.tokens; ++t) pair_tiles(w).multiply(tile, a, t, y + t * y_stride, add);
}

inline void sparse_product(const masked_operand& w, const float_activations& a, index_t first, index_t last,
                           float* y, index_t y_stride, bool add) {
  for (index_t tile = first; tile < last; ++tile)
    for (index_t t = 0; t < a.tokens; ++t) {
      const std::uint8_t *p = w.stream + w.offsets[tile], *masks = p;
      std::array<float, 16> sum{};
      for (index_t c = 0; c < w.columns; ++c) {
        if (c % 32 == 0) {
          masks = p;
          p += 64;
        }
        std::uint16_t mask;
        std::memcpy(&mask, masks + c % 32 * 2, sizeof mask);
        for (std::size_t r = 0; r < 16; ++r) {
          if ((static_cast<unsigned>(mask) >> r & 1U) == 0) continue;
          sum[r] += real_at(w.value_type, p, 0) * a.values[t * a.stride + c];
          p += bits_of(w.value_type) / 8;
        }
      }
      for (index_t r = 0; r < rows_of_tile(tile, w.rows); ++r)
        put(y[t * y_stride + 16 * tile + r], sum[static_cast<std::size_t>(r)], add);
    }
}
inline void sparse_product(const real_operand& w, const float_activations& a, index_t first, index_t last,
                           float* y, index_t y_stride, bool add) {
  for (index_t tile = first; tile < last; ++tile)
    for (index_t t = 0; t < a.tokens; ++t) {
      std::array<float, 16> sum{};
      for (index_t c = 0; c < w.columns; ++c)
        for (std::size_t r = 0; r < 16; ++r)
          sum[r] += real_at(w.value_type, w.stream + tile * w.tile_bytes,
                            16 * (w.first + c) + static_cast<index_t>(r)) *
                    a.values[t * a.stride + c];
      for (index_t r = 0; r < rows_of_tile(tile, w.rows); ++r)
        put(y[t * y_stride + 16 * tile + r], sum[static_cast<std::size_t>(r)], add);
    }
}

inline float activation_at(const float_activations& a, index_t t, index_t c) {
  return a.values[t * a.stride + c];
}
inline float activation_at(const block_activations& a, index_t t, index_t c) {
  return a.values[(t / 16 * a.columns + c) * 16 + t % 16];
}
template <class Activations>
void sparse_product(const dealt_operand& w, const Activations& a, index_t first, index_t last, float* y,
                    index_t y_stride, bool add) {
  const index_t step_bytes = index_t{16} * (2 + bits_of(w.value_type) / 8);
  for (index_t tile = first; tile < last; ++tile)
    for (index_t t = 0; t < a.tokens; ++t) {
      std::array<float, 16> sum{};
      for (index_t block = 0; block < w.blocks; ++block) {
        const std::uint8_t* p = w.stream + w.at(block, tile).offset;
        std::array<std::uint32_t, 16> own, end;
        std::memcpy(own.data(), p, sizeof own);
        std::memcpy(end.data(), p + sizeof own, sizeof end);
        p += dealt_operand::header_bytes;
        for (std::size_t l = 0; l < 16; ++l)
          for (std::uint32_t k = 0; k < end[l]; ++k) {
            const std::uint8_t* step = p + k * step_bytes;
            std::uint16_t c;
            std::memcpy(&c, step + 2 * l, sizeof c);
            sum[k < own[l] >> 4U ? l : own[l] & 15U] +=
                real_at(w.value_type, step + 32, static_cast<index_t>(l)) *
                activation_at(a, t, block * w.block_columns + c);
          }
      }
      for (index_t r = 0; r < rows_of_tile(tile, w.rows); ++r)
        put(y[t * y_stride + 16 * tile + r], sum[static_cast<std::size_t>(r)], add);
    }
}

}  // namespace tersor::kernel::portable
