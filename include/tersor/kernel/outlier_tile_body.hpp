// tersor - the kernel of kernel/outlier_tile.hpp for every target; included where it is compiled
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::min
#include <cassert>    // assert
#include <cstring>    // std::memcpy

#include <tersor/kernel/lanes/avx2.hpp>
#include <tersor/kernel/lanes/avx512.hpp>
#include <tersor/kernel/lanes/neon.hpp>
#include <tersor/kernel/lanes/portable.hpp>
#include <tersor/kernel/outlier_tile.hpp>

namespace tersor::kernel {

namespace detail {

/// Entries that are worked on at a time, a multiple of sixteen.
inline constexpr index_t outlier_block = 1024;

/// A table of up to 256 numbers in a size that kernels look up in: 64, 128 or 256.
inline index_t table_size(index_t n) { return n <= 64 ? 64 : n <= 128 ? 128 : 256; }
struct padded_table {
  alignas(64) float value[256];
  /// x [n], or a copy of it where it has not the size of a table.
  const float* table(const float* x, index_t n) {
    if (n == table_size(n)) return x;
    std::memcpy(value, x, static_cast<std::size_t>(n) * sizeof(float));
    std::memset(value + n, 0, static_cast<std::size_t>(table_size(n) - n) * sizeof(float));
    return value;
  }
};

}  // namespace detail

#if defined(TERSOR_X86_KERNELS)
namespace avx512::outliers {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX512)
#include <tersor/kernel/outlier_tile.inc>
// uses the one before
#include <tersor/kernel/outlier_tile_avx512.inc>
TERSOR_END_TARGET
}  // namespace avx512::outliers
namespace avx2::outliers {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX2)
#include <tersor/kernel/outlier_tile.inc>
TERSOR_END_TARGET
}  // namespace avx2::outliers
#elif defined(TERSOR_NEON_KERNELS)
namespace neon::outliers {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_NEON)
#include <tersor/kernel/outlier_tile.inc>
TERSOR_END_TARGET
}  // namespace neon::outliers
#endif
namespace portable::outliers {
#include <tersor/kernel/outlier_tile.inc>
}  // namespace portable::outliers

template <class>
void add_outliers(target t, const outlier_tile& x, const float* low, index_t places, int shift, row_vectors v,
                  index_t first, index_t last, float* out, index_t out_stride) {
  assert(x.sums <= outlier_tile::most_sums && places <= outlier_tile::most_places);
  (void)t;
#if defined(TERSOR_X86_KERNELS)
  if (t == target::avx512)
    return avx512::outliers::add_fours(x, low, places, shift, v, first, last, out, out_stride);
  if (t == target::avx2) return avx2::outliers::add(x, low, places, shift, v, first, last, out, out_stride);
#elif defined(TERSOR_NEON_KERNELS)
  if (t == target::neon) return neon::outliers::add(x, low, places, shift, v, first, last, out, out_stride);
#endif
  portable::outliers::add(x, low, places, shift, v, first, last, out, out_stride);
}

}  // namespace tersor::kernel
