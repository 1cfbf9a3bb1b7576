// tersor - thin QR factorization
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::min, std::max
#include <cmath>      // std::sqrt, std::copysign
#include <vector>     // std::vector

#include <tersor/linalg/gemm.hpp>

namespace tersor::linalg {

template <class T>
struct qr_result {
  matrix<T> q;  ///< [m, k] with orthonormal columns, k = min(m, n)
  matrix<T> r;  ///< [k, n], upper triangular, diagonal >= 0
};

namespace detail {

/// Turns x into the Householder vector v (v[0] = 1) with (I - tau v vᵀ) x = (beta, 0, ...).
template <class T>
struct reflection {
  T tau, beta;
};
template <class T>
reflection<T> reflect(T* x, index_t n) {
  T scale = 0;
  for (index_t i = 1; i < n; ++i) scale = std::max(scale, std::abs(x[i]));
  const T first = x[0];
  x[0] = 1;
  if (scale == 0) return {0, first};
  scale = std::max(scale, std::abs(first));
  T sum = first / scale * (first / scale);
  for (index_t i = 1; i < n; ++i) sum += x[i] / scale * (x[i] / scale);
  const T beta = -std::copysign(scale * std::sqrt(sum), first);
  for (index_t i = 1; i < n; ++i) x[i] /= first - beta;
  return {(beta - first) / beta, beta};
}

/// Blocked Householder reduction, panels of 32 columns, each applied as I - V T Vᵀ by matrix products.
template <class T>
qr_result<T> householder_qr(matrix<T> a, const context& ctx) {
  constexpr index_t panel = 32;
  const index_t m = a.rows(), n = a.cols(), k = std::min(m, n);
  matrix<T> v(k, m);      // row j: the Householder vector of column j
  matrix<T> t(k, panel);  // rows of the panels' upper triangular T
  matrix<T> work;
  // x := x - Vᵀ (T or Tᵀ) V x for the panel at `first` and x = rows `first`.. of a matrix
  auto apply = [&](index_t first, index_t width, matrix_view<T> x, bool transposed) {
    if (x.cols() == 0) return;
    const auto vp = v.view().block(first, first, width, m - first);
    const auto tp = t.view().block(first, 0, width, width);
    const matrix<T> vx = multiply(vp, x, ctx);
    work = multiply(transposed ? tp.transposed() : tp, vx, ctx);
    gemm<T>(T(-1), vp.transposed(), work, T(1), x, ctx);
  };
  for (index_t first = 0; first < k; first += panel) {
    const index_t width = std::min(panel, k - first), height = m - first;
    for (index_t j = 0; j < width; ++j)
      for (index_t i = 0; i < height; ++i) v(first + j, first + i) = a(first + i, first + j);
    for (index_t j = 0; j < width; ++j) {
      T* x = &v(first + j, 0) + first + j;
      for (index_t i = 0; i < j; ++i) a(first + i, first + j) = v(first + j, first + i);
      const auto [tau, beta] = reflect(x, height - j);
      a(first + j, first + j) = beta;
      for (index_t i = 0; i < j; ++i) v(first + j, first + i) = 0;
      for (index_t c = j + 1; c < width; ++c) {
        T* y = &v(first + c, 0) + first + j;
        const T factor = tau * dot(x, y, height - j);
        for (index_t i = 0; i < height - j; ++i) y[i] -= factor * x[i];
      }
      // Column j of T: -tau T (V v_j) above the diagonal, tau on it.
      T products[panel];
      for (index_t i = 0; i < j; ++i) products[i] = dot(&v(first + i, 0) + first + j, x, height - j);
      for (index_t i = 0; i < j; ++i) {
        T sum = 0;
        for (index_t c = i; c < j; ++c) sum += t(first + i, c) * products[c];
        t(first + i, j) = -tau * sum;
      }
      t(first + j, j) = tau;
    }
    apply(first, width, a.view().block(first, first + width, height, n - first - width), true);
  }
  qr_result<T> result{matrix<T>(m, k), matrix<T>(k, n)};
  for (index_t i = 0; i < k; ++i) {
    result.q(i, i) = 1;
    for (index_t j = i; j < n; ++j) result.r(i, j) = a(i, j);
  }
  if (k > 0)
    for (index_t first = (k - 1) / panel * panel; first >= 0; first -= panel)
      apply(first, std::min(panel, k - first), result.q.view().block(first, first, m - first, k - first),
            false);
  for (index_t i = 0; i < k; ++i)
    if (result.r(i, i) < 0) {
      for (index_t j = i; j < n; ++j) result.r(i, j) = -result.r(i, j);
      for (index_t j = 0; j < m; ++j) result.q(j, i) = -result.q(j, i);
    }
  return result;
}

}  // namespace detail

/// A = Q R for a [m, n] of any shape and layout; Q [m, k], R [k, n], k = min(m, n), R_ii >= 0. Householder
/// reflections in double, so Q has orthonormal columns whatever the rank of a. Error if a holds a NaN or an
/// infinity. The same bits for any number of threads. Cost 4 m n k - 4/3 k³.
template <std::floating_point T>
qr_result<T> qr(matrix_view<const T> a, const context& ctx = {}) {
  require_finite(a, "qr: a");
  auto result = detail::householder_qr<double>(copy_as<double>(a), ctx);
  if constexpr (std::same_as<T, double>)
    return result;
  else
    return {copy_as<T>(result.q.view()), copy_as<T>(result.r.view())};
}
template <matrix_like A>
auto qr(const A& a, const context& ctx = {}) {
  using T = typename view_of<const A>::value_type;
  return qr<T>(matrix_view<const T>(as_view(a)), ctx);
}

#if defined(TERSOR_PRECOMPILED)
extern template qr_result<float> qr<float>(matrix_view<const float>, const context&);
extern template qr_result<double> qr<double>(matrix_view<const double>, const context&);
#endif

}  // namespace tersor::linalg
