// tersor - tests of op/any_operator.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/every_operator.hpp>

#include "operator_checks.hpp"

namespace any_operator_tests {

using namespace tersor_test;
using tersor::index_t;

TEST_CASE("any_operator: is what it holds", "[any_operator]") {
  const op::low_rank inner(random_matrix<float>(9, 2, 1).view(), random_matrix<float>(2, 14, 2).view(),
                           dtype::f16);
  const op::any_operator o = inner;
  REQUIRE(o);
  CHECK_FALSE(op::any_operator());
  CHECK((o.rows() == 9 && o.cols() == 14 && o.kind() == "low_rank"));
  check_operator(o, 2 * (9 + 14) * 2, times(absolute(wide(inner.a())), absolute(wide(inner.b()))), 6);
  CHECK(save(o) == save(inner));
  CHECK(o.to_dense() == inner.to_dense());
  REQUIRE(o.as<op::low_rank>());
  CHECK(o.as<op::low_rank>()->a() == inner.a());
  CHECK(o.as<op::dense>() == nullptr);
  CHECK(op::any_operator().as<op::dense>() == nullptr);
  const op::any_operator copy = o;  // shares, and is not wrapped again
  CHECK(copy.as<op::low_rank>() == o.as<op::low_rank>());
}

TEST_CASE("bits_per_weight counts every stored byte", "[any_operator]") {
  const op::any_operator o = op::dense(matrix<float>(3, 8).view(), dtype::bf16);
  CHECK(op::bits_per_weight(o) == 16.0);
  CHECK(op::bits_per_weight(op::low_rank(matrix<float>(3, 1).view(), matrix<float>(1, 8).view())) ==
        32.0 * 11 / 24);
  CHECK(op::bits_per_weight(op::dense(matrix<float>(0, 8).view())) == 0.0);
}

}  // namespace any_operator_tests
