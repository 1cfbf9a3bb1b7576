// tersor - the kernels of kernel/row_products.hpp for every target; included where they are compiled
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::min
#include <cassert>    // assert
#include <cstring>    // std::memcpy
#include <new>        // std::align_val_t

#include <tersor/kernel/lanes/avx2.hpp>
#include <tersor/kernel/lanes/avx512.hpp>
#include <tersor/kernel/lanes/neon.hpp>
#include <tersor/kernel/lanes/portable.hpp>
#include <tersor/kernel/row_products.hpp>

namespace tersor::kernel {

namespace detail {

inline constexpr index_t prefetch_distance = 8192;  ///< bytes

/// How rows of codes lie in registers of sixteen words.
struct code_shape {
  int bits;
  index_t columns, words, padded, fields;
  index_t parts;      ///< rows in a register
  index_t registers;  ///< of a row, where it fills one
  index_t block;      ///< rows that are worked on at a time

  explicit code_shape(const code_rows& x)
      : bits(x.bits),
        columns(x.columns),
        words(x.words()),
        padded(x.padded_words()),
        fields(x.fields()),
        parts(padded < 16 ? 16 / padded : 1),
        registers(padded < 16 ? 1 : padded / 16),
        block(32 * parts) {}
  index_t lanes() const { return std::min<index_t>(padded, 16); }  ///< of a part
  /// Floats of a row in the order of registers: [fields, registers, 16].
  index_t ordered() const { return fields * registers * 16; }
};

/// Memory of one call, not initialised, in pieces that begin at cache lines.
class scratch {
 public:
  static constexpr index_t pieces = 16;  ///< at most

  explicit scratch(index_t floats)
      : size_(floats + pieces * 16),
        data_(static_cast<float*>(
            ::operator new (static_cast<std::size_t>(size_) * sizeof(float), std::align_val_t{64}))) {}
  ~scratch() { ::operator delete (data_, std::align_val_t{64}); }
  scratch(const scratch&) = delete;
  scratch& operator=(const scratch&) = delete;
  float* take(index_t floats) {
    float* p = data_ + used_;
    used_ += (floats + 15) / 16 * 16;
    assert(used_ <= size_);
    return p;
  }

 private:
  index_t size_, used_ = 0;
  float* data_;
};

/// x [columns] of a row in the order of registers, once for each part; zero where a row is padded.
inline void order_padded_columns(const code_shape& s, const float* x, float* y) {
  for (index_t k = 0; k < s.fields; ++k)
    for (index_t r = 0; r < s.registers; ++r, y += 16) {
      const index_t n = std::min<index_t>(s.words - 16 * r, s.lanes());
      std::memset(y, 0, 64);
      for (index_t p = 0; p < s.parts; ++p)
        std::memcpy(y + p * s.lanes(), x + k * s.words + 16 * r, static_cast<std::size_t>(n) * sizeof(float));
    }
}
/// y [columns] += the sum of the parts of x, which is in the order of registers.
inline void add_ordered(const code_shape& s, const float* x, float* y) {
  for (index_t k = 0; k < s.fields; ++k)
    for (index_t r = 0; r < s.registers; ++r, x += 16) {
      const index_t n = std::min<index_t>(s.words - 16 * r, s.lanes());
      for (index_t p = 0; p < s.parts; ++p)
        for (index_t l = 0; l < n; ++l) y[k * s.words + 16 * r + l] += x[p * s.lanes() + l];
    }
}
/// Rows [first, first + count) where kernels may read them: whole registers of padded rows, `count` rounded
/// up to 16 rows. Those in place, or copied to `room`, padded with zeros.
inline const std::uint8_t* rows_for_kernel(const code_rows& x, const code_shape& s, index_t first,
                                           index_t count, std::uint8_t* room) {
  const std::uint8_t* from = x.data + first * s.words * 4;
  if (s.words == s.padded && count % 16 == 0) return from;
  const index_t rows = (count + 15) / 16 * 16;
  std::memset(room, 0, static_cast<std::size_t>(rows * s.padded) * 4);
  for (index_t t = 0; t < count; ++t)
    std::memcpy(room + t * s.padded * 4, from + t * s.words * 4, static_cast<std::size_t>(s.words) * 4);
  return room;
}

}  // namespace detail

#if defined(TERSOR_X86_KERNELS)
namespace avx512::row_products {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX512)
#include <tersor/kernel/real_rows.inc>
// uses the one before
#include <tersor/kernel/code_rows.inc>
// the next two use it
#include <tersor/kernel/fixed_point_avx512.inc>
//
#include <tersor/kernel/code_sums_avx512.inc>
//
#include <tersor/kernel/code_scores_avx512.inc>
TERSOR_END_TARGET
}  // namespace avx512::row_products
namespace avx2::row_products {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX2)
#include <tersor/kernel/real_rows.inc>
// uses the one before
#include <tersor/kernel/code_rows.inc>
TERSOR_END_TARGET
}  // namespace avx2::row_products
#elif defined(TERSOR_NEON_KERNELS)
namespace neon::row_products {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_NEON)
#include <tersor/kernel/real_rows.inc>
// uses the one before
#include <tersor/kernel/code_rows.inc>
TERSOR_END_TARGET
}  // namespace neon::row_products
#endif
namespace portable::row_products {
#include <tersor/kernel/real_rows.inc>
// uses the one before
#include <tersor/kernel/code_rows.inc>
}  // namespace portable::row_products

