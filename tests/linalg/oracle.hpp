// tersor - what the linalg tests share: random matrices of a given rank or condition, and slow definitions
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/context.hpp>
#include <tersor/core/matrix.hpp>
#include <tersor/core/random.hpp>

namespace tersor_test {

using tersor::index_t;
using tersor::matrix;
using tersor::matrix_view;

inline tersor::context threads(int n) {
  tersor::context ctx;
  ctx.threads = n;
  return ctx;
}

template <class T = double>
matrix<T> random_matrix(index_t m, index_t n, std::uint64_t seed) {
  tersor::random_generator g(seed);
  matrix<T> x(m, n);
  for (T& v : x.values()) v = static_cast<T>(g.normal());
  return x;
}

/// The product by its definition.
inline matrix<double> times(matrix_view<const double> a, matrix_view<const double> b) {
  matrix<double> c(a.rows(), b.cols());
  for (index_t i = 0; i < c.rows(); ++i)
    for (index_t k = 0; k < a.cols(); ++k)
      for (index_t j = 0; j < c.cols(); ++j) c(i, j) += a(i, k) * b(k, j);
  return c;
}

inline matrix<double> transposed(matrix_view<const double> a) {
  return tersor::copy_as<double>(a.transposed());
}

/// A product of random factors: rank r (at most min(m, n)).
inline matrix<double> of_rank(index_t m, index_t n, index_t r, std::uint64_t seed) {
  return times(random_matrix(m, r, seed), random_matrix(r, n, seed + 1));
}

/// Largest |a - b|, infinity if the shapes differ; a NaN is taken over.
inline double difference(matrix_view<const double> a, matrix_view<const double> b) {
  if (a.extents != b.extents) return std::numeric_limits<double>::infinity();
  double d = 0;
  for (index_t i = 0; i < a.rows(); ++i)
    for (index_t j = 0; j < a.cols(); ++j)
      if (const double e = std::abs(a(i, j) - b(i, j)); !(e <= d)) d = e;
  return d;
}

inline matrix<double> identity(index_t n) {
  matrix<double> x(n, n);
  for (index_t i = 0; i < n; ++i) x(i, i) = 1;
  return x;
}

/// How far the columns of q are from orthonormal.
inline double column_defect(matrix_view<const double> q) {
  return difference(times(q.transposed(), q), identity(q.cols()));
}

inline double largest(matrix_view<const double> a) {
  return difference(a, matrix<double>(a.rows(), a.cols()));
}

}  // namespace tersor_test
