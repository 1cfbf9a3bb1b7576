// tersor - GGUF block types decoded value by value, slow and plain: what tests of the encoders read with
// SPDX-License-Identifier: MIT
#pragma once

#include <array>    // std::array
#include <cmath>    // std::ldexp
#include <cstring>  // std::memcpy
#include <span>     // std::span

#include <tersor/core/error.hpp>
#include <tersor/core/float16.hpp>
#include <tersor/core/ggml_type.hpp>
#include <tersor/core/matrix.hpp>

namespace tersor_test {

using tersor::ggml_type;

/// One block as bytes.
struct ggml_block {
  const std::byte* data;
  int at(int i) const { return std::to_integer<int>(data[i]); }
  double half(int i) const {
    std::uint16_t bits;
    std::memcpy(&bits, data + i, 2);
    return static_cast<double>(static_cast<float>(tersor::f16::from_bits(bits)));
  }
  /// Bit j of the bit string that starts at byte i.
  int bit(int i, int j) const { return at(i + j / 8) >> (j % 8) & 1; }
};

inline double iq4_value(int q) {
  constexpr std::array t{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  return t[static_cast<std::size_t>(q)];
}
inline double fp4_value(int q) {
  constexpr std::array t{0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0};
  return (q < 8 ? 1 : -1) * t[static_cast<std::size_t>(q % 8)];
}
/// Trit n of a byte: digit n after the point of byte / 256 in base 3.
inline int trit_of(int byte, int n) {
  for (int i = 0; i < n; ++i) byte = byte * 3 % 256;
  return byte * 3 / 256 - 1;
}

/// Value e of a block.
inline double ggml_value(ggml_type type, ggml_block b, int e) {
  const int h = e / 128, l = e % 32, t = e % 128 / 32, g16 = e / 16, g32 = e / 32;
  // the nibble of value e of 32, whose bytes start at i
  const auto nibble = [&](int i) { return b.at(i + l % 16) >> (l < 16 ? 0 : 4) & 15; };
  switch (type) {
    case ggml_type::q4_0:
      return b.half(0) * (nibble(2) - 8);
    case ggml_type::q4_1:
      return b.half(0) * nibble(4) + b.half(2);
    case ggml_type::q5_0:
      return b.half(0) * (nibble(6) + 16 * b.bit(2, e) - 16);
    case ggml_type::q5_1:
      return b.half(0) * (nibble(8) + 16 * b.bit(4, e)) + b.half(2);
    case ggml_type::q8_0:
      return b.half(0) * static_cast<std::int8_t>(b.at(2 + e));
    case ggml_type::iq4_nl:
      return b.half(0) * iq4_value(nibble(2));
    case ggml_type::mxfp4:
      return std::ldexp(fp4_value(nibble(1)), b.at(0) - 127);
    case ggml_type::nvfp4: {
      const int s = b.at(g16), q = b.at(4 + 8 * g16 + e % 8) >> (e % 16 < 8 ? 0 : 4) & 15;
      return fp4_value(q) * (s < 8 ? std::ldexp(s, -9) : std::ldexp(8 + s % 8, s / 8 - 10));
    }
    case ggml_type::q2_k: {
      const int q = b.at(16 + 32 * h + l) >> (2 * t) & 3, s = b.at(g16);
      return b.half(80) * (s & 15) * q - b.half(82) * (s >> 4);
    }
    case ggml_type::q3_k: {
      const int q = (b.at(32 + 32 * h + l) >> (2 * t) & 3) + 4 * (b.at(l) >> (4 * h + t) & 1) - 4;
      const int low = g16 < 8 ? b.at(96 + g16) & 15 : b.at(96 + g16 - 8) >> 4;
      const int top = b.at(104 + g16 % 4) >> (2 * (g16 / 4)) & 3;
      return b.half(108) * (low + 16 * top - 32) * q;
    }
    case ggml_type::q4_k:
    case ggml_type::q5_k: {
      const int five = type == ggml_type::q5_k ? 1 : 0, k = g32;
      int q = b.at(16 + 32 * five + 32 * (e / 64) + l) >> (k % 2 == 0 ? 0 : 4) & 15;
      if (five == 1) q += 16 * (b.at(16 + l) >> k & 1);
      const int s = k < 4 ? b.at(4 + k) & 63 : (b.at(8 + k) & 15) + 16 * (b.at(k) >> 6);
      const int m = k < 4 ? b.at(8 + k) & 63 : (b.at(8 + k) >> 4) + 16 * (b.at(4 + k) >> 6);
      return b.half(0) * s * q - b.half(2) * m;
    }
    case ggml_type::q6_k: {
      const int low = b.at(64 * h + 32 * (t % 2) + l) >> (4 * (t / 2)) & 15;
      const int top = b.at(128 + 32 * h + l) >> (2 * t) & 3;
      return b.half(208) * static_cast<std::int8_t>(b.at(192 + g16)) * (low + 16 * top - 32);
    }
    case ggml_type::iq4_xs: {
      const int low = b.at(4 + g32 / 2) >> (4 * (g32 % 2)) & 15,
                top = b.at(2 + g32 / 4) >> (2 * (g32 % 4)) & 3;
      return b.half(0) * (low + 16 * top - 32) * iq4_value(nibble(8 + 16 * g32));
    }
    case ggml_type::tq2_0:
      return b.half(64) * ((b.at(32 * h + l) >> (2 * t) & 3) - 1);
    case ggml_type::tq1_0:
      if (e < 160) return b.half(52) * trit_of(b.at(l), e / 32);
      if (e < 240) return b.half(52) * trit_of(b.at(32 + e % 16), (e - 160) / 16);
      return b.half(52) * trit_of(b.at(48 + e % 4), (e - 240) / 4);
    default:
      tersor::fail("ggml_value: type", tersor::name(type), "one that the tests can decode");
  }
}

/// The rows of `blocks`.
inline tersor::matrix<float> ggml_values(ggml_type type, std::span<const std::byte> blocks,
                                         tersor::index_t rows, tersor::index_t cols) {
  tersor::matrix<float> w(rows, cols);
  const auto& t = tersor::info(type);
  for (tersor::index_t i = 0; i < w.size(); ++i)
    w.data()[i] = static_cast<float>(
        ggml_value(type, {blocks.data() + i / t.block * t.bytes}, static_cast<int>(i % t.block)));
  return w;
}

}  // namespace tersor_test