#if defined(TERSOR_X86_KERNELS)
#define TERSOR_FOR_TARGET(t, call)                            \
  if (t == target::avx512) return avx512::row_products::call; \
  if (t == target::avx2) return avx2::row_products::call;     \
  portable::row_products::call
#elif defined(TERSOR_NEON_KERNELS)
#define TERSOR_FOR_TARGET(t, call)                        \
  if (t == target::neon) return neon::row_products::call; \
  portable::row_products::call
#else
#define TERSOR_FOR_TARGET(t, call) \
  (void)t;                         \
  portable::row_products::call
#endif

template <class>
void read_reals(target t, dtype type, const std::uint8_t* x, index_t n, float* out) {
  TERSOR_FOR_TARGET(t, convert(type, x, n, out));
}
template <class>
void row_scores(target t, const real_rows& x, row_vectors q, float* out, index_t out_stride) {
  TERSOR_FOR_TARGET(t, scores(x, q, out, out_stride));
}
template <class>
void row_sums(target t, const real_rows& x, row_vectors a, float* out, index_t out_stride) {
  TERSOR_FOR_TARGET(t, sums(x, a, out, out_stride));
}
template <class>
void row_scores(target t, const code_rows& x, const column_grids& grids, row_vectors q, float* out,
                index_t out_stride) {
  if (x.rows == 0 || q.count == 0) return;
  const detail::code_shape s(x);
#if defined(TERSOR_X86_KERNELS)
  if (t == target::avx512 && avx512::row_products::fits_fixed_scores(x, s))
    return avx512::row_products::fixed_scores(x, s, grids, q, out, out_stride);
#endif
  detail::scratch memory(s.block * s.padded + 3 * x.columns + q.count * (s.ordered() + 32));
  TERSOR_FOR_TARGET(t, scores(x, s, grids, q, out, out_stride, memory));
}
template <class>
void row_sums(target t, const code_rows& x, const group_grids& grids, row_vectors a, float* out,
              index_t out_stride) {
  if (x.rows == 0 || a.count == 0) return;
  const detail::code_shape s(x);
#if defined(TERSOR_X86_KERNELS)
  if (t == target::avx512 && avx512::row_products::fits_fixed_sums(x, grids))
    return avx512::row_products::fixed_sums(x, s, grids, a, out, out_stride);
#endif
  const index_t groups = grids.groups(x.columns);
  detail::scratch memory(s.block * s.padded + 2 * (s.block * grids.width + 16) +
                         a.count * (s.block + s.ordered() + groups * 16 + 16) +
                         4 * (s.block / s.parts) * groups * 16 + 64);
  TERSOR_FOR_TARGET(t, sums(x, s, grids, a, out, out_stride, memory));
}
template <class>
void decode_rows(target t, const code_rows& x, const column_grids& grids, float* out) {
  if (x.rows == 0) return;
  const detail::code_shape s(x);
  detail::scratch memory(s.block * s.padded + 2 * (x.columns + s.ordered()) + 64 + 16 * s.padded * s.fields);
  TERSOR_FOR_TARGET(t, decode(x, s, grids, out, memory));
}
template <class>
void decode_rows(target t, const code_rows& x, const group_grids& grids, float* out) {
  if (x.rows == 0) return;
  const detail::code_shape s(x);
  detail::scratch memory(s.block * s.padded + 2 * (s.block * grids.width + 16) +
                         2 * (s.block / s.parts) * grids.groups(x.columns) * 16 + 64 +
                         16 * s.padded * s.fields);
  TERSOR_FOR_TARGET(t, decode(x, s, grids, out, memory));
}

#undef TERSOR_FOR_TARGET

}  // namespace tersor::kernel
