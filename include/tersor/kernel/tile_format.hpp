// tersor - codes in tiles of sixteen rows: the order in which kernels read them, one stream without gaps
// SPDX-License-Identifier: MIT
#pragma once

// No paper: a layout for registers of sixteen lanes, after a probe of several (bench/README.md).

#include <algorithm>  // std::min
#include <cstdint>    // std::uint8_t
#include <cstring>    // std::memcpy
#include <span>       // std::span
#include <vector>     // std::vector

#include <tersor/core/dtype.hpp>
#include <tersor/core/matrix.hpp>

namespace tersor::kernel {

/// A weight [rows, columns] of b-bit codes is cut into tiles of 16 rows; a tile holds its groups of columns
/// one after the other, each group its scales [16], its zero points [16] as bytes where it has any, and then
/// its codes in chunks of 32 columns. The last tile is padded with rows of zeros, every group with columns of
/// zeros to whole chunks. Groups of 16 columns are halves of chunks: a chunk is then a group of the tile with
/// two `parts`, whose scales stand one after the other.
///
/// The bits of a code are spread over planes of 8, 4, 2 or 1 bits, the widest first and with the lowest bits:
/// 3 = 2 + 1, 5 = 4 + 1, 6 = 4 + 2, 7 = 4 + 2 + 1. A plane of w bits is w blocks of 64 bytes; bytes 4 r to 4
/// r + 3 of a block belong to row r, and the bits [k w, (k + 1) w) of byte b to column 32 / w * block + 4 k +
/// b. So four neighbouring columns of sixteen rows are one shift away from the four bytes that a dot-product
/// instruction wants, and sums need no exchange between lanes.
struct tile_format {
  static constexpr index_t tile_rows = 16;
  static constexpr index_t chunk_columns = 32;
  static constexpr index_t segment_chunks = 4;  ///< of 8-bit activations with one scale, at most

  index_t rows = 0;
  int bits = 4;
  dtype scale_type = dtype::f32;     ///< f32, f16, bf16 or a float of 8 bits; u8 for codes of scales
  bool zero_points = false;          ///< one for each row and group; else they are all the same
  std::vector<std::int32_t> chunks;  ///< of each group
  index_t parts = 1;                 ///< scales of a row in a group: 2 for the halves of one chunk

  index_t groups() const { return static_cast<index_t>(chunks.size()); }
  index_t tiles() const { return (rows + tile_rows - 1) / tile_rows; }
  index_t header_bytes() const {
    return tile_rows * (parts * bits_of(scale_type) / 8 + (zero_points ? 1 : 0));
  }
  index_t chunk_bytes() const { return tile_rows * chunk_columns * bits / 8; }
  index_t total_chunks() const {
    index_t n = 0;
    for (const auto c : chunks) n += c;
    return n;
  }
  index_t tile_bytes() const { return groups() * header_bytes() + total_chunks() * chunk_bytes(); }
  /// Columns of an input row: every group padded to whole chunks.
  index_t padded_columns() const { return total_chunks() * chunk_columns; }
  /// Runs of activations with one scale: each group is cut into pieces of `segment_chunks`.
  index_t segments() const {
    index_t n = 0;
    for (const auto c : chunks) n += (c + segment_chunks - 1) / segment_chunks;
    return n;
  }
};

/// The width of the widest plane of b-bit codes.
constexpr int widest_plane(int bits) { return bits >= 8 ? 8 : bits >= 4 ? 4 : bits >= 2 ? 2 : 1; }

/// Writes one chunk. @param codes [16, 32]. @param out 64 * bits bytes.
inline void pack_chunk(matrix_view<const std::uint8_t> codes, int bits, std::uint8_t* out) {
  std::memset(out, 0, static_cast<std::size_t>(bits) * 64);
  for (int low = 0; low < bits;) {
    const int w = widest_plane(bits - low);
    for (index_t r = 0; r < tile_format::tile_rows; ++r)
      for (index_t c = 0; c < tile_format::chunk_columns; ++c) {
        const index_t in_block = 32 / w, block = c / in_block, k = c % in_block / 4, b = c % 4;
        const unsigned part = (static_cast<unsigned>(codes(r, c)) >> low) & ((1U << w) - 1U);
        std::uint8_t& byte = out[64 * block + 4 * r + b];
        byte = static_cast<std::uint8_t>(byte | (part << (k * w)));
      }
    out += index_t{64} * w;
    low += w;
  }
}
/// Reads one chunk into codes [16, 32].
inline void unpack_chunk(const std::uint8_t* in, int bits, matrix_view<std::uint8_t> codes) {
  for (index_t r = 0; r < tile_format::tile_rows; ++r)
    for (index_t c = 0; c < tile_format::chunk_columns; ++c) {
      const std::uint8_t* plane = in;
      unsigned code = 0;
      for (int low = 0; low < bits;) {
        const int w = widest_plane(bits - low);
        const index_t in_block = 32 / w, block = c / in_block, k = c % in_block / 4, b = c % 4;
        code |= ((static_cast<unsigned>(plane[64 * block + 4 * r + b]) >> (k * w)) & ((1U << w) - 1U)) << low;
        plane += index_t{64} * w;
        low += w;
      }
      codes(r, c) = static_cast<std::uint8_t>(code);
    }
}

}  // namespace tersor::kernel
