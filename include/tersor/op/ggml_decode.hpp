// tersor - rows of GGUF block types as reals
// SPDX-License-Identifier: MIT
#pragma once

#include <array>    // std::array
#include <cassert>  // assert
#include <cstddef>  // std::byte
#include <cstring>  // std::memcpy
#include <span>     // std::span

#include <tersor/core/float16.hpp>
#include <tersor/core/ggml_type.hpp>
#include <tersor/core/view.hpp>

// Layouts of ggml-org/ggml, src/ggml-common.h; d, m are f16, q codes of 4 bits of which the first half of a
// block is in low nibbles and the second in high ones:
//   Q4_0  d, q[32]: d (q - 8)                    Q4_1  d, m, q[32]: d q + m
//   Q5_0  d, high bits u32, q[32]: d (q - 16)    Q5_1  d, m, high bits u32, q[32]: d q + m
//   Q8_0  d, i8[32]: d q
//   Q4_K  d, m, 8 scales and 8 minima of 6 bits in 12 bytes, q[256]: d s q - m t per 32 values
//   Q5_K  the same with 32 bytes of high bits before q
//   Q6_K  q[256] low bits, 64 bytes of high bits, i8 scales[16], d: d s (q - 32) per 16 values

namespace tersor::op {

namespace detail {

inline float ggml_half(const std::byte* p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, 2);
  return tersor::detail::float_from_f16(bits);
}
inline int ggml_byte(const std::byte* p) { return std::to_integer<int>(*p); }

/// A block of 32 codes of 4 or 5 bits at `codes`; value = scale * (code + shift) + minimum.
inline void decode_nibbles(const std::byte* codes, std::uint32_t high, int shift, float scale, float minimum,
                           float* out) {
  for (int j = 0; j < 16; ++j) {
    const int byte = ggml_byte(codes + j);
    const int low = (byte & 15) | static_cast<int>((high >> j & 1U) << 4);
    const int top = (byte >> 4) | static_cast<int>((high >> (j + 16) & 1U) << 4);
    out[j] = scale * static_cast<float>(low + shift) + minimum;
    out[j + 16] = scale * static_cast<float>(top + shift) + minimum;
  }
}

/// Scale and minimum of 6 bits of group g of a block of Q4_K or Q5_K.
inline std::array<int, 2> ggml_scale_and_minimum(const std::byte* p, int g) {
  if (g < 4) return {ggml_byte(p + g) & 63, ggml_byte(p + g + 4) & 63};
  const int low = ggml_byte(p + g + 4);
  return {(low & 15) | (ggml_byte(p + g - 4) >> 6 << 4), (low >> 4) | (ggml_byte(p + g) >> 6 << 4)};
}
/// @param high 32 bytes of fifth bits (Q5_K), or null.
inline void decode_k45(const std::byte* block, const std::byte* high, const std::byte* codes, float* out) {
  const float d = ggml_half(block), m = ggml_half(block + 2);
  for (int g = 0; g < 8; ++g) {
    const auto [scale, minimum] = ggml_scale_and_minimum(block + 4, g);
    const float s = d * static_cast<float>(scale), t = m * static_cast<float>(minimum);
    const std::byte* q = codes + g / 2 * 32;
    for (int j = 0; j < 32; ++j) {
      int code = g % 2 == 0 ? ggml_byte(q + j) & 15 : ggml_byte(q + j) >> 4;
      if (high != nullptr) code += (ggml_byte(high + j) >> g & 1) << 4;
      out[32 * g + j] = s * static_cast<float>(code) - t;
    }
  }
}
inline void decode_q6_k(const std::byte* block, float* out) {
  const float d = ggml_half(block + 208);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, part = i % 128 / 32, j = i % 32;
    const int byte = ggml_byte(block + 64 * half + 32 * (part % 2) + j);
    const int low = part < 2 ? byte & 15 : byte >> 4;
    const int top = ggml_byte(block + 128 + 32 * half + j) >> (2 * part) & 3;
    const auto scale = static_cast<std::int8_t>(ggml_byte(block + 192 + i / 16));
    out[i] = d * static_cast<float>(scale) * static_cast<float>((low | top << 4) - 32);
  }
}

inline void decode_ggml_block(ggml_type type, const std::byte* block, float* out) {
  std::uint32_t high = 0;
  switch (type) {
    case ggml_type::q4_0:
      return decode_nibbles(block + 2, 0, -8, ggml_half(block), 0.0F, out);
    case ggml_type::q4_1:
      return decode_nibbles(block + 4, 0, 0, ggml_half(block), ggml_half(block + 2), out);
    case ggml_type::q5_0:
      std::memcpy(&high, block + 2, 4);
      return decode_nibbles(block + 6, high, -16, ggml_half(block), 0.0F, out);
    case ggml_type::q5_1:
      std::memcpy(&high, block + 4, 4);
      return decode_nibbles(block + 8, high, 0, ggml_half(block), ggml_half(block + 2), out);
    case ggml_type::q8_0:
      for (int j = 0; j < 32; ++j)
        out[j] = ggml_half(block) * static_cast<float>(static_cast<std::int8_t>(ggml_byte(block + 2 + j)));
      return;
    case ggml_type::q4_k:
      return decode_k45(block, nullptr, block + 16, out);
    case ggml_type::q5_k:
      return decode_k45(block, block + 16, block + 48, out);
    case ggml_type::q6_k:
      return decode_q6_k(block, out);
    default:
      assert(false);
  }
}

}  // namespace detail

/// Can rows of this block type be decoded?
constexpr bool can_decode(ggml_type t) {
  for (const auto known : {ggml_type::q4_0, ggml_type::q4_1, ggml_type::q5_0, ggml_type::q5_1,
                           ggml_type::q8_0, ggml_type::q4_k, ggml_type::q5_k, ggml_type::q6_k})
    if (t == known) return true;
  return false;
}

/// @param blocks whole blocks of a type that can be decoded; @param out as many values as they hold.
inline void decode_ggml(ggml_type type, std::span<const std::byte> blocks, std::span<float> out) {
  const auto& t = info(type);
  const auto block = static_cast<std::size_t>(t.block), bytes = static_cast<std::size_t>(t.bytes);
  assert(can_decode(type) && out.size() % block == 0 && blocks.size() == out.size() / block * bytes);
  for (std::size_t b = 0; b * block < out.size(); ++b)
    detail::decode_ggml_block(type, blocks.data() + b * bytes, out.data() + b * block);
}

}  // namespace tersor::op
