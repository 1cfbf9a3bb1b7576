// tersor - tests of op/dense.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/dense.hpp>

#include "operator_checks.hpp"

namespace dense_tests {

using namespace tersor_test;
using tersor::index_t;

TEST_CASE("dense: products, storage and loading in every type and shape", "[dense]") {
  for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16})
    for (const auto& [rows, cols] :
         {std::pair<index_t, index_t>{1, 1}, {1, 9}, {9, 1}, {7, 5}, {64, 33}, {130, 4100}}) {
      if (type == dtype::f16 && cols == 4100) continue;
      const auto w = random_matrix<float>(rows, cols, 1);
      const op::dense o(w.view(), type);
      check_operator(o, static_cast<std::size_t>(rows * cols) * (type == dtype::f32 ? 4 : 2));
      auto rounded = w;
      for (float& v : rounded.values()) v = tersor::round_to(type, v);
      REQUIRE(o.to_dense() == rounded);
    }
}

TEST_CASE("dense: values of 8 bits", "[dense]") {
  for (const dtype type : {dtype::f8_e4m3, dtype::f8_e5m2}) {
    const auto w = random_matrix<float>(7, 33, 1);
    const op::dense o(w.view(), type);
    check_operator(o, 7 * 33);
    check_every_damage(o);
    for (index_t i = 0; i < w.size(); ++i)
      REQUIRE(o.to_dense().data()[i] == tersor::round_to(type, w.data()[i]));
  }
}

TEST_CASE("dense: extents of 0", "[dense]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{0, 0}, {0, 4}, {4, 0}})
    for (const dtype type : {dtype::f32, dtype::bf16})
      check_operator(op::dense(matrix<float>(rows, cols).view(), type), 0);
}

TEST_CASE("dense: errors", "[dense]") {
  CHECK_THROWS_AS(op::dense(2, 3, real_array(dtype::f32, 5)), tersor::error);
  CHECK_THROWS_AS(op::dense(matrix<float>(2, 2, 1e6F).view(), dtype::f16), tersor::error);
  CHECK_THROWS_AS(op::dense(matrix<float>(2, 2).view(), dtype::u8), tersor::error);
  check_every_damage(op::dense(random_matrix<float>(6, 5, 2).view(), dtype::f16));
}

}  // namespace dense_tests
