// tersor - products with rows of codes in fixed point, four multiplications a lane: AVX-512 with VNNI
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::min
#include <cstring>    // std::memcpy

#include <tersor/kernel/intrinsics.hpp>
#include <tersor/kernel/lanes/avx512.hpp>

// Included by kernel/row_products_body.hpp, behind kernel/code_rows.inc.

#if defined(TERSOR_X86_KERNELS)
namespace tersor::kernel::avx512::row_products {

TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX512)

/// Sums over rows of codes, the rows' weights times their groups' scales in fixed point: of a block of up to
/// 128 rows, x = w / unit, rounded, is three signed bytes, where unit is the largest |a| of the block times the
/// largest |scale| over `fixed_limit`. So a weight is off by at most 2^-23 of that product (and by 2^-120:
/// blocks of smaller ones are not scaled up further); sums of x times codes are exact, and are added to floats
/// once a block. A weight or scale that is not finite makes what the block adds not a number.
inline constexpr float fixed_limit = 8355000.0F;  // three bytes reach 127 * (65536 + 256 + 1)
inline constexpr index_t fixed_rows = 128;

/// Are there four groups, or two, or one, that begin where quarters of a row do?
inline bool fits_fixed_sums(const code_rows& x, const group_grids& grids) {
  for (index_t b = 0; b < 4; ++b)
    if (grids.group_of(b * x.columns / 4) != grids.group_of((b + 1) * x.columns / 4 - 1)) return false;
  return true;
}

/// Sums of 32 bits. (Arrays of __m512i, 64 bits by their type, GCC keeps in memory as well as in registers.)
using int_lanes = std::int32_t __attribute__((vector_size(64)));
TERSOR_ALWAYS_INLINE __m512i as_register(int_lanes x) { return reinterpret_cast<__m512i>(x); }
TERSOR_ALWAYS_INLINE int_lanes dot(int_lanes sum, __m512i codes, __m512i x) {
  return reinterpret_cast<int_lanes>(_mm512_dpbusd_epi32(as_register(sum), codes, x));
}

/// The largest number of lanes, which are not negative, and `bound`; not finite if one of them is.
inline float largest_lane(__m512i lanes_of, float bound) {
  const int bits = std::max(_mm512_reduce_max_epi32(lanes_of), _mm_cvtsi128_si32(_mm_castps_si128(_mm_set_ss(bound))));
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits)));
}
/// The largest |x|; not finite if one of x [n] is, n a multiple of sixteen.
inline float largest_size(const float* x, index_t n) {
  __m512i most = _mm512_setzero_si512();
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  for (index_t i = 0; i < n; i += 16)
    most = _mm512_max_epi32(most, _mm512_and_si512(_mm512_loadu_si512(x + i), magnitude));
  return largest_lane(most, 0.0F);
}
struct fixed_unit {
  float unit, inverse;
  explicit fixed_unit(float largest)
      : unit(largest <= 0x1p-97F ? 0x1p-120F : largest / fixed_limit), inverse(1.0F / unit) {}
};

/// Numbers, rounded, as three signed bytes each: the bytes p of four lanes are those of lane p of a quarter.
inline __m512i three_bytes(__m512 x) {
  const __m512i middle = _mm512_set1_epi32(0x808080);
  const __m512i digits =
      _mm512_xor_si512(_mm512_add_epi32(_mm512_cvtps_epi32(x), middle), middle);
  return _mm512_shuffle_epi8(
      digits, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
}
/// Quarter p of the result is lane p of the four quarters.
inline __m512i quarters_of_lanes(__m512i v) {
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), v);
}

/// What blocks of sums share. A step is four registers of codes, 4 parts rows; a quad four rows of it, part +
/// parts * (0 .. 3), whose codes meet in the four bytes of a lane. Lanes of a quad's numbers: 4 quarter + row.
struct fixed_shape {
  index_t parts;
  alignas(64) std::int32_t grid[4][16];  ///< of each part, where the grids of a quad's lanes are in a step's
  alignas(64) std::int32_t row[16];      ///< rows of sixteen in the order of quads
};

