// tersor - products with ternary digits in plain C++: what the kernels of every target must equal
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/binary_product_portable.hpp>
#include <tersor/kernel/ternary_format.hpp>

namespace tersor::kernel::portable {

/// y [tokens, rows] of tiles [first, last) := w times the activations. Formulas and the order of additions of
/// bytes are those of the other targets, so that the results are the same bits.
template <class Activations>
void trit_product(const ternary_operand& w, const Activations& a, index_t first, index_t last, float* y,
                  index_t y_stride) {
  constexpr bool bytes = std::is_same_v<Activations, ternary_bytes>;
  for (index_t tile = first; tile < last; ++tile)
    for (index_t t = 0; t < a.tokens; ++t) {
      const std::uint8_t* p = w.stream + tile * w.tile_bytes;
      std::array<float, 16> sum{};
      for (index_t i = 0; i < w.segment_count; ++i) {
        const auto& s = w.segments[i];
        const auto scale = read_sixteen(w.scale_type, p + s.header);
        std::array<std::conditional_t<bytes, std::int32_t, float>, 16> part{};
        const auto* x = a.values + t * a.stride + s.place;
        for (index_t block = 0, own = s.codes; block < s.blocks; ++block) {
          const std::uint8_t* from = p + s.shared;
          if (block > 0 || s.shared < 0) {
            from = p + own;
            own += ternary_format::block_bytes;
          }
          for (index_t c = 0; c < ternary_format::block_columns; ++c, ++x)
            for (std::size_t r = 0; r < 16; ++r) {
              const std::uint8_t byte = from[4 * r + static_cast<std::size_t>(c % 4)];
              part[r] += trit_of(byte, static_cast<std::size_t>(c / 4)) * *x;
            }
        }
        const index_t at = t * a.segments + i;
        for (std::size_t r = 0; r < 16; ++r) {
          float value = static_cast<float>(part[r]) - a.sums[at];
          if constexpr (bytes) value *= a.scales[at];
          sum[r] = std::fma(scale[r], value, sum[r]);
        }
      }
      const index_t row = tile * ternary_format::tile_rows;
      std::copy_n(sum.begin(), std::min(ternary_format::tile_rows, w.rows - row), y + t * y_stride + row);
    }
}

}  // namespace tersor::kernel::portable
