// tersor - GGUF block types whose codes stand for points of a grid
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>  // std::popcount

#include <tersor/core/ggml_type.hpp>
#include <tersor/op/ggml_bytes.hpp>
#include <tersor/op/ggml_grids.hpp>

// Layouts of ggml-org/ggml, src/ggml-common.h; d is f16. A point has 8 values, in IQ3 4; a value is the
// point's, with a sign for each in IQ2 and IQ3, times the scale of its group:
//   IQ2_XXS  d, 8 groups of {u8 points[4], u32 w}: signs of 4 times 7 bits and scale of 4 bits in w
//   IQ2_XS   d, u16[32] of 9 bits of a point and 7 bits of signs, 16 scales of 4 bits
//   IQ2_S    d, low bits of points [32], signs [32], two high bits of points [8], 16 scales of 4 bits
//   IQ3_XXS  d, u8 points[64], u32 w[8] as in IQ2_XXS
//   IQ3_S    d, low bits of points [64], a high bit of points [8], signs [32], 8 scales of 4 bits
//   IQ1_S    d, low bits of points [32], u16 w[8]: high bits of 4 points, scale of 3 bits, sign of the shift
//   IQ1_M    low bits of points [32], high bits and sign of the shift [16], u16 w[4]: d in their highest 4
//            bits, 16 scales of 3 bits in the others
// Seven bits of signs are followed by their parity. IQ1 has no signs but adds 1/8 or -1/8 to a point.

// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result): offsets inside a block
namespace tersor::op::detail {

inline unsigned ggml_eight_signs(std::uint32_t seven) {
  seven &= 127U;
  return seven | (static_cast<unsigned>(std::popcount(seven)) & 1U) << 7;
}
/// out = scale * point, negative where the bit of `signs` is set.
template <std::size_t N>
void put_signed_point(const std::array<std::int8_t, N>& point, unsigned signs, float scale, float* out) {
  for (std::size_t j = 0; j < N; ++j) {
    const auto value = static_cast<float>(point[j]);
    out[j] = scale * ((signs >> j & 1U) != 0 ? -value : value);
  }
}
inline void put_shifted_point(const std::array<std::int8_t, 8>& point, bool down, float scale, float* out) {
  for (std::size_t j = 0; j < 8; ++j)
    out[j] = scale * (static_cast<float>(point[j]) + (down ? -0.125F : 0.125F));
}

inline void decode_iq2_xxs(const std::byte* block, float* out) {
  const auto& grid = iq2_xxs_grid();
  const float d = ggml_half(block);
  for (int g = 0; g < 8; ++g) {
    const std::byte* points = block + 2 + 8 * g;
    const std::uint32_t w = ggml_u32(points + 4);
    const float scale = d * (0.5F + static_cast<float>(w >> 28)) * 0.25F;
    for (int i = 0; i < 4; ++i)
      put_signed_point(grid[std::to_integer<std::size_t>(points[i])], ggml_eight_signs(w >> (7 * i)), scale,
                       out + 32 * g + 8 * i);
  }
}
/// Scale of point i of IQ2_XS and IQ2_S: two points share a nibble.
inline float iq2_scale(float d, const std::byte* scales, int i) {
  return d * (0.5F + static_cast<float>(ggml_nibble(scales, i / 2))) * 0.25F;
}
inline void decode_iq2_xs(const std::byte* block, float* out) {
  const auto& grid = iq2_xs_grid();
  const float d = ggml_half(block);
  for (int i = 0; i < 32; ++i) {
    const std::uint32_t w = ggml_u16(block + 2 + 2 * i);
    put_signed_point(grid[w & 511U], ggml_eight_signs(w >> 9), iq2_scale(d, block + 66, i), out + 8 * i);
  }
}
inline void decode_iq2_s(const std::byte* block, float* out) {
  const auto& grid = iq2_s_grid();
  const float d = ggml_half(block);
  for (int i = 0; i < 32; ++i) {
    const int high = ggml_byte(block + 66 + i / 4) >> (2 * (i % 4)) & 3;
    put_signed_point(grid[static_cast<std::size_t>(ggml_byte(block + 2 + i) | high << 8)],
                     std::to_integer<unsigned>(block[34 + i]), iq2_scale(d, block + 74, i), out + 8 * i);
  }
}
inline void decode_iq3_xxs(const std::byte* block, float* out) {
  const auto& grid = iq3_xxs_grid();
  const float d = ggml_half(block);
  for (int i = 0; i < 64; ++i) {
    const std::uint32_t w = ggml_u32(block + 66 + 4 * (i / 8));
    const unsigned signs = ggml_eight_signs(w >> (7 * (i % 8 / 2))) >> (4 * (i % 2));
    put_signed_point(grid[std::to_integer<std::size_t>(block[2 + i])], signs,
                     d * (0.5F + static_cast<float>(w >> 28)) * 0.5F, out + 4 * i);
  }
}
inline void decode_iq3_s(const std::byte* block, float* out) {
  const auto& grid = iq3_s_grid();
  const float d = ggml_half(block);
  for (int i = 0; i < 64; ++i) {
    const int high = ggml_byte(block + 66 + i / 8) >> (i % 8) & 1;
    const auto signs = static_cast<unsigned>(ggml_nibble(block + 74, i));
    put_signed_point(grid[static_cast<std::size_t>(ggml_byte(block + 2 + i) | high << 8)], signs,
                     d * static_cast<float>(1 + 2 * ggml_nibble(block + 106, i / 8)), out + 4 * i);
  }
}
inline void decode_iq1_s(const std::byte* block, float* out) {
  const auto& grid = iq1_grid();
  const float d = ggml_half(block);
  for (int i = 0; i < 32; ++i) {
    const auto w = static_cast<int>(ggml_u16(block + 34 + 2 * (i / 4)));
    const int high = w >> (3 * (i % 4)) & 7;
    put_shifted_point(grid[static_cast<std::size_t>(ggml_byte(block + 2 + i) | high << 8)], (w & 0x8000) != 0,
                      d * static_cast<float>(2 * (w >> 12 & 7) + 1), out + 8 * i);
  }
}
inline void decode_iq1_m(const std::byte* block, float* out) {
  const auto& grid = iq1_grid();
  std::uint32_t bits = 0;
  for (int k = 0; k < 4; ++k) bits |= ggml_u16(block + 48 + 2 * k) >> 12 << (4 * k);
  const float d = tersor::detail::float_from_f16(static_cast<std::uint16_t>(bits));
  for (int i = 0; i < 32; ++i) {
    const int nibble = ggml_nibble(block + 32, i);
    const int scale = static_cast<int>(ggml_u16(block + 48 + 2 * (i / 8))) >> (3 * (i % 8 / 2)) & 7;
    put_shifted_point(grid[static_cast<std::size_t>(ggml_byte(block + i) | (nibble & 7) << 8)],
                      (nibble & 8) != 0, d * static_cast<float>(2 * scale + 1), out + 8 * i);
  }
}

/// The decoder of a block of such a type, or nullptr.
inline auto find_grid_decoder(ggml_type type) -> void (*)(const std::byte*, float*) {
  switch (type) {
    case ggml_type::iq2_xxs:
      return decode_iq2_xxs;
    case ggml_type::iq2_xs:
      return decode_iq2_xs;
    case ggml_type::iq2_s:
      return decode_iq2_s;
    case ggml_type::iq3_xxs:
      return decode_iq3_xxs;
    case ggml_type::iq3_s:
      return decode_iq3_s;
    case ggml_type::iq1_s:
      return decode_iq1_s;
    case ggml_type::iq1_m:
      return decode_iq1_m;
    default:
      return nullptr;
  }
}

}  // namespace tersor::op::detail
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)
