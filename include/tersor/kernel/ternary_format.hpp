// tersor - ternary digits in tiles of sixteen rows, five in a byte, as kernels read them
// SPDX-License-Identifier: MIT
#pragma once

// No paper: the byte is that of core/trits.hpp, the layout is ours.

#include <tersor/core/trits.hpp>
#include <tersor/kernel/tile_format.hpp>

namespace tersor::kernel {

/// Part of a group of columns whose 8-bit activations have one scale. It takes whole blocks of columns; the
/// first may be the last one of the segment before, whose other columns then meet activations of zero.
struct ternary_segment {
  index_t group, begin, end;  ///< columns
  index_t blocks;             ///< that it takes, `shared` counted
  index_t header;             ///< bytes from the beginning of the tile: scales of the group
  index_t shared;             ///< where the block lies that another segment began; -1: there is none
  index_t codes;              ///< where its own blocks begin
  index_t place;              ///< of its activations in a row of them
};

/// A weight [rows, columns] of digits 0 ... 2 is cut into tiles of 16 rows. A tile is the row's blocks of 20
/// columns one after the other, without gaps between groups; before the first block that begins in a group
/// stand the group's scales [16]. The last tile is padded with rows of zero bytes, the last block with
/// columns.
///
/// A block is 64 bytes: byte 4 r + b holds digits 0 ... 4 of row r, digit t being that of column 4 t + b. So
/// the first digits of all bytes are four neighbouring columns of sixteen rows, as a dot-product instruction
/// wants them, and times 3 the next ones are.
struct ternary_format {
  static constexpr index_t tile_rows = tile_format::tile_rows;
  static constexpr index_t block_columns = 20;
  static constexpr index_t block_bytes = 64;
  static constexpr index_t most_columns = 128;  ///< of a segment; longer groups are cut every 120 columns

  index_t rows = 0, cols = 0, group_size = 1;
  dtype scale_type = dtype::f32;          ///< f32, f16 or bf16
  std::vector<ternary_segment> segments;  ///< of every tile
  index_t tile_bytes = 0;
  index_t activations = 0;  ///< numbers in a row of them

  ternary_format() = default;
  ternary_format(index_t row_count, index_t col_count, index_t columns_of_group, dtype type)
      : rows(row_count), cols(col_count), group_size(columns_of_group), scale_type(type) {
    index_t emitted = 0, last = -1;
    for (index_t j = 0; j < cols; j += group_size) {
      const index_t end = std::min(cols, j + group_size), header = tile_bytes;
      tile_bytes += header_bytes();
      const index_t piece = end - j <= most_columns ? most_columns : 6 * block_columns;
      for (index_t begin = j; begin < end; begin += piece) {
        const index_t stop = std::min(end, begin + piece);
        const index_t first = begin / block_columns, after = (stop + block_columns - 1) / block_columns;
        segments.push_back({.group = j / group_size,
                            .begin = begin,
                            .end = stop,
                            .blocks = after - first,
                            .header = header,
                            .shared = first < emitted ? last : -1,
                            .codes = tile_bytes,
                            .place = activations});
        activations += (after - first) * block_columns;
        tile_bytes += (after - emitted) * block_bytes;
        if (after > emitted) last = tile_bytes - block_bytes;
        emitted = after;
      }
    }
  }
  index_t tiles() const { return (rows + tile_rows - 1) / tile_rows; }
  index_t header_bytes() const { return tile_rows * (bits_of(scale_type) / 8); }
};

/// Writes one block. @param digits [16, 20].
inline void pack_trit_block(matrix_view<const std::uint8_t> digits, std::uint8_t* out) {
  for (index_t r = 0; r < ternary_format::tile_rows; ++r)
    for (index_t b = 0; b < 4; ++b) {
      std::uint8_t five[5];
      for (index_t t = 0; t < 5; ++t) five[t] = digits(r, 4 * t + b);
      out[4 * r + b] = pack_trits(five);
    }
}
/// Reads one block into digits [16, 20].
inline void unpack_trit_block(const std::uint8_t* in, matrix_view<std::uint8_t> digits) {
  for (index_t r = 0; r < ternary_format::tile_rows; ++r)
    for (index_t c = 0; c < ternary_format::block_columns; ++c)
      digits(r, c) = trit_of(in[4 * r + c % 4], static_cast<std::size_t>(c / 4));
}

/// A weight in this format: W = scale * (digit - 1).
struct ternary_operand {
  const std::uint8_t* stream = nullptr;  ///< tile after tile
  index_t tile_bytes = 0, rows = 0;
  const ternary_segment* segments = nullptr;
  index_t segment_count = 0;
  dtype scale_type = dtype::f32;
};

/// Activations, each segment's [blocks, 20] from its `place` on; zeros where a block's columns are others'.
struct ternary_floats {
  const float* values = nullptr;  ///< [tokens, stride]
  index_t stride = 0;
  const float* sums = nullptr;  ///< [tokens, segments]: Σ of a segment
  index_t tokens = 0, segments = 0;
};
/// The same as bytes: x ≈ scale of the segment times code.
struct ternary_bytes {
  const std::int8_t* values = nullptr;  ///< [tokens, stride]
  index_t stride = 0;
  const float* sums = nullptr;    ///< [tokens, segments]: Σ of the codes
  const float* scales = nullptr;  ///< [tokens, segments]
  index_t tokens = 0, segments = 0;
};

}  // namespace tersor::kernel
