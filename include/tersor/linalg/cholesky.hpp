// tersor - Cholesky factors with escalating damping, and the factor of the inverse
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::reverse
#include <cmath>      // std::sqrt
#include <limits>     // std::numeric_limits
#include <vector>     // std::vector

#include <tersor/linalg/triangular.hpp>

namespace tersor::linalg {

/// How an almost singular H is made positive definite: H + lambda I.
struct cholesky_options {
  double relative_damping = 0;  ///< lambda / mean(diag H); GPTQ's percdamp is 0.01
  int max_retries = 10;         ///< attempts after the first, each with a larger lambda
  double growth = 10;           ///< factor of lambda from one attempt to the next

  void validate() const {
    require(relative_damping >= 0 && std::isfinite(relative_damping), "relative_damping", relative_damping,
            "a number >= 0");
    require(max_retries >= 0, "max_retries", max_retries, "a number >= 0");
    require(growth > 1 && std::isfinite(growth), "growth", growth, "a number > 1");
  }
};

struct cholesky_result {
  matrix<double> factor;  ///< [n, n], triangular, zeros in the other half
  double damping = 0;     ///< lambda that was added to the diagonal
  int retries = 0;        ///< attempts that failed before; > 0: lambda is larger than asked for
};

namespace detail {

/// The factor of a diagonal block, row by row. False if a pivot is not positive beyond its rounding error,
/// which is measured against `scale`, the diagonal before elimination.
template <class T>
bool factor_block(matrix_view<T> a, const T* scale) {
  const index_t n = a.rows();
  for (index_t i = 0; i < n; ++i) {
    const T* ai = a.data + i * a.strides[0];
    for (index_t j = 0; j <= i; ++j) {
      const T* aj = a.data + j * a.strides[0];
      const T rest = a(i, j) - dot(ai, aj, j);
      if (j < i) {
        a(i, j) = rest / a(j, j);
      } else {
        if (!(rest > 4 * std::numeric_limits<T>::epsilon() * scale[i])) return false;
        a(i, i) = std::sqrt(rest);
      }
    }
  }
  return true;
}

/// a := L with L Lᵀ = a, in place in the lower triangle of a row-major matrix; the upper triangle is left as
/// scratch. `scale` is the diagonal before elimination. Halves the matrix, so that nearly all work is large
/// products. False if a is not positive definite.
template <class T>
bool factor_lower(matrix_view<T> a, const T* scale, const context& ctx) {
  constexpr index_t small = 64, tile = 256;
  const index_t n = a.rows(), ld = a.strides[0];
  if (n <= small) return factor_block<T>(a, scale);
  const index_t h = (n / 2 + small - 1) / small * small, rest = n - h;
  const auto top = a.block(0, 0, h, h), left = a.block(h, 0, rest, h), corner = a.block(h, h, rest, rest);
  if (!factor_lower<T>(top, scale, ctx)) return false;
  solve_triangle<T>(top, left.transposed(), true, ctx);  // left := left L⁻ᵀ
  const index_t side = (rest + tile - 1) / tile;
  parallel_for(side * (side + 1) / 2, ctx, [&](index_t t) {  // corner -= left leftᵀ, lower tiles
    index_t p = 0, q = t;
    while (q > p) q -= ++p;
    const index_t i = p * tile, j = q * tile;
    multiply_tile<T>(std::min(tile, rest - i), std::min(tile, rest - j), h, T(-1),
                     {left.data + i * ld, ld, false}, {left.data + j * ld, ld, true}, T(1),
                     corner.data + i * ld + j, ld);
  });
  return factor_lower<T>(corner, scale + h, ctx);
}

/// Tries H + lambda I with growing lambda; `reversed` factors P H P, P reversing the order of the indices.
template <class T>
cholesky_result factor_damped(matrix_view<const T> h, const cholesky_options& options, bool reversed,
                              const context& ctx) {
  options.validate();
  const index_t n = h.rows();
  require(h.cols() == n, "cholesky: h", concat(n, " x ", h.cols()), "a square matrix");
  require_finite(h, "h");
  double mean = 0;
  for (index_t i = 0; i < n; ++i) mean += h(i, i);
  if (n > 0) mean /= static_cast<double>(n);
  cholesky_result result{matrix<T>(n, n), options.relative_damping * mean, 0};
  // Transposed as well, so that its lower triangle is that of the original.
  if (reversed && n > 0) h = {&h(n - 1, n - 1), h.extents, {-h.strides[1], -h.strides[0]}};
  std::vector<T> scale(static_cast<std::size_t>(n));
  for (;; ++result.retries) {
    matrix<T>& a = result.factor;
    for (index_t i = 0; i < n; ++i) {
      for (index_t j = 0; j <= i; ++j) a(i, j) = h(i, j);
      a(i, i) += result.damping;
    }
    for (index_t i = 0; i < n; ++i) scale[static_cast<std::size_t>(i)] = a(i, i);
    if (factor_lower<T>(a.view(), scale.data(), ctx)) break;
    require(
        result.retries < options.max_retries, "cholesky: h",
        concat("not positive definite with damping ", result.damping, " after ", result.retries, " retries"),
        "a positive semidefinite matrix, or a larger relative_damping");
    result.damping = result.damping > 0 ? result.damping * options.growth : 1e-8 * mean;
  }
  for (index_t i = 0; i < n; ++i)
    for (index_t j = i + 1; j < n; ++j) result.factor(i, j) = 0;
  return result;
}

}  // namespace detail

/// L with L Lᵀ = H + lambda I for a symmetric positive semidefinite h [n, n], of which the lower triangle is
/// read. lambda is relative_damping * mean(diag H); when the matrix is not numerically positive definite,
/// lambda grows by `growth` per retry (from 1e-8 * mean if it was 0), which the result tells. Error if h
/// holds a NaN or an infinity, or when the retries are used up (so for H = 0). Cost n³/3; memory one n x n
/// matrix, the result.
template <std::same_as<double> T = double>
cholesky_result cholesky(std::type_identity_t<matrix_view<const T>> h, const cholesky_options& options = {},
                         const context& ctx = {}) {
  return detail::factor_damped<T>(h, options, false, ctx);
}

/// Upper triangular U with UᵀU = (H + lambda I)⁻¹: the factor of GPTQ and SparseGPT. With P reversing the
/// indices and P (H + lambda I) P = L Lᵀ, U is P L⁻¹ P, so the inverse itself is never formed (nor factored
/// again, which loses half the digits of an ill-conditioned H). Damping and errors as in `cholesky`. Cost n³;
/// memory one n x n matrix.
template <std::same_as<double> T = double>
cholesky_result inverse_cholesky_upper(std::type_identity_t<matrix_view<const T>> h,
                                       const cholesky_options& options = {}, const context& ctx = {}) {
  auto result = detail::factor_damped<T>(h, options, true, ctx);
  invert_lower<T>(result.factor.view(), ctx);
  auto values = result.factor.values();
  std::reverse(values.begin(), values.end());  // element (i, j) goes to (n-1-i, n-1-j)
  return result;
}

/// X with (H + lambda I) X = B for b [n, r]; damping and errors as in `cholesky`. Cost n³/3 + 2 n² r.
template <std::same_as<double> T = double>
matrix<T> cholesky_solve(std::type_identity_t<matrix_view<const T>> h,
                         std::type_identity_t<matrix_view<const T>> b, const cholesky_options& options = {},
                         const context& ctx = {}) {
  require(b.rows() == h.rows(), "cholesky_solve: rows of b", b.rows(), h.rows());
  const matrix<T> l = detail::factor_damped<T>(h, options, false, ctx).factor;
  matrix<T> x = copy_as<T>(b);
  solve_lower<T>(l.view(), x, ctx);
  solve_upper<T>(l.view().transposed(), x, ctx);
  return x;
}

#if defined(TERSOR_PRECOMPILED)
extern template cholesky_result detail::factor_damped<double>(matrix_view<const double>,
                                                              const cholesky_options&, bool, const context&);
#endif

}  // namespace tersor::linalg
