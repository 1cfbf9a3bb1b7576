// tersor - packing of 1 to 8 bit codes into words
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>    // std::fill
#include <array>        // std::array
#include <bit>          // std::endian
#include <concepts>     // std::unsigned_integral
#include <cstddef>      // std::size_t
#include <cstdint>      // std::uint8_t
#include <cstring>      // std::memcpy
#include <span>         // std::span
#include <type_traits>  // std::integral_constant
#include <vector>       // std::vector

#include <tersor/core/error.hpp>

namespace tersor {

/// Which end of a word is filled first.
enum class bit_order {
  low_first,   ///< the first code in the lowest bits; of a code cut by a word's end, the low part comes first
  high_first,  ///< the first code in the highest bits; of a code cut by a word's end, the high part comes
               ///< first
};
/// What happens where the width does not divide the word.
enum class straddle {
  yes,  ///< one dense stream of bits: a code may begin in one word and end in the next
  no,   ///< each word holds floor(word bits / width) codes, its remaining bits are zero
};

namespace detail {

// Outside the template, and not `require`, which is no constant expression.
[[noreturn]] inline void wrong_words(std::size_t found, std::size_t expected, std::size_t codes) {
  fail("words", found, concat(expected, " for ", codes, " codes"));
}
[[noreturn]] inline void code_too_large(std::size_t place, int code, int mask) {
  fail(concat("codes[", place, "]"), code, concat("at most ", mask));
}

}  // namespace detail

/// Codes of `Width` bits in words of type `Word`. `Permutation`, if given, reorders the codes of one word:
/// slot s (counted from the end that `Order` fills first) holds code Permutation[s]. Unused bits are zero.
///
///     bit_packing<3, std::uint32_t>                                    GPTQ, 3 bits: 32 codes in 3 words
///     bit_packing<4, std::uint32_t, bit_order::low_first, straddle::no, 0, 2, 4, 6, 1, 3, 5, 7>   AWQ
///     bit_packing<4, std::uint8_t, bit_order::high_first>              bitsandbytes
template <int Width, std::unsigned_integral Word, bit_order Order = bit_order::low_first,
          straddle Straddle = straddle::yes, int... Permutation>
struct bit_packing {
  static constexpr int width = Width;
  static constexpr int word_bits = static_cast<int>(sizeof(Word) * 8);
  static constexpr int codes_per_word = word_bits / Width;  ///< where codes do not straddle
  static constexpr std::uint8_t mask = static_cast<std::uint8_t>((1u << Width) - 1u);
  static constexpr bool permuted = sizeof...(Permutation) > 0;
  static constexpr bool dense = Straddle == straddle::yes && word_bits % Width != 0;

  static_assert(Width >= 1 && Width <= 8, "a code has 1 to 8 bits");
  static_assert(!permuted || (!dense && sizeof...(Permutation) == codes_per_word),
                "a permutation names each code of one word, and codes must not straddle");

  /// Words that hold n codes.
  static constexpr std::size_t words(std::size_t n) {
    if constexpr (dense) {
      const std::size_t whole = n / word_bits, rest = n % word_bits;  // n * Width would overflow for huge n
      return whole * Width + (rest * Width + word_bits - 1) / word_bits;
    } else {
      return n / codes_per_word + (n % codes_per_word != 0);
    }
  }

  /// Packs all codes. Errors: a code above the mask, or `out` not of `words(codes.size())`.
  static constexpr void pack(std::span<const std::uint8_t> codes, std::span<Word> out) {
    if (out.size() != words(codes.size())) detail::wrong_words(out.size(), words(codes.size()), codes.size());
    std::fill(out.begin(), out.end(), Word(0));
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const std::uint8_t code = codes[i];
      if (code > mask) [[unlikely]]
        detail::code_too_large(i, code, mask);
      const place p = place_of(i);
      if (p.shift >= 0) {
        out[p.word] = static_cast<Word>(out[p.word] | static_cast<Word>(static_cast<Word>(code) << p.shift));
      }
      if constexpr (dense) {
        if (Order == bit_order::low_first && p.shift + Width > word_bits) {
          out[p.word + 1] = static_cast<Word>(code >> (word_bits - p.shift));
        } else if (p.shift < 0) {
          out[p.word] = static_cast<Word>(out[p.word] | static_cast<Word>(code >> -p.shift));
          out[p.word + 1] = static_cast<Word>(static_cast<Word>(code) << (word_bits + p.shift));
        }
      }
    }
  }

  /// Unpacks n codes into `out`. Errors: `in` not of `words(n)`, or `out` not of n.
  static constexpr void unpack(std::span<const Word> in, std::span<std::uint8_t> out, std::size_t n) {
    if (in.size() != words(n)) detail::wrong_words(in.size(), words(n), n);
    if (out.size() != n) fail("unpack: codes", out.size(), concat(n));
    for (std::size_t i = 0; i < n; ++i) {
      const place p = place_of(i);
      unsigned code = 0;
      if (p.shift >= 0) code = static_cast<unsigned>(in[p.word] >> p.shift);
      if constexpr (dense) {
        if (Order == bit_order::low_first && p.shift + Width > word_bits) {
          code |= static_cast<unsigned>(in[p.word + 1] << (word_bits - p.shift));
        } else if (p.shift < 0) {
          code = static_cast<unsigned>(in[p.word] << -p.shift) |
                 static_cast<unsigned>(in[p.word + 1] >> (word_bits + p.shift));
        }
      }
      out[i] = static_cast<std::uint8_t>(code & mask);
    }
  }

