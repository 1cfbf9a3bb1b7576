// tersor - operands of products with sparse and thin weights: tiles of sixteen rows, and compressed rows
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/tile_operand.hpp>

namespace tersor::kernel {

/// A 2:4 weight in tiles of 16 rows: as kernel/tile_format.hpp with the kept entries in the place of columns,
/// each chunk of 32 of them followed by their positions (0 .. 3 in their run of four columns) as a chunk of
/// 2-bit codes. Two neighbours are kept of one run; so four bytes of codes meet eight activations, of which
/// the four bytes of positions, and 4 more for the second run, choose.
///
/// Bits per weight: half of a value's and 1, and the headers.
inline constexpr index_t pair_chunk_columns = 2 * tile_format::chunk_columns;  ///< of the dense weight
inline constexpr index_t pair_segment_chunks = 2;    ///< of 8-bit activations with one scale, at most
inline constexpr index_t pair_position_bytes = 128;  ///< of a chunk
struct pair_operand : tile_operand {
  dtype value_type = dtype::u8;  ///< u8: codes on a grid; f32, f16 or bf16: reals [kept][16], no headers
};

/// A sparse weight in tiles of 16 rows: for 32 columns their masks (16 bits each, bit r: row r is stored),
/// then the stored values in the order of columns and, in a column, of rows. Bits per weight at density d: 1
/// + d times those of a value.
struct masked_operand {
  const std::uint8_t* stream = nullptr;  ///< 64 bytes after its end may be read
  const index_t* offsets = nullptr;      ///< [tiles]: where a tile begins
  index_t rows = 0, columns = 0;         ///< columns padded to whole 32
  dtype value_type = dtype::f32;
};

/// A dense weight of reals in tiles of 16 rows, [tile][column][16].
struct real_operand {
  const std::uint8_t* stream = nullptr;
  index_t tile_bytes = 0, rows = 0;
  index_t first = 0, columns = 0;  ///< the columns of every tile to be multiplied
  dtype value_type = dtype::f32;
};

/// Compressed sparse rows in blocks of columns, whose activations stay in the nearest cache, and in these in
/// tiles of 16 rows, whose entries are dealt to sixteen lanes in nearly equal numbers: lane r takes entries
/// of row r, and one of a short row then takes those of a long one that it helps. A tile is a header and
/// steps. The header says of each lane how many entries are of its own row, times 16, plus the row that it
/// helps (u32 [16]), and how many entries it has in all (u32 [16]); a step is the columns in the block (u16
/// [16]) and the values [16] of the lanes' next entries, zeros where a lane has none.
struct dealt_tile {
  index_t offset = 0;  ///< where it begins in the stream
  std::int32_t steps = 0;
  std::int32_t even = 0;  ///< steps at the beginning in which every lane has an entry of its own row
};
struct dealt_operand {
  static constexpr index_t header_bytes = 128;
  const std::uint8_t* stream = nullptr;
  const dealt_tile* tiles = nullptr;  ///< [blocks][tiles of 16 rows]
  index_t rows = 0;
  index_t blocks = 1, block_columns = 0;  ///< at most 65536 columns each
  dtype value_type = dtype::f32;
  const dealt_tile& at(index_t block, index_t tile) const {
    return tiles[block * ((rows + tile_format::tile_rows - 1) / tile_format::tile_rows) + tile];
  }
};
/// Activations of more than `dealt_tokens` tokens for compressed rows, in blocks of 16: [block][column][16].
inline constexpr index_t dealt_tokens = 4;
struct block_activations {
  const float* values = nullptr;  ///< the last block padded with zeros
  index_t columns = 0, tokens = 0;
};

}  // namespace tersor::kernel
