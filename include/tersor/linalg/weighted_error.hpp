// tersor - the error of a weight as the layer's output sees it
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::min
#include <numeric>    // std::accumulate
#include <vector>     // std::vector

#include <tersor/linalg/gemm.hpp>

namespace tersor::linalg {

namespace detail {

/// tr(D H Dᵀ), where difference(i, j) gives D [rows, n]; chunks of rows, added up in order. H is symmetric,
/// so each panel of its columns is read down to its diagonal block only, and what is above that counts twice.
template <std::same_as<double> T, class D>
T quadratic_form(index_t rows, matrix_view<const T> h, const context& ctx, const D& difference) {
  constexpr index_t grain = 128, panel = 256;
  const index_t n = h.rows();
  require(h.cols() == n, "weighted_error: h", concat(n, " x ", h.cols()), "a square matrix");
  std::vector<T> partial(static_cast<std::size_t>((rows + grain - 1) / grain));
  parallel_chunks(rows, grain, ctx, [&](index_t first, index_t last) {
    const context serial{.threads = 1};
    matrix<T> d(last - first, n);
    for (index_t i = first; i < last; ++i)
      for (index_t j = 0; j < n; ++j) d(i - first, j) = difference(i, j);
    T sum = 0;
    for (index_t j0 = 0; j0 < n; j0 += panel) {
      const index_t width = std::min(panel, n - j0);
      const auto part = d.view().block(0, j0, d.rows(), width);
      matrix<T> product(d.rows(), width);
      gemm<T>(T(1), d.view().block(0, 0, d.rows(), j0), h.block(0, j0, j0, width), T(0), product, serial);
      gemm<T>(T(1), part, h.block(j0, j0, width, width), T(2), product, serial);
      for (index_t i = 0; i < d.rows(); ++i) {
        T row = 0;
        for (index_t j = 0; j < width; ++j) row += part(i, j) * product(i, j);
        sum += row;
      }
    }
    partial[static_cast<std::size_t>(first / grain)] = sum;
  });
  return std::accumulate(partial.begin(), partial.end(), T(0));
}

}  // namespace detail

/// tr((W - Ŵ) H (W - Ŵ)ᵀ) for w, approximation [out, in] and symmetric h [in, in]: for H = XᵀX the squared
/// error of the layer's outputs, ‖X (W - Ŵ)ᵀ‖². Sums in double. Cost out in².
template <matrix_like W, matrix_like A>
double weighted_error(const W& w, const A& approximation, std::type_identity_t<matrix_view<const double>> h,
                      const context& ctx = {}) {
  const auto x = as_view(w);
  const auto y = as_view(approximation);
  require_shape(y, x.rows(), x.cols(), "weighted_error: approximation");
  require(h.rows() == x.cols(), "weighted_error: rows of h", h.rows(), "the columns of w, ", x.cols());
  return detail::quadratic_form<double>(x.rows(), h, ctx, [&](index_t i, index_t j) {
    return static_cast<double>(x(i, j)) - static_cast<double>(y(i, j));
  });
}

/// tr(W H Wᵀ), the denominator of a relative weighted error.
template <matrix_like W>
double weighted_norm(const W& w, std::type_identity_t<matrix_view<const double>> h, const context& ctx = {}) {
  const auto x = as_view(w);
  require(h.rows() == x.cols(), "weighted_norm: rows of h", h.rows(), "the columns of w, ", x.cols());
  return detail::quadratic_form<double>(x.rows(), h, ctx,
                                        [&](index_t i, index_t j) { return static_cast<double>(x(i, j)); });
}

}  // namespace tersor::linalg
