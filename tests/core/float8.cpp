// tersor - tests of core/float8.hpp
// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <tersor/core/dtype.hpp>
#include <tersor/core/float8.hpp>

namespace tersor {
namespace float8_tests {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr auto saturate = float_overflow::saturate, ieee = float_overflow::ieee;

/// The table of the OCP's FP8 formats.
struct format {
  int mantissa_bits, bias, largest_code;
  bool has_infinity;
};
constexpr format e4m3{3, 7, 0x7e, false}, e5m2{2, 15, 0x7b, true};

/// The value of a code, from the definition of the format.
double value_of(format f, int code) {
  const int magnitude = code & 0x7f;
  const double sign = (code & 0x80) ? -1 : 1;
  if (magnitude > f.largest_code)
    return f.has_infinity && magnitude == f.largest_code + 1 ? sign * static_cast<double>(infinity)
                                                             : std::numeric_limits<double>::quiet_NaN();
  const int exponent = magnitude >> f.mantissa_bits, mantissa = magnitude & ((1 << f.mantissa_bits) - 1);
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - f.bias - f.mantissa_bits);
  return sign * std::ldexp((1 << f.mantissa_bits) + mantissa, exponent - f.bias - f.mantissa_bits);
}

/// The code of x by searching all of them: the nearest, of two equally near ones the even one. The value
/// after the largest is the midpoint's far end, as if the exponent range went on.
int nearest_code(format f, float x, float_overflow overflow) {
  const int sign = std::signbit(x) ? 0x80 : 0;
  if (std::isnan(x)) return sign | 0x7f;
  const double a = std::abs(static_cast<double>(x));
  int best = 0;
  for (int code = 1; code <= f.largest_code; ++code) {
    const double now = std::abs(value_of(f, code) - a), before = std::abs(value_of(f, best) - a);
    if (now < before || (now == before && code % 2 == 0)) best = code;
  }
  const double largest = value_of(f, f.largest_code), step = largest - value_of(f, f.largest_code - 1);
  const bool tie_goes_up = f.largest_code % 2 == 1;
  const bool too_large = a > largest + step / 2 || (a == largest + step / 2 && tie_goes_up);
  if (!too_large || overflow == saturate) return sign | (too_large ? f.largest_code : best);
  return sign | (f.has_infinity ? f.largest_code + 1 : 0x7f);
}

bool same(double a, double b) {
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

template <class T>
void check_format(format f) {
  std::vector<float> samples{0.0F,      -0.0F,         infinity,
                             -infinity, std::nanf(""), std::numeric_limits<float>::denorm_min(),
                             1e-30F,    1e30F,         std::numeric_limits<float>::max()};
  for (int code = 0; code < 256; ++code) {
    const auto bits = static_cast<std::uint8_t>(code);
    const auto x = static_cast<float>(T::from_bits(bits));
    INFO("code " << code);
    CHECK(same(static_cast<double>(x), value_of(f, code)));
    // encoding inverts decoding, the sign of zero included
    if (!std::isnan(x)) CHECK(T(x, ieee).bits == bits);
    if (std::isfinite(x)) CHECK(T(x).bits == bits);
    // all midpoints and their neighbours
    if ((code & 0x7f) >= f.largest_code) continue;
    const auto next = static_cast<float>(T::from_bits(static_cast<std::uint8_t>(code + 1)));
    const float middle = (x + next) / 2;
    for (const float y : {middle, std::nextafter(middle, 0.0F), std::nextafter(middle, 2 * next)})
      samples.push_back(y);
  }
  std::mt19937 random(3);
  for (int k = 0; k < 20000; ++k) {
    const auto bits = static_cast<std::uint32_t>(random());
    samples.push_back(std::bit_cast<float>(bits));
    // exponents near those of the format, where something happens
    samples.push_back(std::bit_cast<float>((bits & 0x807fffffU) | ((100U + (bits >> 25) % 48U) << 23)));
  }
  long long wrong = 0;
  for (const float x : samples)
    for (const auto overflow : {saturate, ieee}) wrong += T(x, overflow).bits != nearest_code(f, x, overflow);
  CHECK(wrong == 0);
}

static_assert(f8_e4m3(1.0F).bits == 0x38 && f8_e5m2(1.0F).bits == 0x3c, "usable at compile time");

TEST_CASE("f8_e4m3: every code, every midpoint, random floats, against a search over all codes") {
  check_format<f8_e4m3>(e4m3);
}
TEST_CASE("f8_e5m2: every code, every midpoint, random floats, against a search over all codes") {
  check_format<f8_e5m2>(e5m2);
}

TEST_CASE("f8_e4m3: the ends of its range") {
  CHECK(static_cast<float>(f8_e4m3(464.0F)) == 448.0F);  // a tie, to even
  CHECK(std::isnan(static_cast<float>(f8_e4m3(std::nextafter(464.0F, infinity), ieee))));
  CHECK(static_cast<float>(f8_e4m3(std::nextafter(464.0F, infinity))) == 448.0F);
  CHECK(static_cast<float>(f8_e4m3(-infinity)) == -448.0F);
  CHECK(std::isnan(static_cast<float>(f8_e4m3(infinity, ieee))));
  CHECK(f8_e4m3(0x1p-10F).bits == 0);
  CHECK(static_cast<float>(f8_e4m3(1.5F * 0x1p-10F)) == 0x1p-9F);
  CHECK(f8_e4m3(std::nanf("")).bits == 0x7f);
}

TEST_CASE("f8_e5m2: the ends of its range") {
  CHECK(static_cast<float>(f8_e5m2(61440.0F, ieee)) == infinity);
  CHECK(static_cast<float>(f8_e5m2(61439.0F, ieee)) == 57344.0F);
  CHECK(static_cast<float>(f8_e5m2(1e9F)) == 57344.0F);
  CHECK(static_cast<float>(f8_e5m2(-infinity, ieee)) == -infinity);
  CHECK(f8_e5m2(0x1p-17F).bits == 0);
  CHECK(f8_e5m2(std::nextafter(0x1p-17F, 1.0F)).bits == 1);
}

TEST_CASE("float8: encoding is monotone, and within half a unit inside the range") {
  float before = -infinity;
  for (float x = -500.0F; x < 500.0F; x += 0.037F) {
    const auto y = static_cast<float>(f8_e4m3(x));
    CHECK(y >= before);
    before = y;
    if (std::abs(x) > 448.0F) continue;
    const float unit = std::ldexp(1.0F, std::max(x == 0 ? -6 : std::ilogb(x), -6) - 3);
    CHECK(std::abs(y - x) <= unit / 2);
  }
}

TEST_CASE("float8: its types are those of safetensors") {
  CHECK(name(dtype_of<f8_e4m3>) == "F8_E4M3");
  CHECK(name(dtype_of<f8_e5m2>) == "F8_E5M2");
}

TEST_CASE("float8: e8m0 rounds down to powers of two") {
  for (int e = -127; e <= 127; ++e) {
    const float power = std::ldexp(1.0F, e);
    CHECK(f8_e8m0(power).bits == e + 127);
    CHECK(f8_e8m0(std::nextafter(2 * power, 0.0F)).bits == e + 127);
    CHECK(static_cast<float>(f8_e8m0::from_bits(static_cast<std::uint8_t>(e + 127))) == power);
  }
  CHECK(f8_e8m0(1e-45F).bits == 0);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {0.0F, -0.0F, -2.0F, infinity, -infinity, std::nanf("")})
    CHECK(f8_e8m0(bad).bits == 0xff);
  CHECK(std::isnan(static_cast<float>(f8_e8m0::from_bits(0xff))));
}

}  // namespace float8_tests
}  // namespace tersor
