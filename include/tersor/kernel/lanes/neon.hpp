// tersor - sixteen lanes of 32 bits in four NEON registers
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>  // std::uint8_t
#include <cstring>  // std::memcpy

#include <tersor/core/dtype.hpp>
#include <tersor/core/view.hpp>
#include <tersor/kernel/intrinsics.hpp>

#if defined(TERSOR_NEON_KERNELS)
namespace tersor::kernel::neon {

TERSOR_BEGIN_TARGET(TERSOR_FEATURES_NEON)

/// The operations of kernel/lanes/avx512.hpp, where they are described.
struct lanes {
  struct ints {
    uint32x4_t part[4];
  };
  struct floats {
    float32x4_t part[4];
  };
  static constexpr index_t tokens = 2;
  static constexpr index_t sums = 2;
  static constexpr index_t block_tokens = 4;
  static constexpr index_t block_tiles = 1;
  static constexpr bool nibbles_in_place = false;

  static constexpr index_t rows(index_t) { return 1; }
  static constexpr index_t columns(index_t queries) { return queries == 1 ? 4 : 1; }

  TERSOR_ALWAYS_INLINE static ints zero_ints() {
    const auto z = vdupq_n_u32(0);
    return {{z, z, z, z}};
  }
  TERSOR_ALWAYS_INLINE static floats zero() { return broadcast(0.0F); }
  TERSOR_ALWAYS_INLINE static floats broadcast(float x) {
    const auto v = vdupq_n_f32(x);
    return {{v, v, v, v}};
  }
  TERSOR_ALWAYS_INLINE static ints broadcast_bits(std::uint32_t x) {
    const auto v = vdupq_n_u32(x);
    return {{v, v, v, v}};
  }
  TERSOR_ALWAYS_INLINE static ints load(const void* p) {
    const auto* b = static_cast<const std::uint8_t*>(p);
    ints v;
    for (int i = 0; i < 4; ++i) v.part[i] = vreinterpretq_u32_u8(vld1q_u8(b + 16 * i));
    return v;
  }
  TERSOR_ALWAYS_INLINE static void prefetch(const void* p) { __builtin_prefetch(p); }

  template <int bits>
  TERSOR_ALWAYS_INLINE static ints shift(ints v) {
    for (auto& x : v.part) {
      if constexpr (bits > 0) x = vshrq_n_u32(x, bits);
      if constexpr (bits < 0) x = vshlq_n_u32(x, -bits);
    }
    return v;
  }
  TERSOR_ALWAYS_INLINE static ints shift_by(ints v, int bits) {
    for (auto& x : v.part) x = vshlq_u32(x, vdupq_n_s32(-bits));
    return v;
  }
  template <std::uint8_t mask>
  TERSOR_ALWAYS_INLINE static ints bytes_and(ints v) {
    if constexpr (mask == 0xff) return v;
    const auto m = vdupq_n_u32(mask * 0x01010101U);
    for (auto& x : v.part) x = vandq_u32(x, m);
    return v;
  }
  TERSOR_ALWAYS_INLINE static ints combine(ints a, ints b) {
    for (int i = 0; i < 4; ++i) a.part[i] = vorrq_u32(a.part[i], b.part[i]);
    return a;
  }
  TERSOR_ALWAYS_INLINE static ints add(ints a, ints b) {
    for (int i = 0; i < 4; ++i) a.part[i] = vaddq_u32(a.part[i], b.part[i]);
    return a;
  }
  template <int code_bits>
  TERSOR_ALWAYS_INLINE static ints dot(ints acc, ints codes, const std::int8_t* x) {
    std::int32_t four;
    std::memcpy(&four, x, sizeof four);
    return dot<code_bits>(acc, codes, broadcast_bits(static_cast<std::uint32_t>(four)));
  }
  template <int code_bits>
  TERSOR_ALWAYS_INLINE static ints dot(ints acc, ints codes, ints x) {
    for (int i = 0; i < 4; ++i) {
      const auto xs = vreinterpretq_s8_u32(x.part[i]);
      auto sum = vreinterpretq_s32_u32(acc.part[i]);
      if constexpr (code_bits < 8) {  // below 128 unsigned bytes are signed ones
        sum = vdotq_s32(sum, vreinterpretq_s8_u32(codes.part[i]), xs);
      } else {  // c = (c - 128) + 128
        const auto shifted = veorq_u32(codes.part[i], vdupq_n_u32(0x80808080U));
        sum = vdotq_s32(sum, vreinterpretq_s8_u32(shifted), xs);
        const auto x_sum = vdotq_s32(vdupq_n_s32(0), vdupq_n_s8(1), xs);
        sum = vaddq_s32(sum, vshlq_n_s32(x_sum, 7));
      }
      acc.part[i] = vreinterpretq_u32_s32(sum);
    }
    return acc;
  }
  TERSOR_ALWAYS_INLINE static ints select_bytes(const std::int8_t* x, ints places) {
    const auto eight = vld1_s8(x);
    const auto xs = vreinterpretq_u8_s8(vcombine_s8(eight, eight));
    for (auto& p : places.part) p = vreinterpretq_u32_u8(vqtbl1q_u8(xs, vreinterpretq_u8_u32(p)));
    return places;
  }
  TERSOR_ALWAYS_INLINE static ints look_up_bytes(const std::uint8_t* table, ints codes) {
    const auto t = vld1q_u8(table);
    for (auto& x : codes.part) x = vreinterpretq_u32_u8(vqtbl1q_u8(t, vreinterpretq_u8_u32(x)));
    return codes;
  }

