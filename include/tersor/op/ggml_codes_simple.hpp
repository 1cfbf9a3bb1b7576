// tersor - codes and scales of GGUF blocks of 32 to 128 values
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/float8.hpp>
#include <tersor/op/ggml_bytes.hpp>

// Layouts of ggml-org/ggml, src/ggml-common.h; d, m are f16, q codes of 4 bits of which the first half is in
// low nibbles and the second in high ones:
//   Q4_0  d, q[32]: d (q - 8)                    Q4_1  d, m, q[32]: d q + m
//   Q5_0  d, high bits u32, q[32]: d (q - 16)    Q5_1  d, m, high bits u32, q[32]: d q + m
//   Q8_0  d, i8[32]: d q                         Q8_1  d, d Σ q, i8[32]: d q
//   IQ4_NL  d, q[32]: d level[q]
//   MXFP4   e, q[32]: 2^(e - 128) level[q], also for e = 255
//   NVFP4   4 scales in E4M3, q[16] for each: scale level[q] / 2; the scale's sign does not count, 0x7f is 0
//   Q1_0    d, a bit for each of 128 values: d or -d
//   Q2_0    d, two bits for each of 64 values, four in a byte: d (q - 1)

// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result): offsets inside a block
namespace tersor::op::detail {

inline constexpr std::int8_t ggml_nonlinear_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                          1,    13,   25,  38,  53,  69,  89,  113};
/// Twice those of E2M1.
inline constexpr std::int8_t ggml_e2m1_levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
inline constexpr std::int8_t ggml_sign_levels[2] = {-1, 1};

template <int At>
void ggml_codes_of_4_bits(const std::byte* block, std::uint8_t* codes) {
  ggml_halves(block + At, 32, codes);
}
template <int At>
void ggml_codes_of_5_bits(const std::byte* block, std::uint8_t* codes) {
  ggml_halves(block + At + 4, 32, codes);
  const std::uint32_t high = ggml_u32(block + At);
  for (int j = 0; j < 32; ++j) codes[j] = static_cast<std::uint8_t>(codes[j] | (high >> j & 1U) << 4);
}
template <int At>
void ggml_codes_of_8_bits(const std::byte* block, std::uint8_t* codes) {
  ggml_signed_bytes(block + At, 32, codes);
}
inline void ggml_codes_nvfp4(const std::byte* block, std::uint8_t* codes) {
  for (int g = 0; g < 4; ++g) ggml_halves(block + 4 + 8 * g, 16, codes + 16 * g);
}
inline void ggml_codes_q1_0(const std::byte* block, std::uint8_t* codes) {
  for (int j = 0; j < 128; ++j)
    codes[j] = static_cast<std::uint8_t>(ggml_byte(block + 2 + j / 8) >> (j % 8) & 1);
}
inline void ggml_codes_q2_0(const std::byte* block, std::uint8_t* codes) {
  for (int j = 0; j < 64; ++j)
    codes[j] = static_cast<std::uint8_t>(ggml_byte(block + 2 + j / 4) >> (2 * (j % 4)) & 3);
}

/// One scale, an f16 at byte `At`.
template <int At>
void ggml_scale_at(const std::byte* block, float* scale, float*) {
  scale[0] = ggml_half(block + At);
}
inline void ggml_scale_and_offset(const std::byte* block, float* scale, float* offset) {
  scale[0] = ggml_half(block);
  offset[0] = ggml_half(block + 2);
}
inline void ggml_scale_mxfp4(const std::byte* block, float* scale, float*) {
  const auto e = std::to_integer<std::uint32_t>(block[0]);
  scale[0] = std::bit_cast<float>(e < 2 ? 0x00200000U << e : (e - 1) << 23);
}
inline void ggml_scales_nvfp4(const std::byte* block, float* scale, float*) {
  for (int g = 0; g < 4; ++g) {
    const int code = ggml_byte(block + g);
    // 0xff is not NaN here but 1.875 * 2^8
    const float value = code == 0x7f   ? 0.0F
                        : code == 0xff ? 480.0F
                                       : f8_e4m3::from_bits(static_cast<std::uint8_t>(code & 0x7f));
    scale[g] = value / 2;
  }
}

}  // namespace tersor::op::detail
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)
