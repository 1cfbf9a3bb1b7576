// tersor - tests of core/bits.hpp
// SPDX-License-Identifier: MIT
#include <tersor/core/bits.hpp>

#include "catch.hpp"

namespace bits_tests {

using tersor::bit_order;
using tersor::bit_packing;
using tersor::straddle;
using codes_t = std::vector<std::uint8_t>;
using awq = bit_packing<4, std::uint32_t, bit_order::low_first, straddle::no, 0, 2, 4, 6, 1, 3, 5, 7>;

codes_t make_codes(int width, std::size_t n, unsigned seed) {
  codes_t codes(n);
  for (auto& c : codes) {
    seed = seed * 1664525u + 1013904223u;
    c = static_cast<std::uint8_t>((seed >> 24) & ((1u << width) - 1u));
  }
  return codes;
}

// The oracle: one bit at a time, from the definition of the layouts.
template <class Word>
std::vector<Word> pack_by_bits(const codes_t& codes, int width, bit_order order, straddle s,
                               std::size_t words) {
  const std::size_t bits = sizeof(Word) * 8, per = bits / static_cast<std::size_t>(width);
  std::vector<Word> out(words, Word(0));
  for (std::size_t i = 0; i < codes.size(); ++i)
    for (std::size_t k = 0; k < static_cast<std::size_t>(width); ++k) {  // k-th bit in writing order
      const std::size_t p = s == straddle::yes
                                ? i * static_cast<std::size_t>(width) + k
                                : i / per * bits + i % per * static_cast<std::size_t>(width) + k;
      const bool low = order == bit_order::low_first;
      const std::size_t source = low ? k : static_cast<std::size_t>(width) - 1 - k;
      const std::size_t target = low ? p % bits : bits - 1 - p % bits;
      if ((codes[i] >> source) & 1)
        out.at(p / bits) = static_cast<Word>(out.at(p / bits) | (Word(1) << target));
    }
  return out;
}

// The first length at which packing differs from the oracle or does not come back; -1 if none does. No
// assertions inside: 128 instantiations of them would take longer to compile than all other tests of this
// file.
template <int Width, class Word, bit_order Order, straddle Straddle>
int first_wrong_length() {
  using packing = bit_packing<Width, Word, Order, Straddle>;
  constexpr std::size_t bits = sizeof(Word) * 8, per = bits / Width;
  for (std::size_t n = 0; n <= 67; ++n) {
    const std::size_t expected =
        Straddle == straddle::yes ? (n * Width + bits - 1) / bits : (n + per - 1) / per;
    for (unsigned seed : {1u, 2u}) {
      const auto codes = make_codes(Width, n, seed * 977u + static_cast<unsigned>(n));
      std::vector<Word> words(expected, static_cast<Word>(~Word(0)));
      codes_t back(n, 0xff);
      if (packing::words(n) != expected) return static_cast<int>(n);
      packing::pack(codes, words);
      packing::unpack(words, back, n);
      if (words != pack_by_bits<Word>(codes, Width, Order, Straddle, expected) || back != codes)
        return static_cast<int>(n);
    }
  }
  return -1;
}
template <int Width, class Word>
void check_word() {
  INFO(Width << " bits in words of " << sizeof(Word) * 8);
  CHECK(first_wrong_length<Width, Word, bit_order::low_first, straddle::yes>() == -1);
  CHECK(first_wrong_length<Width, Word, bit_order::low_first, straddle::no>() == -1);
  CHECK(first_wrong_length<Width, Word, bit_order::high_first, straddle::yes>() == -1);
  CHECK(first_wrong_length<Width, Word, bit_order::high_first, straddle::no>() == -1);
}

TEST_CASE("every width, word, order and straddling packs as the bit-by-bit oracle does", "[bits]") {
  for (int bits = 1; bits <= 8; ++bits)
    tersor::with_width(bits, [](auto w) {
      check_word<w(), std::uint8_t>();
      check_word<w(), std::uint16_t>();
      check_word<w(), std::uint32_t>();
      check_word<w(), std::uint64_t>();
    });
}

TEST_CASE("the words of known formats", "[bits]") {
  std::uint32_t word[1];
  SECTION("GPTQ stores zero point 8 of symmetric 4 bit as 7") {
    bit_packing<4, std::uint32_t>::pack(codes_t(8, 7), word);
    CHECK(word[0] == 0x77777777u);
  }
  SECTION("AWQ interleaves eight columns") {
    awq::pack(codes_t{0, 1, 2, 3, 4, 5, 6, 7}, word);
    CHECK(word[0] == 0x75316420u);
    codes_t back(8);
    awq::unpack(word, back, 8);
    CHECK(back == codes_t{0, 1, 2, 3, 4, 5, 6, 7});
  }
  SECTION("a permuted tail leaves the slots of missing codes zero") {
    awq::pack(codes_t{15, 15, 15}, word);
    CHECK(word[0] == 0x000f00ffu);  // nibbles 0, 4 and 1 hold codes 0, 1 and 2
  }
  SECTION("bitsandbytes puts the first code into the high nibble") {
    std::uint8_t byte[2];
    bit_packing<4, std::uint8_t, bit_order::high_first>::pack(codes_t{0xa, 0x3, 0x5}, byte);
    CHECK(byte[0] == 0xa3);
    CHECK(byte[1] == 0x50);
  }
  SECTION("GPTQ, 3 bits: 32 codes in 3 words, codes 10 and 21 cut by a word's end") {
    codes_t codes(32, 0);
    codes[10] = 0b101;  // bits 30 .. 32
    codes[21] = 0b110;  // bits 63 .. 65
    std::uint32_t words[3];
    bit_packing<3, std::uint32_t>::pack(codes, words);
    CHECK(words[0] == 1u << 30);
    CHECK(words[1] == 1u);
    CHECK(words[2] == 3u);
  }
}

TEST_CASE("mistakes are errors", "[bits]") {
  using packing = bit_packing<3, std::uint32_t>;
  std::vector<std::uint32_t> words(1), two(2);
  codes_t out(4);
  CHECK_THROWS_AS(packing::pack(codes_t{1, 8}, words), tersor::error);
  CHECK_THROWS_AS(packing::pack(codes_t{1, 2}, two), tersor::error);
  CHECK_THROWS_AS(packing::unpack(two, out, 4), tersor::error);
  CHECK_THROWS_AS(packing::unpack(words, out, 3), tersor::error);
  CHECK_THROWS_AS(tersor::pack_bits(0, codes_t{}), tersor::error);
  CHECK_THROWS_AS(tersor::pack_bits(9, codes_t{}), tersor::error);
  CHECK_THROWS_AS(tersor::pack_bits(2, codes_t{4}), tersor::error);
  CHECK_THROWS_AS(tersor::unpack_bits(4, codes_t{1, 2}, 1, out), tersor::error);
  CHECK_THROWS_AS(tersor::unpack_bits(4, codes_t{1, 2}, ~std::size_t{0}, out), tersor::error);
  CHECK_NOTHROW(tersor::unpack_bits(4, codes_t{1, 2}, 0, out));
  CHECK_NOTHROW(tersor::unpack_bits(4, codes_t{1, 2}, 4, {}));
}

TEST_CASE("the byte stream is read from any start", "[bits]") {
  for (int bits = 1; bits <= 8; ++bits)
    for (std::size_t n : {0u, 1u, 7u, 8u, 9u, 31u, 67u}) {
      const auto codes = make_codes(bits, n, 5u + static_cast<unsigned>(n));
      const auto bytes = tersor::pack_bits(bits, codes);
      REQUIRE(bytes.size() == tersor::packed_bytes(bits, n));
      REQUIRE(bytes ==
              pack_by_bits<std::uint8_t>(codes, bits, bit_order::low_first, straddle::yes, bytes.size()));
      for (std::size_t first = 0; first <= n; ++first)
        for (std::size_t last = first; last <= n; ++last) {
          codes_t out(last - first, 0xff);
          tersor::unpack_bits(bits, bytes, first, out);
          REQUIRE(std::equal(out.begin(), out.end(), codes.begin() + static_cast<std::ptrdiff_t>(first)));
        }
    }
}

TEST_CASE("packing is usable in constant expressions", "[bits]") {
  constexpr auto word = [] {
    std::array<std::uint8_t, 8> codes{0, 1, 2, 3, 4, 5, 6, 7};
    std::array<std::uint32_t, 1> out{};
    awq::pack(codes, out);
    return out[0];
  }();
  STATIC_REQUIRE(word == 0x75316420u);
}

}  // namespace bits_tests
