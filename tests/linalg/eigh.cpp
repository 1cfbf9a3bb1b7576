// tersor - tests of linalg/eigh.hpp
// SPDX-License-Identifier: MIT
#include <tersor/linalg/eigh.hpp>

#include "catch.hpp"
#include "oracle.hpp"

namespace eigh_tests {

using namespace tersor_test;
using tersor::index_t;
namespace linalg = tersor::linalg;

void check_eigh(const matrix<double>& h) {
  const index_t n = h.rows();
  INFO(n);
  const auto [values, vectors] = linalg::eigh(h);
  REQUIRE(values.size() == static_cast<std::size_t>(n));
  const double scale = n == 0 ? 0 : std::max(std::abs(values.front()), std::abs(values.back()));
  const double tolerance = 4e-15 * static_cast<double>(n + 10);
  REQUIRE(column_defect(vectors) <= tolerance);
  auto vd = vectors;
  for (index_t i = 0; i < n; ++i)
    for (index_t k = 0; k < n; ++k) vd(i, k) *= values[static_cast<std::size_t>(k)];
  REQUIRE(difference(times(vd, vectors.view().transposed()), h) <= tolerance * scale);
  const auto alone = linalg::eigenvalues(h);
  for (std::size_t k = 0; k < values.size(); ++k) {
    REQUIRE(std::abs(alone[k] - values[k]) <= tolerance * scale);
    if (k > 0) REQUIRE(values[k] >= values[k - 1]);
  }
  for (index_t k = 0; k < n; ++k) {
    double least = 0, most = 0;
    for (index_t i = 0; i < n; ++i)
      least = std::min(least, vectors(i, k)), most = std::max(most, vectors(i, k));
    REQUIRE(most >= -least * (1 - 1e-8));
  }
}

matrix<double> symmetric(matrix<double> a) {
  for (index_t i = 0; i < a.rows(); ++i)
    for (index_t j = 0; j < i; ++j) a(j, i) = a(i, j);
  return a;
}

TEST_CASE("eigen-decompositions of every size and rank", "[eigh]") {
  for (index_t n : {0, 1, 2, 3, 10, 33, 100}) {
    check_eigh(symmetric(random_matrix(n, n, 1)));
    check_eigh(matrix<double>(n, n));
    check_eigh(matrix<double>(n, n, 1.0));
    check_eigh(identity(n));
    const auto low = random_matrix(n, std::min<index_t>(n, 3), 2);
    check_eigh(symmetric(times(low, low.view().transposed())));
    auto graded = symmetric(random_matrix(n, n, 3));
    for (index_t i = 0; i < n; ++i)
      for (index_t j = 0; j < n; ++j) graded(i, j) *= std::pow(2.0, -static_cast<double>(i + j) / 2);
    check_eigh(graded);
    for (double& v : graded.values()) v *= 1e200;
    check_eigh(graded);
  }
}

TEST_CASE("known spectra", "[eigh]") {
  matrix<double> h(2, 2);
  h(0, 0) = h(1, 1) = 2, h(0, 1) = h(1, 0) = -3;
  const auto [values, vectors] = linalg::eigh(h);
  CHECK(std::abs(values[0] + 1) < 1e-15);
  CHECK(std::abs(values[1] - 5) < 1e-15);
  CHECK(vectors(0, 0) > 0);
  CHECK(vectors(0, 1) > 0);  // (1, -1)/sqrt(2): a tie, the first entry is positive
  CHECK(std::abs(linalg::smallest_eigenvalue(h) + 1) < 1e-15);
  const index_t n = 50;  // second differences: 2 - 2 cos(k pi / (n + 1))
  matrix<double> d(n, n);
  for (index_t i = 0; i < n; ++i) {
    d(i, i) = 2;
    if (i > 0) d(i, i - 1) = d(i - 1, i) = -1;
  }
  const auto w = linalg::eigenvalues(d);
  for (index_t k = 1; k <= n; ++k)
    CHECK(std::abs(w[static_cast<std::size_t>(k - 1)] -
                   (2 - 2 * std::cos(static_cast<double>(k) * 3.14159265358979324 / (n + 1)))) < 1e-13);
}

TEST_CASE("bad input", "[eigh]") {
  matrix<double> h(2, 2);
  h(1, 0) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(linalg::eigh(h), tersor::error);
  CHECK_THROWS_AS(linalg::eigh(matrix<double>(2, 3)), tersor::error);
  CHECK_THROWS_AS(linalg::smallest_eigenvalue(matrix<double>(0, 0)), tersor::error);
}

}  // namespace eigh_tests
