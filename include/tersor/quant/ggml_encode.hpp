// tersor - encoders of the simple GGUF block types (no paper: ggml-org/ggml defines them)
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::min
#include <array>      // std::array
#include <cmath>      // std::round
#include <cstring>    // std::memcpy
#include <vector>     // std::vector

#include <tersor/core/context.hpp>
#include <tersor/core/float16.hpp>
#include <tersor/core/ggml_type.hpp>
#include <tersor/core/matrix.hpp>
#include <tersor/core/parallel.hpp>

namespace tersor::quant {

/// Can values be written in this block type?
constexpr bool can_encode(ggml_type t) {
  return t == ggml_type::q4_0 || t == ggml_type::q4_1 || t == ggml_type::q5_0 || t == ggml_type::q5_1 ||
         t == ggml_type::q8_0;
}

namespace detail {

inline void put_half(float value, std::byte* out) {
  require(std::abs(value) <= 65504.0F, "encode: scale or minimum of a block", value,
          "a finite number of at most 65504, the range of F16");
  const std::uint16_t bits = f16(value).bits;
  std::memcpy(out, &bits, 2);
}

/// Blocks of 32 as the reference rounds them: codes are computed with the scale before it becomes f16.
/// Symmetric types: the value of largest magnitude has the lowest code. Others: from minimum to maximum.
inline void encode_block(ggml_type type, const float* x, std::byte* out) {
  if (type == ggml_type::q8_0) {
    float largest = 0.0F;
    for (int j = 0; j < 32; ++j) largest = std::max(largest, std::abs(x[j]));
    const float d = largest / 127.0F, inverse = d == 0.0F ? 0.0F : 1.0F / d;
    put_half(d, out);
    for (int j = 0; j < 32; ++j)
      out[2 + j] = static_cast<std::byte>(static_cast<int>(std::round(x[j] * inverse)));
    return;
  }
  const bool five = type == ggml_type::q5_0 || type == ggml_type::q5_1;
  const bool symmetric = type == ggml_type::q4_0 || type == ggml_type::q5_0;
  const int levels = five ? 32 : 16;
  float low = x[0], high = x[0], largest = 0.0F;
  for (int j = 0; j < 32; ++j) {
    low = std::min(low, x[j]);
    high = std::max(high, x[j]);
    if (std::abs(x[j]) > std::abs(largest)) largest = x[j];
  }
  const float d =
      symmetric ? largest / static_cast<float>(-levels / 2) : (high - low) / static_cast<float>(levels - 1);
  const float inverse = d == 0.0F ? 0.0F : 1.0F / d;
  const float shift = symmetric ? static_cast<float>(levels / 2) : -low * inverse;
  put_half(d, out);
  std::byte* codes = out + 2;
  if (!symmetric) {
    put_half(low, codes);
    codes += 2;
  }
  std::byte* tops = codes;
  if (five) codes += 4;
  std::uint32_t bits = 0;
  const auto code = [&](int j) {
    const float q = symmetric ? x[j] * inverse + shift : (x[j] - low) * inverse;
    return std::clamp(static_cast<int>(q + 0.5F), 0, levels - 1);
  };
  for (int j = 0; j < 16; ++j) {
    const int a = code(j), b = code(j + 16);
    codes[j] = static_cast<std::byte>((a & 15) | (b & 15) << 4);
    bits |= static_cast<std::uint32_t>(a >> 4) << j | static_cast<std::uint32_t>(b >> 4) << (j + 16);
  }
  if (five) std::memcpy(tops, &bits, 4);
}

}  // namespace detail

/// The blocks of w [rows, cols], row after row; cols is a multiple of 32. These types use no importance.
inline std::vector<std::byte> encode(ggml_type type, matrix_view<const float> w,
                                     std::span<const float> /*importance*/, const context& ctx = {}) {
  require(can_encode(type), "encode: type", name(type), "Q4_0, Q4_1, Q5_0, Q5_1 or Q8_0");
  require(w.cols() % 32 == 0, "encode: columns", w.cols(), "a multiple of 32");
  const auto bytes = static_cast<std::size_t>(info(type).bytes);
  const auto blocks = static_cast<std::size_t>(w.cols() / 32);
  std::vector<std::byte> out(static_cast<std::size_t>(w.rows()) * blocks * bytes);
  parallel_chunks(w.rows(), 64, ctx, [&](index_t r0, index_t r1) {
    std::array<float, 32> x{};
    for (index_t r = r0; r < r1; ++r)
      for (std::size_t b = 0; b < blocks; ++b) {
        for (std::size_t j = 0; j < 32; ++j) x[j] = w(r, static_cast<index_t>(32 * b + j));
        detail::encode_block(type, x.data(), out.data() + (static_cast<std::size_t>(r) * blocks + b) * bytes);
      }
  });
  return out;
}

}  // namespace tersor::quant
