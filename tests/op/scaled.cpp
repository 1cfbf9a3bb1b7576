// tersor - tests of op/scaled.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/every_operator.hpp>

#include "operator_checks.hpp"

namespace scaled_tests {

using namespace tersor_test;
using tersor::index_t;

real_array random_scale(index_t n, dtype type) {
  return tersor::store_as(type, random_matrix<float>(1, n, 21).view());
}

TEST_CASE("scaled: by hand", "[scaled]") {
  const float w[] = {1, 2, 3, 4}, rows[] = {10, -1}, cols[] = {1, 0.5F};
  const op::scaled o(op::dense(tersor::as_view(w, {2, 2})), tersor::store_as(dtype::f32, rows),
                     tersor::store_as(dtype::f16, cols));
  const float expected[] = {10, 10, -3, -2};
  CHECK(std::ranges::equal(o.to_dense().values(), expected));
}

TEST_CASE("scaled: products, storage and loading", "[scaled]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {1, 20}, {20, 1}, {9, 31}})
    for (const bool by_row : {false, true})
      for (const bool by_column : {false, true}) {
        const op::dense w(random_matrix<float>(rows, cols, 1).view());
        const auto out = by_row ? random_scale(rows, dtype::f32) : real_array();
        const auto in = by_column ? random_scale(cols, dtype::bf16) : real_array();
        const auto bytes = static_cast<std::size_t>(rows * cols) * 4 +
                           (by_row ? static_cast<std::size_t>(rows) * 4 : 0) +
                           (by_column ? static_cast<std::size_t>(cols) * 2 : 0);
        check_operator(op::scaled<op::dense>(w, out, in), bytes, 4);
        const op::scaled<> erased(w, out, in);
        check_operator(erased, bytes, 4);
        const auto plain = w.to_dense(), dense = erased.to_dense();
        for (index_t r = 0; r < rows; ++r)
          for (index_t j = 0; j < cols; ++j) {
            const double expected = static_cast<double>(plain(r, j)) *
                                    static_cast<double>(by_row ? out[r] : 1.0F) *
                                    static_cast<double>(by_column ? in[j] : 1.0F);
            REQUIRE(std::abs(static_cast<double>(dense(r, j)) - expected) <= 0x1p-22 * std::abs(expected));
          }
      }
}

TEST_CASE("scaled: errors", "[scaled]") {
  const op::dense w(random_matrix<float>(3, 4, 1).view());
  CHECK_THROWS_AS(op::scaled(w, random_scale(4, dtype::f32), real_array()), tersor::error);
  CHECK_THROWS_AS(op::scaled(w, real_array(), random_scale(3, dtype::f32)), tersor::error);
  const op::scaled<> o(w, random_scale(3, dtype::f32), random_scale(4, dtype::f16));
  check_every_damage(o);
  auto bad = save(o);
  bad.parts.at("inner").kind = "unheard_of";
  check_damaged<op::scaled<>>(bad, "layer.inner: kind = unheard_of");
}

}  // namespace scaled_tests
