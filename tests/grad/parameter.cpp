// tersor - tests of grad/parameter.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/parameter.hpp>

#include "grad/differences.hpp"

namespace tersor {
namespace parameter_tests {

using namespace tersor_test;
using grad::parameter;

TEST_CASE("parameter: gradients add up until they are cleared") {
  parameter<double> p("p", matrix<double>(2, 3, 1.0));
  CHECK_FALSE(p.has_gradient());
  p.accumulate(matrix<double>(2, 3, 2.0));
  const matrix<double> more(2, 3, 0.5);
  p.accumulate(more);
  CHECK(p.gradient() == matrix<double>(2, 3, 2.5));
  const auto a = normal_matrix(2, 4, 1), b = normal_matrix(4, 3, 2);
  const auto ab = linalg::multiply(a, b);
  p.accumulate_product(2, a.view(), b.view());
  CHECK(std::abs(p.gradient()(1, 2) - 2.5 - 2 * ab(1, 2)) < 1e-14);
  p.clear_gradient();
  CHECK_FALSE(p.has_gradient());
  p.accumulate_product(1, a.view(), b.view());  // overwrites what the memory held
  CHECK(p.gradient() == ab);
  p.clear_gradient();
  p.accumulate(more);
  CHECK(p.gradient() == more);
  p.scale_gradient(4.0);
  CHECK(p.gradient() == matrix<double>(2, 3, 2.0));
  p.release_gradient();
  CHECK_FALSE(p.has_gradient());
  bool fresh = false;
  p.accumulate_with([&](matrix<double>& g, bool f) {
    fresh = f;
    g = more;
  });
  CHECK(fresh);
  CHECK(p.gradient() == more);
}

TEST_CASE("parameter: frozen elements keep a gradient of zero, a frozen tensor has none") {
  parameter<float> p("p", matrix<float>(2, 3, 1.0F));
  p.frozen.freeze_columns(1, 1);
  for (int way = 0; way < 4; ++way) {
    const matrix<float> g(2, 3, 1.0F), column(2, 1, 1.0F), row(1, 3, 1.0F);
    p.clear_gradient();
    if (way == 0) p.accumulate(g);
    if (way == 1) p.accumulate(matrix<float>(2, 3, 1.0F));
    if (way == 2) p.accumulate_product(1, column.view(), row.view());
    if (way == 3) p.accumulate_with([&](matrix<float>& x, bool) { x = g; });
    for (index_t j = 0; j < 3; ++j) CHECK(p.gradient()(1, j) == (j == 1 ? 0.0F : 1.0F));
  }
  p.release_gradient();
  p.frozen.freeze_all();
  p.accumulate(matrix<float>(2, 3, 1.0F));
  p.accumulate_product(1, matrix<float>(2, 1).view(), matrix<float>(1, 3).view());
  p.accumulate_with([&](matrix<float>&, bool) { FAIL("a frozen tensor has no gradient"); });
  CHECK_FALSE(p.has_gradient());
}

TEST_CASE("parameter: errors") {
  parameter<float> p("weight", matrix<float>(2, 3));
  CHECK(message_of([&] { p.accumulate(matrix<float>(3, 2)); }) ==
        "gradient of weight = 3 x 2: expected 2 x 3");
  CHECK(message_of([&] { (void)p.gradient(); }) ==
        "gradient of weight = none: expected a backward pass before");
}

}  // namespace parameter_tests
}  // namespace tersor
