// tersor - the product of two matrices by Eigen, for builds without a BLAS
// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>  // Eigen::Map

#include <tersor/core/view.hpp>

namespace tersor::linalg::detail {

/// A template only so that src/precompiled.cpp can hold it.
template <class>
void single_threaded_eigen() {
  Eigen::setNbThreads(1);
}

/// c[m, n] = alpha a b + beta c; c is row-major, a and b are row-major or, if transposed, column-major.
template <class T>
void eigen_product(index m, index n, index k, T alpha, const T* a, index lda, bool transposed_a, const T* b,
                   index ldb, bool transposed_b, T beta, T* c, index ldc) {
  using stride = Eigen::OuterStride<>;
  using rows = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using columns = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;
  for (index i = 0; i < m; ++i)
    for (index j = 0; j < n; ++j) c[i * ldc + j] = beta == T(0) ? T(0) : beta * c[i * ldc + j];
  if (k == 0) return;
  Eigen::Map<rows, 0, stride> y(c, m, n, stride(ldc));
  auto add = [&](const auto& left, const auto& right) { y.noalias() += alpha * left * right; };
  auto with_left = [&](const auto& left) {
    if (transposed_b)
      add(left, Eigen::Map<const columns, 0, stride>(b, k, n, stride(ldb)));
    else
      add(left, Eigen::Map<const rows, 0, stride>(b, k, n, stride(ldb)));
  };
  if (transposed_a)
    with_left(Eigen::Map<const columns, 0, stride>(a, m, k, stride(lda)));
  else
    with_left(Eigen::Map<const rows, 0, stride>(a, m, k, stride(lda)));
}

}  // namespace tersor::linalg::detail