inline void order_weights(const fixed_shape& s, const float* a, index_t n, float* out) {
  const __m512i at = _mm512_load_si512(s.row);
  for (index_t t = 0; t < n; t += 16)
    _mm512_storeu_ps(out + t, _mm512_permutexvar_ps(at, _mm512_loadu_ps(a + t)));
}
/// Grids of rows [steps * 4 parts, width] to quads.
inline void order_grids(const fixed_shape& s, index_t steps, const float* x, index_t width, float* out) {
  const index_t each = 4 * s.parts * width;
  for (index_t i = 0; i < steps; ++i, x += each)
    for (index_t p = 0; p < s.parts; ++p, out += 16)
      if (each <= 32)
        lanes::store(out, lanes::pick<32>(x, lanes::load(s.grid[p])));
      else if (each <= 64)
        lanes::store(out, lanes::pick<64>(x, lanes::load(s.grid[p])));
      else
        lanes::store(out, lanes::gather(x, s.grid[p]));
}

/// Weights of a block's steps as bytes, 192 each, and what minimums add, in lanes of quads.
template <index_t parts>
inline __m512 fixed_weights(index_t steps, const float* a, float inverse, const float* scale,
                            const float* minimum, std::uint8_t* out) {
  const __m512 factor = _mm512_set1_ps(inverse);
  __m512 constant = _mm512_setzero_ps();
  for (index_t i = 0; i < steps; ++i, out += 192) {
    __m512i quad[parts];
    TERSOR_UNROLL
    for (index_t p = 0; p < parts; ++p, a += 4, scale += 16, minimum += 16) {
      const __m512 own = _mm512_broadcast_f32x4(_mm_loadu_ps(a));
      constant = _mm512_fmadd_ps(own, _mm512_loadu_ps(minimum), constant);
      quad[p] = quarters_of_lanes(
          three_bytes(_mm512_mul_ps(_mm512_mul_ps(own, factor), _mm512_loadu_ps(scale))));
    }
    if constexpr (parts == 1) {
      _mm512_storeu_si512(out, quad[0]);
    } else if constexpr (parts == 2) {
      _mm512_storeu_si512(out, _mm512_shuffle_i32x4(quad[0], quad[1], 0x00));
      _mm512_storeu_si512(out + 64, _mm512_shuffle_i32x4(quad[0], quad[1], 0x55));
      _mm512_storeu_si512(out + 128, _mm512_shuffle_i32x4(quad[0], quad[1], 0xaa));
    } else {
      const __m512i a01 = _mm512_shuffle_i32x4(quad[0], quad[1], 0x44);
      const __m512i b01 = _mm512_shuffle_i32x4(quad[2], quad[3], 0x44);
      const __m512i a2 = _mm512_shuffle_i32x4(quad[0], quad[1], 0xee);
      const __m512i b2 = _mm512_shuffle_i32x4(quad[2], quad[3], 0xee);
      _mm512_storeu_si512(out, _mm512_shuffle_i32x4(a01, b01, 0x88));
      _mm512_storeu_si512(out + 64, _mm512_shuffle_i32x4(a01, b01, 0xdd));
      _mm512_storeu_si512(out + 128, _mm512_shuffle_i32x4(a2, b2, 0x88));
    }
  }
  return constant;
}
template <index_t parts>
TERSOR_ALWAYS_INLINE __m512i fixed_weight(const std::uint8_t* step, int byte) {
  if constexpr (parts == 1)
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(step + 16 * byte)));
  else
    return _mm512_loadu_si512(step + 64 * byte);
}

