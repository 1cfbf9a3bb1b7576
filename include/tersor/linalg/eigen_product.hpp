// tersor - the product of two matrices by Eigen, for builds without a BLAS
// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>  // Eigen::internal::general_matrix_matrix_product

#include <tersor/core/view.hpp>

namespace tersor::linalg::detail {

/// A template only so that src/precompiled.cpp can hold it.
template <class>
void single_threaded_eigen() {
  Eigen::setNbThreads(1);
}

/// y[i step] += alpha Σ_j M(i, j) x[j stride] for M [rows, cols], row-major or, if transposed, column-major.
template <class T>
void add_matrix_vector(index_t rows, index_t cols, T alpha, const T* m, index_t ld, bool transposed,
                       const T* x, index_t stride, T* y, index_t step) {
  if (transposed) {
    for (index_t j = 0; j < cols; ++j) {
      const T factor = alpha * x[j * stride];
      for (index_t i = 0; i < rows; ++i) y[i * step] += factor * m[j * ld + i];
    }
    return;
  }
  for (index_t i = 0; i < rows; ++i) {
    T lanes[8] = {};  // independent sums, so that the loop can be vectorised
    index_t j = 0;
    for (; j + 8 <= cols; j += 8)
      for (index_t l = 0; l < 8; ++l) lanes[l] += m[i * ld + j + l] * x[(j + l) * stride];
    for (; j < cols; ++j) lanes[0] += m[i * ld + j] * x[j * stride];
    y[i * step] += alpha * (((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
                            ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7])));
  }
}

/// c[m, n] = alpha a b + beta c; c is row-major, a and b are row-major or, if transposed, column-major.
///
/// Calls the kernel that Eigen's product expressions end in (the same name and arguments from 3.4 to 5): the
/// expressions themselves cost every includer ten times the kernel's compile time.
template <class T>
void eigen_product(index_t m, index_t n, index_t k, T alpha, const T* a, index_t lda, bool transposed_a,
                   const T* b, index_t ldb, bool transposed_b, T beta, T* c, index_t ldc) {
  using namespace Eigen::internal;
  constexpr int by_rows = Eigen::RowMajor, by_columns = Eigen::ColMajor, any = Eigen::Dynamic;
  for (index_t i = 0; i < m; ++i)
    for (index_t j = 0; j < n; ++j) c[i * ldc + j] = beta == T(0) ? T(0) : beta * c[i * ldc + j];
  if (k == 0) return;
  if (m == 1) return add_matrix_vector(n, k, alpha, b, ldb, !transposed_b, a, transposed_a ? lda : 1, c, 1);
  if (n == 1) return add_matrix_vector(m, k, alpha, a, lda, transposed_a, b, transposed_b ? 1 : ldb, c, ldc);
  gemm_blocking_space<by_rows, T, T, any, any, any> blocking(m, n, k, 1, true);
  auto add = [&]<int OrderA, int OrderB>() {
    general_matrix_matrix_product<Eigen::Index, T, OrderA, false, T, OrderB, false, by_rows, 1>::run(
        m, n, k, a, lda, b, ldb, c, 1, ldc, alpha, blocking, nullptr);
  };
  if (transposed_a)
    transposed_b ? add.template operator()<by_columns, by_columns>()
                 : add.template operator()<by_columns, by_rows>();
  else
    transposed_b ? add.template operator()<by_rows, by_columns>()
                 : add.template operator()<by_rows, by_rows>();
}

}  // namespace tersor::linalg::detail
