// tersor - tests of linalg/least_squares.hpp
// SPDX-License-Identifier: MIT
#include <tersor/linalg/least_squares.hpp>

#include "catch.hpp"
#include "oracle.hpp"

namespace least_squares_tests {

using namespace tersor_test;
using tersor::index_t;
namespace linalg = tersor::linalg;

TEST_CASE("a line through three points", "[least_squares]") {
  matrix<double> a(3, 2), b(3, 1);
  for (index_t i = 0; i < 3; ++i) a(i, 0) = 1, a(i, 1) = static_cast<double>(i);
  b(0, 0) = 6, b(1, 0) = 0, b(2, 0) = 0;
  const auto [x, rank] = linalg::least_squares(a, b);  // 5 - 3 t
  CHECK(rank == 2);
  CHECK(std::abs(x(0, 0) - 5) < 1e-13);
  CHECK(std::abs(x(1, 0) + 3) < 1e-13);
}

TEST_CASE("the residual is orthogonal to A and the solution has minimum norm", "[least_squares]") {
  for (index_t n : {0, 1, 5, 40})
    for (index_t r : {0, 1, 5, 40})
      for (index_t rank : {0, 1, 3, 40}) {
        const index_t true_rank = std::min({n, r, rank});
        const auto a = of_rank(n, r, true_rank, 1), b = random_matrix(n, 7, 3);
        const auto [x, found] = linalg::least_squares(a, b);
        INFO(n << " x " << r << " of rank " << true_rank);
        REQUIRE((x.rows() == r && x.cols() == 7));
        REQUIRE(found == true_rank);
        auto residual = times(a, x);
        for (index_t i = 0; i < residual.size(); ++i) residual.data()[i] -= b.data()[i];
        const double scale = (largest(a) + 1) * (largest(x) + 1);
        REQUIRE(largest(times(a.view().transposed(), residual)) <= 1e-10 * scale * scale);
        // Minimum norm: x lies in the row space of a, so projecting it there changes nothing.
        const auto rows = linalg::svd(a).vt;
        const auto basis = rows.view().rows(0, true_rank);
        REQUIRE(difference(times(basis.transposed(), times(basis, x)), x) <= 1e-10 * scale);
      }
}

TEST_CASE("tolerance, float and bad input", "[least_squares]") {
  matrix<double> a = identity(2), b(2, 1, 1.0);
  a(1, 1) = 1e-3;
  CHECK(linalg::least_squares(a, b).rank == 2);
  CHECK(linalg::least_squares(a, b, 1e-2).rank == 1);
  CHECK(linalg::least_squares(a, b, 1e-2).x(1, 0) == 0);
  matrix<float> f(2, 2, 1.0f), g(2, 1, 2.0f);
  const auto r = linalg::least_squares(f, g);
  CHECK(r.rank == 1);
  CHECK(std::abs(r.x(0, 0) - 1.0f) < 1e-6f);
  CHECK_THROWS_AS(linalg::least_squares(a, matrix<double>(3, 1)), tersor::error);
  CHECK_THROWS_AS(linalg::least_squares(a, b, 1.0), tersor::error);
  b(0, 0) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(linalg::least_squares(a, b), tersor::error);
}

}  // namespace least_squares_tests
