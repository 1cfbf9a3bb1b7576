// tersor - eigenvalues and eigenvectors of symmetric matrices
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::stable_sort
#include <cmath>      // std::hypot, std::sqrt
#include <limits>     // std::numeric_limits
#include <numeric>    // std::iota
#include <utility>    // std::swap, std::move
#include <vector>     // std::vector

#include <tersor/linalg/qr.hpp>  // detail::reflect

namespace tersor::linalg {

struct eigh_result {
  std::vector<double> values;  ///< [n], ascending
  matrix<double> vectors;      ///< [n, n], column k belongs to values[k]; empty if only values were asked for
};

namespace detail {

/// +1 or -1: the sign of the entry of largest magnitude, the first one where several agree up to rounding.
/// Fixes the sign of a singular or eigenvector, which the decomposition leaves open.
template <class T>
T leading_sign(vector_view<T> x) {
  double largest = 0;
  for (index_t i = 0; i < x.extents[0]; ++i) largest = std::max(largest, std::abs(static_cast<double>(x(i))));
  for (index_t i = 0; i < x.extents[0]; ++i)
    if (std::abs(static_cast<double>(x(i))) >= largest * (1 - 1e-9)) return x(i) < T(0) ? T(-1) : T(1);
  return T(1);
}

/// Householder reduction to a tridiagonal matrix and implicit QL (Golub and Van Loan, 8.3), row i of `a`
/// becoming the eigenvector of values[i]. Values come unsorted.
template <class T>
std::vector<T> tridiagonal_ql(matrix<T>& a, bool vectors) {
  const index_t n = a.rows();
  std::vector<T> d(static_cast<std::size_t>(n)), e(static_cast<std::size_t>(n)),
      tau(static_cast<std::size_t>(n)), w(static_cast<std::size_t>(n));
  auto at = [](index_t i) { return static_cast<std::size_t>(i); };
  // Step i clears row i right of the superdiagonal; its Householder vector stays in that row.
  for (index_t i = 0; i + 1 < n; ++i) {
    const index_t m = n - i - 1;
    T* v = &a(i, 0) + i + 1;
    const auto [t, beta] = reflect(v, m);
    e[at(i)] = beta;
    tau[at(i)] = t;
    if (t == 0) continue;
    // B := B - v wᵀ - w vᵀ for the trailing block B, w = t B v - t²/2 (vᵀ B v) v
    for (index_t r = 0; r < m; ++r) w[at(r)] = t * dot(&a(i + 1 + r, 0) + i + 1, v, m);
    const T half = t / 2 * dot(w.data(), v, m);
    for (index_t r = 0; r < m; ++r) w[at(r)] -= half * v[r];
    for (index_t r = 0; r < m; ++r) {
      T* row = &a(i + 1 + r, 0) + i + 1;
      const T vr = v[r], wr = w[at(r)];
      for (index_t c = 0; c < m; ++c) row[c] -= vr * w[at(c)] + wr * v[c];
    }
  }
  for (index_t i = 0; i < n; ++i) d[at(i)] = a(i, i);
  matrix<T> z;  // rows: the basis in which a is tridiagonal
  if (vectors) {
    z = matrix<T>(n, n);
    for (index_t i = 0; i < n; ++i) z(i, i) = 1;
    for (index_t i = n - 2; i >= 0; --i) {
      const index_t m = n - i - 1;
      const T* v = &a(i, 0) + i + 1;
      if (tau[at(i)] == 0) continue;
      for (index_t r = i + 1; r < n; ++r) {  // z (I - tau v vᵀ) from the left side's transpose: rows of Qᵀ
        T* row = &z(r, 0) + i + 1;
        const T factor = tau[at(i)] * dot(row, v, m);
        for (index_t c = 0; c < m; ++c) row[c] -= factor * v[c];
      }
    }
  }
  const T epsilon = std::numeric_limits<T>::epsilon();
  T norm = 0;
  for (index_t i = 0; i < n; ++i) norm = std::max({norm, std::abs(d[at(i)]), std::abs(e[at(i)])});
  for (index_t l = 0; l < n; ++l) {
    for (int iteration = 0;; ++iteration) {
      index_t m = l;  // the block l..m has no negligible coupling
      while (m + 1 < n && std::abs(e[at(m)]) > epsilon * (std::abs(d[at(m)]) + std::abs(d[at(m + 1)])) &&
             std::abs(e[at(m)]) > epsilon * epsilon * norm)
        ++m;
      if (m == l) break;
      require(iteration < 60, "eigh: h", concat(n, " x ", n),
              "convergence within 60 QL steps per eigenvalue");
      // Wilkinson's shift, then the bulge is chased from the bottom to the top.
      T g = (d[at(l + 1)] - d[at(l)]) / (2 * e[at(l)]);
      T r = std::hypot(g, T(1));
      g = d[at(m)] - d[at(l)] + e[at(l)] / (g + std::copysign(r, g));
      T s = 1, c = 1, p = 0;
      index_t i = m - 1;
      for (; i >= l; --i) {
        const T f = s * e[at(i)], b = c * e[at(i)];
        r = std::hypot(f, g);
        e[at(i + 1)] = r;
        if (r == 0) {  // the block fell apart early
          d[at(i + 1)] -= p;
          break;
        }
        s = f / r;
        c = g / r;
        g = d[at(i + 1)] - p;
        r = (d[at(i)] - g) * s + 2 * c * b;
        p = s * r;
        d[at(i + 1)] = g + p;
        g = c * r - b;
        if (vectors) {
          T *low = z.row(i).data(), *high = z.row(i + 1).data();
          for (index_t k = 0; k < n; ++k) {
            const T x = low[k], y = high[k];
            high[k] = s * x + c * y;
            low[k] = c * x - s * y;
          }
        }
      }
      e[at(m)] = 0;
      if (i >= l) continue;
      d[at(l)] -= p;
      e[at(l)] = g;
    }
  }
  a = std::move(z);
  return d;
}

template <class T>
eigh_result decompose_symmetric(matrix<T> a, bool vectors) {
  const index_t n = a.rows();
  require(a.cols() == n, "eigh: h", concat(n, " x ", a.cols()), "a square matrix");
  require_finite(a.view(), "eigh: h");
  eigh_result result;
  if (n == 0) return result;
  T scale = 0;
  for (index_t i = 0; i < n; ++i)
    for (index_t j = 0; j <= i; ++j) {
      a(j, i) = a(i, j);
      scale = std::max(scale, std::abs(a(i, j)));
    }
  if (scale == 0) scale = 1;
  for (T& x : a.values()) x /= scale;
#if defined(TERSOR_USE_BLAS)
  const int size = blas::to_int(n);
  int info = 0, work_size = -1, iwork_size = -1;
  std::vector<double> w(static_cast<std::size_t>(n));
  std::vector<double> work(1);
  std::vector<int> iwork(1);
  for (int step = 0; step < 2; ++step) {  // the first call asks for the sizes of the workspaces
    dsyevd_(vectors ? "V" : "N", "U", &size, a.data(), &size, w.data(), work.data(), &work_size, iwork.data(),
            &iwork_size, &info);
    if (step == 0) {
      work.resize(static_cast<std::size_t>(work_size = static_cast<int>(work[0])));
      iwork.resize(static_cast<std::size_t>(iwork_size = iwork[0]));
    }
  }
  require(info == 0, "eigh: h", concat(n, " x ", n), "convergence of LAPACK's dsyevd");
  work = {};
  work.shrink_to_fit();
#else
  std::vector<T> w = tridiagonal_ql(a, vectors);
#endif
  // Row i of a is the eigenvector of w[i] (LAPACK's columns, read row by row).
  std::vector<index_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), index_t{0});
  std::stable_sort(order.begin(), order.end(), [&](index_t i, index_t j) {
    return w[static_cast<std::size_t>(i)] < w[static_cast<std::size_t>(j)];
  });
  for (index_t k : order) result.values.push_back(w[static_cast<std::size_t>(k)] * scale);
  if (!vectors) return result;
  result.vectors = matrix<double>(n, n);
  for (index_t k = 0; k < n; ++k) {
    const index_t i = order[static_cast<std::size_t>(k)];
    const T sign = leading_sign(a.view().row(i));
    for (index_t r = 0; r < n; ++r) result.vectors(r, k) = sign * a(i, r);
  }
  return result;
}

}  // namespace detail

