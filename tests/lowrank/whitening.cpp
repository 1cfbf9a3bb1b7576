// tersor - tests of lowrank/whitening.hpp
// SPDX-License-Identifier: MIT
#include <tersor/lowrank/whitening.hpp>

#include "../linalg/oracle.hpp"
#include "catch.hpp"

namespace whitening_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::lowrank::gram_damping;
using tersor::lowrank::whitening_factor;

constexpr gram_damping both[] = {gram_damping::smallest_eigenvalue, gram_damping::relative};

matrix<double> gram_of(const matrix<double>& x) { return times(x.view().transposed(), x); }

TEST_CASE("whitening: by hand", "[whitening]") {
  matrix<double> c(2, 2);
  c(0, 0) = 4, c(0, 1) = c(1, 0) = 2, c(1, 1) = 10;
  for (const auto damping : both) {
    const auto s = whitening_factor(c, damping);  // [[2, 0], [1, 3]]
    CHECK(s.damping == 0);
    CHECK(std::abs(s.factor(0, 0) - 2) < 1e-15);
    CHECK(s.factor(0, 1) == 0);
    CHECK(std::abs(s.factor(1, 0) - 1) < 1e-15);
    CHECK(std::abs(s.factor(1, 1) - 3) < 1e-15);
  }
}

TEST_CASE("whitening: S times its transpose is the Gram matrix plus damping", "[whitening]") {
  for (const index_t n : {1, 2, 7, 30, 80})
    for (const index_t tokens : {1, 5, 29, 200})
      for (const double scale : {1e-6, 1e-2, 1.0, 1e5})
        for (const auto damping : both) {
          auto x = random_matrix(tokens, n, 3);
          for (double& v : x.values()) v *= scale;
          auto c = gram_of(x);
          const auto s = whitening_factor(c, damping);
          INFO(n << " channels, " << tokens << " tokens, scale " << scale << ", damping " << s.damping);
          if (tokens >= 2 * n) REQUIRE(s.damping == 0);
          if (2 * tokens <= n) REQUIRE(s.damping > 0);  // just below n, rounding decides
          double mean = 0;
          for (index_t i = 0; i < n; ++i) mean += c(i, i) / static_cast<double>(n);
          if (damping == gram_damping::relative) REQUIRE(s.damping <= 1.0001e-8 * mean);
          // 1e-6, or the rounding of a large Gram matrix
          if (damping == gram_damping::smallest_eigenvalue) REQUIRE(s.damping <= 1.0001e-6 + 1e-11 * mean);
          for (index_t i = 0; i < n; ++i) c(i, i) += s.damping;
          REQUIRE(difference(times(s.factor, transposed(s.factor)), c) <= 1e-12 * largest(c));
          for (index_t i = 0; i < n; ++i)
            for (index_t j = i + 1; j < n; ++j) REQUIRE(s.factor(i, j) == 0);
        }
}

TEST_CASE("whitening: dead channels, negative eigenvalues from rounding, zero", "[whitening]") {
  matrix<double> c(3, 3);
  c(0, 0) = 5, c(2, 2) = 7;
  auto s = whitening_factor(c, gram_damping::smallest_eigenvalue);
  CHECK(std::abs(s.damping - 1e-6) < 1e-18);
  CHECK(std::abs(s.factor(1, 1) - 1e-3) < 1e-12);
  s = whitening_factor(c, gram_damping::relative);
  CHECK(std::abs(s.damping - 4e-8) < 1e-18);

  c(1, 1) = -3e-5;  // as a Gram matrix summed in float may have
  s = whitening_factor(c, gram_damping::smallest_eigenvalue);
  CHECK(std::abs(s.damping - 3.1e-5) < 1e-12);
  s = whitening_factor(c, gram_damping::relative);
  CHECK(std::abs(s.damping - 4e-5) < 1e-9);  // ten times as often as it takes

  const auto nothing = whitening_factor(matrix<double>(4, 4), gram_damping::smallest_eigenvalue);
  CHECK(nothing.factor == identity(4));
  CHECK(nothing.damping == 1);
  c(0, 1) = c(1, 0) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(whitening_factor(c, gram_damping::relative), tersor::error);
}

}  // namespace whitening_tests
