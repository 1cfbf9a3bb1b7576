// tersor - tests of core/float16.hpp
// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include <tersor/core/float16.hpp>

namespace tersor::float16_tests {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

struct format {
  int mantissa_bits, exponent_bits;
  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
};
constexpr format ieee_half{10, 5}, bfloat{7, 8};

/// The value of a bit pattern, from the definition of the format.
double decode(format f, std::uint16_t bits) {
  const int mantissa = bits & ((1 << f.mantissa_bits) - 1);
  const int exponent = (bits >> f.mantissa_bits) & ((1 << f.exponent_bits) - 1);
  const double sign = (bits & 0x8000) ? -1 : 1;
  if (exponent == (1 << f.exponent_bits) - 1)
    return mantissa ? std::numeric_limits<double>::quiet_NaN() : sign * static_cast<double>(infinity);
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - f.bias() - f.mantissa_bits);
  return sign * std::ldexp((1 << f.mantissa_bits) + mantissa, exponent - f.bias() - f.mantissa_bits);
}

/// The nearest value of the format, ties to even, from the definition: a multiple of the unit in x's binade.
double round_to(format f, float x) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int exponent = std::max(std::ilogb(x), 1 - f.bias());
  const double unit = std::ldexp(1.0, exponent - f.mantissa_bits);
  const double y = std::nearbyint(static_cast<double>(x) / unit) * unit;
  return std::abs(y) >= std::ldexp(1.0, f.bias() + 1) ? std::copysign(static_cast<double>(infinity), x) : y;
}

bool same(double a, double b) {
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

/// All 65536 patterns: decoding is the definition, encoding is its inverse, NaN stays NaN with its sign.
template <class T>
long long wrong_patterns(format f) {
  long long wrong = 0;
  for (std::uint32_t b = 0; b < 65536; ++b) {
    const auto bits = static_cast<std::uint16_t>(b);
    const auto x = static_cast<float>(T::from_bits(bits));
    const std::uint16_t back = T(x).bits;
    if (!same(x, decode(f, bits))) ++wrong;
    if (std::isnan(x) ? !std::isnan(static_cast<float>(T(x))) || ((back ^ bits) & 0x8000) : back != bits)
      ++wrong;
  }
  return wrong;
}

/// Between all neighbours, and beyond the largest: the midpoint goes to the even one, the floats next to the
/// midpoint to the nearer one.
template <class T>
long long wrong_midpoints(std::uint16_t infinity_bits) {
  long long wrong = 0;
  for (std::uint32_t b = 0; b < infinity_bits; ++b) {
    const auto low = static_cast<float>(T::from_bits(static_cast<std::uint16_t>(b)));
    const double step = b + 1 < infinity_bits
                            ? static_cast<double>(T::from_bits(static_cast<std::uint16_t>(b + 1))) - low
                            : low - static_cast<double>(T::from_bits(static_cast<std::uint16_t>(b - 1)));
    const auto middle = static_cast<float>(low + step / 2);
    REQUIRE(static_cast<double>(middle) == low + step / 2);
    for (const float sign : {1.0F, -1.0F}) {
      const std::uint32_t s = sign < 0 ? 0x8000U : 0U;
      if (T(sign * middle).bits != (s | (b + (b & 1U)))) ++wrong;
      if (T(sign * std::nextafter(middle, 0.0F)).bits != (s | b)) ++wrong;
      if (T(sign * std::nextafter(middle, infinity)).bits != (s | (b + 1))) ++wrong;
    }
  }
  return wrong;
}

template <class T>
long long wrong_random(format f, int count) {
  std::mt19937 random(7);
  long long wrong = 0;
  for (int k = 0; k < count; ++k) {
    const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (!same(static_cast<float>(T(x)), round_to(f, x))) ++wrong;
  }
  return wrong;
}

static_assert(f16(1.0F).bits == 0x3c00 && bf16(1.0F).bits == 0x3f80, "usable at compile time");

}  // namespace

TEST_CASE("f16: all bit patterns") { CHECK(wrong_patterns<f16>(ieee_half) == 0); }
TEST_CASE("bf16: all bit patterns") { CHECK(wrong_patterns<bf16>(bfloat) == 0); }
TEST_CASE("f16: all midpoints round to even") { CHECK(wrong_midpoints<f16>(0x7c00) == 0); }
TEST_CASE("bf16: all midpoints round to even") { CHECK(wrong_midpoints<bf16>(0x7f80) == 0); }
TEST_CASE("f16: random floats go to the nearest value") { CHECK(wrong_random<f16>(ieee_half, 500000) == 0); }
TEST_CASE("bf16: random floats go to the nearest value") { CHECK(wrong_random<bf16>(bfloat, 500000) == 0); }

TEST_CASE("f16: the ends of its range") {
  CHECK(static_cast<float>(f16(65504.0F)) == 65504.0F);
  CHECK(static_cast<float>(f16(65519.996F)) == 65504.0F);
  CHECK(static_cast<float>(f16(65520.0F)) == infinity);
  CHECK(static_cast<float>(f16(-1e30F)) == -infinity);
  CHECK(static_cast<float>(f16(infinity)) == infinity);
  CHECK(f16(0x1p-24F).bits == 1);
  CHECK(f16(0x1p-25F).bits == 0);
  CHECK(f16(-0x1p-26F).bits == 0x8000);
  CHECK(f16(-0.0F).bits == 0x8000);
  CHECK(f16(0x1p-14F).bits == 0x0400);
  CHECK(f16(std::nextafter(0x1p-14F, 0.0F)).bits == 0x0400);  // rounds up into the normal numbers
  CHECK(f16(std::numeric_limits<float>::denorm_min()).bits == 0);
}

TEST_CASE("bf16: the ends of its range") {
  CHECK(bf16(std::numeric_limits<float>::max()).bits == 0x7f80);
  CHECK(bf16(-0.0F).bits == 0x8000);
  CHECK(bf16(std::numeric_limits<float>::denorm_min()).bits == 0);
  CHECK(static_cast<float>(bf16(0x1p-133F)) == 0x1p-133F);  // its smallest subnormal
}

TEST_CASE("a NaN whose payload is in the dropped bits stays a NaN") {
  for (const std::uint32_t bits : {0x7f800001U, 0xff800001U, 0x7f801fffU, 0x7fffffffU, 0x7fc00000U}) {
    const auto x = std::bit_cast<float>(bits);
    CHECK(std::isnan(static_cast<float>(f16(x))));
    CHECK(std::isnan(static_cast<float>(bf16(x))));
  }
}

}  // namespace tersor::float16_tests
