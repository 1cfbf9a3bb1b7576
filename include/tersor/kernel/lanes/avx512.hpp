// tersor - sixteen lanes of 32 bits in one AVX-512 register
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>  // std::uint8_t
#include <cstring>  // std::memcpy

#include <tersor/core/dtype.hpp>
#include <tersor/core/view.hpp>
#include <tersor/kernel/intrinsics.hpp>

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

  /// Of four numbers the one that the two bits of each lane from bit `first` on say.
  template <int first>
  TERSOR_ALWAYS_INLINE static floats select(const float* x, ints v) {
    return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(x)), shift<first>(v));
  }
  /// The reals from p on in the places of the bits of `mask`, 0 elsewhere; sixteen may be read.
  template <dtype type>
  TERSOR_ALWAYS_INLINE static floats expand(const std::uint8_t* p, std::uint16_t mask) {
    if constexpr (type == dtype::f16)
      return _mm512_maskz_expand_ps(mask, load_f16(p));
    else if constexpr (type == dtype::bf16)
      return _mm512_maskz_expand_ps(mask, load_bf16(p));
    else
      return _mm512_maskz_expand_ps(mask, load_f32(p));
  }
  /// x[at[0]], x[at[1]], ... (The processor's own gather takes twice the time.)
  template <class Index>
  TERSOR_ALWAYS_INLINE static floats gather(const float* x, const Index* at) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(half_gather(x, at)), half_gather(x, at + 8), 1);
  }

  /// The first n lanes, 0 <= n <= 16, and zeros.
  TERSOR_ALWAYS_INLINE static floats first(floats v, index_t n) {
    return _mm512_maskz_mov_ps(static_cast<__mmask16>((1U << n) - 1U), v);
  }
  /// Σ of the lanes, in an order of the target's own.
  TERSOR_ALWAYS_INLINE static float total(floats v) { return _mm512_reduce_add_ps(v); }

  TERSOR_ALWAYS_INLINE static floats load_f32(const void* p) { return _mm512_loadu_ps(p); }
  TERSOR_ALWAYS_INLINE static floats load_f16(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  TERSOR_ALWAYS_INLINE static floats load_bf16(const void* p) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p))), 16));
  }
  TERSOR_ALWAYS_INLINE static floats load_u8(const void* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
  }
  TERSOR_ALWAYS_INLINE static void store_ints(void* p, ints v) { _mm512_storeu_si512(p, v); }
  /// The first n lanes, 0 <= n <= 16.
  TERSOR_ALWAYS_INLINE static void store(float* p, floats v, index_t n) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1U << n) - 1U), v);
  }

 private:
  template <class Index>
  TERSOR_ALWAYS_INLINE static __m256 half_gather(const float* x, const Index* i) {
    return _mm256_setr_ps(x[i[0]], x[i[1]], x[i[2]], x[i[3]], x[i[4]], x[i[5]], x[i[6]], x[i[7]]);
  }
};

TERSOR_END_TARGET

}  // namespace tersor::kernel::avx512
#endif
