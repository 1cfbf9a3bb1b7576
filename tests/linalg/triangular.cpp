// tersor - tests of linalg/triangular.hpp
// SPDX-License-Identifier: MIT
#include <tersor/linalg/triangular.hpp>

#include "catch.hpp"
#include "oracle.hpp"

namespace triangular_tests {

using namespace tersor_test;
using tersor::index_t;
namespace linalg = tersor::linalg;

/// Well-conditioned lower triangle; above the diagonal lies what must not be read.
matrix<double> lower(index_t n, double above) {
  auto l = random_matrix(n, n, 5);
  for (index_t i = 0; i < n; ++i)
    for (index_t j = 0; j < n; ++j)
      l(i, j) = i == j ? 2 + std::abs(l(i, j)) : (i > j ? l(i, j) / static_cast<double>(n) : above);
  return l;
}

TEST_CASE("triangular solves, both triangles, both sides, every layout", "[triangular]") {
  for (index_t n : {0, 1, 2, 63, 64, 65, 130, 200})
    for (index_t r : {0, 1, 3, 300}) {
      const auto l = lower(n, 1e30), clean = lower(n, 0), x = random_matrix(n, r, 6);
      const double tolerance = 1e-13 * static_cast<double>(n + 1);
      auto b = times(clean, x);
      linalg::solve_lower(l, b);
      REQUIRE(difference(b, x) <= tolerance);
      b = times(clean.view().transposed(), x);
      linalg::solve_upper(l.view().transposed(), b);
      REQUIRE(difference(b, x) <= tolerance);
      // X L = B and X Lᵀ = B are the transposed problems.
      const auto xt = transposed(x);
      b = times(xt, clean);
      linalg::solve_upper(l.view().transposed(), b.view().transposed());
      REQUIRE(difference(b, xt) <= tolerance);
      b = times(xt, clean.view().transposed());
      linalg::solve_lower(l, b.view().transposed());
      REQUIRE(difference(b, xt) <= tolerance);
      // A right-hand side with gaps in both directions, and a column-major triangle.
      const auto upper = transposed(l);
      std::vector<double> storage(static_cast<std::size_t>(6 * (n + 1) * (r + 1)), -7.0);
      const matrix_view<double> gaps(storage.data(), {n, r}, {3 * r + 3, 2});
      tersor::copy(times(clean, x).view(), gaps);
      linalg::solve_lower(upper.view().transposed(), gaps);
      REQUIRE(difference(gaps, x) <= tolerance);
    }
}

TEST_CASE("solves in float", "[triangular]") {
  matrix<float> u(2, 2), b(2, 1);
  u(0, 0) = 2, u(0, 1) = 1, u(1, 1) = 4;
  b(0, 0) = 4, b(1, 0) = 8;
  linalg::solve_upper(u, b);
  CHECK(b(1, 0) == 2.0f);
  CHECK(b(0, 0) == 1.0f);
}

TEST_CASE("the inverse of a triangle, in place", "[triangular]") {
  for (index_t n : {0, 1, 2, 31, 32, 33, 65, 200}) {
    auto l = lower(n, 42);
    const auto clean = lower(n, 0);
    linalg::invert_lower(l.view());
    for (index_t i = 0; i < n; ++i)
      for (index_t j = i + 1; j < n; ++j) {
        REQUIRE(l(i, j) == 42);
        l(i, j) = 0;
      }
    REQUIRE(difference(times(l, clean), identity(n)) <= 1e-13 * static_cast<double>(n + 1));
    auto u = transposed(clean);
    linalg::invert_lower(u.view().transposed());
    REQUIRE(difference(u, transposed(l)) <= 1e-14 * static_cast<double>(n + 1));
  }
}

TEST_CASE("threads do not change a bit, a zero pivot and wrong shapes are errors", "[triangular]") {
  const auto l = lower(150, 0), b = random_matrix(150, 700, 7);
  auto one = b, other = b;
  linalg::solve_lower(l, one, threads(1));
  for (int t : {2, 3}) {
    other = b;
    linalg::solve_lower(l, other, threads(t));
    CHECK(other == one);
  }
  auto singular = lower(3, 0);
  singular(1, 1) = 0;
  matrix<double> x(3, 1), y(2, 1);
  CHECK_THROWS_AS(linalg::solve_lower(singular, x), tersor::error);
  CHECK_THROWS_AS(linalg::invert_lower(singular.view()), tersor::error);
  CHECK_THROWS_AS(linalg::solve_lower(lower(3, 0), y), tersor::error);
  CHECK_THROWS_AS(linalg::solve_lower(matrix<double>(3, 2), x), tersor::error);
}

}  // namespace triangular_tests
