// tersor - products with tiles of codes: y = x Wᵀ for one or some tokens, at the speed of memory
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/lanes/avx2.hpp>
#include <tersor/kernel/lanes/avx512.hpp>
#include <tersor/kernel/lanes/neon.hpp>
#include <tersor/kernel/lanes/portable.hpp>
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
  const float* sums = nullptr;  ///< [tokens, groups]: Σ of a group's activations
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
  const float* sums = nullptr;  ///< [tokens, groups]: Σ of a group's scaled codes
  index_t tokens = 0, groups = 0;
  byte_activations from(index_t t) const {
    return {codes + t * stride, stride, scales + t * segments, segments, sums + t * groups,
            tokens - t,         groups};
  }
};

namespace portable {
#include <tersor/kernel/tile_product.inc>
}
#if defined(TERSOR_X86_KERNELS)
namespace avx2 {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX2)
#include <tersor/kernel/tile_product.inc>
TERSOR_END_TARGET
}  // namespace avx2
namespace avx512 {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX512)
#include <tersor/kernel/tile_product.inc>
TERSOR_END_TARGET
}  // namespace avx512
#elif defined(TERSOR_NEON_KERNELS)
namespace neon {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_NEON)
#include <tersor/kernel/tile_product.inc>
TERSOR_END_TARGET
}  // namespace neon
#endif

/// y [tokens, rows] := w times the activations, of tiles [first, last) alone. With bytes all targets give the
/// same bits; with floats the order of additions is the target's.
template <class Activations>
void tile_product(target t, const tile_operand& w, const Activations& a, index_t first, index_t last,
                  float* y, index_t y_stride) {
#if defined(TERSOR_X86_KERNELS)
  if (t == target::avx512) return avx512::product(w, a, first, last, y, y_stride);
  if (t == target::avx2) return avx2::product(w, a, first, last, y, y_stride);
#elif defined(TERSOR_NEON_KERNELS)
  if (t == target::neon) return neon::product(w, a, first, last, y, y_stride);
#endif
  (void)t;
  portable::product(w, a, first, last, y, y_stride);
}

}  // namespace tersor::kernel
