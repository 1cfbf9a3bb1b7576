// tersor - tests of linalg/qr.hpp
// SPDX-License-Identifier: MIT
#include <tersor/linalg/qr.hpp>

#include "catch.hpp"
#include "oracle.hpp"

namespace qr_tests {

using namespace tersor_test;
using tersor::index_t;
namespace linalg = tersor::linalg;

void check_qr(const matrix<double>& a) {
  const index_t m = a.rows(), n = a.cols(), k = std::min(m, n);
  const auto [q, r] = linalg::qr(a);
  INFO(m << " x " << n);
  REQUIRE((q.rows() == m && q.cols() == k && r.rows() == k && r.cols() == n));
  const double tolerance = 1e-15 * static_cast<double>(m + n + 10);
  REQUIRE(column_defect(q) <= tolerance);
  REQUIRE(difference(times(q, r), a) <= tolerance * (largest(a) + 1e-300) * 10);
  for (index_t i = 0; i < k; ++i) {
    REQUIRE(r(i, i) >= 0);
    for (index_t j = 0; j < i; ++j) REQUIRE(r(i, j) == 0);
  }
}

TEST_CASE("QR of every shape and rank", "[qr]") {
  for (index_t m : {0, 1, 2, 31, 32, 33, 100})
    for (index_t n : {0, 1, 2, 31, 32, 33, 100}) {
      check_qr(random_matrix(m, n, 1));
      check_qr(matrix<double>(m, n));
      check_qr(matrix<double>(m, n, 1.0));
      check_qr(of_rank(m, n, std::min<index_t>(3, std::min(m, n)), 2));
    }
}

TEST_CASE("QR by hand", "[qr]") {
  matrix<double> a(2, 2);
  a(0, 0) = -3, a(1, 0) = 4, a(0, 1) = 1, a(1, 1) = 7;
  const auto [q, r] = linalg::qr(a);
  CHECK(std::abs(r(0, 0) - 5) < 1e-15);
  CHECK(std::abs(q(0, 0) + 0.6) < 1e-15);
  CHECK(std::abs(r(0, 1) - 5) < 1e-14);
  CHECK(std::abs(r(1, 1) - 5) < 1e-14);
}

TEST_CASE("QR of ill-scaled matrices", "[qr]") {
  auto a = random_matrix(40, 20, 3);
  for (index_t i = 0; i < 40; ++i)
    for (index_t j = 0; j < 20; ++j) a(i, j) *= std::pow(10.0, -static_cast<double>(j));
  check_qr(a);
  for (double& v : a.values()) v *= 1e-290;
  const auto tiny = linalg::qr(a);
  CHECK(column_defect(tiny.q) < 1e-13);
  auto huge = random_matrix(40, 20, 3);
  for (double& v : huge.values()) v *= 1e300;
  check_qr(huge);
}

TEST_CASE("QR of float, of transposed views, for any threads, and of bad input", "[qr]") {
  const auto a = random_matrix<float>(300, 70, 4);
  const auto one = linalg::qr(a, threads(1));
  for (int t : {2, 3}) {
    const auto other = linalg::qr(a, threads(t));
    CHECK((other.q == one.q && other.r == one.r));
  }
  const auto at = tersor::copy_as<float>(a.view().transposed());
  CHECK(linalg::qr(at.view().transposed()).q == one.q);
  auto bad = random_matrix(3, 3, 5);
  bad(1, 2) = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(linalg::qr(bad), tersor::error);
}

}  // namespace qr_tests
