// tersor - exact and randomized singular value decompositions
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::stable_sort
#include <cmath>      // std::sqrt
#include <limits>     // std::numeric_limits
#include <numeric>    // std::iota
#include <vector>     // std::vector

#include <tersor/core/random.hpp>
#include <tersor/linalg/eigh.hpp>
#include <tersor/linalg/qr.hpp>

namespace tersor::linalg {

template <class T>
struct svd_result {
  matrix<T> u;       ///< [m, k], orthonormal columns
  std::vector<T> s;  ///< [k], descending, >= 0
  matrix<T> vt;      ///< [k, n], orthonormal rows
};

namespace detail {

/// Replaces the rows of x [k, n] that `missing` marks by unit vectors orthogonal to all others; k <= n.
template <class T>
void complete_rows(matrix<T>& x, std::vector<bool> missing) {
  const index_t k = x.rows(), n = x.cols();
  std::vector<T> room(static_cast<std::size_t>(n), T(1));  // ‖e_j - its projection on the rows‖²
  auto is_missing = [&](index_t i) { return missing[static_cast<std::size_t>(i)]; };
  auto take = [&](index_t i) {
    for (index_t j = 0; j < n; ++j) room[static_cast<std::size_t>(j)] -= x(i, j) * x(i, j);
  };
  for (index_t i = 0; i < k; ++i)
    if (!is_missing(i)) take(i);
  for (index_t i = 0; i < k; ++i) {
    if (!is_missing(i)) continue;
    T* xi = x.row(i).data();
    std::fill(xi, xi + n, T(0));
    xi[std::max_element(room.begin(), room.end()) - room.begin()] = 1;
    for (int pass = 0; pass < 2; ++pass)  // twice is enough (Kahan)
      for (index_t r = 0; r < k; ++r) {
        if (is_missing(r)) continue;
        const T* xr = x.row(r).data();
        const T factor = dot(xr, xi, n);
        for (index_t j = 0; j < n; ++j) xi[j] -= factor * xr[j];
      }
    const T norm = std::sqrt(dot(xi, xi, n));
    for (index_t j = 0; j < n; ++j) xi[j] /= norm;
    missing[static_cast<std::size_t>(i)] = false;
    take(i);
  }
}

/// One-sided Jacobi on the rows of g [n, n], scaled to entries of magnitude 1: rotations J with J g = diag(s)
/// vt. The pairs of a sweep form n - 1 rounds of disjoint pairs (a round-robin tournament), which run in
/// parallel.
template <class T>
svd_result<T> jacobi_svd_square(matrix<T> g, const context& ctx) {
  const index_t n = g.rows(), players = n + n % 2;
  const T epsilon = std::numeric_limits<T>::epsilon();
  const T norm = std::sqrt(dot(g.data(), g.data(), g.size()));
  const T tolerance = epsilon * std::sqrt(static_cast<T>(n)), floor = epsilon * norm * (epsilon * norm);
  // The eigenvectors of g gᵀ, whose rounding is relative to the largest singular value, come close; the
  // rotations then make the small ones accurate too, in two or three sweeps instead of ten.
  matrix<T> j = multiply(g, g.view().transposed(), ctx);
  tridiagonal_ql(j, true);
  g = multiply(j, g, ctx);
  context team = ctx;
  if (n < 384) team.threads = 1;  // a round is too short for more
  std::vector<char> rotated(static_cast<std::size_t>(players / 2));
  bool converged = n < 2;
  for (int sweep = 0; !converged; ++sweep) {
    require(sweep < 60, "svd: a", concat(n, " x ", n),
            "convergence of the Jacobi rotations within 60 sweeps");
    converged = true;
    for (index_t round = 0; round + 1 < players; ++round) {
      parallel_chunks(players / 2, 16, team, [&](index_t first, index_t last) {
        for (index_t pair = first; pair < last; ++pair) {
          rotated[static_cast<std::size_t>(pair)] = 0;
          // Player players - 1 stays, the others move round the table.
          index_t p = pair == 0 ? players - 1 : (round + pair) % (players - 1);
          index_t q = pair == 0 ? round : (round + players - 1 - pair) % (players - 1);
          if (p > q) std::swap(p, q);
          if (q >= n) continue;
          T *gp = g.row(p).data(), *gq = g.row(q).data();
          const T pp = dot(gp, gp, n), qq = dot(gq, gq, n), pq = dot(gp, gq, n);
          if (pp <= floor || qq <= floor || std::abs(pq) <= tolerance * std::sqrt(pp) * std::sqrt(qq))
            continue;
          rotated[static_cast<std::size_t>(pair)] = 1;
          const T zeta = (qq - pp) / (2 * pq);
          const T tangent = std::copysign(T(1), zeta) / (std::abs(zeta) + std::sqrt(1 + zeta * zeta));
          const T c = 1 / std::sqrt(1 + tangent * tangent), s = c * tangent;
          auto rotate = [&](T* x, T* y) {
            for (index_t i = 0; i < n; ++i) {
              const T a = x[i], b = y[i];
              x[i] = c * a - s * b;
              y[i] = s * a + c * b;
            }
          };
          rotate(gp, gq);
          rotate(j.row(p).data(), j.row(q).data());
        }
      });
      for (char r : rotated) converged = converged && !r;
    }
  }
  std::vector<T> length(static_cast<std::size_t>(n));
  for (index_t i = 0; i < n; ++i)
    length[static_cast<std::size_t>(i)] = std::sqrt(dot(g.row(i).data(), g.row(i).data(), n));
  std::vector<index_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), index_t{0});
  std::stable_sort(order.begin(), order.end(), [&](index_t a, index_t b) {
    return length[static_cast<std::size_t>(a)] > length[static_cast<std::size_t>(b)];
  });
  svd_result<T> result{matrix<T>(n, n), std::vector<T>(static_cast<std::size_t>(n)), matrix<T>(n, n)};
  std::vector<bool> missing(static_cast<std::size_t>(n));
  for (index_t k = 0; k < n; ++k) {
    const auto at = static_cast<std::size_t>(k);
    const index_t i = order[at];
    const T s = result.s[at] = length[static_cast<std::size_t>(i)];
    missing[at] = s * s <= floor;
    for (index_t c = 0; c < n; ++c) {
      result.u(c, k) = j(i, c);
      result.vt(k, c) = missing[at] ? T(0) : g(i, c) / s;
    }
  }
  complete_rows(result.vt, std::move(missing));
  return result;
}

