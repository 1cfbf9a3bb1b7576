// tersor - bf16 and f16 storage types with correct rounding
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>      // std::bit_cast
#include <cstdint>  // std::uint16_t

namespace tersor {

namespace detail {

constexpr std::uint16_t bf16_from_float(float value) {
  const auto u = std::bit_cast<std::uint32_t>(value);
  if ((u & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>((u >> 16) | 0x40U);  // quiet NaN
  return static_cast<std::uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16);
}

constexpr float float_from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

constexpr std::uint16_t f16_from_float(float value) {
  const auto u = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (u >> 16) & 0x8000U;
  const std::uint32_t magnitude = u & 0x7fffffffU;
  if (magnitude > 0x7f800000U)
    return static_cast<std::uint16_t>(sign | 0x7e00U | ((magnitude >> 13) & 0x3ffU));
  if (magnitude >= 0x477ff000U)
    return static_cast<std::uint16_t>(sign | 0x7c00U);  // >= 65520 rounds to infinity
  if (magnitude < 0x38800000U) {                        // below 2^-14: a subnormal, whose unit is 2^-24
    if (magnitude < 0x33000000U) return static_cast<std::uint16_t>(sign);  // below 2^-25: zero
    const std::uint32_t exponent = magnitude >> 23;
    const std::uint32_t mantissa = (magnitude & 0x7fffffU) | 0x800000U;
    const std::uint32_t shift = 126U - exponent;  // 14 ... 24
    const std::uint32_t kept = mantissa >> shift;
    const std::uint32_t rest = mantissa & ((1U << shift) - 1U);
    const std::uint32_t half = 1U << (shift - 1U);
    const std::uint32_t up = (rest > half || (rest == half && (kept & 1U))) ? 1U : 0U;
    return static_cast<std::uint16_t>(sign | (kept + up));
  }
  const std::uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
}

constexpr float float_from_f16(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fU;
  const std::uint32_t mantissa = bits & 0x3ffU;
  if (exponent == 31U) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  if (exponent != 0U) return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;  // zero or subnormal, exact in float
  return sign ? -magnitude : magnitude;
}

}  // namespace detail

/// bfloat16 storage: 1 sign, 8 exponent, 7 mantissa bits. Conversion rounds to nearest, ties to even; NaN
/// stays NaN. Arithmetic happens in float.
struct bf16 {
  std::uint16_t bits = 0;
  constexpr bf16() = default;
  constexpr explicit bf16(float value) : bits(detail::bf16_from_float(value)) {}
  constexpr operator float() const { return detail::float_from_bf16(bits); }
  static constexpr bf16 from_bits(std::uint16_t b) {
    bf16 x;
    x.bits = b;
    return x;
  }
};

/// IEEE binary16 storage: 1 sign, 5 exponent, 10 mantissa bits. Conversion rounds to nearest, ties to even,
/// with subnormals and infinities; NaN stays NaN. Arithmetic happens in float.
struct f16 {
  std::uint16_t bits = 0;
  constexpr f16() = default;
  constexpr explicit f16(float value) : bits(detail::f16_from_float(value)) {}
  constexpr operator float() const { return detail::float_from_f16(bits); }
  static constexpr f16 from_bits(std::uint16_t b) {
    f16 x;
    x.bits = b;
    return x;
  }
};

static_assert(sizeof(bf16) == 2 && sizeof(f16) == 2);

}  // namespace tersor
