// tersor - codes and scales of GGUF blocks of 256 values
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/trits.hpp>
#include <tersor/op/ggml_bytes.hpp>

// Layouts of ggml-org/ggml, src/ggml-common.h; d, m are f16:
//   Q2_K  16 bytes of scale and minimum, 4 bits each; q[256] of 2 bits; d, m: d s q - m t per 16 values
//   Q3_K  32 bytes of high bits; q[256], their low 2 bits; 16 scales of 6 bits in 12 bytes; d:
//         d (s - 32) (q - 4) per 16 values
//   Q4_K  d, m, 8 scales and 8 minima of 6 bits in 12 bytes, q[256]: d s q - m t per 32 values
//   Q5_K  the same with 32 bytes of high bits before q
//   Q6_K  q[256] low bits, 64 bytes of high bits, i8 scales[16], d: d s (q - 32) per 16 values
//   Q8_K  d as f32, i8[256], sums of 16 values as i16: d q
//   IQ4_XS  d, high bits of 8 scales u16, their low bits [4], q[256]: d (s - 32) level[q] per 32 values
//   TQ1_0 240 ternary digits in 48 bytes, 16 in 4 bytes, d: d (q - 1)
//   TQ2_0 q[256] of 2 bits, d: d (q - 1)
// Codes of 4 bits lie in runs of 64 (IQ4_XS: 32), those of 2 bits in runs of 128 values.

// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result): offsets inside a block
namespace tersor::op::detail {

template <int At>
void ggml_codes_of_2_bits(const std::byte* block, std::uint8_t* codes) {
  for (int half = 0; half < 2; ++half) ggml_quarters(block + At + 32 * half, 128, codes + 128 * half);
}
inline void ggml_codes_q3_k(const std::byte* block, std::uint8_t* codes) {
  ggml_codes_of_2_bits<32>(block, codes);
  add_ggml_bits(block, 2, codes);
}
template <int At>
void ggml_codes_of_nibbles(const std::byte* block, std::uint8_t* codes) {
  for (int run = 0; run < 4; ++run) ggml_halves(block + At + 32 * run, 64, codes + 64 * run);
}
inline void ggml_codes_q5_k(const std::byte* block, std::uint8_t* codes) {
  ggml_codes_of_nibbles<48>(block, codes);
  add_ggml_bits(block + 16, 4, codes);
}
inline void ggml_codes_q6_k(const std::byte* block, std::uint8_t* codes) {
  for (int half = 0; half < 2; ++half) {
    ggml_halves(block + 64 * half, 128, codes + 128 * half);
    std::uint8_t high[128];
    ggml_quarters(block + 128 + 32 * half, 128, high);
    for (int j = 0; j < 128; ++j)
      codes[128 * half + j] = static_cast<std::uint8_t>(codes[128 * half + j] | high[j] << 4);
  }
}
inline void ggml_codes_q8_k(const std::byte* block, std::uint8_t* codes) {
  ggml_signed_bytes(block + 4, 256, codes);
}
inline void ggml_codes_iq4_xs(const std::byte* block, std::uint8_t* codes) {
  for (int g = 0; g < 8; ++g) ggml_halves(block + 8 + 16 * g, 32, codes + 32 * g);
}
inline void ggml_codes_tq1_0(const std::byte* block, std::uint8_t* codes) {
  // three runs of bytes; digit n of all bytes of a run stands before digit n + 1
  const auto digits = [&](const std::byte* bytes, std::size_t count, std::size_t places, std::uint8_t* out) {
    for (std::size_t n = 0; n < places; ++n)
      for (std::size_t i = 0; i < count; ++i)
        out[n * count + i] = trit_of(std::to_integer<std::uint8_t>(bytes[i]), n);
  };
  digits(block, 32, 5, codes);
  digits(block + 32, 16, 5, codes + 160);
  digits(block + 48, 4, 4, codes + 240);
}

inline void ggml_scales_q2_k(const std::byte* block, float* scale, float* offset) {
  const float d = ggml_half(block + 80), m = ggml_half(block + 82);
  for (int g = 0; g < 16; ++g) {
    scale[g] = d * static_cast<float>(ggml_byte(block + g) & 15);
    offset[g] = -(m * static_cast<float>(ggml_byte(block + g) >> 4));
  }
}
inline void ggml_scales_q3_k(const std::byte* block, float* scale, float*) {
  const std::byte* p = block + 96;
  const float d = ggml_half(block + 108);
  for (int g = 0; g < 16; ++g) {
    const int low = ggml_byte(p + g % 8) >> (4 * (g / 8)) & 15;
    const int high = ggml_byte(p + 8 + g % 4) >> (2 * (g / 4)) & 3;
    scale[g] = d * static_cast<float>((low | high << 4) - 32);
  }
}
/// Of Q4_K and Q5_K.
inline void ggml_scales_k45(const std::byte* block, float* scale, float* offset) {
  const std::byte* p = block + 4;
  const float d = ggml_half(block), m = ggml_half(block + 2);
  for (int g = 0; g < 8; ++g) {
    int s = ggml_byte(p + g) & 63, t = ggml_byte(p + g + 4) & 63;
    if (g >= 4) {
      s = (ggml_byte(p + g + 4) & 15) | ggml_byte(p + g - 4) >> 6 << 4;
      t = ggml_byte(p + g + 4) >> 4 | ggml_byte(p + g) >> 6 << 4;
    }
    scale[g] = d * static_cast<float>(s);
    offset[g] = -(m * static_cast<float>(t));
  }
}
inline void ggml_scales_q6_k(const std::byte* block, float* scale, float*) {
  const float d = ggml_half(block + 208);
  for (int g = 0; g < 16; ++g)
    scale[g] = d * static_cast<float>(static_cast<std::int8_t>(ggml_byte(block + 192 + g)));
}
inline void ggml_scale_q8_k(const std::byte* block, float* scale, float*) {
  scale[0] = std::bit_cast<float>(ggml_u32(block));
}
inline void ggml_scales_iq4_xs(const std::byte* block, float* scale, float*) {
  const float d = ggml_half(block);
  const auto high = static_cast<int>(ggml_u16(block + 2));
  for (int g = 0; g < 8; ++g)
    scale[g] = d * static_cast<float>((ggml_nibble(block + 4, g) | (high >> (2 * g) & 3) << 4) - 32);
}

}  // namespace tersor::op::detail
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)