/// Any shape: QR of the tall side first, then Jacobi on the square R.
template <class T>
svd_result<T> jacobi_svd(matrix<T> a, const context& ctx) {
  if (a.rows() < a.cols()) {
    auto t = jacobi_svd(copy_as<T>(a.view().transposed()), ctx);
    return {copy_as<T>(t.vt.view().transposed()), std::move(t.s), copy_as<T>(t.u.view().transposed())};
  }
  T scale = 0;
  for (T x : a.values()) scale = std::max(scale, std::abs(x));
  if (scale > 0)
    for (T& x : a.values()) x /= scale;
  auto [q, r] = householder_qr(std::move(a), ctx);
  auto result = jacobi_svd_square(std::move(r), ctx);
  result.u = multiply(q, result.u, ctx);
  for (T& s : result.s) s *= scale;
  return result;
}

#if defined(TERSOR_USE_BLAS)
/// LAPACK's divide and conquer. A row-major matrix is the column-major transpose, so U and Vᵀ change places.
template <std::same_as<double> T, class U>
svd_result<T> lapack_svd(matrix_view<const U> original, const context& ctx) {
  matrix<T> a = copy_as<T>(original);  // overwritten
  const index_t m = a.rows(), n = a.cols(), k = std::min(m, n);
  svd_result<T> result{matrix<T>(m, k), std::vector<T>(static_cast<std::size_t>(k)), matrix<T>(k, n)};
  if (k == 0) return result;
  const int rows = blas::to_int(n), cols = blas::to_int(m), ld_vt = blas::to_int(k);
  std::vector<int> iwork(static_cast<std::size_t>(8 * k));
  std::vector<T> work(1);
  int size = -1, info = 0;
  for (int step = 0; step < 2; ++step) {  // the first call asks for the size of the workspace
    dgesdd_("S", &rows, &cols, a.data(), &rows, result.s.data(), result.vt.data(), &rows, result.u.data(),
            &ld_vt, work.data(), &size, iwork.data(), &info);
    if (step == 0) {
      size = static_cast<int>(work[0]);
      work.resize(static_cast<std::size_t>(size));
    }
  }
  assert(info >= 0);
  if (info > 0) return jacobi_svd(copy_as<T>(original), ctx);  // did not converge: rare, and Jacobi does
  return result;
}
#endif

