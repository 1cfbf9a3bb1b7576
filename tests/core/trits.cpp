// tersor - tests of core/trits.hpp
// SPDX-License-Identifier: MIT
#include <tersor/core/trits.hpp>

#include "catch.hpp"

#include <tersor/core/random.hpp>

namespace tersor {
namespace trits_tests {

TEST_CASE("trits: by hand, the first digit foremost") {
  const std::uint8_t zeros[5] = {0, 0, 0, 0, 0}, ones[5] = {1, 1, 1, 1, 1}, twos[5] = {2, 2, 2, 2, 2};
  CHECK(pack_trits(zeros) == 0);
  CHECK(pack_trits(ones) == 128);  // 121 * 256 / 243 = 127.5
  CHECK(pack_trits(twos) == 255);  // 242 * 256 / 243 = 254.9
  const std::uint8_t first[5] = {1, 0, 0, 0, 0}, last[5] = {0, 0, 0, 0, 1};
  CHECK(pack_trits(first) == 86);
  CHECK(pack_trits(last) == 2);
}

TEST_CASE("trits: every byte gives its five digits back") {
  for (int n = 0; n < 243; ++n) {
    std::uint8_t digits[5];
    for (int i = 4, rest = n; i >= 0; --i, rest /= 3) digits[i] = static_cast<std::uint8_t>(rest % 3);
    const auto byte = pack_trits(digits);
    unsigned remains = byte;
    for (std::size_t i = 0; i < 5; ++i) {
      REQUIRE(trit_of(byte, i) == digits[i]);
      // what kernels rely on: 256 digit = 3 v - v', and the first digit by averages of bytes
      const unsigned next = 3 * remains & 0xffU, less = remains > 0 ? remains - 1 : 0;
      REQUIRE(256U * digits[i] == 3 * remains - next);
      REQUIRE((less + (less + 1) / 2 + 1) / 2 >> 6 == digits[i]);
      REQUIRE((remains + remains / 2) / 2 >> 6 == digits[i]);
      remains = next;
    }
  }
}

TEST_CASE("trits: streams of every length, read from every place") {
  random_generator random(1);
  for (std::size_t n = 0; n < 24; ++n) {
    std::vector<std::uint8_t> digits(n);
    for (auto& d : digits) d = static_cast<std::uint8_t>(random.uniform_index(3));
    const auto bytes = pack_trit_stream(digits);
    REQUIRE(bytes.size() == (n + 4) / 5);
    for (std::size_t first = 0; first <= n; ++first)
      for (std::size_t count = 0; first + count <= n; ++count) {
        std::vector<std::uint8_t> some(count);
        unpack_trit_stream(bytes, first, some);
        REQUIRE(std::equal(some.begin(), some.end(), digits.begin() + static_cast<std::ptrdiff_t>(first)));
      }
    for (std::size_t i = n; i < 5 * bytes.size(); ++i) REQUIRE(trit_of(bytes.back(), i % 5) == 1);
    std::vector<std::uint8_t> more(5 * bytes.size() + 1);
    CHECK_THROWS_AS(unpack_trit_stream(bytes, 0, more), error);
  }
  const std::vector<std::uint8_t> wrong{0, 1, 2, 1, 0, 2, 3};
  CHECK_THROWS_AS(pack_trit_stream(wrong), error);
}

}  // namespace trits_tests
}  // namespace tersor
