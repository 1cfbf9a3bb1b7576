// tersor - triangular solves and inverses
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::min

#include <tersor/linalg/gemm.hpp>

namespace tersor::linalg {

namespace detail {

/// b := L⁻¹ b (or U⁻¹ b) by substitution, for the small blocks at the bottom of the recursion. `lower` walks
/// the rows down, upper walks them up; the loops follow the memory order of b.
template <class T>
void substitute(matrix_view<const T> l, matrix_view<T> b, bool lower) {
  const index_t n = l.rows(), r = b.cols();
  const index_t bi = b.strides[0], bj = b.strides[1];
#if defined(TERSOR_USE_BLAS)
  operand<const T> pl;
  operand<T> pb;
  if (as_operand(l, pl) && as_operand(b, pb)) {
    // The order of the call is that of b; a triangle stored in the other order is the transpose of its
    // mirror.
    const bool same = pl.transposed == pb.transposed;
    return blas::trsm(pb.transposed ? blas::col_major : blas::row_major,
                      lower == same ? blas::lower : blas::upper, same ? blas::no_trans : blas::trans, n, r,
                      pl.data, pl.ld, pb.data, pb.ld);
  }
#endif
  for (index_t s = 0; s < n; ++s) {
    const index_t i = lower ? s : n - 1 - s;
    const T inverse_free_pivot = l(i, i);
    T* bi_row = b.data + i * bi;
    for (index_t u = 0; u < s; ++u) {
      const index_t k = lower ? u : n - 1 - u;
      const T factor = l(i, k);
      const T* bk_row = b.data + k * bi;
      for (index_t j = 0; j < r; ++j) bi_row[j * bj] -= factor * bk_row[j * bj];
    }
    for (index_t j = 0; j < r; ++j) bi_row[j * bj] /= inverse_free_pivot;
  }
}

/// Recursive solve on the calling thread: halves the triangle, so that nearly all work is matrix products.
template <class T>
void solve_block(matrix_view<const T> t, matrix_view<T> b, bool lower) {
  constexpr index_t small = 64;
  const index_t n = t.rows(), r = b.cols();
  if (n <= small) return substitute(t, b, lower);
  const index_t h = (n / 2 + small - 1) / small * small, rest = n - h;
  const context serial{.threads = 1};
  if (lower) {
    solve_block<T>(t.block(0, 0, h, h), b.block(0, 0, h, r), lower);
    gemm<T>(T(-1), t.block(h, 0, rest, h), b.block(0, 0, h, r), T(1), b.block(h, 0, rest, r), serial);
    solve_block<T>(t.block(h, h, rest, rest), b.block(h, 0, rest, r), lower);
  } else {
    solve_block<T>(t.block(h, h, rest, rest), b.block(h, 0, rest, r), lower);
    gemm<T>(T(-1), t.block(0, h, h, rest), b.block(h, 0, rest, r), T(1), b.block(0, 0, h, r), serial);
    solve_block<T>(t.block(0, 0, h, h), b.block(0, 0, h, r), lower);
  }
}

template <class T>
void solve_triangle(matrix_view<const T> t, matrix_view<T> b, bool lower, const context& ctx) {
  const index_t n = t.rows();
  require(t.cols() == n, "triangular solve: matrix", concat(n, " x ", t.cols()), "a square matrix");
  require(b.rows() == n, "triangular solve: rows of the right-hand side", b.rows(), n);
  for (index_t i = 0; i < n; ++i)
    require(t(i, i) != T(0), concat("triangular solve: diagonal[", i, "]"), 0, "a non-zero pivot");
  // Right-hand sides are independent: one chunk of them per task.
  parallel_chunks(b.cols(), 256, ctx, [&](index_t first, index_t last) {
    solve_block<T>(t, b.block(0, first, n, last - first), lower);
  });
}

template <class T>
void invert_lower_block(matrix_view<T> l, const context& ctx) {
  constexpr index_t small = 32;
  const index_t n = l.rows();
  if (n <= small) {
    for (index_t j = 0; j < n;
         ++j) {  // column j of the inverse by substitution; columns j+1.. of l are still needed
      const T pivot = l(j, j) = T(1) / l(j, j);
      for (index_t i = j + 1; i < n; ++i) {
        T sum = l(i, j) * pivot;
        for (index_t k = j + 1; k < i; ++k) sum += l(i, k) * l(k, j);
        l(i, j) = -sum / l(i, i);
      }
    }
    return;
  }
  const index_t h = n / 2, rest = n - h;
  const auto a = l.block(0, 0, h, h), c = l.block(h, h, rest, rest), b = l.block(h, 0, rest, h);
  for (index_t i = 0; i < rest; ++i)
    for (index_t j = 0; j < h; ++j) b(i, j) = -b(i, j);
  solve_triangle<T>(c, b, true, ctx);                             // -C⁻¹ B
  solve_triangle<T>(a.transposed(), b.transposed(), false, ctx);  // -C⁻¹ B A⁻¹
  invert_lower_block(a, ctx);
  invert_lower_block(c, ctx);
}

}  // namespace detail

/// b := L⁻¹ b for a lower triangular l [n, n] (its upper part is not read) and b [n, r], any strides. A
/// right-hand multiplication is the transposed problem: b U⁻¹ is `solve_lower(u.transposed(),
/// b.transposed())`. Error if a pivot is 0. Cost n² r.
template <std::floating_point T>
void solve_lower(matrix_view<const T> l, std::type_identity_t<matrix_view<T>> b, const context& ctx = {}) {
  detail::solve_triangle<T>(l, b, true, ctx);
}
/// b := U⁻¹ b for an upper triangular u [n, n] (its lower part is not read); b L⁻¹ is
/// `solve_upper(l.transposed(), b.transposed())`.
template <std::floating_point T>
void solve_upper(matrix_view<const T> u, std::type_identity_t<matrix_view<T>> b, const context& ctx = {}) {
  detail::solve_triangle<T>(u, b, false, ctx);
}
template <std::floating_point T>
void solve_lower(const matrix<T>& l, std::type_identity_t<matrix_view<T>> b, const context& ctx = {}) {
  solve_lower<T>(l.view(), b, ctx);
}
template <std::floating_point T>
void solve_upper(const matrix<T>& u, std::type_identity_t<matrix_view<T>> b, const context& ctx = {}) {
  solve_upper<T>(u.view(), b, ctx);
}

/// Replaces the lower triangle of l [n, n] by its inverse, in place; what lies above the diagonal is neither
/// read nor changed. An upper triangle is the transposed view. Error if a pivot is 0. Cost 2/3 n³.
template <std::floating_point T>
void invert_lower(matrix_view<T> l, const context& ctx = {}) {
  require(l.rows() == l.cols(), "invert_lower: matrix", concat(l.rows(), " x ", l.cols()), "a square matrix");
  for (index_t i = 0; i < l.rows(); ++i)
    require(l(i, i) != T(0), concat("invert_lower: diagonal[", i, "]"), 0, "a non-zero pivot");
  detail::invert_lower_block(l, ctx);
}

#if defined(TERSOR_PRECOMPILED)
extern template void detail::solve_triangle<float>(matrix_view<const float>, matrix_view<float>, bool,
                                                   const context&);
extern template void detail::solve_triangle<double>(matrix_view<const double>, matrix_view<double>, bool,
                                                    const context&);
extern template void invert_lower<float>(matrix_view<float>, const context&);
extern template void invert_lower<double>(matrix_view<double>, const context&);
#endif

}  // namespace tersor::linalg
