// tersor - tests of core/rounding.hpp
// SPDX-License-Identifier: MIT
#include <tersor/core/rounding.hpp>

#include <limits>

#include "catch.hpp"

namespace rounding_tests {

TEST_CASE("rounding: half to even, as nearbyint") {
  for (float x = -40.0F; x <= 40.0F; x += 0.125F) CHECK(tersor::round_half_even(x) == std::nearbyint(x));
  for (const float x : {4194303.5F, 4194304.5F, 4194305.5F, 8388607.5F, 8388609.0F, 1e20F, 0x1p-140F})
    for (const float sign : {1.0F, -1.0F})
      CHECK(tersor::round_half_even(sign * x) == std::nearbyint(sign * x));
  const float below_half = std::nextafter(0.5F, 0.0F), above_half = std::nextafter(0.5F, 1.0F);
  CHECK(tersor::round_half_even(below_half) == 0.0F);
  CHECK(tersor::round_half_even(above_half) == 1.0F);
  CHECK(std::isnan(tersor::round_half_even(std::numeric_limits<float>::quiet_NaN())));
  CHECK(std::isinf(tersor::round_half_even(std::numeric_limits<float>::infinity())));
}

}  // namespace rounding_tests