/// Codes of a step's rows as bytes: of each register of a row, for each word of four and each field of a byte,
/// sixteen lanes (words apart by four and bytes of a word) of four rows.
template <int bits>
inline void interleave_rows(const std::uint8_t* data, index_t registers, std::uint8_t* out) {
  constexpr int fields = 8 / bits;
  const __m512i mask = _mm512_set1_epi8(static_cast<char>((1U << bits) - 1U));
  for (index_t i = 0; i < registers; ++i) {
    __m512i v[4];
    TERSOR_UNROLL
    for (index_t r = 0; r < 4; ++r) {
      const std::uint8_t* p = data + (r * registers + i) * 64;
      lanes::prefetch(p + detail::prefetch_distance);
      v[r] = _mm512_loadu_si512(p);
    }
    const __m512i a = _mm512_unpacklo_epi8(v[0], v[1]), b = _mm512_unpacklo_epi8(v[2], v[3]);
    const __m512i c = _mm512_unpackhi_epi8(v[0], v[1]), d = _mm512_unpackhi_epi8(v[2], v[3]);
    v[0] = _mm512_unpacklo_epi16(a, b);
    v[1] = _mm512_unpackhi_epi16(a, b);
    v[2] = _mm512_unpacklo_epi16(c, d);
    v[3] = _mm512_unpackhi_epi16(c, d);
    TERSOR_UNROLL
    for (index_t k = 0; k < 4; ++k)
      TERSOR_UNROLL
      for (int m = 0; m < fields; ++m, out += 64) {
        _mm512_storeu_si512(out, bits == 8 ? v[k] : _mm512_and_si512(v[k], mask));
        if constexpr (bits < 8) v[k] = _mm512_srli_epi16(v[k], bits);
      }
  }
}

/// sums [count, all columns, 16] += unit * weights times codes, of `columns` registers of sums.
template <index_t parts, index_t count, index_t columns>
inline void add_fixed_columns(index_t steps, const std::uint8_t* codes, index_t code_step,
                              const std::uint8_t* weights, index_t weight_step, const float* unit,
                              float* sums, index_t sums_stride) {
  int_lanes low[count][columns], middle[count][columns], high[count][columns];
  TERSOR_UNROLL
  for (index_t j = 0; j < count; ++j)
    TERSOR_UNROLL
    for (index_t c = 0; c < columns; ++c)
      low[j][c] = middle[j][c] = high[j][c] = int_lanes{};
  for (index_t i = 0; i < steps; ++i, codes += code_step, weights += 192) {
    __m512i a[count], b[count], d[count];
    TERSOR_UNROLL
    for (index_t j = 0; j < count; ++j) {
      a[j] = fixed_weight<parts>(weights + j * weight_step, 0);
      b[j] = fixed_weight<parts>(weights + j * weight_step, 1);
      d[j] = fixed_weight<parts>(weights + j * weight_step, 2);
    }
    TERSOR_UNROLL
    for (index_t c = 0; c < columns; ++c) {
      const __m512i code = _mm512_loadu_si512(codes + 64 * c);
      TERSOR_UNROLL
      for (index_t j = 0; j < count; ++j) {
        low[j][c] = dot(low[j][c], code, a[j]);
        middle[j][c] = dot(middle[j][c], code, b[j]);
        high[j][c] = dot(high[j][c], code, d[j]);
      }
    }
  }
  TERSOR_UNROLL
  for (index_t j = 0; j < count; ++j)
    TERSOR_UNROLL
    for (index_t c = 0; c < columns; ++c) {
      float* to = sums + j * sums_stride + 16 * c;
      const __m512i rest = _mm512_add_epi32(_mm512_slli_epi32(as_register(middle[j][c]), 8), as_register(low[j][c]));
      const __m512 all = _mm512_fmadd_ps(_mm512_cvtepi32_ps(as_register(high[j][c])), _mm512_set1_ps(65536.0F),
                                         _mm512_cvtepi32_ps(rest));
      _mm512_storeu_ps(to, _mm512_fmadd_ps(all, _mm512_set1_ps(unit[j]), _mm512_loadu_ps(to)));
    }
}

