// tersor - packing of ternary digits, five in a byte
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::min
#include <cstddef>    // std::size_t
#include <cstdint>    // std::uint8_t
#include <span>       // std::span
#include <vector>     // std::vector

#include <tersor/core/error.hpp>

namespace tersor {

/// Five digits of 0 ... 2 as one byte: ceil(256 / 243 n), n the number that they write in base 3, the first
/// digit foremost (as in GGUF's TQ1_0). So the byte is a fraction of 256 whose ternary expansion begins with
/// the digits: times 3, the first one overflows and the rest stays.
constexpr std::uint8_t pack_trits(std::span<const std::uint8_t, 5> digits) {
  unsigned n = 0;
  for (const auto d : digits) n = 3 * n + d;
  return static_cast<std::uint8_t>((n * 256 + 242) / 243);
}
/// Digit `place`, 0 <= place < 5, of a byte.
constexpr std::uint8_t trit_of(std::uint8_t byte, std::size_t place) {
  unsigned fraction = byte;
  for (std::size_t i = 0; i < place; ++i) fraction = fraction * 3 & 0xffU;
  return static_cast<std::uint8_t>(fraction * 3 >> 8);
}

/// Bytes of n digits.
constexpr std::size_t trit_bytes(std::size_t n) { return n / 5 + (n % 5 != 0); }

/// All digits as one stream, the last byte filled up with ones (weights of zero). Error for a digit above 2.
inline std::vector<std::uint8_t> pack_trit_stream(std::span<const std::uint8_t> digits) {
  std::vector<std::uint8_t> bytes(trit_bytes(digits.size()));
  for (std::size_t b = 0; b < bytes.size(); ++b) {
    std::uint8_t five[5] = {1, 1, 1, 1, 1};
    for (std::size_t i = 0; i < std::min<std::size_t>(5, digits.size() - 5 * b); ++i) {
      five[i] = digits[5 * b + i];
      if (five[i] > 2) fail(concat("trits[", 5 * b + i, "]"), static_cast<int>(five[i]), "0, 1 or 2");
    }
    bytes[b] = pack_trits(five);
  }
  return bytes;
}
/// Digits first, first + 1, ... of a stream, as many as `out` has room for. Error if the stream ends before.
inline void unpack_trit_stream(std::span<const std::uint8_t> bytes, std::size_t first,
                               std::span<std::uint8_t> out) {
  const std::size_t held = 5 * bytes.size();
  require(first <= held && out.size() <= held - first, "unpack_trit_stream: digits",
          concat(first, " + ", out.size()), "at most ", held);
  std::size_t b = first / 5, place = first % 5;
  for (std::size_t i = 0; i < out.size(); ++b, place = 0) {
    unsigned fraction = bytes[b];
    for (std::size_t k = 0; k < place; ++k) fraction = fraction * 3 & 0xffU;
    for (; place < 5 && i < out.size(); ++place) {
      out[i++] = static_cast<std::uint8_t>(fraction * 3 >> 8);
      fraction = fraction * 3 & 0xffU;
    }
  }
}

}  // namespace tersor
