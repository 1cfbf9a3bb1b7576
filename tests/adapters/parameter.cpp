// tersor - tests of adapters/parameter.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/parameter.hpp>

#include "contract_checks.hpp"

namespace parameter_tests {

using namespace tersor_test;
using tersor::adapters::parameter_kind;

TEST_CASE("parameter: it trains as far as its mask lets it", "[parameter]") {
  parameter<double> p("p", parameter_kind::projection, random_matrix(3, 4, 1));
  CHECK(p.trainable_count() == 12);
  p.frozen.freeze_rows(1, 1);
  p.frozen.freeze_columns(0, 2);
  CHECK(p.trainable_count() == 4);  // the row and the columns cross
  p.frozen.freeze_all();
  CHECK_FALSE(p.trains());
}

TEST_CASE("parameter: the shape in a file has as many elements", "[parameter]") {
  const parameter<double> cube("p", parameter_kind::projection, {2, 2, 3}, matrix<double>(4, 3));
  CHECK(cube.size() == 12);
  CHECK_THROWS_AS(parameter<double>("p", parameter_kind::vector, {5}, matrix<double>(1, 4)), tersor::error);
}

}  // namespace parameter_tests
