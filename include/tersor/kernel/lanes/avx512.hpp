// tersor - sixteen lanes of 32 bits in one AVX-512 register
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>  // std::uint8_t
#include <cstring>  // std::memcpy

#include <tersor/core/dtype.hpp>
#include <tersor/core/view.hpp>
#include <tersor/kernel/intrinsics.hpp>
#include <tersor/kernel/lanes/expand_places.hpp>

#if defined(TERSOR_X86_KERNELS)
namespace tersor::kernel::avx512 {

TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX512)

/// What a kernel body (kernel/*.inc) is written in: sixteen lanes, one for each row of a tile. `ints` holds
/// 32 bits a lane, which some operations see as four bytes. All targets offer the same operations.
struct lanes {
  using ints = __m512i;
  using floats = __m512;
  static constexpr index_t tokens = 4;         ///< that share one decoding of the weights
  static constexpr index_t sums = 4;           ///< independent accumulators, to hide the latency of additions
  static constexpr index_t block_tokens = 12;  ///< whose sums stay in registers
  static constexpr index_t block_tiles = 2;
  static constexpr bool nibbles_in_place = false;  ///< `nibble_in_place` is faster than `nibble`

  /// Of products with rows: rows that share the loading of a query, and sums of sixteen that stay in
  /// registers.
  static constexpr index_t rows(index_t queries) { return queries == 1 ? 8 : 4; }
  static constexpr index_t columns(index_t queries) { return queries == 1 ? 16 : 4; }

  TERSOR_ALWAYS_INLINE static ints zero_ints() { return _mm512_setzero_si512(); }
  TERSOR_ALWAYS_INLINE static floats zero() { return _mm512_setzero_ps(); }
  TERSOR_ALWAYS_INLINE static floats broadcast(float x) { return _mm512_set1_ps(x); }
  /// 32 bits in every lane.
  TERSOR_ALWAYS_INLINE static ints broadcast_bits(std::uint32_t x) {
    return _mm512_set1_epi32(static_cast<int>(x));
  }
  TERSOR_ALWAYS_INLINE static ints load(const void* p) { return _mm512_loadu_si512(p); }
  TERSOR_ALWAYS_INLINE static void prefetch(const void* p) {
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
  }

