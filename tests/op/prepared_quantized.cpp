// tersor - tests of op/prepared_quantized.hpp: by hand; tests/op/prepared.cpp has every grid and target
// SPDX-License-Identifier: MIT
#include <tersor/op/prepared_quantized.hpp>

#include "catch.hpp"
#include "kernel/targets.hpp"

namespace tersor {
namespace prepared_quantized_tests {

TEST_CASE("prepared quantized: two rows by hand") {
  matrix<std::uint8_t> codes(2, 3);
  const std::uint8_t q[] = {0, 8, 15, 4, 4, 9};
  std::ranges::copy(q, codes.values().begin());
  matrix<float> scale(2, 1), zero(2, 1), x(1, 3), y(1, 2);
  scale(0, 0) = 0.5F;
  scale(1, 0) = 2;
  zero(0, 0) = 8;
  zero(1, 0) = 4;
  x(0, 0) = 1;
  x(0, 1) = 10;
  x(0, 2) = -2;
  const op::quantized w(codes, op::affine_grid(4, 2, 3, 3, scale.view(), zero.view(), dtype::f16));
  for (const auto t : test::targets()) {
    const op::prepared_quantized p(w, {.target = t});
    p.apply(x.view(), y.view());
    CHECK(y(0, 0) == -4 - 7);
    CHECK(y(0, 1) == -20);
    CHECK(p.restore().codes() == codes);
    CHECK(p.to_dense() == w.to_dense());
  }
}

TEST_CASE("prepared quantized: a weight without rows") {
  const matrix<float> none(0, 1);
  const op::quantized w(matrix<std::uint8_t>(0, 64),
                        op::affine_grid(4, 0, 64, 64, none.view(), none.view(), dtype::f16));
  const matrix<float> x(3, 64, 1.0F);
  matrix<float> y(3, 0);
  for (const auto type : {op::activation_type::f32, op::activation_type::int8}) {
    const op::prepared_quantized p(w, {.activations = type});
    p.apply(x.view(), y.view());
    CHECK(p.rows() == 0);
    CHECK(p.cols() == 64);
  }
}

}  // namespace prepared_quantized_tests
}  // namespace tersor
