// tersor - operands of products with tiles of codes
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/tile_format.hpp>

namespace tersor::kernel {

/// Tokens that pass over a tile together: its stream is read from memory once for all of them.
inline constexpr index_t tile_tokens = 16;

/// Scales that are stored as bytes: scale i = max(levels[code] * largest[i / block_size] + offset, 0), that
/// of row r and group g being number r * groups + g.
struct coded_scales {
  const float* levels = nullptr;   ///< [256]
  const float* largest = nullptr;  ///< of each block, of the rows of padding too
  index_t block_size = 1;
  float offset = 0;
};

/// A weight in tile format. W = scale * (value(code) - zero point), value(code) the code, or levels[code].
struct tile_operand {
  const std::uint8_t* stream = nullptr;  ///< tile after tile
  index_t tile_bytes = 0, rows = 0;
  const std::int32_t* chunks = nullptr;  ///< [groups]
  index_t groups = 0;
  index_t parts = 1;  ///< scales of a row in a group; 2 for 4-bit codes of levels only
  int bits = 4;
  dtype scale_type = dtype::f32;
  const coded_scales* coded = nullptr;  ///< null: scales are reals
  float unit = 1;                       ///< a factor of all scales
  bool has_zeros = false;
  float zero_point = 0;                       ///< of all groups that have none of their own
  bool meaning_is_level = false;              ///< 4-bit codes only
  const float* levels = nullptr;              ///< [16]; the numbers 0 .. 15 where codes are numbers
  const std::uint8_t* byte_levels = nullptr;  ///< [16] for 8-bit activations, 4-bit codes only
};

/// Activations in the order of the tiles' columns, padded with zeros.
struct float_activations {
  const float* values = nullptr;  ///< [tokens, stride]
  index_t stride = 0;
  const float* sums = nullptr;  ///< [tokens, groups]: Σ of the activations of a group, or of a part of one
  index_t tokens = 0, groups = 0;
  float_activations from(index_t t) const {
    return {values + t * stride, stride, sums + t * groups, tokens - t, groups};
  }
};
/// The same as bytes: x ≈ scale of the segment times code.
struct byte_activations {
  const std::int8_t* codes = nullptr;  ///< [tokens, stride]
  index_t stride = 0;
  const float* scales = nullptr;  ///< [tokens, segments]
  index_t segments = 0;
  const float* sums = nullptr;  ///< [tokens, groups]: Σ of the scaled codes of a group or part
  index_t tokens = 0, groups = 0;
  byte_activations from(index_t t) const {
    return {codes + t * stride, stride, scales + t * segments, segments, sums + t * groups,
            tokens - t,         groups};
  }
};

/// A piece of a group of at most `segment_chunks` chunks: its places in a tile and in the activations.
struct tile_segment {
  index_t index, group, column, chunks;
  index_t header, codes;  ///< bytes from the beginning of the tile
};
/// The segments of every tile of a format.
inline std::vector<tile_segment> segments_of(const tile_format& f) {
  std::vector<tile_segment> all;
  index_t column = 0, offset = 0;
  for (index_t g = 0; g < f.groups(); ++g) {
    const index_t header = offset;
    offset += f.header_bytes();
    for (index_t rest = f.chunks[static_cast<std::size_t>(g)]; rest > 0;) {
      const index_t n = std::min(rest, tile_format::segment_chunks);
      all.push_back({static_cast<index_t>(all.size()), g, column, n, header, offset});
      column += n * tile_format::chunk_columns;
      offset += n * f.chunk_bytes();
      rest -= n;
    }
  }
  return all;
}

/// Activations of many tokens in blocks of as many as a kernel takes at a time (`block_tokens`), segment by
/// segment: [segment][block][column][token], the last block padded with zeros.
struct packed_activations {
  index_t tokens = 0, padded_tokens = 0;
  const tile_segment* places = nullptr;
  index_t segments = 0, segments_in_cache = 1;
  /// Where the block of token t begins in a segment.
  index_t at(const tile_segment& s, index_t t) const {
    return s.column * padded_tokens + t * s.chunks * tile_format::chunk_columns;
  }
};
struct packed_floats : packed_activations {
  const float* values = nullptr;
};
/// As bytes, four columns of a token together: [segment][block][column / 4][token][4].
struct packed_bytes : packed_activations {
  const std::int8_t* codes = nullptr;
  const float* scales = nullptr;  ///< [tokens, segments]
  const float* sums = nullptr;    ///< [tokens, segments, parts]: Σ of the codes
};

}  // namespace tersor::kernel
