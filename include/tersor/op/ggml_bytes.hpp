// tersor - reading the fields of GGUF blocks
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>  // std::byte
#include <cstdint>  // std::uint8_t
#include <cstring>  // std::memcpy

#include <tersor/core/float16.hpp>

namespace tersor::op::detail {

inline int ggml_byte(const std::byte* p) { return std::to_integer<int>(*p); }
inline std::uint32_t ggml_u16(const std::byte* p) {
  return std::to_integer<std::uint32_t>(p[0]) | std::to_integer<std::uint32_t>(p[1]) << 8;
}
inline std::uint32_t ggml_u32(const std::byte* p) { return ggml_u16(p) | ggml_u16(p + 2) << 16; }
inline float ggml_half(const std::byte* p) {
  return tersor::detail::float_from_f16(static_cast<std::uint16_t>(ggml_u16(p)));
}
/// Nibble i of bytes, each the low one first.
inline int ggml_nibble(const std::byte* p, int i) { return ggml_byte(p + i / 2) >> (4 * (i % 2)) & 15; }

/// `count` codes of 4 bits: the first half in low nibbles, the second in the high ones of the same bytes.
inline void ggml_halves(const std::byte* p, int count, std::uint8_t* codes) {
  for (int j = 0; j < count / 2; ++j) {
    codes[j] = static_cast<std::uint8_t>(ggml_byte(p + j) & 15);
    codes[j + count / 2] = static_cast<std::uint8_t>(ggml_byte(p + j) >> 4);
  }
}
/// The same with four quarters in the pairs of bits of count / 4 bytes, the first in the lowest.
inline void ggml_quarters(const std::byte* p, int count, std::uint8_t* codes) {
  const int bytes = count / 4;
  for (int quarter = 0; quarter < 4; ++quarter)
    for (int j = 0; j < bytes; ++j)
      codes[bytes * quarter + j] = static_cast<std::uint8_t>(ggml_byte(p + j) >> (2 * quarter) & 3);
}
/// Bit g of byte j becomes bit `place` of code 32 g + j.
inline void add_ggml_bits(const std::byte* p, int place, std::uint8_t* codes) {
  for (int g = 0; g < 8; ++g)
    for (int j = 0; j < 32; ++j) {
      std::uint8_t& code = codes[32 * g + j];
      code = static_cast<std::uint8_t>(code | (ggml_byte(p + j) >> g & 1) << place);
    }
}
/// Signed bytes as codes from 0: value + 128.
inline void ggml_signed_bytes(const std::byte* p, int count, std::uint8_t* codes) {
  for (int j = 0; j < count; ++j) codes[j] = static_cast<std::uint8_t>(ggml_byte(p + j) ^ 0x80);
}

}  // namespace tersor::op::detail
