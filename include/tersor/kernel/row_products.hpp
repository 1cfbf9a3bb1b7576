// tersor - products of attention with rows as they are stored: reals, or codes with scales and minimums
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>  // std::uint8_t

#include <tersor/core/dtype.hpp>
#include <tersor/core/view.hpp>
#include <tersor/kernel/target.hpp>

namespace tersor::kernel {

/// Rows of reals, one after the other. All kernels but `row_scores` want whole registers (`fits`).
struct real_rows {
  const std::uint8_t* data = nullptr;  ///< [rows, columns]
  dtype type = dtype::f32;             ///< f32, f16, bf16, f8_e4m3 or f8_e5m2
  index_t rows = 0, columns = 0;
  bool numbers = false;  ///< no value is NaN, which makes scores of f8_e4m3 faster

  static bool fits(index_t columns) { return columns % 16 == 0; }
};

/// Rows of codes of 1, 2, 4 or 8 bits. A row is `words()` words of 32 bits, the low byte first; field k of
/// word w, bits k * bits to (k + 1) * bits, is the code of column k * words() + w. So the same field of
/// neighbouring words is neighbouring columns, and a register of sixteen words, shifted, is sixteen (or two
/// times eight, or four times four) columns in order.
struct code_rows {
  const std::uint8_t* data = nullptr;
  int bits = 4;
  index_t rows = 0, columns = 0;

  index_t words() const { return columns * bits / 32; }
  index_t fields() const { return 32 / bits; }
  /// Words of a row where the kernels read it: 4, 8 or a multiple of 16; rows of another size are copied.
  index_t padded_words() const { return words() <= 4 ? 4 : words() <= 8 ? 8 : (words() + 15) / 16 * 16; }
  static bool fits(int bits, index_t columns) {
    return (bits == 1 || bits == 2 || bits == 4 || bits == 8) && columns % 16 == 0 &&
           columns * bits % 32 == 0 && columns * bits >= 128;
  }
};

/// The grids of rows of codes, value = minimum + code * scale: `width` scales and minimums for each row, or
/// for each `rows_of_grid` rows.
struct row_grids {
  const std::uint8_t *scale = nullptr, *minimum = nullptr;  ///< [grids, width], those of the first row first
  dtype type = dtype::f16;                                  ///< f32, f16 or bf16
  index_t width = 0;
};
/// A grid for each column and for each `size` rows; the first row is row `offset` of its group.
struct column_grids : row_grids {
  index_t size = 1, offset = 0;
};
/// In every row a grid for each `size` columns; the first column is column `offset` of the first group of
/// `first`, counted in the row's `width`.
struct group_grids : row_grids {
  index_t size = 1, offset = 0, first = 0;
  index_t group_of(index_t column) const { return (offset + column) / size; }
  index_t groups(index_t columns) const { return group_of(columns - 1) + 1; }
  /// Do the fields of a row of codes lie in one group each? Kernels take no others.
  bool fits(const code_rows& x) const {
    for (index_t k = 0; k < x.fields(); ++k)
      if (group_of(k * x.words()) != group_of((k + 1) * x.words() - 1)) return false;
    return true;
  }
};

/// Some vectors of one side of a product.
struct row_vectors {
  const float* data = nullptr;  ///< [count, stride]
  index_t stride = 0, count = 0;
};

/// out [n] = x [n] as floats, for all types of `real_rows`.
template <class = void>
void read_reals(target t, dtype type, const std::uint8_t* x, index_t n, float* out);

// With AVX-512, vectors times scales are multiplied with codes in fixed point where that is faster, off by at
// most 2^-22.9 of the largest of a group of rows (scores) or of 128 rows (sums):
// kernel/code_scores_avx512.inc and kernel/code_sums_avx512.inc have the bounds and say why they do what they
// do. Products are made of four vectors at a time, and of one. No number is taken for smaller than 2^-120.
//
// All kernels compute, for a target, in an order of additions of its own; the result for a vector depends
// neither on the other vectors nor on how a call was reached.

/// out [count, rows] = q [count, columns] Xᵀ.
template <class = void>
void row_scores(target t, const real_rows& x, row_vectors q, float* out, index_t out_stride);
/// out [count, columns] += a [count, rows] X.
template <class = void>
void row_sums(target t, const real_rows& x, row_vectors a, float* out, index_t out_stride);

/// The same with codes. Scales enter once for each group of rows: q X̂ᵀ = (q scale) codesᵀ + q minimum.
template <class = void>
void row_scores(target t, const code_rows& x, const column_grids& grids, row_vectors q, float* out,
                index_t out_stride);
/// a X̂ = (a scale) codes + a minimum. Needs `fits`.
template <class = void>
void row_sums(target t, const code_rows& x, const group_grids& grids, row_vectors a, float* out,
              index_t out_stride);
/// out [rows, columns] = the values, without gaps.
template <class = void>
void decode_rows(target t, const code_rows& x, const column_grids& grids, float* out);
/// Needs `fits`.
template <class = void>
void decode_rows(target t, const code_rows& x, const group_grids& grids, float* out);

/// Codes of rows [rows, columns] to the order of `code_rows` and back.
inline void pack_code_row(const std::uint8_t* codes, int bits, index_t columns, std::uint8_t* out) {
  const index_t words = columns * bits / 32, fields = 32 / bits;
  for (index_t w = 0; w < words; ++w) {
    std::uint32_t word = 0;
    for (index_t k = 0; k < fields; ++k) word |= std::uint32_t{codes[k * words + w]} << (k * bits);
    for (index_t b = 0; b < 4; ++b) out[4 * w + b] = static_cast<std::uint8_t>(word >> (8 * b));
  }
}
inline void unpack_code_row(const std::uint8_t* in, int bits, index_t columns, std::uint8_t* codes) {
  const index_t words = columns * bits / 32, fields = 32 / bits;
  for (index_t w = 0; w < words; ++w) {
    std::uint32_t word = 0;
    for (index_t b = 0; b < 4; ++b) word |= std::uint32_t{in[4 * w + b]} << (8 * b);
    for (index_t k = 0; k < fields; ++k)
      codes[k * words + w] = static_cast<std::uint8_t>((word >> (k * bits)) & ((1U << bits) - 1U));
  }
}

#if defined(TERSOR_PRECOMPILED)
extern template void read_reals(target, dtype, const std::uint8_t*, index_t, float*);
extern template void row_scores(target, const real_rows&, row_vectors, float*, index_t);
extern template void row_sums(target, const real_rows&, row_vectors, float*, index_t);
extern template void row_scores(target, const code_rows&, const column_grids&, row_vectors, float*, index_t);
extern template void row_sums(target, const code_rows&, const group_grids&, row_vectors, float*, index_t);
extern template void decode_rows(target, const code_rows&, const column_grids&, float*);
extern template void decode_rows(target, const code_rows&, const group_grids&, float*);
#endif

}  // namespace tersor::kernel

#if !defined(TERSOR_PRECOMPILED)
#include <tersor/kernel/row_products_body.hpp>
#endif
