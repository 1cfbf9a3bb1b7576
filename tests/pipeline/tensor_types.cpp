// tersor - the same bits from every tensor type and layout, for every compressor
// SPDX-License-Identifier: MIT
#include <Eigen/Core>

#include <tersor/pipeline/every_technique.hpp>

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

namespace tensor_types_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::quant::gptq;
using namespace tersor::prune;
namespace quant = tersor::quant;
namespace lowrank = tersor::lowrank;

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

/// Every compressor of the library, with options that take its longer paths, called as `call(technique)`.
template <class Call>
void for_each_compressor(index_t in, Call&& call) {
  call(quant::rtn{.bits = 3, .group_size = 8, .clip_search = true});
  call(gptq{.bits = 3, .group_size = 8, .act_order = true, .block_size = 16});
  call(quant::w8a8{});
  call(magnitude{.sparsity = 0.4});
  call(nm_mask{});
  call(wanda{.pattern = {2, 4}, .update = tersor::solve::weight_update::feedback, .block_size = 16});
  if (in % 4 == 0) call(ria{.pattern = {2, 4}, .permute = true});
  call(sparsegpt{.sparsity = 0.5, .block_size = 16, .bits = 4});
  call(lowrank::svd{.ratio = 0.6});
  call(lowrank::svd{.method = lowrank::svd_method::asvd, .ratio = 0.6});
  call(lowrank::svd{.method = lowrank::svd_method::whitened, .ratio = 0.6});
  call(lowrank::svd{.method = lowrank::svd_method::randomized, .ratio = 0.6});
}

TEST_CASE("compressors: the same bits for every tensor type and any number of threads", "[tensor_types]") {
  for (const auto& shape : {std::pair<index_t, index_t>{1, 1}, {1, 9}, {9, 1}, {20, 37}, {12, 40}}) {
    const index_t out = shape.first, in = shape.second;
    const auto w = random_matrix<float>(out, in, 1);
    const auto inputs = statistics_of(correlated_inputs(3 * in, in, 2));
    for_each_compressor(in, [&](const auto& technique) {
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
    });
  }
  const auto sparse = nm_mask{}(random_matrix<float>(8, 16, 3)).op.to_dense();
  for_each_tensor_type(sparse, [&](const char* name, const auto& tensor) {
    INFO(name);
    CHECK(sp24_store{}(tensor).op.to_dense() == sparse);
  });
}

TEST_CASE("compressors: calibration from every tensor type", "[quant]") {
  const auto x = correlated_inputs(25, 12, 2), w = random_matrix<float>(6, 12, 1);
  const auto expected = statistics_of(x);
  const auto packed = gptq{.bits = 3, .group_size = 4}(w, expected).op.to_dense();
  for_each_tensor_type(x, [&](const char* name, const auto& tensor) {
    INFO(name);
    tersor::calib::statistics inputs(12);
    inputs.add(tensor);
    CHECK(inputs.gram() == expected.gram());
    CHECK(inputs.mean_abs() == expected.mean_abs());
    CHECK(gptq{.bits = 3, .group_size = 4}(w, inputs).op.to_dense() == packed);
  });
}

}  // namespace tensor_types_tests
