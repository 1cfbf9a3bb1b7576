// tersor - tests of op/affine_grid.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/affine_grid.hpp>

#include "quantized_samples.hpp"

namespace affine_grid_tests {

using namespace tersor_test;
using tersor::index_t;

TEST_CASE("affine_grid: what was put in comes out", "[affine_grid]") {
  for_each_grid_kind([](const grid_kind& k) {
    for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {4, 23}, {1, 16}, {7, 3}}) {
      const auto s = random_grid(rows, cols, k, 5);
      INFO(k.bits << " bits, " << rows << " x " << cols);
      REQUIRE(s.grid.bits() == k.bits);
      REQUIRE(s.grid.groups() == s.scale.cols());
      REQUIRE(s.grid.g_idx() == s.g_idx);
      const auto groups = static_cast<std::size_t>(s.grid.groups());
      std::vector<float> scale(groups), zero(groups);
      for (index_t r = 0; r < rows; ++r) {
        s.grid.row(r, scale, zero);
        for (index_t g = 0; g < s.grid.groups(); ++g) {
          const index_t u = k.whole_tensor ? 0 : r;
          REQUIRE(s.grid.scale(r, g) == tersor::round_to(k.scale_type, s.scale(u, g)));
          REQUIRE(scale[static_cast<std::size_t>(g)] == s.grid.scale(r, g));
          REQUIRE(static_cast<float>(s.grid.zero_point(r, g)) == s.zero(u, g));
          REQUIRE(zero[static_cast<std::size_t>(g)] == s.zero(u, g));
        }
      }
      for (index_t j = 0; j < cols; ++j)
        REQUIRE(s.grid.group_of(j) ==
                (k.scattered ? s.g_idx[static_cast<std::size_t>(j)] : j / k.group_size));
    }
  });
}

TEST_CASE("affine_grid: equal zero points are one number", "[affine_grid]") {
  const matrix<float> scale(3, 2, 1.0F), zero(3, 2, 5.0F);
  CHECK_FALSE(op::affine_grid(4, 3, 10, 5, scale.view(), zero.view(), dtype::f16).has_zero_points());
  auto other = zero;
  other(2, 1) = 4;
  CHECK(op::affine_grid(4, 3, 10, 5, scale.view(), other.view(), dtype::f16).has_zero_points());
}

TEST_CASE("affine_grid: errors", "[affine_grid]") {
  const matrix<float> scale(3, 2, 1.0F), zero(3, 2, 5.0F);
  const auto make = [&](int bits, index_t rows, index_t group_size, const matrix<float>& z,
                        std::vector<std::int32_t> g_idx = {}) {
    return op::affine_grid(bits, rows, 10, group_size, scale.view(), z.view(), dtype::f16, std::move(g_idx));
  };
  CHECK_NOTHROW(make(3, 3, 5, zero));
  CHECK_THROWS_AS(make(0, 3, 5, zero), tersor::error);
  CHECK_THROWS_AS(make(9, 3, 5, zero), tersor::error);
  CHECK_THROWS_AS(make(3, 4, 5, zero), tersor::error);  // rows of scale
  CHECK_THROWS_AS(make(3, 3, 0, zero), tersor::error);
  CHECK_THROWS_AS(make(3, 3, 4, zero), tersor::error);  // three groups, two scales
  CHECK_THROWS_AS(make(2, 3, 5, zero), tersor::error);  // 5 needs 3 bits
  CHECK_THROWS_AS(make(3, 3, 5, matrix<float>(3, 2, 1.5F)), tersor::error);
  CHECK_THROWS_AS(make(3, 3, 5, matrix<float>(3, 2, -1.0F)), tersor::error);
  CHECK_THROWS_AS(make(3, 3, 5, matrix<float>(3, 2, std::numeric_limits<float>::quiet_NaN())), tersor::error);
  CHECK_THROWS_AS(make(3, 3, 5, matrix<float>(3, 1, 1.0F)), tersor::error);
  CHECK_NOTHROW(make(3, 3, 5, zero, std::vector<std::int32_t>(10, 1)));
  CHECK_THROWS_AS(make(3, 3, 5, zero, std::vector<std::int32_t>(9, 1)), tersor::error);
  CHECK_THROWS_AS(make(3, 3, 5, zero, std::vector<std::int32_t>(10, 2)), tersor::error);
  CHECK_THROWS_AS(make(3, 3, 5, zero, std::vector<std::int32_t>(10, -1)), tersor::error);
}

}  // namespace affine_grid_tests
