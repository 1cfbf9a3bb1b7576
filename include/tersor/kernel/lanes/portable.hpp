// tersor - sixteen lanes of 32 bits in plain C++
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>  // std::uint32_t
#include <cstring>  // std::memcpy

#include <tersor/core/float16.hpp>
#include <tersor/core/float8.hpp>
#include <tersor/core/view.hpp>
#include <tersor/kernel/target.hpp>

namespace tersor::kernel::portable {

/// Of the operations of kernel/lanes/avx512.hpp, where they are described, those of products with rows.
struct lanes {
  struct ints {
    std::uint32_t lane[16];
  };
  struct floats {
    float lane[16];
  };
  static constexpr index_t rows(index_t) { return 1; }
  static constexpr index_t columns(index_t) { return 1; }

  static floats zero() { return {}; }
  static floats broadcast(float x) {
    floats v;
    for (float& l : v.lane) l = x;
    return v;
  }
  static ints load(const void* p) {
    ints v;
    std::memcpy(v.lane, p, sizeof v.lane);
    return v;
  }
  static void prefetch(const void*) {}

  template <int bits>
  static ints shift(ints v) {
    return shift_by(v, bits);
  }
  static ints shift_by(ints v, int bits) {
    for (auto& l : v.lane) l >>= bits;
    return v;
  }
  static floats add(floats a, floats b) {
    for (int i = 0; i < 16; ++i) a.lane[i] += b.lane[i];
    return a;
  }
  static floats multiply(floats a, floats b) {
    for (int i = 0; i < 16; ++i) a.lane[i] *= b.lane[i];
    return a;
  }
  static floats fma(floats a, floats b, floats c) {  // with one or two roundings, as the compiler likes
    for (int i = 0; i < 16; ++i) c.lane[i] += a.lane[i] * b.lane[i];
    return c;
  }

  struct table {
    explicit table(const float*) {}
  };
  template <int bits>
  static floats low_bits(const table&, ints v) {
    floats y;
    for (int i = 0; i < 16; ++i) y.lane[i] = static_cast<float>(v.lane[i] & ((1U << bits) - 1U));
    return y;
  }

  static floats load_f32(const void* p) {
    floats v;
    std::memcpy(v.lane, p, sizeof v.lane);
    return v;
  }
  static floats load_f16(const void* p) { return load_as<f16, std::uint16_t>(p); }
  static floats load_bf16(const void* p) { return load_as<bf16, std::uint16_t>(p); }
  static floats load_e5m2(const void* p) { return load_as<f8_e5m2, std::uint8_t>(p); }
  static floats load_e4m3(const void* p) { return load_as<f8_e4m3, std::uint8_t>(p); }
  static floats load_e4m3_parts(const void* p) { return multiply(load_e4m3(p), broadcast(1.0F / 256)); }
  static void store(float* p, floats v, index_t n) {
    std::memcpy(p, v.lane, static_cast<std::size_t>(n) * sizeof(float));
  }
  static void store(float* p, floats v) { std::memcpy(p, v.lane, sizeof v.lane); }

  static ints widen_bytes(const void* p) {
    const auto* b = static_cast<const std::uint8_t*>(p);
    ints v;
    for (int i = 0; i < 16; ++i) v.lane[i] = b[i];
    return v;
  }
  template <index_t size>
  static floats pick(const float* x, ints at) {
    floats v;
    for (int i = 0; i < 16; ++i) v.lane[i] = x[at.lane[i]];
    return v;
  }
  static floats first(floats v, index_t n) {
    for (index_t i = n; i < 16; ++i) v.lane[i] = 0.0F;
    return v;
  }

  template <int parts>
  static floats spread(const float* p, index_t stride) {
    floats v;
    for (int i = 0; i < 16; ++i) v.lane[i] = p[i * parts / 16 * stride];
    return v;
  }
  template <int parts>
  static floats repeat(const float* p) {
    floats v;
    for (int i = 0; i < 16; ++i) v.lane[i] = p[i % (16 / parts)];
    return v;
  }
  template <int parts>
  static void store_parts(float* p, index_t stride, floats v) {
    constexpr int each = 16 / parts;
    for (int i = 0; i < 16; ++i) p[i / each * stride + i % each] = v.lane[i];
  }
  template <int parts>
  static floats part_sums(const floats* v) {
    floats out;
    constexpr int each = 16 / parts;
    for (int i = 0; i < 16; ++i) {
      float sum[each];
      for (int l = 0; l < each; ++l) sum[l] = v[i / parts].lane[i % parts * each + l];
      for (int half = each / 2; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) sum[l] += sum[l + half];
      out.lane[i] = sum[0];
    }
    return out;
  }

 private:
  template <class Real, class Word>
  static floats load_as(const void* p) {
    Word words[16];
    std::memcpy(words, p, sizeof words);
    floats v;
    for (int i = 0; i < 16; ++i) v.lane[i] = Real::from_bits(words[i]);
    return v;
  }
};

}  // namespace tersor::kernel::portable
