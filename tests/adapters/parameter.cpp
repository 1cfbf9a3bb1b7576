// tersor - tests of adapters/parameter.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/parameter.hpp>

#include "contract_checks.hpp"

namespace {

using namespace tersor_test;
using tersor::adapters::parameter_kind;

TEST_CASE("parameter: masks by tensor, rows, columns and elements", "[parameter]") {
  parameter<double> p("p", parameter_kind::projection, random_matrix(3, 4, 1));
  CHECK(p.trainable_count() == 12);
  p.freeze_rows(1, 1);
  CHECK(p.trainable_count() == 8);
  p.freeze_columns(0, 2);
  CHECK(p.trainable_count() == 4);  // the row and the columns cross
  matrix<std::uint8_t> mask(3, 4);
  mask(2, 3) = 1;
  p.freeze_elements(mask.view());
  CHECK(p.trainable_count() == 3);
  for (index_t i = 0; i < 3; ++i)
    for (index_t j = 0; j < 4; ++j) CHECK(p.frozen(i, j) == (i == 1 || j < 2 || (i == 2 && j == 3)));
  CHECK(p.gather(p.value) == std::vector<double>{p.value(0, 2), p.value(0, 3), p.value(2, 2)});
  const auto before = p.value;
  p.scatter(std::vector<double>{7, 8, 9});
  for (index_t i = 0; i < 3; ++i)
    for (index_t j = 0; j < 4; ++j)
      if (p.frozen(i, j)) CHECK(p.value(i, j) == before(i, j));
  CHECK((p.value(0, 2) == 7 && p.value(0, 3) == 8 && p.value(2, 2) == 9));
  p.freeze();
  CHECK_FALSE(p.trains());
  p.thaw();
  CHECK(p.trainable_count() == 12);
  p.freeze_columns(0, 0);
  CHECK(p.trainable_count() == 12);
}

TEST_CASE("parameter: errors", "[parameter]") {
  parameter<double> p("p", parameter_kind::projection, matrix<double>(3, 4));
  CHECK_THROWS_AS(p.freeze_rows(2, 2), tersor::error);
  CHECK_THROWS_AS(p.freeze_rows(-1, 1), tersor::error);
  CHECK_THROWS_AS(p.freeze_columns(4, 1), tersor::error);
  CHECK_THROWS_AS(p.freeze_elements(matrix<std::uint8_t>(4, 3).view()), tersor::error);
  CHECK_THROWS_AS(p.scatter(std::vector<double>(11)), tersor::error);
  CHECK_THROWS_AS(p.gather(matrix<double>(4, 3)), tersor::error);
  CHECK_THROWS_AS(parameter<double>("p", parameter_kind::vector, {5}, matrix<double>(1, 4)), tersor::error);
}

}  // namespace