 private:
  /// Where code i lies: its lowest bit is bit `shift` of the word; a negative shift, or one that leaves too
  /// few bits, means that it goes on in the next word.
  struct place {
    std::size_t word;
    int shift;
  };
  static constexpr std::array<int, codes_per_word> slots = [] {
    std::array<int, codes_per_word> slot{};
    if constexpr (permuted) {
      slot.fill(-1);
      int s = 0;
      ((slot[static_cast<std::size_t>(Permutation)] = s++), ...);  // out of range: not a constant expression
    } else {
      for (int s = 0; s < codes_per_word; ++s) slot[static_cast<std::size_t>(s)] = s;
    }
    return slot;
  }();
  static_assert(
      [] {
        for (int s : slots)
          if (s < 0) return false;
        return true;
      }(),
      "a permutation names each code of one word exactly once");

  static constexpr place place_of(std::size_t i) {
    std::size_t word;
    int offset;
    if constexpr (dense) {
      const std::size_t block = i / word_bits, bit = i % word_bits * Width;
      word = block * Width + bit / word_bits;
      offset = static_cast<int>(bit % word_bits);
    } else {
      word = i / codes_per_word;
      offset = slots[i % codes_per_word] * Width;
    }
    return {word, Order == bit_order::low_first ? offset : word_bits - Width - offset};
  }
};

/// Calls f(std::integral_constant<int, bits>{}): the step from a run-time width to code compiled for it.
template <class F>
constexpr decltype(auto) with_width(int bits, F&& f) {
  switch (bits) {
    case 1:
      return f(std::integral_constant<int, 1>{});
    case 2:
      return f(std::integral_constant<int, 2>{});
    case 3:
      return f(std::integral_constant<int, 3>{});
    case 4:
      return f(std::integral_constant<int, 4>{});
    case 5:
      return f(std::integral_constant<int, 5>{});
    case 6:
      return f(std::integral_constant<int, 6>{});
    case 7:
      return f(std::integral_constant<int, 7>{});
    case 8:
      return f(std::integral_constant<int, 8>{});
    default:
      fail("bits", bits, "1 to 8");
  }
}

/// Bytes of n codes in tersor's own stream.
inline std::size_t packed_bytes(int bits, std::size_t n) {
  return with_width(bits, [&](auto w) { return bit_packing<w(), std::uint8_t>::words(n); });
}

namespace detail {

/// `count` <= 8 bytes as a little-endian number.
inline std::uint64_t load_bytes(const std::uint8_t* p, std::size_t count) {
  std::uint64_t v = 0;
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(&v, p, count);
  } else {
    for (std::size_t b = 0; b < count; ++b) v |= static_cast<std::uint64_t>(p[b]) << (8 * b);
  }
  return v;
}

/// Eight codes from the low 8 * Width bits of v.
template <int Width>
inline void spread(std::uint64_t v, std::uint8_t* out) {
  for (int s = 0; s < 8; ++s) out[s] = static_cast<std::uint8_t>((v >> (s * Width)) & ((1u << Width) - 1u));
}

template <int Width>
void unpack_stream(const std::uint8_t* bytes, std::size_t size, std::size_t first,
                   std::span<std::uint8_t> out) {
  std::size_t i = 0;
  // Code k begins at bit k * Width; eight codes are exactly Width bytes, so groups of eight begin on a byte.
  auto one = [&](std::size_t k) {
    const std::size_t byte = k / 8 * Width + k % 8 * Width / 8, bit = k % 8 * Width % 8;
    const unsigned low = bytes[byte], high = byte + 1 < size ? bytes[byte + 1] : 0u;
    return static_cast<std::uint8_t>(((low | high << 8) >> bit) & ((1u << Width) - 1u));
  };
  for (; i < out.size() && (first + i) % 8 != 0; ++i) out[i] = one(first + i);
  std::size_t byte = (first + i) / 8 * Width;
  for (; i + 8 <= out.size(); i += 8, byte += Width) {
    // A whole 64-bit load where it stays inside the stream, which all but the last groups do.
    spread<Width>(byte + 8 <= size ? load_bytes(bytes + byte, 8) : load_bytes(bytes + byte, Width),
                  out.data() + i);
  }
  for (; i < out.size(); ++i) out[i] = one(first + i);
}

}  // namespace detail

/// tersor's own stream: codes of `bits` bits, dense, lowest bits first, in bytes, whatever the machine's byte
/// order; the last byte is filled up with zero bits. Error: a code that needs more bits.
inline std::vector<std::uint8_t> pack_bits(int bits, std::span<const std::uint8_t> codes) {
  return with_width(bits, [&](auto w) {
    using packing = bit_packing<w(), std::uint8_t>;
    std::vector<std::uint8_t> bytes(packing::words(codes.size()));
    packing::pack(codes, bytes);
    return bytes;
  });
}

/// Codes first, first + 1, ... of a stream that `pack_bits` wrote, as many as `out` has room for; any start.
/// Error if the stream ends before.
inline void unpack_bits(int bits, std::span<const std::uint8_t> bytes, std::size_t first,
                        std::span<std::uint8_t> out) {
  with_width(bits, [&](auto w) {
    constexpr int width = w();
    const std::size_t held = bytes.size() / width * 8 + bytes.size() % width * 8 / width;
    require(first <= held && out.size() <= held - first, "unpack_bits: codes",
            concat(first, " + ", out.size()), "at most the ", held, " codes of ", bytes.size(), " bytes");
    detail::unpack_stream<width>(bytes.data(), bytes.size(), first, out);
  });
}

}  // namespace tersor
