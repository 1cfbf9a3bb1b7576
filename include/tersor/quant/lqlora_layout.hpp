// tersor - LQ-LoRA's packed words: codes of NormalFloat weights as its official program stores them
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/bits.hpp>

namespace tersor::quant {

/// Codes as HanGuo97/lq-lora (packbits_utils.py; arXiv:2311.12023) packs them: 2, 4 and 8 bits lowest field
/// first in 32-bit words; 3 bits as planes: of each 32 codes one word with their lowest bits, one with the
/// middle and one with the highest, the first code in the lowest bit. Error: a number of codes that does not
/// fill the words (16, 8, 4, or 32).
inline std::vector<std::uint32_t> pack_lqlora_words(int bits, std::span<const std::uint8_t> codes) {
  require(bits == 2 || bits == 3 || bits == 4 || bits == 8, "lqlora words: bits", bits, "2, 3, 4 or 8");
  const std::size_t unit = bits == 3 ? 32 : static_cast<std::size_t>(32 / bits);
  require(codes.size() % unit == 0, "lqlora words: number of codes", codes.size(), "a multiple of ", unit);
  return with_width(bits, [&](auto w) {
    std::vector<std::uint32_t> words(codes.size() / 32 * static_cast<std::size_t>(bits) +
                                     codes.size() % 32 * static_cast<std::size_t>(bits) / 32);
    if constexpr (w() == 3) {
      for (std::size_t i = 0; i < codes.size(); ++i) {
        if (codes[i] > 7) fail(concat("codes[", i, "]"), codes[i], "at most 7");
        for (std::size_t plane = 0; plane < 3; ++plane)
          words[i / 32 * 3 + plane] |= static_cast<std::uint32_t>(codes[i] >> plane & 1) << (i % 32);
      }
    } else {
      bit_packing<w(), std::uint32_t>::pack(codes, words);
    }
    return words;
  });
}

/// The codes of such words, all of them.
inline std::vector<std::uint8_t> unpack_lqlora_words(int bits, std::span<const std::uint32_t> words) {
  require(bits == 2 || bits == 3 || bits == 4 || bits == 8, "lqlora words: bits", bits, "2, 3, 4 or 8");
  require(bits != 3 || words.size() % 3 == 0, "lqlora words: number of words", words.size(),
          "a multiple of 3");
  return with_width(bits, [&](auto w) {
    std::vector<std::uint8_t> codes(w() == 3 ? words.size() / 3 * 32 : words.size() * (32 / w()));
    if constexpr (w() == 3) {
      for (std::size_t i = 0; i < codes.size(); ++i)
        for (std::size_t plane = 0; plane < 3; ++plane)
          codes[i] =
              static_cast<std::uint8_t>(codes[i] | (words[i / 32 * 3 + plane] >> (i % 32) & 1) << plane);
    } else {
      bit_packing<w(), std::uint32_t>::unpack(words, codes, codes.size());
    }
    return codes;
  });
}

}  // namespace tersor::quant