template <int bits, index_t parts>
inline void fixed_sums_of(const code_rows& x, const detail::code_shape& s, const group_grids& grids,
                          row_vectors a, float* out, index_t out_stride, detail::scratch& memory) {
  constexpr index_t fields = 8 / bits;
  const index_t width = grids.width, columns = s.registers * 4 * fields, code_step = 64 * columns;
  const index_t most_steps = fixed_rows / (4 * parts), weight_step = most_steps * 192;
  auto* room = reinterpret_cast<std::uint8_t*>(memory.take(fixed_rows * s.padded));
  float *natural = memory.take(fixed_rows * width + 64), *scale = memory.take(fixed_rows * 4);
  float *minimum = memory.take(fixed_rows * 4), *own = memory.take(fixed_rows), *ordered = memory.take(fixed_rows);
  auto* codes = reinterpret_cast<std::uint8_t*>(memory.take(most_steps * code_step / 4));
  auto* weights = reinterpret_cast<std::uint8_t*>(memory.take(a.count * weight_step / 4));
  float *sums = memory.take(a.count * columns * 16), *constants = memory.take(a.count * 16);
  float* units = memory.take(a.count);
  std::memset(sums, 0, static_cast<std::size_t>(a.count * columns * 16) * sizeof(float));
  std::memset(constants, 0, static_cast<std::size_t>(a.count * 16) * sizeof(float));
  fixed_shape shape{.parts = parts, .grid = {}, .row = {}};
  for (index_t l = 0; l < 16; ++l) {
    const index_t quarter = l / 4, j = l % 4;
    for (index_t p = 0; p < parts; ++p)
      shape.grid[p][l] = static_cast<std::int32_t>((p + parts * j) * width + grids.first +
                                                   grids.group_of(quarter * x.columns / 4));
    // lane l of sixteen rows: quad l / 4 of them
    shape.row[l] = static_cast<std::int32_t>(quarter / parts * 4 * parts + quarter % parts + parts * j);
  }
  for (index_t first = 0; first < x.rows; first += fixed_rows) {
    const index_t n = std::min(fixed_rows, x.rows - first), padded = (n + 15) / 16 * 16;
    const index_t steps = padded / (4 * parts);
    const std::uint8_t* data = detail::rows_for_kernel(x, s, first, n, room);
    for (index_t i = 0; i < steps; ++i)
      interleave_rows<bits>(data + i * 256 * s.registers, s.registers, codes + i * code_step);
    load_grids(grids, grids.scale, first, n, natural);
    order_grids(shape, steps, natural, width, scale);
    load_grids(grids, grids.minimum, first, n, natural);
    order_grids(shape, steps, natural, width, minimum);
    const float largest_scale = largest_size(scale, 4 * padded);
    for (index_t j = 0; j < a.count; ++j) {
      const float* mine = a.data + j * a.stride + first;
      if (n < padded) {
        std::memcpy(own, mine, static_cast<std::size_t>(n) * sizeof(float));
        std::memset(own + n, 0, static_cast<std::size_t>(padded - n) * sizeof(float));
        mine = own;
      }
      order_weights(shape, mine, padded, ordered);
      const fixed_unit unit(largest_size(ordered, padded) * largest_scale);
      units[j] = unit.unit;
      const __m512 constant =
          fixed_weights<parts>(steps, ordered, unit.inverse, scale, minimum, weights + j * weight_step);
      _mm512_storeu_ps(constants + 16 * j, _mm512_add_ps(_mm512_loadu_ps(constants + 16 * j), constant));
    }
    index_t j = 0;
    for (; j + 2 <= a.count; j += 2)
      for (index_t c = 0; c < columns; c += 4)
        add_fixed_columns<parts, 2, 4>(steps, codes + 64 * c, code_step, weights + j * weight_step, weight_step,
                                       units + j, sums + (j * columns + c) * 16, columns * 16);
    for (; j < a.count; ++j)
      for (index_t c = 0; c < columns; c += 4)
        add_fixed_columns<parts, 1, 4>(steps, codes + 64 * c, code_step, weights + j * weight_step, weight_step,
                                       units + j, sums + (j * columns + c) * 16, columns * 16);
  }
  for (index_t j = 0; j < a.count; ++j) {
    float* y = out + j * out_stride;
    const float* constant = constants + 16 * j;
    float added[4];
    for (index_t b = 0; b < 4; ++b)
      added[b] = (constant[4 * b] + constant[4 * b + 1]) + (constant[4 * b + 2] + constant[4 * b + 3]);
    for (index_t b = 0; b < 4; ++b)
      for (index_t m = 0; m < fields; ++m)
        for (index_t word = 0; word < s.words; ++word, ++y) {
          const float* from = sums + (j * columns + (word / 16 * 4 + word % 4) * fields + m) * 16 + b;
          float sum = added[b];
          for (index_t p = 0; p < parts; ++p) sum += from[4 * (p * (4 / parts) + word % 16 / 4)];
          *y += sum;
        }
  }
}
template <int bits>
inline void fixed_sums_in_parts(const code_rows& x, const detail::code_shape& s, const group_grids& grids,
                                row_vectors a, float* out, index_t out_stride, detail::scratch& memory) {
  if (s.parts == 1) return fixed_sums_of<bits, 1>(x, s, grids, a, out, out_stride, memory);
  if (s.parts == 2) return fixed_sums_of<bits, 2>(x, s, grids, a, out, out_stride, memory);
  fixed_sums_of<bits, 4>(x, s, grids, a, out, out_stride, memory);
}
inline void fixed_sums(const code_rows& x, const detail::code_shape& s, const group_grids& grids, row_vectors a,
                       float* out, index_t out_stride) {
  const index_t codes = fixed_rows * s.padded * 8 / x.bits;
  detail::scratch memory(fixed_rows * (s.padded + grids.width + 12) + 64 + codes +
                         a.count * (fixed_rows * 12 + s.registers * 32 / x.bits * 16 + 32) + 64);
  switch (x.bits) {
    case 1: return fixed_sums_in_parts<1>(x, s, grids, a, out, out_stride, memory);
    case 2: return fixed_sums_in_parts<2>(x, s, grids, a, out, out_stride, memory);
    case 4: return fixed_sums_in_parts<4>(x, s, grids, a, out, out_stride, memory);
    default: return fixed_sums_in_parts<8>(x, s, grids, a, out, out_stride, memory);
  }
}

