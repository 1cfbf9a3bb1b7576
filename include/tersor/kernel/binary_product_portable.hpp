// tersor - products with planes of signs in plain C++: what the kernels of every target must equal
// SPDX-License-Identifier: MIT
#pragma once

#include <array>        // std::array
#include <cmath>        // std::fma
#include <type_traits>  // std::is_same_v

#include <tersor/core/float16.hpp>
#include <tersor/kernel/binary_format.hpp>

namespace tersor::kernel::portable {

/// Sixteen reals of a header.
inline std::array<float, 16> read_sixteen(dtype type, const std::uint8_t* p) {
  std::array<float, 16> all;
  for (std::size_t r = 0; r < 16; ++r) {
    std::uint16_t bits;
    if (type == dtype::f32) {
      std::memcpy(&all[r], p + 4 * r, 4);
    } else {
      std::memcpy(&bits, p + 2 * r, 2);
      all[r] =
          type == dtype::f16 ? tersor::detail::float_from_f16(bits) : tersor::detail::float_from_bf16(bits);
    }
  }
  return all;
}

inline std::array<float, 16> signed_sums(const float* x) {
  std::array<float, 16> all;
  for (std::size_t n = 0; n < 16; ++n) {
    const auto signed_x = [&](std::size_t t) { return (n >> t & 1U) != 0 ? x[t] : -x[t]; };
    all[n] = (signed_x(0) + signed_x(1)) + (signed_x(2) + signed_x(3));
  }
  return all;
}
/// Tables of x [4 * count].
inline void fill_tables(const float* x, index_t count, float* out) {
  for (index_t j = 0; j < count; ++j) std::ranges::copy(signed_sums(x + 4 * j), out + 16 * j);
}
inline void fill_tables(const float* x, index_t count, float inverse_scale, std::uint8_t* out) {
  for (index_t j = 0; j < count; ++j)
    for (const float sum : signed_sums(x + 4 * j)) {
      const float shifted = std::fma(sum, inverse_scale, 12582912.0F + 128.0F);  // rounds to an integer
      std::uint32_t bits;
      std::memcpy(&bits, &shifted, sizeof bits);
      *out++ = static_cast<std::uint8_t>(bits);
    }
}

/// y [tokens, rows] of tiles [first, last) := w times the activations. Formulas and the order of additions of
/// tables of bytes are those of the other targets, so that the results are the same bits.
template <class Tables>
void sign_product(const binary_operand& w, const Tables& a, index_t first, index_t last, float* y,
                  index_t y_stride) {
  constexpr bool bytes = std::is_same_v<Tables, byte_tables>;
  for (index_t tile = first; tile < last; ++tile)
    for (index_t t = 0; t < a.tokens; ++t) {
      const std::uint8_t* p = w.stream + tile * w.tile_bytes;
      std::array<float, 16> sum{};
      const auto* table = a.values + t * a.stride;
      index_t segment = 0;
      for (index_t g = 0; g < w.groups; ++g) {
        const std::uint8_t* header = p;
        p += w.header_bytes;
        if (w.has_offsets) {
          const auto offset = read_sixteen(w.offset_type, header + w.planes * w.scale_bytes);
          for (std::size_t r = 0; r < 16; ++r) sum[r] = std::fma(offset[r], a.sums[t * a.groups + g], sum[r]);
        }
        for (index_t rest = w.chunks[g]; rest > 0; ++segment) {
          const index_t n = std::min(rest, binary_format::segment_chunks);
          for (index_t i = 0; i < w.planes; ++i) {
            const auto scale = read_sixteen(w.scale_type, header + i * w.scale_bytes);
            std::array<std::conditional_t<bytes, std::int32_t, float>, 16> part{};
            for (index_t k = 0; k < 4 * n; ++k, p += 16) {
              const auto* low = table + 16 * (k / 4 * 8 + k % 4);
              for (std::size_t r = 0; r < 16; ++r) part[r] += low[p[r] & 15U] + low[64 + (p[r] >> 4)];
            }
            for (std::size_t r = 0; r < 16; ++r) {
              float value;
              if constexpr (bytes)
                value = (static_cast<float>(part[r]) - 1024.0F * static_cast<float>(n)) *
                        a.scales[t * a.segments + segment];
              else
                value = part[r];
              sum[r] = std::fma(scale[r], value, sum[r]);
            }
          }
          table += 128 * n;
          rest -= n;
        }
      }
      const index_t row = tile * binary_format::tile_rows;
      std::copy_n(sum.begin(), std::min(binary_format::tile_rows, w.rows - row), y + t * y_stride + row);
    }
}

}  // namespace tersor::kernel::portable
