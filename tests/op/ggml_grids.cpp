// tersor - tests of op/ggml_grids.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/ggml_grids.hpp>

#include "catch.hpp"

#include <algorithm>

namespace tersor {
namespace ggml_grids_tests {

TEST_CASE("ggml grids: a set is read in ascending order, the first coordinate counting least") {
  // points 0, 1, 5 and 8 of the nine with two coordinates of three levels: bits of 0b100011 and 0b100
  const auto grid = op::detail::grid_from_set<4, 2>(std::array<std::int8_t, 3>{-1, 0, 1}, "jE");
  using point = std::array<std::int8_t, 2>;
  CHECK(grid == std::array<point, 4>{point{-1, -1}, point{0, -1}, point{1, 0}, point{1, 1}});
}

// That each point is the reference's: the digests of tests/op/ggml_decode.cpp, whose blocks use all points.
TEST_CASE("ggml grids: points differ, and use every level in every place") {
  const auto check = [](const auto& grid, const auto& levels) {
    using point = std::remove_cvref_t<decltype(grid[0])>;
    CHECK(std::ranges::is_sorted(grid, [](const point& a, const point& b) {
      return std::lexicographical_compare(a.rbegin(), a.rend(), b.rbegin(), b.rend());
    }));
    CHECK(std::ranges::adjacent_find(grid) == grid.end());
    for (std::size_t j = 0; j < grid[0].size(); ++j)
      for (const auto level : levels)
        CHECK(std::ranges::any_of(grid, [&](const point& p) { return p[j] == level; }));
  };
  check(op::detail::iq1_grid(), op::detail::iq1_levels);
  check(op::detail::iq2_xxs_grid(), op::detail::iq2_levels);
  check(op::detail::iq2_xs_grid(), op::detail::iq2_levels);
  check(op::detail::iq2_s_grid(), op::detail::iq2_levels);
  check(op::detail::iq3_xxs_grid(), op::detail::iq3_xxs_levels);
  check(op::detail::iq3_s_grid(), op::detail::iq3_s_levels);
}

}  // namespace ggml_grids_tests
}  // namespace tersor
