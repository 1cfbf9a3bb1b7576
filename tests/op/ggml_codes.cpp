// tersor - tests of op/ggml_codes.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/ggml_codes.hpp>

#include "catch.hpp"

#include <bit>
#include <set>
#include <vector>

namespace tersor {
namespace ggml_codes_tests {

using op::detail::ggml_coding;

TEST_CASE("ggml codes: groups fill a block, and levels are those of the type") {
  for (const auto& c : op::detail::ggml_codings) {
    INFO(name(c.type));
    CHECK(op::detail::find_ggml_coding(c.type) == &c);
    CHECK(info(c.type).block % c.group == 0);
    CHECK(info(c.type).block / c.group <= 16);
    for (int code = 1; c.levels == nullptr && code < 1 << c.bits; ++code)
      CHECK(c.level(static_cast<std::uint8_t>(code)) - c.level(static_cast<std::uint8_t>(code - 1)) == 1);
  }
  CHECK(op::detail::find_ggml_coding(ggml_type::iq2_xs) == nullptr);
  CHECK(op::detail::find_ggml_coding(ggml_type::f16) == nullptr);
}

TEST_CASE("ggml codes: every bit of a code is one bit of the block, and no bit serves two") {
  for (const ggml_coding& c : op::detail::ggml_codings) {
    if (c.type == ggml_type::tq1_0) continue;  // digits are not bits
    INFO(name(c.type));
    const auto bytes = static_cast<std::size_t>(info(c.type).bytes),
               count = static_cast<std::size_t>(info(c.type).block);
    const auto codes_of = [&](const std::vector<std::byte>& block) {
      std::vector<std::uint8_t> codes(count);
      c.codes(block.data(), codes.data());
      return codes;
    };
    std::vector<std::byte> block(bytes);
    const auto before = codes_of(block);
    std::set<std::pair<std::size_t, int>> seen;
    for (std::size_t bit = 0; bit < 8 * bytes; ++bit) {
      block[bit / 8] ^= std::byte{1} << (bit % 8);
      const auto after = codes_of(block);
      block[bit / 8] ^= std::byte{1} << (bit % 8);
      std::size_t changed = 0;
      for (std::size_t i = 0; i < count; ++i) {
        const unsigned difference = static_cast<unsigned>(before[i] ^ after[i]);
        if (difference == 0) continue;
        ++changed;
        REQUIRE(std::has_single_bit(difference));
        REQUIRE(seen.insert({i, std::countr_zero(difference)}).second);
      }
      REQUIRE(changed <= 1);
    }
    CHECK(seen.size() == count * static_cast<std::size_t>(c.bits));
  }
}

TEST_CASE("ggml codes: digits of TQ1_0, each byte written by the formula of core/trits.hpp") {
  std::vector<std::byte> block(54);
  // digits 0, 1, 2, 1, 0 in byte 3 of the first run, 2, 2, 1, 0, 1 in byte 5 of the second, 1, 0, 2, 2 in
  // byte 1 of the last, whose fifth digit nobody reads
  block[3] = static_cast<std::byte>(pack_trits(std::array<std::uint8_t, 5>{0, 1, 2, 1, 0}));
  block[37] = static_cast<std::byte>(pack_trits(std::array<std::uint8_t, 5>{2, 2, 1, 0, 1}));
  block[49] = static_cast<std::byte>(pack_trits(std::array<std::uint8_t, 5>{1, 0, 2, 2, 0}));
  std::vector<std::uint8_t> codes(256), expected(256);
  op::detail::find_ggml_coding(ggml_type::tq1_0)->codes(block.data(), codes.data());
  expected[35] = expected[99] = 1;
  expected[67] = 2;
  expected[165] = expected[181] = 2;
  expected[197] = expected[229] = 1;
  expected[241] = 1;
  expected[249] = expected[253] = 2;
  CHECK(codes == expected);
}

}  // namespace ggml_codes_tests
}  // namespace tersor
