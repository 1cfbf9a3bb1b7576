// tersor - rounding to integers as every reference program does it: half to even
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>  // std::nearbyint, std::fabs

namespace tersor {

/// The nearest integer, ties to even, as a float. Adding and subtracting 1.5 * 2^23 rounds in the adder of
/// the processor and, unlike a call of `std::nearbyint`, leaves loops open to vectorisation.
inline float round_half_even(float x) {
#if defined(__FAST_MATH__)
  return std::nearbyint(x);
#else
  constexpr float magic = 12582912.0F;
  if (std::fabs(x) < 4194304.0F) return (x + magic) - magic;
  return std::nearbyint(x);
#endif
}

}  // namespace tersor