/// Gives each left vector a positive leading entry.
template <class T>
void fix_signs(svd_result<T>& x) {
  for (index_t k = 0; k < x.vt.rows(); ++k)
    if (leading_sign(x.u.view().column(k)) < 0) {
      for (index_t i = 0; i < x.u.rows(); ++i) x.u(i, k) = -x.u(i, k);
      for (T& v : x.vt.row(k)) v = -v;
    }
}

}  // namespace detail

/// A = U diag(s) Vᵀ, thin: k = min(m, n) triplets, for a [m, n] of any shape and layout. Singular values
/// descend; in each left vector the entry of largest magnitude (the first of several) is positive. Computed
/// in double: LAPACK's divide and conquer when it is linked, otherwise QR and one-sided Jacobi, which finds
/// small singular values no worse. U and V are orthonormal whatever the rank. Error if a holds a NaN or an
/// infinity. Cost O(m n k).
template <std::floating_point T>
svd_result<T> svd(matrix_view<const T> a, const context& ctx = {}) {
  require_finite(a, "svd: a");
#if defined(TERSOR_USE_BLAS)
  auto result = detail::lapack_svd<double>(a, ctx);
#else
  auto result = detail::jacobi_svd<double>(copy_as<double>(a), ctx);
#endif
  detail::fix_signs(result);
  if constexpr (std::same_as<T, double>)
    return result;
  else
    return {copy_as<T>(result.u.view()), to_vector<T>(result.s), copy_as<T>(result.vt.view())};
}
template <matrix_like A>
auto svd(const A& a, const context& ctx = {}) {
  using T = typename view_of<const A>::value_type;
  return svd<T>(matrix_view<const T>(as_view(a)), ctx);
}

struct left_singular_result {
  matrix<double> u;       ///< [m, rank], orthonormal columns
  std::vector<double> s;  ///< [min(m, n)], descending, >= 0
};

/// The first `rank` left singular vectors of x [m, n] and all singular values, from the eigenvectors of the
/// smaller of x xᵀ and xᵀ x in double. Each s is off by about 1e-16 s[0]² / s, at most 1e-8 s[0]: no more
/// than a matrix that was given in float is known to. A third of the time of `svd` and, for a square x, a
/// memory of 3 n² doubles, x included, instead of 7. Signs as in `svd`. Error as there, and if rank > min(m,
/// n).
template <std::same_as<double> T = double>
left_singular_result left_singular(std::type_identity_t<matrix<T>> x, index_t rank, const context& ctx = {}) {
  const index_t m = x.rows(), n = x.cols(), k = std::min(m, n);
  require(rank >= 0 && rank <= k, "left_singular: rank", rank, "0 to min(", m, ", ", n, ")");
  require_finite(x.view(), "left_singular: x");
  matrix<T> square(k, k);
  gram<T>(m <= n ? x.view().transposed() : x.view(), square.view(), ctx);
  if (m <= n) x = {};
  const auto e = eigh<T>(std::move(square));
  left_singular_result result{matrix<T>(k, rank), std::vector<T>(static_cast<std::size_t>(k))};
  for (index_t i = 0; i < k; ++i)
    result.s[static_cast<std::size_t>(i)] =
        std::sqrt(std::max(e.values[static_cast<std::size_t>(k - 1 - i)], T(0)));
  for (index_t i = 0; i < k; ++i)
    for (index_t j = 0; j < rank; ++j) result.u(i, j) = e.vectors(i, k - 1 - j);
  if (m <= n) return result;
  result.u = qr(multiply(x, result.u, ctx), ctx).q;  // x V = U diag(s), whose columns QR makes orthonormal
  for (index_t j = 0; j < rank; ++j)
    if (detail::leading_sign(result.u.view().column(j)) < 0)
      for (index_t i = 0; i < m; ++i) result.u(i, j) = -result.u(i, j);
  return result;
}

