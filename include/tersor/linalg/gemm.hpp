// tersor - matrix products, deterministic for any number of threads
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>    // std::min, std::max
#include <concepts>     // std::floating_point
#include <type_traits>  // std::type_identity_t

#include <tersor/core/matrix.hpp>
#include <tersor/core/parallel.hpp>
#include <tersor/linalg/blas.hpp>

#if !defined(TERSOR_USE_BLAS)
namespace tersor::linalg::detail {
template <class T>
void eigen_product(index_t m, index_t n, index_t k, T alpha, const T* a, index_t lda, bool transposed_a,
                   const T* b, index_t ldb, bool transposed_b, T beta, T* c, index_t ldc);
template <class T>
void single_threaded_eigen();
}  // namespace tersor::linalg::detail
#if !defined(TERSOR_PRECOMPILED)
#include <tersor/linalg/eigen_product.hpp>  // with it, src/precompiled.cpp defines them, and nobody else needs Eigen
#endif
#endif

namespace tersor::linalg {

namespace detail {

/// Σ x y in four interleaved sums.
template <class T>
T dot(const T* x, const T* y, index_t n) {
  T s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  index_t i = 0;
  for (; i + 4 <= n; i += 4) {
    s0 += x[i] * y[i];
    s1 += x[i + 1] * y[i + 1];
    s2 += x[i + 2] * y[i + 2];
    s3 += x[i + 3] * y[i + 3];
  }
  for (; i < n; ++i) s0 += x[i] * y[i];
  return (s0 + s1) + (s2 + s3);
}

/// A matrix as BLAS wants it: one stride is 1, the other is `ld`. Row-major, or, if `transposed`,
/// column-major.
template <class T>
struct operand {
  T* data = nullptr;
  index_t ld = 1;
  bool transposed = false;

