// tersor - planes of signs in tiles of sixteen rows, in the order in which look-ups of four columns read them
// SPDX-License-Identifier: MIT
#pragma once

// T-MAC (arXiv:2407.00088): a sign of four columns is an index into a table of sixteen sums. The layout is
// ours.

#include <cstring>  // std::memset

#include <tersor/kernel/tile_format.hpp>

namespace tersor::kernel {

/// A weight [rows, columns] of planes of signs is cut into tiles of 16 rows; a tile holds its groups of
/// columns one after the other. A group is its scales [planes, 16], its offsets [16] where it has any, and
/// then its segments of up to 4 chunks of 32 columns: of each segment all chunks of the first plane, then
/// those of the second, and so on. The last tile is padded with rows of zeros, every group with columns of
/// zeros to whole chunks.
///
/// A chunk of one plane is 64 bytes. Byte 16 k + r belongs to row r: its low four bits are the signs of
/// columns 4 k to 4 k + 3 (the first in the lowest bit, 1 is plus), its high four those of columns 16 + 4 k
/// to 16 + 4 k + 3. So a quarter of a register looks up sixteen rows in the table of its four columns, and
/// the table serves all planes of the segment.
struct binary_format {
  static constexpr index_t tile_rows = tile_format::tile_rows;
  static constexpr index_t chunk_columns = 32;
  static constexpr index_t chunk_bytes = 64;    ///< of a plane
  static constexpr index_t segment_chunks = 4;  ///< whose tables of bytes have one scale, at most

  index_t rows = 0;
  int planes = 1;
  dtype scale_type = dtype::f32, offset_type = dtype::f32;  ///< f32, f16 or bf16
  bool offsets = false;
  std::vector<std::int32_t> chunks;  ///< of each group

  index_t groups() const { return static_cast<index_t>(chunks.size()); }
  index_t tiles() const { return (rows + tile_rows - 1) / tile_rows; }
  index_t scale_bytes() const { return tile_rows * (bits_of(scale_type) / 8); }  ///< of a plane
  index_t header_bytes() const {
    return planes * scale_bytes() + (offsets ? tile_rows * (bits_of(offset_type) / 8) : 0);
  }
  index_t total_chunks() const {
    index_t n = 0;
    for (const auto c : chunks) n += c;
    return n;
  }
  index_t tile_bytes() const { return groups() * header_bytes() + total_chunks() * planes * chunk_bytes; }
  index_t segments() const {
    index_t n = 0;
    for (const auto c : chunks) n += (c + segment_chunks - 1) / segment_chunks;
    return n;
  }
};

/// Writes one chunk of plane `plane`. @param codes [16, 32], bit i of a code being its sign in plane i.
inline void pack_signs(matrix_view<const std::uint8_t> codes, int plane, std::uint8_t* out) {
  for (index_t k = 0; k < 4; ++k)
    for (index_t r = 0; r < binary_format::tile_rows; ++r) {
      const std::uint8_t* low = codes.data + r * codes.strides[0] + 4 * k * codes.strides[1];
      unsigned byte = 0;
      for (index_t t = 0; t < 4; ++t) {
        byte |= (static_cast<unsigned>(low[t * codes.strides[1]]) >> plane & 1U) << t;
        byte |= (static_cast<unsigned>(low[(16 + t) * codes.strides[1]]) >> plane & 1U) << (4 + t);
      }
      out[16 * k + r] = static_cast<std::uint8_t>(byte);
    }
}
/// Sets bit `plane` of codes [16, 32], where it is 0, to what a chunk says.
inline void unpack_signs(const std::uint8_t* in, int plane, matrix_view<std::uint8_t> codes) {
  for (index_t c = 0; c < binary_format::chunk_columns; ++c)
    for (index_t r = 0; r < binary_format::tile_rows; ++r) {
      const unsigned bit = static_cast<unsigned>(in[16 * (c % 16 / 4) + r]) >> (c / 16 * 4 + c % 4) & 1U;
      codes(r, c) = static_cast<std::uint8_t>(codes(r, c) | bit << plane);
    }
}

/// A weight in this format.
struct binary_operand {
  const std::uint8_t* stream = nullptr;  ///< tile after tile
  index_t tile_bytes = 0, rows = 0;
  const std::int32_t* chunks = nullptr;  ///< [groups]
  index_t groups = 0;
  index_t planes = 1;
  index_t scale_bytes = 0, header_bytes = 0;
  dtype scale_type = dtype::f32, offset_type = dtype::f32;
  bool has_offsets = false;
};
inline binary_operand operand_of(const binary_format& f, const std::uint8_t* stream) {
  return {.stream = stream,
          .tile_bytes = f.tile_bytes(),
          .rows = f.rows,
          .chunks = f.chunks.data(),
          .groups = f.groups(),
          .planes = f.planes,
          .scale_bytes = f.scale_bytes(),
          .header_bytes = f.header_bytes(),
          .scale_type = f.scale_type,
          .offset_type = f.offset_type,
          .has_offsets = f.offsets};
}

/// Tables of activations: entry n of a table is Σ_t ± x[t] over its four columns, plus where bit t of n is 1.
/// One table for each four columns of the padded row. Entries n and 15 - n are each other's negatives; both
/// are kept, because sixteen bytes are what one look-up of a register's quarter takes, and a sign would cost
/// more.
struct sign_tables {
  index_t stride = 0;           ///< entries of a token: 16 for each table
  const float* sums = nullptr;  ///< [tokens, groups]: Σ of a group's activations, for offsets
  index_t tokens = 0, groups = 0;
};
struct float_tables : sign_tables {
  const float* values = nullptr;
};
/// Entries are scale of the segment * (byte - 128), rounded to the nearest after summing: each is off by at
/// most half a scale, which is the largest |entry| of the segment / 127.
struct byte_tables : sign_tables {
  const std::uint8_t* values = nullptr;
  const float* scales = nullptr;  ///< [tokens, segments]
  index_t segments = 0;
};

}  // namespace tersor::kernel