  TERSOR_ALWAYS_INLINE static floats to_float(ints v) {
    floats y;
    for (int i = 0; i < 4; ++i) y.part[i] = vcvtq_f32_s32(vreinterpretq_s32_u32(v.part[i]));
    return y;
  }
  template <int b>
  TERSOR_ALWAYS_INLINE static floats byte(ints v) {
    return masked<0xff>(shift<8 * b>(v));
  }
  TERSOR_ALWAYS_INLINE static floats add(floats a, floats b) {
    for (int i = 0; i < 4; ++i) a.part[i] = vaddq_f32(a.part[i], b.part[i]);
    return a;
  }
  TERSOR_ALWAYS_INLINE static floats multiply(floats a, floats b) {
    for (int i = 0; i < 4; ++i) a.part[i] = vmulq_f32(a.part[i], b.part[i]);
    return a;
  }
  TERSOR_ALWAYS_INLINE static floats fma(floats a, floats b, floats c) {
    for (int i = 0; i < 4; ++i) c.part[i] = vfmaq_f32(c.part[i], a.part[i], b.part[i]);
    return c;
  }

  struct table {
    uint8x16x4_t bytes;  // of sixteen floats
    TERSOR_ALWAYS_INLINE explicit table(const float* levels) {
      const auto* p = reinterpret_cast<const std::uint8_t*>(levels);
      for (int i = 0; i < 4; ++i) bytes.val[i] = vld1q_u8(p + 16 * i);
    }
  };
  template <int first>
  TERSOR_ALWAYS_INLINE static floats look_up(const table& t, ints v) {
    const ints s = shift<first>(v);
    floats y;
    for (int i = 0; i < 4; ++i) {
      // four neighbouring bytes of the table for every lane
      const auto at = vmulq_n_u32(vandq_u32(s.part[i], vdupq_n_u32(15)), 0x04040404U);
      const auto bytes = vaddq_u32(at, vdupq_n_u32(0x03020100U));
      y.part[i] = vreinterpretq_f32_u8(vqtbl4q_u8(t.bytes, vreinterpretq_u8_u32(bytes)));
    }
    return y;
  }
  template <int first>
  TERSOR_ALWAYS_INLINE static floats nibble(const table&, ints v) {
    return masked<15>(shift<first>(v));
  }

  template <int first>
  TERSOR_ALWAYS_INLINE static floats nibble_in_place(ints v) {
    return masked<15U << first>(v);
  }

  template <int bits>
  TERSOR_ALWAYS_INLINE static floats low_bits(const table&, ints v) {
    return masked<(1U << bits) - 1U>(v);
  }

