// tersor - tests of op/low_rank.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/low_rank.hpp>

#include "operator_checks.hpp"

namespace low_rank_tests {

using namespace tersor_test;
using tersor::index_t;

TEST_CASE("low_rank: by hand", "[low_rank]") {
  const float a[] = {1, 2, 0, 1, 3, 0}, b[] = {1, 0, 2, 0, 1, 1};  // [3, 2] and [2, 3]
  const op::low_rank o(tersor::as_view(a, {3, 2}), tersor::as_view(b, {2, 3}));
  CHECK(o.rank() == 2);
  const float w[] = {1, 2, 4, 0, 1, 1, 3, 0, 6};
  CHECK(std::ranges::equal(o.to_dense().values(), w));
  const float x[] = {1, 1, 1};
  matrix<float> y(1, 3);
  o.apply(tersor::as_view(x, {1, 3}), y.view());
  CHECK((y(0, 0) == 7 && y(0, 1) == 2 && y(0, 2) == 9));
  o.apply_transposed(tersor::as_view(x, {1, 3}), y.view());
  CHECK((y(0, 0) == 4 && y(0, 1) == 3 && y(0, 2) == 11));
}

TEST_CASE("low_rank: products, storage and loading", "[low_rank]") {
  for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16})
    for (const auto& [rows, cols, rank] : {std::array<index_t, 3>{1, 1, 1},
                                           {1, 9, 1},
                                           {9, 1, 1},
                                           {7, 5, 5},
                                           {6, 8, 11},  // rank above min(rows, cols) is stored all the same
                                           {40, 33, 7},
                                           {5, 4, 0}}) {
      const auto a = random_matrix<float>(rows, rank, 1), b = random_matrix<float>(rank, cols, 2);
      const op::low_rank o(a.view(), b.view(), type);
      REQUIRE(o.rank() == rank);
      if (type == dtype::f32) REQUIRE((o.a() == a && o.b() == b));
      check_operator(o, static_cast<std::size_t>(rank * (rows + cols)) * (type == dtype::f32 ? 4 : 2),
                     times(absolute(wide(o.a())), absolute(wide(o.b()))), 2 * rank + 2);
    }
}

TEST_CASE("low_rank: errors", "[low_rank]") {
  CHECK_THROWS_AS(op::low_rank(matrix<float>(3, 2).view(), matrix<float>(3, 4).view()), tersor::error);
  const op::low_rank o(random_matrix<float>(6, 2, 1).view(), random_matrix<float>(2, 5, 2).view(),
                       dtype::bf16);
  check_every_damage(o);
  auto bad = save(o);
  bad.attributes["rank"] = "3";
  check_damaged<op::low_rank>(bad, "layer.a");
}

}  // namespace low_rank_tests
