// tersor - sixteen lanes of 32 bits in two AVX2 registers
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>  // std::uint8_t
#include <cstring>  // std::memcpy

#include <tersor/core/dtype.hpp>
#include <tersor/core/view.hpp>
#include <tersor/kernel/intrinsics.hpp>
#include <tersor/kernel/lanes/expand_places.hpp>

#if defined(TERSOR_X86_KERNELS)
namespace tersor::kernel::avx2 {

TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX2)

/// The operations of kernel/lanes/avx512.hpp, where they are described.
struct lanes {
  struct ints {
    __m256i low, high;
  };
  struct floats {
    __m256 low, high;
  };
  static constexpr index_t tokens = 2;
  static constexpr index_t sums = 2;
  static constexpr index_t block_tokens = 4;
  static constexpr index_t block_tiles = 1;
  static constexpr bool nibbles_in_place = true;

  static constexpr index_t rows(index_t queries) { return queries == 1 ? 2 : 1; }
  static constexpr index_t columns(index_t queries) { return queries == 1 ? 4 : 1; }

  TERSOR_ALWAYS_INLINE static ints zero_ints() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  TERSOR_ALWAYS_INLINE static floats zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  TERSOR_ALWAYS_INLINE static floats broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  TERSOR_ALWAYS_INLINE static ints broadcast_bits(std::uint32_t x) {
    const __m256i v = _mm256_set1_epi32(static_cast<int>(x));
    return {v, v};
  }
  TERSOR_ALWAYS_INLINE static ints load(const void* p) {
    const auto* v = static_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)};
  }
  TERSOR_ALWAYS_INLINE static void prefetch(const void* p) {
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
  }

  template <int bits>
  TERSOR_ALWAYS_INLINE static ints shift(ints v) {
    if constexpr (bits > 0)
      return {_mm256_srli_epi32(v.low, bits), _mm256_srli_epi32(v.high, bits)};
    else if constexpr (bits < 0)
      return {_mm256_slli_epi32(v.low, -bits), _mm256_slli_epi32(v.high, -bits)};
    else
      return v;
  }
  TERSOR_ALWAYS_INLINE static ints shift_by(ints v, int bits) {
    const __m128i n = _mm_cvtsi32_si128(bits);
    return {_mm256_srl_epi32(v.low, n), _mm256_srl_epi32(v.high, n)};
  }
  template <std::uint8_t mask>
  TERSOR_ALWAYS_INLINE static ints bytes_and(ints v) {
    if constexpr (mask == 0xff) return v;
    const __m256i m = _mm256_set1_epi8(static_cast<char>(mask));
    return {_mm256_and_si256(v.low, m), _mm256_and_si256(v.high, m)};
  }
  TERSOR_ALWAYS_INLINE static ints combine(ints a, ints b) {
    return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
  }
  TERSOR_ALWAYS_INLINE static ints add(ints a, ints b) {
    return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
  }
  template <int code_bits>
  TERSOR_ALWAYS_INLINE static ints dot(ints acc, ints codes, const std::int8_t* x) {
    std::int32_t four;
    std::memcpy(&four, x, sizeof four);
    const __m256i xs = _mm256_set1_epi32(four);
    return dot<code_bits>(acc, codes, ints{xs, xs});
  }
  template <int code_bits>
  TERSOR_ALWAYS_INLINE static ints dot(ints acc, ints codes, ints x) {
    return {_mm256_add_epi32(acc.low, half_dot<code_bits>(codes.low, x.low)),
            _mm256_add_epi32(acc.high, half_dot<code_bits>(codes.high, x.high))};
  }
  TERSOR_ALWAYS_INLINE static ints select_bytes(const std::int8_t* x, ints places) {
    std::int64_t eight;
    std::memcpy(&eight, x, sizeof eight);
    const __m256i xs = _mm256_set1_epi64x(eight);
    return {_mm256_shuffle_epi8(xs, places.low), _mm256_shuffle_epi8(xs, places.high)};
  }
  TERSOR_ALWAYS_INLINE static ints look_up_bytes(const std::uint8_t* table, ints codes) {
    const __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    return {_mm256_shuffle_epi8(t, codes.low), _mm256_shuffle_epi8(t, codes.high)};
  }

  TERSOR_ALWAYS_INLINE static floats to_float(ints v) {
    return {_mm256_cvtepi32_ps(v.low), _mm256_cvtepi32_ps(v.high)};
  }
  template <int b>
  TERSOR_ALWAYS_INLINE static floats byte(ints v) {
    const ints s = shift<8 * b>(v);
    if constexpr (b == 3) return to_float(s);
    const __m256i m = _mm256_set1_epi32(0xff);
    return to_float({_mm256_and_si256(s.low, m), _mm256_and_si256(s.high, m)});
  }
  TERSOR_ALWAYS_INLINE static floats add(floats a, floats b) {
    return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
  }
  TERSOR_ALWAYS_INLINE static floats multiply(floats a, floats b) {
    return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
  }
  TERSOR_ALWAYS_INLINE static floats fma(floats a, floats b, floats c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }

  struct table {
    __m256 first, second;
    TERSOR_ALWAYS_INLINE explicit table(const float* levels)
        : first(_mm256_loadu_ps(levels)), second(_mm256_loadu_ps(levels + 8)) {}
  };
  template <int first>
  TERSOR_ALWAYS_INLINE static floats look_up(const table& t, ints v) {
    const ints at = shift<first>(v);
    return {half_look_up(t, at.low), half_look_up(t, at.high)};
  }

  template <int first>
  TERSOR_ALWAYS_INLINE static floats nibble(const table&, ints v) {
    const ints s = shift<first>(v);
    if constexpr (first == 28) return to_float(s);
    const __m256i m = _mm256_set1_epi32(15);
    return to_float({_mm256_and_si256(s.low, m), _mm256_and_si256(s.high, m)});
  }

  template <int first>
  TERSOR_ALWAYS_INLINE static floats nibble_in_place(ints v) {
    const __m256i m = _mm256_set1_epi32(15 << first);
    return to_float({_mm256_and_si256(v.low, m), _mm256_and_si256(v.high, m)});
  }

  template <int bits>
  TERSOR_ALWAYS_INLINE static floats low_bits(const table&, ints v) {
    const __m256i m = _mm256_set1_epi32((1 << bits) - 1);
    return to_float({_mm256_and_si256(v.low, m), _mm256_and_si256(v.high, m)});
  }

  template <int first>
  TERSOR_ALWAYS_INLINE static floats select(const float* x, ints v) {
    const __m256 xs = _mm256_broadcast_ps(reinterpret_cast<const __m128*>(x));
    const ints s = shift<first>(v);
    return {_mm256_permutevar_ps(xs, s.low), _mm256_permutevar_ps(xs, s.high)};
  }
  template <dtype type>
  TERSOR_ALWAYS_INLINE static floats expand(const std::uint8_t* p, std::uint16_t mask) {
    const unsigned low = mask & 0xffU, high = mask >> 8U;
    // the high half begins with the number behind those of the low half
    const std::uint8_t* second = p + index_t{__builtin_popcount(low)} * (type == dtype::f32 ? 4 : 2);
    return {half_expand(load_half<type>(p), low), half_expand(load_half<type>(second), high)};
  }
  template <class Index>
  TERSOR_ALWAYS_INLINE static floats gather(const float* x, const Index* at) {
    return {half_gather(x, at), half_gather(x, at + 8)};
  }

  template <index_t size>
  TERSOR_ALWAYS_INLINE static floats pick(const float* x, ints at) {
    std::int32_t i[16];
    store_ints(i, at);
    return gather(x, i);
  }

  TERSOR_ALWAYS_INLINE static floats first(floats v, index_t n) {
    const __m256i end = _mm256_set1_epi32(static_cast<int>(n));
    const __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i high = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
    return {_mm256_and_ps(v.low, _mm256_castsi256_ps(_mm256_cmpgt_epi32(end, low))),
            _mm256_and_ps(v.high, _mm256_castsi256_ps(_mm256_cmpgt_epi32(end, high)))};
  }
  TERSOR_ALWAYS_INLINE static ints below(ints a, ints b) {
    return {_mm256_cmpgt_epi32(b.low, a.low), _mm256_cmpgt_epi32(b.high, a.high)};
  }
  TERSOR_ALWAYS_INLINE static ints within(ints a, ints b, ints c) {
    return {_mm256_andnot_si256(_mm256_cmpgt_epi32(a.low, b.low), _mm256_cmpgt_epi32(c.low, b.low)),
            _mm256_andnot_si256(_mm256_cmpgt_epi32(a.high, b.high), _mm256_cmpgt_epi32(c.high, b.high))};
  }
  TERSOR_ALWAYS_INLINE static floats fma_where(ints where, floats a, floats b, floats c) {
    return {
        _mm256_blendv_ps(c.low, _mm256_fmadd_ps(a.low, b.low, c.low), _mm256_castsi256_ps(where.low)),
        _mm256_blendv_ps(c.high, _mm256_fmadd_ps(a.high, b.high, c.high), _mm256_castsi256_ps(where.high))};
  }

  TERSOR_ALWAYS_INLINE static floats load_f32(const void* p) {
    const auto* v = static_cast<const float*>(p);
    return {_mm256_loadu_ps(v), _mm256_loadu_ps(v + 8)};
  }
  TERSOR_ALWAYS_INLINE static floats load_f16(const void* p) {
    const auto* v = static_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(v)), _mm256_cvtph_ps(_mm_loadu_si128(v + 1))};
  }
  TERSOR_ALWAYS_INLINE static floats load_bf16(const void* p) {
    const auto* v = static_cast<const __m128i*>(p);
    return {half_bf16(_mm_loadu_si128(v)), half_bf16(_mm_loadu_si128(v + 1))};
  }
  TERSOR_ALWAYS_INLINE static floats load_e5m2(const void* p) {
    const __m128i v = _mm_loadu_si128(static_cast<const __m128i*>(p)), zero = _mm_setzero_si128();
    return {_mm256_cvtph_ps(_mm_unpacklo_epi8(zero, v)), _mm256_cvtph_ps(_mm_unpackhi_epi8(zero, v))};
  }
  TERSOR_ALWAYS_INLINE static floats load_e4m3(const void* p) {
    const __m128i v = _mm_loadu_si128(static_cast<const __m128i*>(p));
    const __m128i is_nan = _mm_cmpeq_epi8(_mm_or_si128(v, _mm_set1_epi8(-128)), _mm_set1_epi8(-1));
    const floats y = load_e4m3_parts(p);
    const __m256 unit = _mm256_set1_ps(256.0F);
    return {_mm256_or_ps(_mm256_mul_ps(y.low, unit), _mm256_castsi256_ps(_mm256_cvtepi8_epi32(is_nan))),
            _mm256_or_ps(_mm256_mul_ps(y.high, unit),
                         _mm256_castsi256_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(is_nan, 8))))};
  }
  TERSOR_ALWAYS_INLINE static floats load_e4m3_parts(const void* p) {
    const __m256i v = _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    const __m256i halves = _mm256_and_si256(_mm256_slli_epi16(v, 7), _mm256_set1_epi16(-0x4001));
    return {_mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
            _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))};
  }
  TERSOR_ALWAYS_INLINE static floats load_e8m0(const void* p) {
    const auto* v = static_cast<const char*>(p);
    return {half_e8m0(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(v))),
            half_e8m0(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(v + 8)))};
  }
  TERSOR_ALWAYS_INLINE static floats load_u8(const void* p) {
    const auto* v = static_cast<const char*>(p);
    return {half_u8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(v))),
            half_u8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(v + 8)))};
  }
  TERSOR_ALWAYS_INLINE static void store_ints(void* p, ints v) {
    auto* to = static_cast<__m256i*>(p);
    _mm256_storeu_si256(to, v.low);
    _mm256_storeu_si256(to + 1, v.high);
  }
  TERSOR_ALWAYS_INLINE static void store(float* p, floats v, index_t n) {
    if (n == 16) {
      _mm256_storeu_ps(p, v.low);
      _mm256_storeu_ps(p + 8, v.high);
      return;
    }
    float all[16];
    _mm256_storeu_ps(all, v.low);
    _mm256_storeu_ps(all + 8, v.high);
    std::memcpy(p, all, static_cast<std::size_t>(n) * sizeof(float));
  }
  TERSOR_ALWAYS_INLINE static void store(float* p, floats v) {
    _mm256_storeu_ps(p, v.low);
    _mm256_storeu_ps(p + 8, v.high);
  }

  template <int parts>
  TERSOR_ALWAYS_INLINE static floats spread(const float* p, index_t stride) {
    if constexpr (parts == 1) return broadcast(p[0]);
    if constexpr (parts == 2) return {_mm256_set1_ps(p[0]), _mm256_set1_ps(p[stride])};
    return {_mm256_set_m128(_mm_set1_ps(p[stride]), _mm_set1_ps(p[0])),
            _mm256_set_m128(_mm_set1_ps(p[3 * stride]), _mm_set1_ps(p[2 * stride]))};
  }
  template <int parts>
  TERSOR_ALWAYS_INLINE static floats repeat(const float* p) {
    if constexpr (parts == 1) return load_f32(p);
    const __m256 half =
        parts == 2 ? _mm256_loadu_ps(p) : _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
    return {half, half};
  }
  template <int parts>
  TERSOR_ALWAYS_INLINE static void store_parts(float* p, index_t stride, floats v) {
    if constexpr (parts == 1) return store(p, v);
    if constexpr (parts == 2) {
      _mm256_storeu_ps(p, v.low);
      _mm256_storeu_ps(p + stride, v.high);
      return;
    }
    _mm_storeu_ps(p, _mm256_castps256_ps128(v.low));
    _mm_storeu_ps(p + stride, _mm256_extractf128_ps(v.low, 1));
    _mm_storeu_ps(p + 2 * stride, _mm256_castps256_ps128(v.high));
    _mm_storeu_ps(p + 3 * stride, _mm256_extractf128_ps(v.high, 1));
  }
  template <int parts>
  TERSOR_ALWAYS_INLINE static floats part_sums(const floats* v) {
    __m128 quarter[4];
    TERSOR_UNROLL
    for (index_t i = 0; i < 4; ++i) {  // four sums at a time
      __m128 four[4];
      if constexpr (parts == 1)
        for (index_t k = 0; k < 4; ++k) four[k] = fold(_mm256_add_ps(v[4 * i + k].low, v[4 * i + k].high));
      if constexpr (parts == 2)
        for (index_t k = 0; k < 2; ++k) {
          four[2 * k] = fold(v[2 * i + k].low);
          four[2 * k + 1] = fold(v[2 * i + k].high);
        }
      if constexpr (parts == 4)
        for (index_t k = 0; k < 2; ++k) {
          const __m256 half = k == 0 ? v[i].low : v[i].high;
          four[2 * k] = _mm256_castps256_ps128(half);
          four[2 * k + 1] = _mm256_extractf128_ps(half, 1);
        }
      quarter[i] = _mm_hadd_ps(_mm_hadd_ps(four[0], four[1]), _mm_hadd_ps(four[2], four[3]));
    }
    return {_mm256_set_m128(quarter[1], quarter[0]), _mm256_set_m128(quarter[3], quarter[2])};
  }

  TERSOR_ALWAYS_INLINE static ints widen_bytes(const void* p) {
    const auto* v = static_cast<const char*>(p);
    return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(v))),
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(v + 8)))};
  }
  TERSOR_ALWAYS_INLINE static void store_low_bytes(void* p, floats v) {
    const __m256i low_bytes = _mm256_set1_epi32(0xff);
    const __m256i words = _mm256_packus_epi32(_mm256_and_si256(_mm256_castps_si256(v.low), low_bytes),
                                              _mm256_and_si256(_mm256_castps_si256(v.high), low_bytes));
    const __m256i in_order = _mm256_permute4x64_epi64(words, 0b11'01'10'00);  // packing works by halves
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm_packus_epi16(_mm256_castsi256_si128(in_order),
                                                                _mm256_extracti128_si256(in_order, 1)));
  }
  TERSOR_ALWAYS_INLINE static ints subtract(ints a, ints b) {
    return {_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)};
  }
  TERSOR_ALWAYS_INLINE static ints add_bytes(ints a, ints b) {
    return {_mm256_add_epi8(a.low, b.low), _mm256_add_epi8(a.high, b.high)};
  }
  TERSOR_ALWAYS_INLINE static ints look_up_quarters(const std::uint8_t* tables, ints codes) {
    const ints t = load(tables);
    return {_mm256_shuffle_epi8(t.low, codes.low), _mm256_shuffle_epi8(t.high, codes.high)};
  }
  struct quarter_sums {
    __m256i words, odd;
    TERSOR_ALWAYS_INLINE quarter_sums() : words(_mm256_setzero_si256()), odd(_mm256_setzero_si256()) {}
    TERSOR_ALWAYS_INLINE void add(ints v) {
      words = _mm256_add_epi16(words, _mm256_add_epi16(v.low, v.high));
      odd =
          _mm256_add_epi16(odd, _mm256_add_epi16(_mm256_srli_epi16(v.low, 8), _mm256_srli_epi16(v.high, 8)));
    }
    TERSOR_ALWAYS_INLINE ints total() const {
      const __m128i e = folded(_mm256_sub_epi16(words, _mm256_slli_epi16(odd, 8))), o = folded(odd);
      return {_mm256_cvtepu16_epi32(_mm_unpacklo_epi16(e, o)),
              _mm256_cvtepu16_epi32(_mm_unpackhi_epi16(e, o))};
    }

   private:
    TERSOR_ALWAYS_INLINE static __m128i folded(__m256i v) {
      return _mm_add_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    }
  };
  TERSOR_ALWAYS_INLINE static ints first_trit(ints v) { return {half_trit(v.low), half_trit(v.high)}; }
  static constexpr bool wide_dot = false;

 private:
  TERSOR_ALWAYS_INLINE static __m256i half_trit(__m256i v) {
    v = _mm256_subs_epu8(v, _mm256_set1_epi8(1));
    v = _mm256_avg_epu8(v, _mm256_avg_epu8(v, _mm256_setzero_si256()));
    return _mm256_and_si256(_mm256_srli_epi16(v, 6), _mm256_set1_epi8(3));
  }
  TERSOR_ALWAYS_INLINE static __m128 fold(__m256 v) {
    return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  }
  TERSOR_ALWAYS_INLINE static __m256 half_e8m0(__m128i bytes) {
    const __m256i v = _mm256_cvtepu8_epi32(bytes);
    const __m256i bits = _mm256_max_epu32(_mm256_slli_epi32(v, 23), _mm256_set1_epi32(0x00400000));
    const __m256i is_nan = _mm256_cmpeq_epi32(v, _mm256_set1_epi32(0xff));
    return _mm256_castsi256_ps(_mm256_or_si256(bits, is_nan));
  }
  template <int code_bits>
  TERSOR_ALWAYS_INLINE static __m256i half_dot(__m256i codes, __m256i x) {
    const __m256i ones = _mm256_set1_epi16(1);
    // sums of two products in 16 bits: 2 * 127 * 128 fits, 2 * 255 * 128 does not
    if constexpr (code_bits < 8) return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), ones);
    const __m256i low_bits = _mm256_set1_epi8(0x7f), top_bit = _mm256_set1_epi8(1);
    const __m256i top = _mm256_and_si256(_mm256_srli_epi16(codes, 7), top_bit);
    const __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(codes, low_bits), x);
    const __m256i high = _mm256_maddubs_epi16(top, x);
    return _mm256_add_epi32(_mm256_madd_epi16(low, ones), _mm256_madd_epi16(high, _mm256_set1_epi16(128)));
  }
  template <dtype type>
  TERSOR_ALWAYS_INLINE static __m256 load_half(const std::uint8_t* p) {
    if constexpr (type == dtype::f16)
      return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    else if constexpr (type == dtype::bf16)
      return half_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    else
      return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  }
  /// Lane i takes lane number (set bits of mask below bit i), or 0.
  TERSOR_ALWAYS_INLINE static __m256 half_expand(__m256 v, unsigned mask) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i chosen =
        _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(mask)), bit), bit);
    const __m256i places =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(&expand_places[mask])));
    return _mm256_and_ps(_mm256_permutevar8x32_ps(v, places), _mm256_castsi256_ps(chosen));
  }
  template <class Index>
  TERSOR_ALWAYS_INLINE static __m256 half_gather(const float* x, const Index* i) {
    if constexpr (sizeof(Index) == 2)
      return _mm256_set_m128(four_gather(x, i + 4), four_gather(x, i));
    else
      return _mm256_setr_ps(x[i[0]], x[i[1]], x[i[2]], x[i[3]], x[i[4]], x[i[5]], x[i[6]], x[i[7]]);
  }
  /// Four places in one register: loads are what a gather waits for.
  TERSOR_ALWAYS_INLINE static __m128 four_gather(const float* x, const std::uint16_t* i) {
    std::uint64_t at;
    std::memcpy(&at, i, sizeof at);
    return _mm_setr_ps(x[at & 0xffffU], x[at >> 16U & 0xffffU], x[at >> 32U & 0xffffU], x[at >> 48U]);
  }
  TERSOR_ALWAYS_INLINE static __m256 half_look_up(const table& t, __m256i at) {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(t.first, at), _mm256_permutevar8x32_ps(t.second, at),
                            _mm256_castsi256_ps(_mm256_slli_epi32(at, 28)));
  }
  TERSOR_ALWAYS_INLINE static __m256 half_bf16(__m128i v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
  }
  TERSOR_ALWAYS_INLINE static __m256 half_u8(__m128i v) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v));
  }
};

TERSOR_END_TARGET

}  // namespace tersor::kernel::avx2
#endif