  template <int first>
  TERSOR_ALWAYS_INLINE static floats select(const float* x, ints v) {
    const auto xs = vreinterpretq_u8_f32(vld1q_f32(x));
    const ints s = shift<first>(v);
    floats y;
    for (int i = 0; i < 4; ++i) {
      const auto at = vmulq_n_u32(vandq_u32(s.part[i], vdupq_n_u32(3)), 0x04040404U);
      const auto bytes = vaddq_u32(at, vdupq_n_u32(0x03020100U));
      y.part[i] = vreinterpretq_f32_u8(vqtbl1q_u8(xs, vreinterpretq_u8_u32(bytes)));
    }
    return y;
  }
  template <dtype type>
  TERSOR_ALWAYS_INLINE static floats expand(const std::uint8_t* p, std::uint16_t mask) {
    floats v;
    if constexpr (type == dtype::f16)
      v = load_f16(p);
    else if constexpr (type == dtype::bf16)
      v = load_bf16(p);
    else
      v = load_f32(p);
    float from[16], to[16];
    store(from, v, 16);
    unsigned next = 0;
    for (unsigned i = 0; i < 16; ++i) {
      const unsigned set = static_cast<unsigned>(mask >> i) & 1U;
      to[i] = set != 0 ? from[next] : 0.0F;
      next += set;
    }
    return load_f32(to);
  }
  template <class Index>
  TERSOR_ALWAYS_INLINE static floats gather(const float* x, const Index* at) {
    float all[16];
    for (int i = 0; i < 16; ++i) all[i] = x[at[i]];
    return load_f32(all);
  }

  template <index_t size>
  TERSOR_ALWAYS_INLINE static floats pick(const float* x, ints at) {
    std::uint32_t i[16];
    for (int k = 0; k < 4; ++k) vst1q_u32(i + 4 * k, at.part[k]);
    return gather(x, i);
  }

  TERSOR_ALWAYS_INLINE static floats first(floats v, index_t n) {
    float all[16] = {};
    store(all, v, n);
    return load_f32(all);
  }
  TERSOR_ALWAYS_INLINE static ints below(ints a, ints b) {
    for (int i = 0; i < 4; ++i) a.part[i] = vcltq_u32(a.part[i], b.part[i]);
    return a;
  }
  TERSOR_ALWAYS_INLINE static ints within(ints a, ints b, ints c) {
    for (int i = 0; i < 4; ++i)
      a.part[i] = vandq_u32(vcleq_u32(a.part[i], b.part[i]), vcltq_u32(b.part[i], c.part[i]));
    return a;
  }
  TERSOR_ALWAYS_INLINE static floats fma_where(ints where, floats a, floats b, floats c) {
    for (int i = 0; i < 4; ++i)
      c.part[i] = vbslq_f32(where.part[i], vfmaq_f32(c.part[i], a.part[i], b.part[i]), c.part[i]);
    return c;
  }