/// H = V diag(values) Vᵀ for a symmetric h [n, n], of which the lower triangle is read. Values ascend; the
/// largest entry in magnitude of each eigenvector (the first of several) is positive. LAPACK's divide and
/// conquer when it is linked, otherwise Householder and implicit QL. Error if h holds a NaN or an infinity.
/// Cost about 9 n³; memory 3 n² beside h.
template <std::same_as<double> T = double>
eigh_result eigh(std::type_identity_t<matrix_view<const T>> h) {
  return detail::decompose_symmetric<T>(copy_as<T>(h), true);
}
/// The same in h's memory.
template <std::same_as<double> T = double>
eigh_result eigh(std::type_identity_t<matrix<T>>&& h) {
  return detail::decompose_symmetric<T>(std::move(h), true);
}
/// The eigenvalues alone, ascending. Cost 4/3 n³.
template <std::same_as<double> T = double>
std::vector<T> eigenvalues(std::type_identity_t<matrix_view<const T>> h) {
  return detail::decompose_symmetric<T>(copy_as<T>(h), false).values;
}
/// The smallest eigenvalue: negative where h is not positive semidefinite. Error if h is empty.
template <std::same_as<double> T = double>
T smallest_eigenvalue(std::type_identity_t<matrix_view<const T>> h) {
  require(h.rows() > 0, "smallest_eigenvalue: h", "0 x 0", "at least 1 x 1");
  return eigenvalues<T>(h).front();
}

#if defined(TERSOR_PRECOMPILED)
extern template eigh_result detail::decompose_symmetric<double>(matrix<double>, bool);
#endif

}  // namespace tersor::linalg
