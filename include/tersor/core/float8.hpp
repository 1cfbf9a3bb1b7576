// tersor - f8_e4m3, f8_e5m2 and f8_e8m0 storage types with correct rounding
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>      // std::bit_cast
#include <cstdint>  // std::uint8_t

namespace tersor {

/// What becomes of a number above the largest finite value of a format (after rounding), infinity included.
enum class float_overflow {
  saturate,  ///< the largest finite value, with the sign
  ieee       ///< infinity, or NaN in a format without infinities
};

namespace detail {

/// A float format of 8 bits: sign, exponent, `Mantissa` bits; subnormals as in IEEE 754. Codes above
/// `Largest` (without the sign) are infinity and NaN.
template <int Mantissa, int Bias, std::uint32_t Largest, bool HasInfinity>
struct float8_format {
  static constexpr std::uint32_t hidden = 1U << 23;
  /// Bits of the float 2^(1 - Bias), the smallest normal number.
  static constexpr std::uint32_t smallest_normal = static_cast<std::uint32_t>(128 - Bias) << 23;
  static constexpr std::uint8_t nan = 0x7f;
  static constexpr std::uint8_t infinity = static_cast<std::uint8_t>(Largest + 1);

  /// Nearest, ties to even. Whether a number is too large is decided after rounding.
  static constexpr std::uint8_t encode(float value, float_overflow overflow) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (u >> 24) & 0x80U, magnitude = u & 0x7fffffffU;
    if (magnitude > 0x7f800000U) return static_cast<std::uint8_t>(sign | nan);
    std::uint32_t code = 0;
    if (magnitude >= smallest_normal) {
      constexpr int dropped = 23 - Mantissa;
      const std::uint32_t rounded = magnitude + ((1U << (dropped - 1)) - 1U) + ((magnitude >> dropped) & 1U);
      code = (rounded - (static_cast<std::uint32_t>(127 - Bias) << 23)) >> dropped;
    } else {  // a multiple of the smallest subnormal, 2^(1 - Bias - Mantissa)
      const std::uint32_t exponent = magnitude >> 23;
      constexpr std::uint32_t unit = static_cast<std::uint32_t>(151 - Bias - Mantissa);
      const std::uint32_t shift = unit - exponent;
      if (exponent != 0 && shift <= 24U) {  // else below half of it
        const std::uint32_t mantissa = (magnitude & (hidden - 1U)) | hidden, half = 1U << (shift - 1U);
        const std::uint32_t kept = mantissa >> shift, rest = mantissa & ((1U << shift) - 1U);
        code = kept + ((rest > half || (rest == half && (kept & 1U))) ? 1U : 0U);
      }
    }
    if (code > Largest) {
      if (overflow == float_overflow::saturate)
        code = Largest;
      else
        code = HasInfinity ? infinity : nan;
    }
    return static_cast<std::uint8_t>(sign | code);
  }

  static constexpr float decode(std::uint8_t bits) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80U) << 24, code = bits & 0x7fU;
    if (code > Largest)
      return std::bit_cast<float>(sign | (HasInfinity && code == infinity ? 0x7f800000U : 0x7fc00000U));
    const std::uint32_t exponent = code >> Mantissa, mantissa = code & ((1U << Mantissa) - 1U);
    if (exponent != 0)
      return std::bit_cast<float>(sign | ((exponent + static_cast<std::uint32_t>(127 - Bias)) << 23) |
                                  (mantissa << (23 - Mantissa)));
    constexpr float unit = std::bit_cast<float>(static_cast<std::uint32_t>(128 - Bias - Mantissa) << 23);
    const float magnitude = static_cast<float>(mantissa) * unit;  // zero or subnormal, exact in float
    return sign ? -magnitude : magnitude;
  }
};

using e4m3_format = float8_format<3, 7, 0x7e, false>;
using e5m2_format = float8_format<2, 15, 0x7b, true>;

}  // namespace detail

/// FP8 E4M3 (the "fn" variant of the OCP and of PyTorch): 1 sign, 4 exponent, 3 mantissa bits, largest 448,
/// no infinity, one NaN of either sign. Conversion rounds to nearest, ties to even. Arithmetic happens in
/// float.
struct f8_e4m3 {
  std::uint8_t bits = 0;
  constexpr f8_e4m3() = default;
  constexpr explicit f8_e4m3(float value, float_overflow overflow = float_overflow::saturate)
      : bits(detail::e4m3_format::encode(value, overflow)) {}
  constexpr operator float() const { return detail::e4m3_format::decode(bits); }
  static constexpr f8_e4m3 from_bits(std::uint8_t b) {
    f8_e4m3 x;
    x.bits = b;
    return x;
  }
};

/// FP8 E5M2: 1 sign, 5 exponent, 2 mantissa bits, largest 57344, infinities and NaN. Conversion rounds to
/// nearest, ties to even. Arithmetic happens in float.
struct f8_e5m2 {
  std::uint8_t bits = 0;
  constexpr f8_e5m2() = default;
  constexpr explicit f8_e5m2(float value, float_overflow overflow = float_overflow::saturate)
      : bits(detail::e5m2_format::encode(value, overflow)) {}
  constexpr operator float() const { return detail::e5m2_format::decode(bits); }
  static constexpr f8_e5m2 from_bits(std::uint8_t b) {
    f8_e5m2 x;
    x.bits = b;
    return x;
  }
};

/// E8M0, the scales of the OCP's micro-scaled formats: the powers of two from 2^-127 (code 0) to 2^127 (code
/// 254), and NaN (255). There is no zero and no sign.
struct f8_e8m0 {
  std::uint8_t bits = 0;
  constexpr f8_e8m0() = default;
  /// The largest power of two that is not above `value`; 2^-127 for smaller ones, NaN for what is not
  /// positive or not finite.
  constexpr explicit f8_e8m0(float value)
      : bits(static_cast<std::uint8_t>(value > 0 ? std::bit_cast<std::uint32_t>(value) >> 23 : 0xffU)) {}
  constexpr operator float() const {
    if (bits == 0) return std::bit_cast<float>(0x00400000U);  // 2^-127 is subnormal
    return std::bit_cast<float>(bits == 0xff ? 0x7fc00000U : static_cast<std::uint32_t>(bits) << 23);
  }
  static constexpr f8_e8m0 from_bits(std::uint8_t b) {
    f8_e8m0 x;
    x.bits = b;
    return x;
  }
};

static_assert(sizeof(f8_e4m3) == 1 && sizeof(f8_e5m2) == 1 && sizeof(f8_e8m0) == 1);

}  // namespace tersor
