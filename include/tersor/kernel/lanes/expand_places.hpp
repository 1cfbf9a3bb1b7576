// tersor - where in a run of stored values each of eight places finds its own
// SPDX-License-Identifier: MIT
#pragma once

#include <array>    // std::array
#include <cstdint>  // std::uint64_t

namespace tersor::kernel {

/// Byte i of entry m: the number of bits of m below bit i. Eight values are spread over the set bits of a
/// mask by one permutation; the processors' own expansion takes twice the time of two of these, and where it
/// reads memory, many times that (Zen 4 and 5).
inline constexpr auto expand_places = [] {
  std::array<std::uint64_t, 256> places{};
  for (unsigned mask = 0; mask < 256; ++mask)
    for (unsigned i = 0, before = 0; i < 8; ++i) {
      places[mask] |= std::uint64_t{before} << (8 * i);
      before += mask >> i & 1U;
    }
  return places;
}();

}  // namespace tersor::kernel
