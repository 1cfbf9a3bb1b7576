// tersor - the heavy templates, compiled once for float and double
// SPDX-License-Identifier: MIT
#include <tersor/core/error.hpp>
#include <tersor/linalg/cholesky.hpp>
#include <tersor/linalg/eigh.hpp>
#include <tersor/linalg/gemm.hpp>
#include <tersor/linalg/least_squares.hpp>
#include <tersor/linalg/qr.hpp>
#include <tersor/linalg/svd.hpp>
#include <tersor/linalg/triangular.hpp>

#if !defined(TERSOR_USE_BLAS)
#include <tersor/linalg/eigen_product.hpp>  // with TERSOR_PRECOMPILED, gemm.hpp leaves it to this file
#endif

namespace tersor::detail {

template std::string joined(std::initializer_list<text_part>);
template void report(std::string_view, text_part, std::initializer_list<text_part>);

}  // namespace tersor::detail
namespace tersor::linalg {

#if !defined(TERSOR_USE_BLAS)
template void detail::eigen_product<float>(index_t, index_t, index_t, float, const float*, index_t, bool,
                                           const float*, index_t, bool, float, float*, index_t);
template void detail::eigen_product<double>(index_t, index_t, index_t, double, const double*, index_t, bool,
                                            const double*, index_t, bool, double, double*, index_t);
template void detail::single_threaded_eigen<void>();
#endif
template void gemm<float>(float, matrix_view<const float>, matrix_view<const float>, float,
                          matrix_view<float>, const context&);
template void gemm<double>(double, matrix_view<const double>, matrix_view<const double>, double,
                           matrix_view<double>, const context&);
template void gram<float>(matrix_view<const float>, matrix_view<double>, const context&);
template void gram<double>(matrix_view<const double>, matrix_view<double>, const context&);
template void detail::solve_triangle<float>(matrix_view<const float>, matrix_view<float>, bool,
                                            const context&);
template void detail::solve_triangle<double>(matrix_view<const double>, matrix_view<double>, bool,
                                             const context&);
template void invert_lower<float>(matrix_view<float>, const context&);
template void invert_lower<double>(matrix_view<double>, const context&);
template cholesky_result detail::factor_damped<double>(matrix_view<const double>, const cholesky_options&,
                                                       bool, const context&);
template qr_result<float> qr<float>(matrix_view<const float>, const context&);
template qr_result<double> qr<double>(matrix_view<const double>, const context&);
template svd_result<float> svd<float>(matrix_view<const float>, const context&);
template svd_result<double> svd<double>(matrix_view<const double>, const context&);
template svd_result<float> randomized_svd<float>(matrix_view<const float>, index_t,
                                                 const randomized_svd_options&, const context&);
template svd_result<double> randomized_svd<double>(matrix_view<const double>, index_t,
                                                   const randomized_svd_options&, const context&);
template left_singular_result left_singular<double>(matrix<double>, index_t, const context&);
template eigh_result detail::decompose_symmetric<double>(matrix<double>, bool);
template least_squares_result<float> least_squares<float>(matrix_view<const float>, matrix_view<const float>,
                                                          double, const context&);
template least_squares_result<double> least_squares<double>(matrix_view<const double>,
                                                            matrix_view<const double>, double,
                                                            const context&);

}  // namespace tersor::linalg