/// Products of rows of codes, the vector times the columns' scales in fixed point: y = q scale / unit, rounded,
/// is three signed bytes, where unit is the larger of the largest |q scale| over `fixed_limit`, and Σ |q scale|
/// times the largest code over `fixed_total`, with which sums stay in 32 bits. So an entry is off by at most
/// half of that, and products of a row, which are exact, by a sum of such errors times codes.
inline constexpr float fixed_total = 2.1e9F;  // below 2^31, and rounding adds a half for each column

/// Rows in place, and codes that leave enough of 32 bits.
inline bool fits_fixed_scores(const code_rows& x, const detail::code_shape& s) {
  return x.bits <= 4 && s.words == s.padded;
}

/// Byte b of the four planes' lane l is byte (0, 1, 2) of lane l of x[b].
inline void planes_of(const __m512i* x, __m512i* plane) {
  const __m512i a = _mm512_unpacklo_epi8(x[0], x[1]), b = _mm512_unpacklo_epi8(x[2], x[3]);
  const __m512i c = _mm512_unpackhi_epi8(x[0], x[1]), d = _mm512_unpackhi_epi8(x[2], x[3]);
  const __m512i lane0 = _mm512_unpacklo_epi16(a, b), lane1 = _mm512_unpackhi_epi16(a, b);
  const __m512i lane2 = _mm512_unpacklo_epi16(c, d), lane3 = _mm512_unpackhi_epi16(c, d);
  const __m512i front = _mm512_unpacklo_epi32(lane0, lane1), back = _mm512_unpacklo_epi32(lane2, lane3);
  plane[0] = _mm512_unpacklo_epi64(front, back);
  plane[1] = _mm512_unpackhi_epi64(front, back);
  plane[2] = _mm512_unpacklo_epi64(_mm512_unpackhi_epi32(lane0, lane1), _mm512_unpackhi_epi32(lane2, lane3));
}
/// Part p of v in all parts.
template <index_t parts, int p>
inline __m512i repeat_part(__m512i v) {
  if constexpr (parts == 1) return v;
  if constexpr (parts == 2) return _mm512_shuffle_i64x2(v, v, p == 0 ? 0x44 : 0xee);
  return _mm512_shuffle_i32x4(v, v, 0x55 * p);
}
template <index_t parts, int p>
inline void store_planes(const __m512i* plane, index_t m, index_t fields, std::uint8_t* out) {
  if constexpr (p < parts) {
    if (m + p >= fields) return;
    for (index_t b = 0; b < 3; ++b)
      _mm512_storeu_si512(out + (3 * (m + p) + b) * 64, repeat_part<parts, p>(plane[b]));
    store_planes<parts, p + 1>(plane, m, fields, out);
  }
}
/// A vector's bytes, [registers, fields of a byte, 3, 64]: the lanes of codes. x has room for 16 more.
template <int bits, index_t parts>
inline void fixed_columns(const detail::code_shape& s, const float* x, float inverse, std::uint8_t* out) {
  constexpr index_t fields = 8 / bits;
  const __m512 factor = _mm512_set1_ps(inverse);
  const __m512i middle = _mm512_set1_epi32(0x808080);
  for (index_t i = 0; i < s.registers; ++i, out += fields * 192)
    for (index_t m = 0; m < fields; m += parts) {
      __m512i number[4], plane[3];
      TERSOR_UNROLL
      for (index_t b = 0; b < 4; ++b) {
        const __m512 y = _mm512_mul_ps(_mm512_loadu_ps(x + (b * fields + m) * s.words + 16 * i), factor);
        number[b] = _mm512_xor_si512(_mm512_add_epi32(_mm512_cvtps_epi32(y), middle), middle);
      }
      planes_of(number, plane);
      store_planes<parts, 0>(plane, m, fields, out);
    }
}

