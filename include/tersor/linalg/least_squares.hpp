// tersor - least squares of minimum norm
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::max
#include <limits>     // std::numeric_limits

#include <tersor/linalg/svd.hpp>

namespace tersor::linalg {

template <class T>
struct least_squares_result {
  matrix<T> x;       ///< [r, k]
  index_t rank = 0;  ///< of A, numerically
};

/// The X [r, k] of minimum norm among those that minimise ‖A X - B‖ for a [n, r], b [n, k], column by column.
/// Works for every shape and rank: singular values not above `tolerance` times the largest count as zero; the
/// default 0 means max(n, r) times the rounding unit of T. By SVD in double, so the condition of A enters
/// once (not squared, as by normal equations). Error on NaN or infinity. Cost O(n r min(n, r)) + 2 k r (n +
/// r).
template <std::floating_point T>
least_squares_result<T> least_squares(matrix_view<const T> a, std::type_identity_t<matrix_view<const T>> b,
                                      double tolerance = 0, const context& ctx = {}) {
  const index_t n = a.rows(), r = a.cols();
  require(b.rows() == n, "least_squares: rows of b", b.rows(), "the rows of a, ", n);
  require(tolerance >= 0 && tolerance < 1, "least_squares: tolerance", tolerance, "0 to 1");
  require_finite(a, "least_squares: a");
  require_finite(b, "least_squares: b");
  const auto [u, s, vt] = svd(copy_as<double>(a), ctx);
  if (tolerance == 0) tolerance = static_cast<double>(std::max(n, r)) * std::numeric_limits<T>::epsilon();
  index_t rank = 0;
  while (rank < vt.rows() && s[static_cast<std::size_t>(rank)] > tolerance * s[0]) ++rank;
  matrix<double> y = multiply(u.view().block(0, 0, n, rank).transposed(), copy_as<double>(b), ctx);
  for (index_t i = 0; i < rank; ++i)
    for (double& v : y.row(i)) v /= s[static_cast<std::size_t>(i)];
  const matrix<double> x = multiply(vt.view().rows(0, rank).transposed(), y, ctx);
  return {copy_as<T>(x.view()), rank};
}
template <matrix_like A, matrix_like B>
auto least_squares(const A& a, const B& b, double tolerance = 0, const context& ctx = {}) {
  using T = typename view_of<const A>::value_type;
  return least_squares<T>(matrix_view<const T>(as_view(a)), as_view(b), tolerance, ctx);
}

#if defined(TERSOR_PRECOMPILED)
extern template least_squares_result<float> least_squares<float>(matrix_view<const float>,
                                                                 matrix_view<const float>, double,
                                                                 const context&);
extern template least_squares_result<double> least_squares<double>(matrix_view<const double>,
                                                                   matrix_view<const double>, double,
                                                                   const context&);
#endif

}  // namespace tersor::linalg
