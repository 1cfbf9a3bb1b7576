// tersor - the few BLAS and LAPACK routines that linalg calls when the build links a BLAS
// SPDX-License-Identifier: MIT
#pragma once

/// Configuration: with `TERSOR_USE_BLAS` defined, the program links CBLAS and LAPACK with 32-bit integers
/// (OpenBLAS has both: -lopenblas). The prototypes are declared here, so no vendor header is needed. Without
/// it, products use Eigen and the factorizations are the library's own.

#if defined(TERSOR_USE_BLAS)

#include <cassert>  // assert
#include <limits>   // std::numeric_limits

#include <tersor/core/view.hpp>

extern "C" {
void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float* a,
                 int lda, const float* b, int ldb, float beta, float* c, int ldc);
void cblas_dgemm(int order, int trans_a, int trans_b, int m, int n, int k, double alpha, const double* a,
                 int lda, const double* b, int ldb, double beta, double* c, int ldc);
void cblas_sgemv(int order, int trans, int m, int n, float alpha, const float* a, int lda, const float* x,
                 int incx, float beta, float* y, int incy);
void cblas_dgemv(int order, int trans, int m, int n, double alpha, const double* a, int lda, const double* x,
                 int incx, double beta, double* y, int incy);
void cblas_strsm(int order, int side, int uplo, int trans, int diag, int m, int n, float alpha,
                 const float* a, int lda, float* b, int ldb);
void cblas_dtrsm(int order, int side, int uplo, int trans, int diag, int m, int n, double alpha,
                 const double* a, int lda, double* b, int ldb);
void dgesdd_(const char* job, const int* m, const int* n, double* a, const int* lda, double* s, double* u,
             const int* ldu, double* vt, const int* ldvt, double* work, const int* lwork, int* iwork,
             int* info);
void dsyevd_(const char* job, const char* uplo, const int* n, double* a, const int* lda, double* w,
             double* work, const int* lwork, int* iwork, const int* liwork, int* info);
#if defined(__GNUC__)
__attribute__((weak)) void openblas_set_num_threads(int threads);
#endif
}

namespace tersor::linalg::blas {

inline constexpr int row_major = 101, col_major = 102;
inline constexpr int no_trans = 111, trans = 112;
inline constexpr int upper = 121, lower = 122;
inline constexpr int non_unit = 131;
inline constexpr int left = 141;

/// An extent or leading dimension as the 32-bit integer of the interface.
inline int to_int(index_t n) {
  assert(n >= 0 && n <= std::numeric_limits<int>::max());
  return static_cast<int>(n);
}

inline void gemm(int ta, int tb, index_t m, index_t n, index_t k, float alpha, const float* a, index_t lda,
                 const float* b, index_t ldb, float beta, float* c, index_t ldc) {
  cblas_sgemm(row_major, ta, tb, to_int(m), to_int(n), to_int(k), alpha, a, to_int(lda), b, to_int(ldb), beta,
              c, to_int(ldc));
}
inline void gemm(int ta, int tb, index_t m, index_t n, index_t k, double alpha, const double* a, index_t lda,
                 const double* b, index_t ldb, double beta, double* c, index_t ldc) {
  cblas_dgemm(row_major, ta, tb, to_int(m), to_int(n), to_int(k), alpha, a, to_int(lda), b, to_int(ldb), beta,
              c, to_int(ldc));
}
inline void gemv(int t, index_t m, index_t n, float alpha, const float* a, index_t lda, const float* x,
                 index_t incx, float beta, float* y, index_t incy) {
  cblas_sgemv(row_major, t, to_int(m), to_int(n), alpha, a, to_int(lda), x, to_int(incx), beta, y,
              to_int(incy));
}
inline void gemv(int t, index_t m, index_t n, double alpha, const double* a, index_t lda, const double* x,
                 index_t incx, double beta, double* y, index_t incy) {
  cblas_dgemv(row_major, t, to_int(m), to_int(n), alpha, a, to_int(lda), x, to_int(incx), beta, y,
              to_int(incy));
}
inline void trsm(int order, int uplo, int t, index_t m, index_t n, const float* a, index_t lda, float* b,
                 index_t ldb) {
  cblas_strsm(order, left, uplo, t, non_unit, to_int(m), to_int(n), 1.0f, a, to_int(lda), b, to_int(ldb));
}
inline void trsm(int order, int uplo, int t, index_t m, index_t n, const double* a, index_t lda, double* b,
                 index_t ldb) {
  cblas_dtrsm(order, left, uplo, t, non_unit, to_int(m), to_int(n), 1.0, a, to_int(lda), b, to_int(ldb));
}

}  // namespace tersor::linalg::blas

#endif