TERSOR_ALWAYS_INLINE __m512i fold_int_blocks(int_lanes a, int_lanes b) {
  const __m512i x = as_register(a), y = as_register(b);
  return _mm512_add_epi32(_mm512_shuffle_i32x4(x, y, 0x88), _mm512_shuffle_i32x4(x, y, 0xdd));
}
TERSOR_ALWAYS_INLINE __m512i fold_int_lanes(__m512i a, __m512i b) {
  const __m512 x = _mm512_castsi512_ps(a), y = _mm512_castsi512_ps(b);
  return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(x, y, 0x88)),
                          _mm512_castps_si512(_mm512_shuffle_ps(x, y, 0xdd)));
}
/// lanes::part_sums of integers.
template <index_t parts>
inline __m512i int_part_sums(const int_lanes* v) {
  __m512i four[4];
  TERSOR_UNROLL
  for (int i = 0; i < 4; ++i) {
    if constexpr (parts == 1)
      four[i] = fold_int_blocks(
          reinterpret_cast<int_lanes>(fold_int_blocks(v[4 * i], v[4 * i + 1])),
          reinterpret_cast<int_lanes>(fold_int_blocks(v[4 * i + 2], v[4 * i + 3])));
    if constexpr (parts == 2) four[i] = fold_int_blocks(v[2 * i], v[2 * i + 1]);
    if constexpr (parts == 4) four[i] = as_register(v[i]);
  }
  return _mm512_permutexvar_epi32(
      _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
      fold_int_lanes(fold_int_lanes(four[0], four[1]), fold_int_lanes(four[2], four[3])));
}

