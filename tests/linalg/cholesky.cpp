// tersor - tests of linalg/cholesky.hpp
// SPDX-License-Identifier: MIT
#include <tersor/linalg/cholesky.hpp>

#include "catch.hpp"
#include "oracle.hpp"

namespace cholesky_tests {

using namespace tersor_test;
using tersor::index_t;
namespace linalg = tersor::linalg;

matrix<double> hessian(index_t n, index_t samples) {
  const auto x = random_matrix(samples, n, 8);
  return times(x.view().transposed(), x);
}

matrix<double> plus_diagonal(matrix<double> h, double lambda) {
  for (index_t i = 0; i < h.rows(); ++i) h(i, i) += lambda;
  return h;
}

TEST_CASE("a factor by hand", "[cholesky]") {
  matrix<double> h(2, 2);
  h(0, 0) = 4, h(1, 0) = h(0, 1) = 2, h(1, 1) = 10;
  const auto r = linalg::cholesky(h);
  CHECK(r.factor(0, 0) == 2);
  CHECK(r.factor(1, 0) == 1);
  CHECK(r.factor(1, 1) == 3);
  CHECK(r.factor(0, 1) == 0);
  CHECK(r.damping == 0);
  CHECK(r.retries == 0);
  // H⁻¹ = [10 -2; -2 4] / 36 = UᵀU with U = [sqrt(10)/6, -1/(3 sqrt(10)); 0, 1/sqrt(10)]
  const auto u = linalg::inverse_cholesky_upper(h).factor;
  CHECK(std::abs(u(0, 0) - std::sqrt(10.0) / 6) < 1e-15);
  CHECK(std::abs(u(0, 1) + 1 / (3 * std::sqrt(10.0))) < 1e-15);
  CHECK(u(1, 0) == 0);
  CHECK(std::abs(u(1, 1) - 1 / std::sqrt(10.0)) < 1e-15);
}

TEST_CASE("factors and inverse factors of every size", "[cholesky]") {
  for (index_t n : {0, 1, 2, 17, 63, 64, 65, 128, 129, 200, 321}) {
    const auto h = hessian(n, n + 50);
    const double size = largest(h) + 1;
    const auto r = linalg::cholesky(h);
    REQUIRE(r.retries == 0);
    REQUIRE(difference(times(r.factor, r.factor.view().transposed()), h) <=
            1e-15 * size * static_cast<double>(n + 1));
    const auto u = linalg::inverse_cholesky_upper(h, {.relative_damping = 0.01});
    double mean = 0;
    for (index_t i = 0; i < n; ++i) {
      mean += h(i, i) / static_cast<double>(n);
      for (index_t j = 0; j < i; ++j) REQUIRE(u.factor(i, j) == 0);
    }
    REQUIRE(std::abs(u.damping - 0.01 * mean) <= 1e-13 * size);
    const auto inverse = times(u.factor.view().transposed(), u.factor);
    REQUIRE(difference(times(inverse, plus_diagonal(h, u.damping)), identity(n)) <= 1e-11);
    const auto x = random_matrix(n, 3, 9);
    REQUIRE(difference(linalg::cholesky_solve(h, times(h, x)), x) <= 1e-9);
  }
}

TEST_CASE("only the lower triangle is read, in any layout", "[cholesky]") {
  const auto h = hessian(70, 100);
  auto lower = h;
  for (index_t i = 0; i < 70; ++i)
    for (index_t j = i + 1; j < 70; ++j) lower(i, j) = 5e5;
  CHECK(linalg::cholesky(lower).factor == linalg::cholesky(h).factor);
  CHECK(linalg::inverse_cholesky_upper(lower).factor == linalg::inverse_cholesky_upper(h).factor);
  CHECK(linalg::cholesky(h.view().transposed()).factor == linalg::cholesky(h).factor);
}

TEST_CASE("threads do not change a bit", "[cholesky]") {
  const auto h = hessian(700, 720);
  const auto one = linalg::inverse_cholesky_upper(h, {}, threads(1)).factor;
  for (int t : {2, 3}) CHECK(linalg::inverse_cholesky_upper(h, {}, threads(t)).factor == one);
}

TEST_CASE("damping escalates until the matrix is positive definite, and the result says so", "[cholesky]") {
  SECTION("rank 20 of 60: rounding noise is not taken for a pivot") {
    const auto h = hessian(60, 20);
    double mean = 0;
    for (index_t i = 0; i < 60; ++i) mean += h(i, i) / 60;
    const auto r = linalg::inverse_cholesky_upper(h);
    CHECK(r.retries >= 1);
    CHECK(std::abs(r.damping - 1e-8 * mean * std::pow(10.0, r.retries - 1)) <= 1e-12 * mean);
    const auto inverse = times(r.factor.view().transposed(), r.factor);
    // (H + lambda I)⁻¹ has condition mean / lambda = 1e8, of which half the 16 digits remain.
    CHECK(difference(times(inverse, plus_diagonal(h, r.damping)), identity(60)) <= 1e-5);
  }
  SECTION("a negative eigenvalue of -0.5 needs lambda > 0.5") {
    matrix<double> h = identity(3);
    h(2, 2) = -0.5;
    const auto r = linalg::cholesky(h, {.relative_damping = 0.1});
    CHECK(r.retries == 2);  // 0.05, 0.5 (pivot exactly 0), 5
    CHECK(std::abs(r.damping - 5) < 1e-12);
    CHECK_THROWS_AS(linalg::cholesky(h, {.relative_damping = 0.1, .max_retries = 1}), tersor::error);
  }
  SECTION("a dead input channel") {
    auto h = hessian(10, 30);
    for (index_t i = 0; i < 10; ++i) h(i, 4) = h(4, i) = 0;
    CHECK(linalg::cholesky(h).retries == 1);
    CHECK(linalg::cholesky(h, {.relative_damping = 0.01}).retries == 0);
  }
  SECTION("a tiny but honest diagonal is no failure") {
    matrix<double> h = identity(2);
    h(1, 1) = 1e-20;
    CHECK(linalg::cholesky(h).retries == 0);
    CHECK(linalg::cholesky(h).factor(1, 1) == 1e-10);
  }
}

TEST_CASE("what cannot be factored is an error", "[cholesky]") {
  matrix<double> h = identity(3);
  CHECK_THROWS_AS(linalg::cholesky(matrix<double>(3, 3)),
                  tersor::error);  // H = 0: nothing to scale lambda by
  CHECK_THROWS_AS(linalg::cholesky(matrix<double>(2, 3)), tersor::error);
  CHECK_THROWS_AS(linalg::cholesky(h, {.relative_damping = -1}), tersor::error);
  CHECK_THROWS_AS(linalg::cholesky(h, {.max_retries = -1}), tersor::error);
  CHECK_THROWS_AS(linalg::cholesky(h, {.growth = 1}), tersor::error);
  CHECK_THROWS_AS(linalg::cholesky_solve(h, matrix<double>(2, 1)), tersor::error);
  h(0, 0) = -4;  // the trace is negative: no lambda >= 0 follows from it
  CHECK_THROWS_AS(linalg::cholesky(h), tersor::error);
  h(0, 0) = 1;
  h(2, 1) = std::numeric_limits<double>::quiet_NaN();
  try {
    linalg::inverse_cholesky_upper(h, {.relative_damping = 0.01});
    FAIL("a NaN went through");
  } catch (const tersor::error& e) {
    CHECK(e.argument() == "h[2, 1]");
  }
}

}  // namespace cholesky_tests
