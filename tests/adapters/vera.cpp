// tersor - tests of adapters/vera.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/vera.hpp>

#include "contract_checks.hpp"

namespace vera_tests {

using namespace tersor_test;
using tersor::adapters::vera;
using tersor::adapters::vera_projections;

TEST_CASE("vera: the contract, with projections larger than the layer", "[vera]") {
  for (const auto& shape : adapter_shapes) {
    const auto shared = vera_projections<double>::draw(4, 11, 9, 3);
    const matrix<double> w(shape.out, shape.in);
    auto s = vera{.rank = 4}.init<double>(w, shared);
    check_identity(s, 1);
    CHECK(s.trainable_count() == 4 + shape.out);
    for (const double d : s.product().inner) CHECK(d == 0.1);
    randomise(s, 2);
    check_contract(s, shape.tokens, 3);
  }
}

TEST_CASE("vera: layers share their projections", "[vera]") {
  const auto shared = vera_projections<>::draw(8, 20, 30);
  const auto a = vera{.rank = 8}.init(matrix<float>(30, 10), shared);
  const auto b = vera{.rank = 8}.init(matrix<float>(5, 20), shared);
  CHECK(a.shared() == b.shared());
  CHECK(a.product().a.data == b.product().a.data);
  // U(±√(6 / fan_in)), A first
  const float bound = std::sqrt(6.0F / 20);
  for (const float v : shared->a.values()) CHECK(std::abs(v) <= bound);
  tersor::adapters::torch_generator g(0);
  std::vector<float> first(1);
  g.uniform(first, -bound, bound);
  CHECK(std::abs(first[0] - shared->a(0, 0)) <= 1e-7F);
}

TEST_CASE("vera: errors", "[vera]") {
  const auto shared = vera_projections<>::draw(8, 20, 30);
  CHECK_THROWS_AS(vera{.rank = 8}.init(matrix<float>(31, 10), shared), tersor::error);
  CHECK_THROWS_AS(vera{.rank = 8}.init(matrix<float>(5, 21), shared), tersor::error);
  CHECK_THROWS_AS(vera{.rank = 7}.init(matrix<float>(5, 10), shared), tersor::error);
  CHECK_THROWS_AS(vera{.rank = 8}.init(matrix<float>(5, 10), {}), tersor::error);
  CHECK_THROWS_AS(vera_projections<>::draw(0, 1, 1), tersor::error);
}

}  // namespace vera_tests