/// out [count, 16] = constant + unit * products of sixteen rows.
template <int bits, index_t parts, index_t count, index_t rows>
inline void sixteen_fixed_products(const std::uint8_t* data, index_t registers, const std::uint8_t* q,
                                   index_t q_stride, const float* unit, const float* constant, float* out,
                                   index_t out_stride) {
  constexpr index_t fields = 8 / bits;
  const __m512i mask = _mm512_set1_epi8(static_cast<char>((1U << bits) - 1U));
  int_lanes all[count][16 / parts];
  for (index_t r0 = 0; r0 < 16 / parts; r0 += rows) {
    int_lanes low[count][rows], middle[count][rows], high[count][rows];
    TERSOR_UNROLL
    for (index_t j = 0; j < count; ++j)
      TERSOR_UNROLL
      for (index_t r = 0; r < rows; ++r) low[j][r] = middle[j][r] = high[j][r] = int_lanes{};
    const std::uint8_t* x = q;
    for (index_t i = 0; i < registers; ++i) {
      int_lanes v[rows];
      TERSOR_UNROLL
      for (index_t r = 0; r < rows; ++r) {
        const std::uint8_t* p = data + ((r0 + r) * registers + i) * 64;
        lanes::prefetch(p + detail::prefetch_distance);
        v[r] = reinterpret_cast<int_lanes>(_mm512_loadu_si512(p));
      }
      TERSOR_UNROLL
      for (index_t m = 0; m < fields; ++m, x += 192) {
        __m512i code[rows];
        TERSOR_UNROLL
        for (index_t r = 0; r < rows; ++r) {
          code[r] = _mm512_and_si512(as_register(v[r]), mask);
          v[r] = reinterpret_cast<int_lanes>(_mm512_srli_epi32(as_register(v[r]), bits));
        }
        TERSOR_UNROLL
        for (index_t j = 0; j < count; ++j) {
          const __m512i a = _mm512_loadu_si512(x + j * q_stride), b = _mm512_loadu_si512(x + j * q_stride + 64);
          const __m512i c = _mm512_loadu_si512(x + j * q_stride + 128);
          TERSOR_UNROLL
          for (index_t r = 0; r < rows; ++r) {
            low[j][r] = dot(low[j][r], code[r], a);
            middle[j][r] = dot(middle[j][r], code[r], b);
            high[j][r] = dot(high[j][r], code[r], c);
          }
        }
      }
    }
    TERSOR_UNROLL
    for (index_t j = 0; j < count; ++j)
      TERSOR_UNROLL
      for (index_t r = 0; r < rows; ++r) {
        const __m512i top = _mm512_add_epi32(_mm512_slli_epi32(as_register(high[j][r]), 8),
                                             as_register(middle[j][r]));
        all[j][r0 + r] = reinterpret_cast<int_lanes>(
            _mm512_add_epi32(_mm512_slli_epi32(top, 8), as_register(low[j][r])));
      }
  }
  for (index_t j = 0; j < count; ++j)
    _mm512_storeu_ps(out + j * out_stride,
                     _mm512_fmadd_ps(_mm512_cvtepi32_ps(int_part_sums<parts>(all[j])),
                                     _mm512_set1_ps(unit[j]), _mm512_set1_ps(constant[j])));
}

