// tersor - a matrix in every type of tensor that the library knows, for tests of compressors
// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>

#include "quant/samples.hpp"

#if __has_include(<xtensor/containers/xadapt.hpp>)
#include <xtensor/containers/xarray.hpp>
#include <xtensor/views/xview.hpp>
#define TERSOR_TEST_XTENSOR
#elif __has_include(<xtensor/xadapt.hpp>)
#include <xtensor/xarray.hpp>
#include <xtensor/xview.hpp>
#define TERSOR_TEST_XTENSOR
#endif
#if defined(TERSOR_TEST_XTENSOR)
#include <tersor/core/xtensor.hpp>
#endif

namespace tersor_test {

/// f(name, tensor) with the values of w in every type of tensor that the library knows. Gaps hold NaN.
template <class F>
void for_each_tensor_type(const matrix<float>& w, F&& f) {
  const index_t m = w.rows(), n = w.cols();
  f("matrix of double", tersor::to_matrix<double>(w));
  f("view", w.view());
  f("pointer", tersor::as_view(w.data(), {m, n}));
  const auto by_columns_memory = tersor::copy_as<float>(w.view().transposed());
  f("transposed view", by_columns_memory.view().transposed());
  matrix<float> backwards(m, n);
  for (index_t i = 0; i < m; ++i)
    for (index_t j = 0; j < n; ++j) backwards(m - 1 - i, n - 1 - j) = w(i, j);
  f("negative strides", matrix_view<const float>(backwards.data() + backwards.size() - 1, {m, n}, {-n, -1}));

  using by_rows = Eigen::Matrix<float, -1, -1, Eigen::RowMajor>;
  by_rows rows(m, n);
  for (index_t i = 0; i < m; ++i)
    for (index_t j = 0; j < n; ++j) rows(i, j) = w(i, j);
  const Eigen::MatrixXf columns = rows;
  f("Eigen row-major", rows);
  f("Eigen column-major", columns);
  f("Eigen of double", Eigen::MatrixXd(rows.cast<double>()));
  const Eigen::MatrixXf flipped = rows.transpose();
  f("Eigen transpose", flipped.transpose());
  Eigen::MatrixXf wide = Eigen::MatrixXf::Constant(3 * m + 2, 2 * n + 1, not_a_number);
  Eigen::Map<Eigen::MatrixXf, 0, Eigen::Stride<-1, -1>> gaps(wide.data() + 1, m, n, {2 * wide.rows(), 3});
  gaps = rows;
  f("strided Eigen map", gaps);
  Eigen::MatrixXf framed = Eigen::MatrixXf::Constant(m + 4, n + 3, not_a_number);
  framed.block(2, 1, m, n) = rows;
  f("Eigen block", framed.block(2, 1, m, n));
#if defined(TERSOR_TEST_XTENSOR)
  const std::array<std::size_t, 2> shape{static_cast<std::size_t>(m), static_cast<std::size_t>(n)};
  xt::xtensor<float, 2> x(shape);
  xt::xtensor<float, 2, xt::layout_type::column_major> xc(shape);
  xt::xarray<float> any = xt::xarray<float>::from_shape({shape[0], shape[1]});
  for (std::size_t i = 0; i < shape[0]; ++i)
    for (std::size_t j = 0; j < shape[1]; ++j)
      any(i, j) = xc(i, j) = x(i, j) = w(static_cast<index_t>(i), static_cast<index_t>(j));
  f("xtensor", x);
  f("xtensor column-major", xc);
  f("xarray", tersor::as_view<2>(any));
  const auto adapted = tersor::adapt(w);
  f("xtensor adaptor", adapted);
  xt::xtensor<float, 3> cube({2, shape[0], shape[1]});
  for (std::size_t i = 0; i < shape[0]; ++i)
    for (std::size_t j = 0; j < shape[1]; ++j) {
      cube(0, i, j) = not_a_number;
      cube(1, i, j) = x(i, j);
    }
  const auto slice = xt::view(cube, 1, xt::all(), xt::all());
  f("xtensor view", slice);
#endif
}

/// Checks that the same bits come from a technique for every type of tensor and any number of threads.
/// @param multiple of which the number of columns has to be.
template <class Technique>
void check_tensor_types(const Technique& technique, index_t multiple = 1) {
  for (const auto& shape : {std::pair<index_t, index_t>{1, 1}, {1, 9}, {9, 1}, {20, 37}, {12, 40}}) {
    const index_t out = shape.first, in = shape.second;
    if (in % multiple != 0) continue;
    const auto w = random_matrix<float>(out, in, 1);
    const auto inputs = statistics_of(correlated_inputs(3 * in, in, 2));
    INFO(technique.info.id << ' ' << out << " x " << in);
    const auto compressed = [&](const auto& tensor, int n) {
      if constexpr (requires { technique(tensor, inputs, threads(n)); })
        return technique(tensor, inputs, threads(n)).op.to_dense();
      else
        return technique(tensor, &inputs, threads(n)).op.to_dense();
    };
    const auto expected = compressed(w, 1);
    for_each_tensor_type(w, [&](const char* name, const auto& tensor) {
      INFO(name);
      for (const int n : {1, 2, 3}) CHECK(compressed(tensor, n) == expected);
    });
  }
}

}  // namespace tersor_test