  T* at(index_t i, index_t j) const {
    return tersor::detail::shifted(data, transposed ? j * ld + i : i * ld + j);
  }
};

/// Fills `out` if the strides of x allow; extents of 0 and 1 match any stride.
template <class T>
bool as_operand(matrix_view<T> x, operand<T>& out) {
  const index_t m = x.rows(), n = x.cols(), s0 = x.strides[0], s1 = x.strides[1];
  if ((n <= 1 || s1 == 1) && (m <= 1 || s0 >= std::max<index_t>(n, 1))) {
    out = {x.data, m <= 1 ? std::max<index_t>(n, 1) : s0, false};
    return true;
  }
  if ((m <= 1 || s0 == 1) && (n <= 1 || s1 >= std::max<index_t>(m, 1))) {
    out = {x.data, n <= 1 ? std::max<index_t>(m, 1) : s1, true};
    return true;
  }
  return false;
}

/// An input operand; strides that BLAS cannot express are packed into `storage` first.
template <class T>
operand<const T> input_operand(matrix_view<const T> x, matrix<T>& storage) {
  operand<const T> result;
  if (as_operand(x, result)) return result;
  storage = copy_as<T>(x);
  return {storage.data(), std::max<index_t>(x.cols(), 1), false};
}

/// c[m, n] (row-major, ldc) = alpha a b + beta c on the calling thread; m, n > 0.
template <class T>
void multiply_tile(index_t m, index_t n, index_t k, T alpha, operand<const T> a, operand<const T> b, T beta,
                   T* c, index_t ldc) {
#if defined(TERSOR_USE_BLAS)
  const int ta = a.transposed ? blas::trans : blas::no_trans,
            tb = b.transposed ? blas::trans : blas::no_trans;
  if (m > 1 && n > 1) return blas::gemm(ta, tb, m, n, k, alpha, a.data, a.ld, b.data, b.ld, beta, c, ldc);
  // One row or column: a matrix-vector product, which reads the matrix once and packs nothing. C is cleared
  // here because 0 * NaN is NaN in the scaling of some implementations.
  const index_t step = m == 1 ? 1 : ldc, count = m == 1 ? n : m;
  if (beta == T(0))
    for (index_t i = 0; i < count; ++i) c[i * step] = T(0);
  if (k == 0) {
    for (index_t i = 0; i < count; ++i) c[i * step] *= beta;
  } else if (m == 1) {  // y = Bᵀ a
    const index_t rows = b.transposed ? n : k, cols = b.transposed ? k : n;
    blas::gemv(b.transposed ? blas::no_trans : blas::trans, rows, cols, alpha, b.data, b.ld, a.data,
               a.transposed ? a.ld : 1, beta, c, step);
  } else {  // y = A b
    const index_t rows = a.transposed ? k : m, cols = a.transposed ? m : k;
    blas::gemv(a.transposed ? blas::trans : blas::no_trans, rows, cols, alpha, a.data, a.ld, b.data,
               b.transposed ? 1 : b.ld, beta, c, step);
  }
#else
  eigen_product<T>(m, n, k, alpha, a.data, a.ld, a.transposed, b.data, b.ld, b.transposed, beta, c, ldc);
#endif
}

/// How C is cut: from the shapes alone, so that every number of threads computes the same tiles.
struct tiling {
  index_t rows, cols;
};
inline tiling tiles_of(index_t m, index_t n, index_t k) {
  constexpr index_t smallest = index_t{1}
                               << 21;  // multiply-adds below which starting a thread costs more than it saves
  const index_t depth = std::max<index_t>(k, 1);
  if (m * n <= smallest / depth) return {m, n};
  // Each tile packs its own operands, so tiles are large and about three times as wide as high; few rows take
  // at least enough columns for one tile's work.
  const index_t rows = std::min<index_t>(m, 512);
  const index_t wide = (std::max(smallest / depth / rows, 3 * rows) + 63) / 64 * 64;
  return {rows, std::min(n, wide)};
}

}  // namespace detail

/// The library does its own threading: `gemm` cuts the product into tiles and multiplies each on one thread.
/// Call this once in `main`, so that the BLAS (or Eigen under OpenMP) starts no threads of its own inside
/// them, which would oversubscribe the machine and may change the last bit. Other BLAS than OpenBLAS: use
/// their environment variable.
inline void single_threaded_blas() {
#if defined(TERSOR_USE_BLAS) && defined(__GNUC__)
  if (openblas_set_num_threads) openblas_set_num_threads(1);
#elif !defined(TERSOR_USE_BLAS)
  detail::single_threaded_eigen<void>();
#endif
}

/// c = alpha a b + beta c for a [m, k], b [k, n], c [m, n] of any strides; c must not overlap a or b.
/// Row-major, column-major and transposed views are used as they are, other strides are packed first. With
/// beta = 0 what c held is not read. The result is the same bits for any `ctx.threads`. Cost 2 m n k
/// operations.
template <std::floating_point T>
void gemm(T alpha, matrix_view<const std::type_identity_t<T>> a, matrix_view<const std::type_identity_t<T>> b,
          std::type_identity_t<T> beta, matrix_view<std::type_identity_t<T>> c, const context& ctx = {}) {
  const index_t m = a.rows(), k = a.cols(), n = b.cols();
  require(b.rows() == k, "gemm: rows of b", b.rows(), "the columns of a, ", k);
  require_shape(c, m, n, "gemm: c");
  if (m == 0 || n == 0) return;
  detail::operand<T> out;
  if (!detail::as_operand(c, out)) {
    matrix<T> packed(m, n);
    if (beta != T(0)) copy(c, packed.view());
    gemm<T>(alpha, a, b, beta, packed, ctx);
    return copy(packed.view(), c);
  }
  if (out.transposed) return gemm<T>(alpha, b.transposed(), a.transposed(), beta, c.transposed(), ctx);
  matrix<T> packed_a, packed_b;
  const auto pa = detail::input_operand<T>(a, packed_a);
  const auto pb = detail::input_operand<T>(b, packed_b);
  const auto tile = detail::tiles_of(m, n, k);
  const index_t across = (n + tile.cols - 1) / tile.cols, down = (m + tile.rows - 1) / tile.rows;
  parallel_for(down * across, ctx, [&](index_t t) {
    const index_t i = t / across * tile.rows, j = t % across * tile.cols;
    detail::multiply_tile<T>(std::min(tile.rows, m - i), std::min(tile.cols, n - j), k, alpha,
                             {pa.at(i, 0), pa.ld, pa.transposed}, {pb.at(0, j), pb.ld, pb.transposed}, beta,
                             out.at(i, j), out.ld);
  });
}

/// a b as a new matrix, for any two matrices of the same element type.
template <matrix_like A, matrix_like B>
auto multiply(const A& a, const B& b, const context& ctx = {}) {
  using T = typename view_of<const A>::value_type;
  matrix<T> c(as_view(a).rows(), as_view(b).cols());
  gemm<T>(T(1), as_view(a), as_view(b), T(0), c, ctx);
  return c;
}

/// h += xᵀ x for x [tokens, n] and a symmetric h [n, n] in double: the Hessian of a layer's inputs, streamed.
/// Products run in T over at most 1024 tokens and are then added in double, so a float sum never grows long.
/// The upper triangle is computed and mirrored, so h stays exactly symmetric. Cost tokens n² operations.
template <std::floating_point T>
void gram(matrix_view<const T> x, matrix_view<double> h, const context& ctx = {}) {
  constexpr index_t chunk = 1024, tile = 256;
  const index_t tokens = x.rows(), n = x.cols(), side = (n + tile - 1) / tile;
  require_shape(h, n, n, "gram: h");
  matrix<T> packed;
  const auto px = detail::input_operand<T>(x, packed);
  parallel_for(side * (side + 1) / 2, ctx, [&](index_t t) {
    index_t p = 0, q = t;  // tile (p, q) of the upper triangle, row by row
    while (q >= side - p) q -= side - p++;
    q += p;
    const index_t i0 = p * tile, j0 = q * tile, m = std::min(tile, n - i0), w = std::min(tile, n - j0);
    matrix<T> part(m, w);
    for (index_t first = 0; first < tokens; first += chunk) {
      detail::multiply_tile<T>(m, w, std::min(chunk, tokens - first), T(1),
                               {px.at(first, i0), px.ld, !px.transposed},
                               {px.at(first, j0), px.ld, px.transposed}, T(0), part.data(), w);
      for (index_t i = 0; i < m; ++i)
        for (index_t j = p == q ? i : 0; j < w; ++j) h(i0 + i, j0 + j) += static_cast<double>(part(i, j));
    }
    for (index_t i = 0; i < m; ++i)
      for (index_t j = p == q ? i + 1 : 0; j < w; ++j) h(j0 + j, i0 + i) = h(i0 + i, j0 + j);
  });
}
template <matrix_like X>
void gram(const X& x, matrix_view<double> h, const context& ctx = {}) {
  using T = typename view_of<const X>::value_type;
  gram<T>(matrix_view<const T>(as_view(x)), h, ctx);
}

#if defined(TERSOR_PRECOMPILED)
#if !defined(TERSOR_USE_BLAS)
extern template void detail::eigen_product<float>(index_t, index_t, index_t, float, const float*, index_t,
                                                  bool, const float*, index_t, bool, float, float*, index_t);
extern template void detail::eigen_product<double>(index_t, index_t, index_t, double, const double*, index_t,
                                                   bool, const double*, index_t, bool, double, double*,
                                                   index_t);
extern template void detail::single_threaded_eigen<void>();
#endif
extern template void gemm<float>(float, matrix_view<const float>, matrix_view<const float>, float,
                                 matrix_view<float>, const context&);
extern template void gemm<double>(double, matrix_view<const double>, matrix_view<const double>, double,
                                  matrix_view<double>, const context&);
extern template void gram<float>(matrix_view<const float>, matrix_view<double>, const context&);
extern template void gram<double>(matrix_view<const double>, matrix_view<double>, const context&);
#endif

}  // namespace tersor::linalg
