// tersor - sixteen lanes of 32 bits in plain C++
// SPDX-License-Identifier: MIT
#pragma once

#include <array>    // std::array
#include <bit>      // std::bit_cast
#include <cmath>    // std::fma
#include <cstdint>  // std::uint8_t
#include <cstring>  // std::memcpy

#include <tersor/core/float16.hpp>
#include <tersor/core/view.hpp>
#include <tersor/kernel/target.hpp>

namespace tersor::kernel::portable {

/// The operations of kernel/lanes/avx512.hpp, where they are described. What every other target must equal.
struct lanes {
  using ints = std::array<std::uint32_t, 16>;
  using floats = std::array<float, 16>;
  static constexpr int tokens = 1;
  static constexpr int sums = 1;

  TERSOR_ALWAYS_INLINE static ints zero_ints() { return {}; }
  TERSOR_ALWAYS_INLINE static floats zero() { return {}; }
  TERSOR_ALWAYS_INLINE static floats broadcast(float x) {
    floats y;
    y.fill(x);
    return y;
  }
  TERSOR_ALWAYS_INLINE static ints load(const void* p) { return read<std::uint32_t>(p); }
  TERSOR_ALWAYS_INLINE static void prefetch(const void*) {}

  template <int bits>
  TERSOR_ALWAYS_INLINE static ints shift(ints v) {
    for (auto& x : v) {
      if constexpr (bits > 0) x >>= bits;
      if constexpr (bits < 0) x <<= -bits;
    }
    return v;
  }
  template <std::uint8_t mask>
  TERSOR_ALWAYS_INLINE static ints bytes_and(ints v) {
    for (auto& x : v) x &= mask * 0x01010101U;
    return v;
  }
  TERSOR_ALWAYS_INLINE static ints combine(ints a, ints b) {
    for (std::size_t i = 0; i < 16; ++i) a[i] |= b[i];
    return a;
  }
  TERSOR_ALWAYS_INLINE static ints add(ints a, ints b) {
    for (std::size_t i = 0; i < 16; ++i) a[i] += b[i];
    return a;
  }
  template <int code_bits>
  TERSOR_ALWAYS_INLINE static ints dot(ints acc, ints codes, const std::int8_t* x) {
    for (std::size_t i = 0; i < 16; ++i) {
      std::int32_t sum = 0;
      for (int b = 0; b < 4; ++b) sum += static_cast<std::int32_t>((codes[i] >> (8 * b)) & 0xff) * x[b];
      acc[i] += static_cast<std::uint32_t>(sum);
    }
    return acc;
  }
  TERSOR_ALWAYS_INLINE static ints look_up_bytes(const std::uint8_t* table, ints codes) {
    for (auto& x : codes) {
      std::uint32_t y = 0;
      for (int b = 0; b < 4; ++b) y |= static_cast<std::uint32_t>(table[(x >> (8 * b)) & 15]) << (8 * b);
      x = y;
    }
    return codes;
  }

  TERSOR_ALWAYS_INLINE static floats to_float(ints v) {
    floats y;
    for (std::size_t i = 0; i < 16; ++i) y[i] = static_cast<float>(static_cast<std::int32_t>(v[i]));
    return y;
  }
  template <int b>
  TERSOR_ALWAYS_INLINE static floats byte(ints v) {
    floats y;
    for (std::size_t i = 0; i < 16; ++i) y[i] = static_cast<float>((v[i] >> (8 * b)) & 0xff);
    return y;
  }
  TERSOR_ALWAYS_INLINE static floats add(floats a, floats b) {
    for (std::size_t i = 0; i < 16; ++i) a[i] += b[i];
    return a;
  }
  TERSOR_ALWAYS_INLINE static floats multiply(floats a, floats b) {
    for (std::size_t i = 0; i < 16; ++i) a[i] *= b[i];
    return a;
  }
  TERSOR_ALWAYS_INLINE static floats fma(floats a, floats b, floats c) {
    for (std::size_t i = 0; i < 16; ++i) a[i] = std::fma(a[i], b[i], c[i]);
    return a;
  }

  struct table {
    floats values;
    TERSOR_ALWAYS_INLINE explicit table(const float* levels) {
      std::memcpy(values.data(), levels, sizeof values);
    }
  };
  template <int first>
  TERSOR_ALWAYS_INLINE static floats look_up(const table& t, ints v) {
    floats y;
    for (std::size_t i = 0; i < 16; ++i) y[i] = t.values[(v[i] >> first) & 15];
    return y;
  }

  /// The four bits of each lane from bit `first` on as a number.
  template <int first>
  TERSOR_ALWAYS_INLINE static floats nibble(const table&, ints v) {
    floats y;
    for (std::size_t i = 0; i < 16; ++i) y[i] = static_cast<float>((v[i] >> first) & 15);
    return y;
  }

  TERSOR_ALWAYS_INLINE static floats load_f32(const void* p) { return read<float>(p); }
  TERSOR_ALWAYS_INLINE static floats load_f16(const void* p) {
    const auto bits = read<std::uint16_t>(p);
    floats y;
    for (std::size_t i = 0; i < 16; ++i) y[i] = tersor::detail::float_from_f16(bits[i]);
    return y;
  }
  TERSOR_ALWAYS_INLINE static floats load_bf16(const void* p) {
    const auto bits = read<std::uint16_t>(p);
    floats y;
    for (std::size_t i = 0; i < 16; ++i) y[i] = tersor::detail::float_from_bf16(bits[i]);
    return y;
  }
  TERSOR_ALWAYS_INLINE static floats load_u8(const void* p) {
    const auto bits = read<std::uint8_t>(p);
    floats y;
    for (std::size_t i = 0; i < 16; ++i) y[i] = static_cast<float>(bits[i]);
    return y;
  }
  TERSOR_ALWAYS_INLINE static void store(float* p, floats v, index_t n) {
    std::memcpy(p, v.data(), static_cast<std::size_t>(n) * sizeof(float));
  }

 private:
  template <class T>
  TERSOR_ALWAYS_INLINE static std::array<T, 16> read(const void* p) {
    std::array<T, 16> y;
    std::memcpy(y.data(), p, sizeof y);
    return y;
  }
};

}  // namespace tersor::kernel::portable
