// tersor - exact entries of a tile of rows, added to products with what else is stored of the tile
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>  // std::uint8_t

#include <tersor/core/view.hpp>
#include <tersor/kernel/row_products.hpp>

namespace tersor::kernel {

/// A few entries of a tile, each of which belongs to one of `sums` sums: sum s += Σ x[place >> shift] (value
/// - low[place]) over its entries, where a table `low` tells what the tile holds in their stead. In rounds
/// (jagged diagonals): sums are put in the order of how many entries they have, and round r holds entry r of
/// the first round[r] of them, so that sixteen neighbours add to sixteen neighbouring sums.
struct outlier_tile {
  static constexpr index_t most_sums = 256, most_places = 256;
  /// Bytes behind the last place of a tile that must be readable.
  static constexpr index_t padding = 16;

  const std::uint8_t* place = nullptr;   ///< [entries], round by round
  const float* value = nullptr;          ///< [entries + padding]
  const std::uint16_t* round = nullptr;  ///< [rounds], 1 or more each
  const std::uint8_t* order = nullptr;   ///< [sums + padding]: where among the ordered ones sum s is
  index_t rounds = 0, sums = 0;
};

/// out[j stride + s - first] += sum s of vector j for the sums first <= s < last. `low` is [places], `places`
/// at most `most_places`; vectors are [places >> shift]. Cost: a round of sixteen entries takes two lookups
/// in tables of `places` once, and one and a multiplication for every vector.
template <class = void>
void add_outliers(target t, const outlier_tile& x, const float* low, index_t places, int shift, row_vectors v,
                  index_t first, index_t last, float* out, index_t out_stride);

#if defined(TERSOR_PRECOMPILED)
extern template void add_outliers(target, const outlier_tile&, const float*, index_t, int, row_vectors,
                                  index_t, index_t, float*, index_t);
#endif

}  // namespace tersor::kernel

#if !defined(TERSOR_PRECOMPILED)
#include <tersor/kernel/outlier_tile_body.hpp>
#endif
