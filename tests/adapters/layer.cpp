// tersor - tests of adapters/layer.hpp
// SPDX-License-Identifier: MIT
#include <Eigen/Core>

#include <tersor/adapters/layer.hpp>
#include <tersor/adapters/lora.hpp>
#include <tersor/adapters/pissa.hpp>
#include <tersor/op/any_operator.hpp>
#include <tersor/op/dense.hpp>

#include "contract_checks.hpp"

namespace layer_tests {

using namespace tersor_test;
using tersor::adapters::layer_view;

TEST_CASE("adapter layer: a matrix and an operator compute the same", "[layer]") {
  for (const auto& shape : adapter_shapes) {
    const auto layer = random_layer<float>(shape.out, shape.in, 1);
    const tersor::op::any_operator op = tersor::op::dense(layer.weight.view());
    const layer_view<float> a(layer), b(op, layer.bias);
    CHECK((b.rows() == shape.out && b.cols() == shape.in && a.rows() == shape.out && a.cols() == shape.in));
    const auto x = random_matrix<float>(shape.tokens, shape.in, 2);
    const auto g = random_matrix<float>(shape.tokens, shape.out, 3);
    matrix<float> ya(shape.tokens, shape.out), yb = ya, ga(shape.tokens, shape.in), gb = ga;
    a.apply(x, ya);
    b.apply(x, yb);
    CHECK(gap(ya, yb) <= 1e-5);
    for (index_t t = 0; t < shape.tokens; ++t)
      for (index_t o = 0; o < shape.out; ++o) {
        double sum = static_cast<double>(layer.bias[static_cast<std::size_t>(o)]);
        for (index_t j = 0; j < shape.in; ++j)
          sum += static_cast<double>(x(t, j)) * static_cast<double>(layer.weight(o, j));
        REQUIRE(std::abs(sum - static_cast<double>(ya(t, o))) <= 1e-5 * std::max(1.0, std::abs(sum)));
      }
    a.apply_transposed(g, ga);
    b.apply_transposed(g, gb);
    CHECK(gap(ga, gb) <= 1e-5);
    CHECK(b.dense().weight == layer.weight);
    CHECK(b.dense().bias == layer.bias);
    // transposed storage
    const auto columns = tersor::copy_as<float>(layer.weight.view().transposed());
    const layer_view<float> c(columns.view().transposed(), layer.bias);
    c.apply(x, yb);
    CHECK(gap(ya, yb) <= 1e-5);
    CHECK(c.weight() == layer.weight);
  }
}

// The statement is that of docs/your_tensor_type.md: what a technique takes, an adapter takes too.
TEST_CASE("adapter layer: Eigen matrices and views start it as our own matrix does", "[layer]") {
  const auto w = random_matrix<float>(5, 7, 1);
  const auto x = random_matrix<float>(3, 7, 2);
  const tersor::adapters::lora lora{.rank = 2};
  const auto expected = lora.init(w, random_generator(1));
  matrix<float> y(3, 5);
  expected.forward(w, x, y);

  Eigen::MatrixXf e(5, 7), ex(3, 7), ey(3, 5);  // column-major
  tersor::copy(w.view(), tersor::as_view(e));
  tersor::copy(x.view(), tersor::as_view(ex));
  auto writable = w;
  const Eigen::MatrixXf et = e.transpose();
  const auto check = [&](const auto& weight) {
    const auto state = lora.init(weight, random_generator(1));
    CHECK(state.a() == expected.a());
    state.forward(weight, ex, ey);
    CHECK(gap(tersor::copy_as<float>(tersor::as_view(ey)), y) <= 1e-6);  // products may add in another order
    CHECK(tersor::adapters::pissa{.rank = 2}.init(weight).weight ==
          tersor::adapters::pissa{.rank = 2}.init(w).weight);
  };
  check(e);
  check(Eigen::Map<const Eigen::MatrixXf>(e.data(), 5, 7));
  check(et.transpose());
  check(tersor::as_view(e));
  check(writable.view());
  static_assert(!std::convertible_to<Eigen::MatrixXd, layer_view<float>>, "values are not converted");
}

TEST_CASE("adapter layer: errors", "[layer]") {
  const matrix<double> w(3, 4);
  const std::vector<double> bias(2);
  CHECK_THROWS_AS(layer_view<double>(w, bias), tersor::error);
  const layer_view<double> l(w);
  matrix<double> x(2, 4), y(2, 3);
  CHECK_THROWS_AS(l.apply(matrix<double>(2, 3), y), tersor::error);
  CHECK_THROWS_AS(l.apply(x, matrix<double>(2, 4)), tersor::error);
  CHECK_THROWS_AS(l.apply_transposed(x, x), tersor::error);
  CHECK_THROWS_AS(l.apply_transposed(y, y), tersor::error);
}

}  // namespace layer_tests