  /// Lanes shifted to the right by `bits`, to the left if negative.
  template <int bits>
  TERSOR_ALWAYS_INLINE static ints shift(ints v) {
    if constexpr (bits > 0)
      return _mm512_srli_epi32(v, bits);
    else if constexpr (bits < 0)
      return _mm512_slli_epi32(v, -bits);
    else
      return v;
  }
  /// Lanes shifted to the right by a number of bits that is not known to the compiler.
  TERSOR_ALWAYS_INLINE static ints shift_by(ints v, int bits) {
    return _mm512_srl_epi32(v, _mm_cvtsi32_si128(bits));
  }
  /// Of every byte the bits of `mask`.
  template <std::uint8_t mask>
  TERSOR_ALWAYS_INLINE static ints bytes_and(ints v) {
    return mask == 0xff ? v : _mm512_and_si512(v, _mm512_set1_epi8(static_cast<char>(mask)));
  }
  TERSOR_ALWAYS_INLINE static ints combine(ints a, ints b) { return _mm512_or_si512(a, b); }
  TERSOR_ALWAYS_INLINE static ints add(ints a, ints b) { return _mm512_add_epi32(a, b); }
  /// acc + Σ of four products: unsigned bytes of a lane times the signed bytes x[0 .. 4).
  template <int code_bits>
  TERSOR_ALWAYS_INLINE static ints dot(ints acc, ints codes, const std::int8_t* x) {
    std::int32_t four;
    std::memcpy(&four, x, sizeof four);
    return _mm512_dpbusd_epi32(acc, codes, _mm512_set1_epi32(four));
  }
  /// The same with signed bytes of the lane's own.
  template <int code_bits>
  TERSOR_ALWAYS_INLINE static ints dot(ints acc, ints codes, ints x) {
    return _mm512_dpbusd_epi32(acc, codes, x);
  }
  /// Of eight bytes those that the bytes of a lane say, 0 .. 7.
  TERSOR_ALWAYS_INLINE static ints select_bytes(const std::int8_t* x, ints places) {
    std::int64_t eight;
    std::memcpy(&eight, x, sizeof eight);
    return _mm512_shuffle_epi8(_mm512_set1_epi64(eight), places);
  }
  /// Bytes looked up in a table of 16 bytes by their four low bits; the other bits must be 0.
  TERSOR_ALWAYS_INLINE static ints look_up_bytes(const std::uint8_t* table, ints codes) {
    return _mm512_shuffle_epi8(
        _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))), codes);
  }

  TERSOR_ALWAYS_INLINE static floats to_float(ints v) { return _mm512_cvtepi32_ps(v); }
  /// Byte `b` of every lane as a number.
  template <int b>
  TERSOR_ALWAYS_INLINE static floats byte(ints v) {
    const ints shifted = shift<8 * b>(v);
    return _mm512_cvtepi32_ps(b == 3 ? shifted : _mm512_and_si512(shifted, _mm512_set1_epi32(0xff)));
  }
  TERSOR_ALWAYS_INLINE static floats add(floats a, floats b) { return _mm512_add_ps(a, b); }
  TERSOR_ALWAYS_INLINE static floats multiply(floats a, floats b) { return _mm512_mul_ps(a, b); }
  /// a b + c with one rounding.
  TERSOR_ALWAYS_INLINE static floats fma(floats a, floats b, floats c) { return _mm512_fmadd_ps(a, b, c); }

  /// Sixteen numbers to look up.
  struct table {
    floats values;
    TERSOR_ALWAYS_INLINE explicit table(const float* levels) : values(_mm512_loadu_ps(levels)) {}
  };
  /// The table's value for the four bits of each lane from bit `first` on.
  template <int first>
  TERSOR_ALWAYS_INLINE static floats look_up(const table& t, ints v) {
    return _mm512_permutexvar_ps(shift<first>(v), t.values);
  }

  /// The same for a table of the numbers 0 .. 15.
  template <int first>
  TERSOR_ALWAYS_INLINE static floats nibble(const table& numbers, ints v) {
    return look_up<first>(numbers, v);
  }

  /// The four bits from bit `first` on as a number, 2^first times what they are.
  template <int first>
  TERSOR_ALWAYS_INLINE static floats nibble_in_place(ints v) {
    return _mm512_cvtepi32_ps(_mm512_and_si512(v, _mm512_set1_epi32(15 << first)));
  }

  /// The lowest `bits` bits of each lane as a number; of fewer than 8 bits by a table of the remainders of 0
  /// .. 15 modulo 2^bits.
  template <int bits>
  TERSOR_ALWAYS_INLINE static floats low_bits(const table& remainders, ints v) {
    if constexpr (bits == 8) return byte<0>(v);
    return _mm512_permutexvar_ps(v, remainders.values);
  }

  /// Of four numbers the one that the two bits of each lane from bit `first` on say.
  template <int first>
  TERSOR_ALWAYS_INLINE static floats select(const float* x, ints v) {
    return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(x)), shift<first>(v));
  }
  /// The reals from p on in the places of the bits of `mask`, 0 elsewhere; sixteen may be read.
  template <dtype type>
  TERSOR_ALWAYS_INLINE static floats expand(const std::uint8_t* p, std::uint16_t mask) {
    const unsigned low = mask & 0xffU, high = mask >> 8U;
    // the high half begins with the number behind those of the low half
    const std::uint8_t* second = p + index_t{__builtin_popcount(low)} * (type == dtype::f32 ? 4 : 2);
    return _mm512_maskz_insertf32x8(mask, _mm512_castps256_ps512(half_expand<type>(p, low)),
                                    half_expand<type>(second, high), 1);
  }
  /// x[at[0]], x[at[1]], ... (The processor's own gather takes twice the time.)
  template <class Index>
  TERSOR_ALWAYS_INLINE static floats gather(const float* x, const Index* at) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(half_gather(x, at)), half_gather(x, at + 8), 1);
  }

  /// x[at] of a table of `size` numbers, 32, 64, 128 or 256. (From registers: a quarter of a gather's time.)
  template <index_t size>
  TERSOR_ALWAYS_INLINE static floats pick(const float* x, ints at) {
    if constexpr (size == 32) {
      return _mm512_permutex2var_ps(_mm512_loadu_ps(x), at, _mm512_loadu_ps(x + 16));
    } else {
      const __mmask16 is_high = _mm512_test_epi32_mask(at, _mm512_set1_epi32(size / 2));
      return _mm512_mask_mov_ps(pick<size / 2>(x, at), is_high, pick<size / 2>(x + size / 2, at));
    }
  }

  /// The first n lanes, 0 <= n <= 16, and zeros.
  TERSOR_ALWAYS_INLINE static floats first(floats v, index_t n) {
    return _mm512_maskz_mov_ps(static_cast<__mmask16>((1U << n) - 1U), v);
  }
  /// The lanes where a < b, and where a <= b < c; all are less than 2^31.
  TERSOR_ALWAYS_INLINE static __mmask16 below(ints a, ints b) { return _mm512_cmplt_epi32_mask(a, b); }
  TERSOR_ALWAYS_INLINE static __mmask16 within(ints a, ints b, ints c) {
    return _mm512_mask_cmplt_epi32_mask(_mm512_cmple_epi32_mask(a, b), b, c);
  }
  /// a b + c in those lanes, c in the others.
  TERSOR_ALWAYS_INLINE static floats fma_where(__mmask16 where, floats a, floats b, floats c) {
    return _mm512_mask3_fmadd_ps(a, b, c, where);
  }

  TERSOR_ALWAYS_INLINE static floats load_f32(const void* p) { return _mm512_loadu_ps(p); }
  TERSOR_ALWAYS_INLINE static floats load_f16(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  TERSOR_ALWAYS_INLINE static floats load_bf16(const void* p) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p))), 16));
  }
  /// FP8 by way of f16, which has E5M2's exponents and 256 times less for E4M3's.
  TERSOR_ALWAYS_INLINE static floats load_e5m2(const void* p) {
    return _mm512_cvtph_ps(_mm256_slli_epi16(load_words(p), 8));
  }
  TERSOR_ALWAYS_INLINE static floats load_e4m3(const void* p) {
    const __m128i v = _mm_loadu_si128(static_cast<const __m128i*>(p));
    const __mmask16 is_number = _mm_cmpneq_epi8_mask(_mm_or_si128(v, _mm_set1_epi8(-128)), _mm_set1_epi8(-1));
    return _mm512_mask_mul_ps(_mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)), is_number,
                              load_e4m3_parts(p), _mm512_set1_ps(256.0F));
  }
  /// E4M3 divided by 256, of codes that are not NaN.
  TERSOR_ALWAYS_INLINE static floats load_e4m3_parts(const void* p) {
    // the sign, widened, is one bit too many in front of f16's exponent
    const __m256i v = _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    return _mm512_cvtph_ps(_mm256_and_si256(_mm256_slli_epi16(v, 7), _mm256_set1_epi16(-0x4001)));
  }
  /// Powers of two by their exponents.
  TERSOR_ALWAYS_INLINE static floats load_e8m0(const void* p) {
    const ints v = widen_bytes(p), bits = _mm512_max_epu32(shift<-23>(v), _mm512_set1_epi32(0x00400000));
    const __mmask16 is_nan = _mm512_cmpeq_epi32_mask(v, _mm512_set1_epi32(0xff));
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(bits, is_nan, _mm512_set1_epi32(0x7fc00000)));
  }
  TERSOR_ALWAYS_INLINE static floats load_u8(const void* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
  }
  TERSOR_ALWAYS_INLINE static void store_ints(void* p, ints v) { _mm512_storeu_si512(p, v); }
  /// The first n lanes, 0 <= n <= 16.
  TERSOR_ALWAYS_INLINE static void store(float* p, floats v, index_t n) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1U << n) - 1U), v);
  }

  /// Sixteen bytes, one a lane.
  TERSOR_ALWAYS_INLINE static ints widen_bytes(const void* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  /// The lowest byte of every lane's bits.
  TERSOR_ALWAYS_INLINE static void store_low_bytes(void* p, floats v) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_castps_si512(v)));
  }
  TERSOR_ALWAYS_INLINE static ints subtract(ints a, ints b) { return _mm512_sub_epi32(a, b); }
  TERSOR_ALWAYS_INLINE static ints add_bytes(ints a, ints b) { return _mm512_add_epi8(a, b); }
  /// Bytes looked up by their four low bits, the other bits being 0: each quarter of the register in a table
  /// of 16 bytes of its own.
  TERSOR_ALWAYS_INLINE static ints look_up_quarters(const std::uint8_t* tables, ints codes) {
    return _mm512_shuffle_epi8(_mm512_loadu_si512(tables), codes);
  }
  /// Sums of unsigned bytes over registers and over a register's quarters: byte i of a quarter belongs to
  /// lane i. Up to 257 registers, up to 65535 a sum.
  struct quarter_sums {
    // a word is 256 * its odd byte + its even byte, so that sums of words and of odd bytes tell both
    ints words, odd;
    TERSOR_ALWAYS_INLINE quarter_sums() : words(_mm512_setzero_si512()), odd(_mm512_setzero_si512()) {}
    TERSOR_ALWAYS_INLINE void add(ints v) {
      words = _mm512_add_epi16(words, v);
      odd = _mm512_add_epi16(odd, _mm512_srli_epi16(v, 8));
    }
    TERSOR_ALWAYS_INLINE ints total() const {
      const __m128i e = folded(_mm512_sub_epi16(words, _mm512_slli_epi16(odd, 8))), o = folded(odd);
      return _mm512_cvtepu16_epi32(_mm256_set_m128i(_mm_unpackhi_epi16(e, o), _mm_unpacklo_epi16(e, o)));
    }

   private:
    TERSOR_ALWAYS_INLINE static __m128i folded(ints v) {
      const __m256i half = _mm256_add_epi16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
      return _mm_add_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    }
  };
  /// 3 v / 256 of every byte: the first of the ternary digits that it holds (core/trits.hpp).
  TERSOR_ALWAYS_INLINE static ints first_trit(ints v) {
    v = _mm512_subs_epu8(v, _mm512_set1_epi8(1));  // averages are rounded up
    v = _mm512_avg_epu8(v, _mm512_avg_epu8(v, _mm512_setzero_si512()));
    return _mm512_and_si512(_mm512_srli_epi16(v, 6), _mm512_set1_epi8(3));
  }
  /// Is dot<8> as fast as dot<2>?
  static constexpr bool wide_dot = true;

  TERSOR_ALWAYS_INLINE static void store(float* p, floats v) { _mm512_storeu_ps(p, v); }

  // Lanes in `parts` equal parts (1, 2 or 4).

  /// In part i the number p[i stride].
  template <int parts>
  TERSOR_ALWAYS_INLINE static floats spread(const float* p, index_t stride) {
    floats v = _mm512_set1_ps(p[0]);
    if constexpr (parts == 2) v = _mm512_mask_broadcastss_ps(v, 0xff00, _mm_load_ss(p + stride));
    if constexpr (parts == 4) {
      v = _mm512_mask_broadcastss_ps(v, 0x00f0, _mm_load_ss(p + stride));
      v = _mm512_mask_broadcastss_ps(v, 0x0f00, _mm_load_ss(p + 2 * stride));
      v = _mm512_mask_broadcastss_ps(v, 0xf000, _mm_load_ss(p + 3 * stride));
    }
    return v;
  }
  /// p[0 .. 16 / parts) in every part.
  template <int parts>
  TERSOR_ALWAYS_INLINE static floats repeat(const float* p) {
    if constexpr (parts == 1) return _mm512_loadu_ps(p);
    if constexpr (parts == 2) return _mm512_broadcast_f32x8(_mm256_loadu_ps(p));
    return _mm512_broadcast_f32x4(_mm_loadu_ps(p));
  }
  /// Part i to p + i stride.
  template <int parts>
  TERSOR_ALWAYS_INLINE static void store_parts(float* p, index_t stride, floats v) {
    if constexpr (parts == 1) _mm512_storeu_ps(p, v);
    if constexpr (parts == 2) {
      _mm256_storeu_ps(p, _mm512_castps512_ps256(v));
      _mm256_storeu_ps(p + stride, _mm512_extractf32x8_ps(v, 1));
    }
    if constexpr (parts == 4) {
      _mm_storeu_ps(p, _mm512_castps512_ps128(v));
      _mm_storeu_ps(p + stride, _mm512_extractf32x4_ps(v, 1));
      _mm_storeu_ps(p + 2 * stride, _mm512_extractf32x4_ps(v, 2));
      _mm_storeu_ps(p + 3 * stride, _mm512_extractf32x4_ps(v, 3));
    }
  }
  /// Lane i parts + j = the sum of the lanes of part j of v[i], for the 16 / parts registers v.
  template <int parts>
  TERSOR_ALWAYS_INLINE static floats part_sums(const floats* v) {
    floats four[4];  // each block of four lanes is what is left of one sum
    TERSOR_UNROLL
    for (index_t i = 0; i < 4; ++i) {
      if constexpr (parts == 1)
        four[i] = fold_blocks(fold_blocks(v[4 * i], v[4 * i + 1]), fold_blocks(v[4 * i + 2], v[4 * i + 3]));
      if constexpr (parts == 2) four[i] = fold_blocks(v[2 * i], v[2 * i + 1]);
      if constexpr (parts == 4) four[i] = v[i];
    }
    const floats sums_by_block = fold_lanes(fold_lanes(four[0], four[1]), fold_lanes(four[2], four[3]));
    const ints order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_ps(order, sums_by_block);
  }

  // Of this target only, for kernels of its own (kernel/*_avx512.inc).

  /// Lane 4 i + j of out[k] is lane 4 i + k of v[j].
  TERSOR_ALWAYS_INLINE static void turn_fours(const floats* v, floats* out) {
    const floats a = _mm512_unpacklo_ps(v[0], v[1]), b = _mm512_unpackhi_ps(v[0], v[1]);
    const floats c = _mm512_unpacklo_ps(v[2], v[3]), d = _mm512_unpackhi_ps(v[2], v[3]);
    out[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
    out[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
    out[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
    out[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
  }

 private:
  TERSOR_ALWAYS_INLINE static __m256i load_words(const void* p) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  /// Sums of neighbouring blocks of four lanes, of neighbouring lanes of every block: first a's, then b's.
  TERSOR_ALWAYS_INLINE static floats fold_blocks(floats a, floats b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  }
  TERSOR_ALWAYS_INLINE static floats fold_lanes(floats a, floats b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
  }
  template <dtype type>
  TERSOR_ALWAYS_INLINE static __m256 half_expand(const std::uint8_t* p, unsigned mask) {
    const auto* places = reinterpret_cast<const __m128i*>(&expand_places[mask]);
    const auto* eight = reinterpret_cast<const __m128i*>(p);
    __m256 v;
    if constexpr (type == dtype::f16)
      v = _mm256_cvtph_ps(_mm_loadu_si128(eight));
    else if constexpr (type == dtype::bf16)
      v = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(eight)), 16));
    else
      v = _mm256_loadu_ps(reinterpret_cast<const float*>(p));
    return _mm256_permutevar8x32_ps(v, _mm256_cvtepu8_epi32(_mm_loadl_epi64(places)));
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
};

TERSOR_END_TARGET

}  // namespace tersor::kernel::avx512
#endif