struct randomized_svd_options {
  index_t oversampling = 8;      ///< extra columns of the sketch (p)
  index_t power_iterations = 2;  ///< passes A Aᵀ that sharpen a slowly decaying spectrum (q)
  std::uint64_t seed = 0;

  void validate() const {
    require(oversampling >= 0, "oversampling", oversampling, "a number >= 0");
    require(power_iterations >= 0, "power_iterations", power_iterations, "a number >= 0");
  }
};

/// The first `rank` triplets of a [m, n], approximately (Halko, Martinsson, Tropp, arXiv 0909.4061): the
/// range of A is sketched by rank + oversampling Gaussian columns and sharpened by power iterations with a QR
/// at every step. Exact up to rounding where rank(A) <= rank + oversampling. Products run in T,
/// factorizations in double. Signs as in `svd`. Error if rank > min(m, n). Cost about (4 q + 4) m n (rank +
/// p).
template <std::floating_point T>
svd_result<T> randomized_svd(matrix_view<const T> a, index_t rank, const randomized_svd_options& options = {},
                             const context& ctx = {}) {
  options.validate();
  const index_t m = a.rows(), n = a.cols(), k = std::min(m, n);
  require(rank >= 0 && rank <= k, "randomized_svd: rank", rank, "0 to min(", m, ", ", n, ")");
  require_finite(a, "randomized_svd: a");
  const index_t width = std::min(k, rank + options.oversampling);
  random_generator random(options.seed);
  matrix<T> sketch(n, width);
  for (T& x : sketch.values()) x = static_cast<T>(random.normal());
  matrix<T> q = qr(multiply(a, sketch, ctx), ctx).q;
  for (index_t i = 0; i < options.power_iterations; ++i) {
    const matrix<T> z = qr(multiply(a.transposed(), q, ctx), ctx).q;
    q = qr(multiply(a, z, ctx), ctx).q;
  }
  const auto small = svd(multiply(q.view().transposed(), a, ctx), ctx);
  svd_result<T> result{multiply(q, small.u.view().block(0, 0, width, rank), ctx),
                       std::vector<T>(small.s.begin(), small.s.begin() + rank),
                       copy_as<T>(small.vt.view().rows(0, rank))};
  detail::fix_signs(result);
  return result;
}
template <matrix_like A>
auto randomized_svd(const A& a, index_t rank, const randomized_svd_options& options = {},
                    const context& ctx = {}) {
  using T = typename view_of<const A>::value_type;
  return randomized_svd<T>(matrix_view<const T>(as_view(a)), rank, options, ctx);
}

#if defined(TERSOR_PRECOMPILED)
extern template left_singular_result left_singular<double>(matrix<double>, index_t, const context&);
extern template svd_result<float> svd<float>(matrix_view<const float>, const context&);
extern template svd_result<double> svd<double>(matrix_view<const double>, const context&);
extern template svd_result<float> randomized_svd<float>(matrix_view<const float>, index_t,
                                                        const randomized_svd_options&, const context&);
extern template svd_result<double> randomized_svd<double>(matrix_view<const double>, index_t,
                                                          const randomized_svd_options&, const context&);
#endif

}  // namespace tersor::linalg