template <int bits, index_t parts>
inline void fixed_scores_of(const code_rows& x, const detail::code_shape& s, const column_grids& grids,
                            row_vectors q, float* out, index_t out_stride, detail::scratch& memory) {
  constexpr index_t fields = 8 / bits;
  constexpr float levels = (1 << bits) - 1;
  constexpr index_t most_rows = 16 / parts < 8 ? 16 / parts : 8;
  const index_t bytes = s.registers * fields * 192;
  auto* room = reinterpret_cast<std::uint8_t*>(memory.take(s.block * s.padded));
  float *scale = memory.take(x.columns), *minimum = memory.take(x.columns);
  const index_t stride_of_scaled = x.columns + 16;
  float *scaled = memory.take(q.count * stride_of_scaled), *last = memory.take(q.count * 16);
  float *units = memory.take(q.count), *inverses = memory.take(q.count), *constants = memory.take(q.count);
  auto* fixed = reinterpret_cast<std::uint8_t*>(memory.take(q.count * bytes / 4));
  for (index_t j = 0; j < q.count; ++j) std::memset(scaled + j * stride_of_scaled + x.columns, 0, 64);
  const index_t grid_bytes = grids.width * bits_of(grids.type) / 8;
  for (index_t first = 0; first < x.rows;) {
    const index_t group = (grids.offset + first) / grids.size;
    const index_t end = std::min(x.rows, (group + 1) * grids.size - grids.offset);
    convert(grids.type, grids.scale + group * grid_bytes, x.columns, scale);
    convert(grids.type, grids.minimum + group * grid_bytes, x.columns, minimum);
    // one loop for each step, so that none waits for the reductions and divisions of its own vector
    for (index_t j = 0; j < q.count; ++j) {
      const float* mine = q.data + j * q.stride;
      float* to = scaled + j * stride_of_scaled;
      __m512 constant = _mm512_setzero_ps(), total = _mm512_setzero_ps();
      __m512i most = _mm512_setzero_si512();
      for (index_t c = 0; c < x.columns; c += 16) {
        const __m512 y = _mm512_loadu_ps(mine + c), product = _mm512_mul_ps(y, _mm512_loadu_ps(scale + c));
        const __m512 magnitude = _mm512_abs_ps(product);
        _mm512_storeu_ps(to + c, product);
        total = _mm512_add_ps(total, magnitude);
        most = _mm512_max_epi32(most, _mm512_castps_si512(magnitude));
        constant = _mm512_fmadd_ps(y, _mm512_loadu_ps(minimum + c), constant);
      }
      const float bound = _mm512_reduce_add_ps(total) * (levels * fixed_limit / fixed_total);
      units[j] = largest_lane(most, bound);
      constants[j] = _mm512_reduce_add_ps(constant);
    }
    for (index_t j = 0; j < q.count; ++j) {
      const fixed_unit unit(units[j]);
      units[j] = unit.unit;
      inverses[j] = unit.inverse;
    }
    for (index_t j = 0; j < q.count; ++j)
      fixed_columns<bits, parts>(s, scaled + j * stride_of_scaled, inverses[j], fixed + j * bytes);
    while (first < end) {
      const index_t n = std::min(s.block, end - first);
      const std::uint8_t* data = detail::rows_for_kernel(x, s, first, n, room);
      for (index_t t = 0; t < n; t += 16) {
        const index_t some = std::min<index_t>(16, n - t);
        float* to = some == 16 ? out + first + t : last;
        const index_t stride = some == 16 ? out_stride : 16;
        const std::uint8_t* from = data + t * s.padded * 4;
        index_t j = 0;
        for (; j + 4 <= q.count; j += 4)
          sixteen_fixed_products<bits, parts, 4, 2>(from, s.registers, fixed + j * bytes, bytes, units + j,
                                                    constants + j, to + j * stride, stride);
        for (; j < q.count; ++j)
          sixteen_fixed_products<bits, parts, 1, most_rows>(from, s.registers, fixed + j * bytes, bytes,
                                                            units + j, constants + j, to + j * stride, stride);
        if (some < 16)
          for (j = 0; j < q.count; ++j)
            std::memcpy(out + j * out_stride + first + t, last + 16 * j,
                        static_cast<std::size_t>(some) * sizeof(float));
      }
      first += n;
    }
  }
}
template <int bits>
inline void fixed_scores_in_parts(const code_rows& x, const detail::code_shape& s, const column_grids& grids,
                                  row_vectors q, float* out, index_t out_stride, detail::scratch& memory) {
  if (s.parts == 1) return fixed_scores_of<bits, 1>(x, s, grids, q, out, out_stride, memory);
  if (s.parts == 2) return fixed_scores_of<bits, 2>(x, s, grids, q, out, out_stride, memory);
  fixed_scores_of<bits, 4>(x, s, grids, q, out, out_stride, memory);
}
inline void fixed_scores(const code_rows& x, const detail::code_shape& s, const column_grids& grids,
                         row_vectors q, float* out, index_t out_stride) {
  detail::scratch memory(s.block * s.padded + 2 * x.columns +
                         q.count * (x.columns + 35 + s.registers * 8 / x.bits * 48));
  switch (x.bits) {
    case 1: return fixed_scores_in_parts<1>(x, s, grids, q, out, out_stride, memory);
    case 2: return fixed_scores_in_parts<2>(x, s, grids, q, out, out_stride, memory);
    default: return fixed_scores_in_parts<4>(x, s, grids, q, out, out_stride, memory);
  }
}

TERSOR_END_TARGET

}  // namespace tersor::kernel::avx512::row_products
#endif