  TERSOR_ALWAYS_INLINE static floats load_f32(const void* p) {
    const auto* v = static_cast<const float*>(p);
    floats y;
    for (int i = 0; i < 4; ++i) {
      float four[4];
      std::memcpy(four, v + 4 * i, sizeof four);
      y.part[i] = vld1q_f32(four);
    }
    return y;
  }
  TERSOR_ALWAYS_INLINE static floats load_f16(const void* p) {
    floats y;
    for (int i = 0; i < 4; ++i) y.part[i] = vcvt_f32_f16(vreinterpret_f16_u16(load_halves(p, i)));
    return y;
  }
  TERSOR_ALWAYS_INLINE static floats load_bf16(const void* p) {
    floats y;
    for (int i = 0; i < 4; ++i) y.part[i] = vreinterpretq_f32_u32(vshll_n_u16(load_halves(p, i), 16));
    return y;
  }
  TERSOR_ALWAYS_INLINE static floats load_e5m2(const void* p) {
    const auto v = vld1q_u8(static_cast<const std::uint8_t*>(p));
    const auto low = vshll_n_u8(vget_low_u8(v), 8), high = vshll_n_u8(vget_high_u8(v), 8);
    return {{half(vget_low_u16(low)), half(vget_high_u16(low)), half(vget_low_u16(high)),
             half(vget_high_u16(high))}};
  }
  TERSOR_ALWAYS_INLINE static floats load_e4m3(const void* p) {
    const auto v = vld1q_u8(static_cast<const std::uint8_t*>(p));
    const auto is_nan = vreinterpretq_s8_u8(vceqq_u8(vorrq_u8(v, vdupq_n_u8(0x80)), vdupq_n_u8(0xff)));
    const auto low = vmovl_s8(vget_low_s8(is_nan)), high = vmovl_s8(vget_high_s8(is_nan));
    const int32x4_t nans[4] = {vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)),
                               vmovl_s16(vget_low_s16(high)), vmovl_s16(vget_high_s16(high))};
    floats y = load_e4m3_parts(p);
    for (int i = 0; i < 4; ++i)
      y.part[i] = vreinterpretq_f32_u32(
          vorrq_u32(vreinterpretq_u32_f32(vmulq_n_f32(y.part[i], 256.0F)), vreinterpretq_u32_s32(nans[i])));
    return y;
  }
  TERSOR_ALWAYS_INLINE static floats load_e4m3_parts(const void* p) {
    const auto v = vld1q_s8(static_cast<const std::int8_t*>(p));
    const auto mask = vdupq_n_u16(0xbfff);
    const auto low = vandq_u16(vreinterpretq_u16_s16(vshll_n_s8(vget_low_s8(v), 7)), mask),
               high = vandq_u16(vreinterpretq_u16_s16(vshll_n_s8(vget_high_s8(v), 7)), mask);
    return {{half(vget_low_u16(low)), half(vget_high_u16(low)), half(vget_low_u16(high)),
             half(vget_high_u16(high))}};
  }
  TERSOR_ALWAYS_INLINE static floats load_e8m0(const void* p) {
    const ints v = widen_bytes(p);
    floats y;
    for (int i = 0; i < 4; ++i) {
      const auto bits = vmaxq_u32(vshlq_n_u32(v.part[i], 23), vdupq_n_u32(0x00400000));
      y.part[i] = vreinterpretq_f32_u32(vorrq_u32(bits, vceqq_u32(v.part[i], vdupq_n_u32(0xff))));
    }
    return y;
  }
  TERSOR_ALWAYS_INLINE static floats load_u8(const void* p) {
    const auto bytes = vld1q_u8(static_cast<const std::uint8_t*>(p));
    const auto low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
    return {{vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))),
             vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(high)))}};
  }
  TERSOR_ALWAYS_INLINE static void store_ints(void* p, ints v) {
    for (int i = 0; i < 4; ++i)
      vst1q_u8(static_cast<std::uint8_t*>(p) + 16 * i, vreinterpretq_u8_u32(v.part[i]));
  }
  TERSOR_ALWAYS_INLINE static void store(float* p, floats v, index_t n) {
    float all[16];
    for (int i = 0; i < 4; ++i) vst1q_f32(all + 4 * i, v.part[i]);
    std::memcpy(p, all, static_cast<std::size_t>(n) * sizeof(float));
  }
  TERSOR_ALWAYS_INLINE static void store(float* p, floats v) { store_parts<4>(p, 4, v); }

  template <int parts>
  TERSOR_ALWAYS_INLINE static floats spread(const float* p, index_t stride) {
    floats v;
    for (int i = 0; i < 4; ++i) v.part[i] = vdupq_n_f32(p[i * parts / 4 * stride]);
    return v;
  }
  template <int parts>
  TERSOR_ALWAYS_INLINE static floats repeat(const float* p) {
    floats v;
    for (int i = 0; i < 4; ++i) v.part[i] = vld1q_f32(p + i % (4 / parts) * 4);
    return v;
  }
  template <int parts>
  TERSOR_ALWAYS_INLINE static void store_parts(float* p, index_t stride, floats v) {
    constexpr int each = 4 / parts;
    for (int i = 0; i < 4; ++i) vst1q_f32(p + i / each * stride + i % each * 4, v.part[i]);
  }
  template <int parts>
  TERSOR_ALWAYS_INLINE static floats part_sums(const floats* v) {
    float out[16];
    constexpr int each = 4 / parts;
    for (int i = 0; i < 16; ++i) {
      const auto* part = v[i / parts].part + i % parts * each;
      auto sum = part[0];
      for (int k = 1; k < each; ++k) sum = vaddq_f32(sum, part[k]);
      out[i] = vaddvq_f32(sum);
    }
    return load_f32(out);
  }

  TERSOR_ALWAYS_INLINE static ints widen_bytes(const void* p) {
    const auto bytes = vld1q_u8(static_cast<const std::uint8_t*>(p));
    const auto low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
    return {{vmovl_u16(vget_low_u16(low)), vmovl_u16(vget_high_u16(low)), vmovl_u16(vget_low_u16(high)),
             vmovl_u16(vget_high_u16(high))}};
  }
  TERSOR_ALWAYS_INLINE static void store_low_bytes(void* p, floats v) {
    uint16x4_t words[4];
    for (int i = 0; i < 4; ++i) words[i] = vmovn_u32(vreinterpretq_u32_f32(v.part[i]));
    vst1q_u8(static_cast<std::uint8_t*>(p), vcombine_u8(vmovn_u16(vcombine_u16(words[0], words[1])),
                                                        vmovn_u16(vcombine_u16(words[2], words[3]))));
  }
  TERSOR_ALWAYS_INLINE static ints subtract(ints a, ints b) {
    for (int i = 0; i < 4; ++i) a.part[i] = vsubq_u32(a.part[i], b.part[i]);
    return a;
  }
  TERSOR_ALWAYS_INLINE static ints add_bytes(ints a, ints b) {
    for (int i = 0; i < 4; ++i)
      a.part[i] =
          vreinterpretq_u32_u8(vaddq_u8(vreinterpretq_u8_u32(a.part[i]), vreinterpretq_u8_u32(b.part[i])));
    return a;
  }
  TERSOR_ALWAYS_INLINE static ints look_up_quarters(const std::uint8_t* tables, ints codes) {
    for (int i = 0; i < 4; ++i)
      codes.part[i] =
          vreinterpretq_u32_u8(vqtbl1q_u8(vld1q_u8(tables + 16 * i), vreinterpretq_u8_u32(codes.part[i])));
    return codes;
  }
  struct quarter_sums {
    uint16x8_t low, high;
    TERSOR_ALWAYS_INLINE quarter_sums() : low(vdupq_n_u16(0)), high(vdupq_n_u16(0)) {}
    TERSOR_ALWAYS_INLINE void add(ints v) {
      for (const auto part : v.part) {
        const auto bytes = vreinterpretq_u8_u32(part);
        low = vaddw_u8(low, vget_low_u8(bytes));
        high = vaddw_u8(high, vget_high_u8(bytes));
      }
    }
    TERSOR_ALWAYS_INLINE ints total() const {
      return {{vmovl_u16(vget_low_u16(low)), vmovl_u16(vget_high_u16(low)), vmovl_u16(vget_low_u16(high)),
               vmovl_u16(vget_high_u16(high))}};
    }
  };
  TERSOR_ALWAYS_INLINE static ints first_trit(ints v) {
    for (auto& part : v.part) {
      const auto bytes = vreinterpretq_u8_u32(part);
      part = vreinterpretq_u32_u8(vshrq_n_u8(vhaddq_u8(bytes, vshrq_n_u8(bytes, 1)), 6));
    }
    return v;
  }
  static constexpr bool wide_dot = false;

 private:
  TERSOR_ALWAYS_INLINE static float32x4_t half(uint16x4_t v) { return vcvt_f32_f16(vreinterpret_f16_u16(v)); }
  template <std::uint32_t mask>
  TERSOR_ALWAYS_INLINE static floats masked(ints v) {
    floats y;
    for (int i = 0; i < 4; ++i) y.part[i] = vcvtq_f32_u32(vandq_u32(v.part[i], vdupq_n_u32(mask)));
    return y;
  }
  TERSOR_ALWAYS_INLINE static uint16x4_t load_halves(const void* p, int i) {
    std::uint16_t four[4];
    std::memcpy(four, static_cast<const std::uint8_t*>(p) + 8 * i, sizeof four);
    return vld1_u16(four);
  }
};

TERSOR_END_TARGET

}  // namespace tersor::kernel::neon
#endif
