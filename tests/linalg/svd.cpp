// tersor - tests of linalg/svd.hpp
// SPDX-License-Identifier: MIT
#include <tersor/linalg/svd.hpp>

#include "catch.hpp"
#include "oracle.hpp"

namespace svd_tests {

using namespace tersor_test;
using tersor::index_t;
namespace linalg = tersor::linalg;
using svd_t = linalg::svd_result<double>;

matrix<double> rebuild(const svd_t& x) {
  auto us = x.u;
  for (index_t i = 0; i < us.rows(); ++i)
    for (index_t k = 0; k < us.cols(); ++k) us(i, k) *= x.s[static_cast<std::size_t>(k)];
  return times(us, x.vt);
}

void check_svd(const matrix<double>& a, const svd_t& x) {
  const index_t m = a.rows(), n = a.cols(), k = std::min(m, n);
  INFO(m << " x " << n);
  REQUIRE((x.u.rows() == m && x.u.cols() == k && x.vt.rows() == k && x.vt.cols() == n));
  REQUIRE(x.s.size() == static_cast<std::size_t>(k));
  const double tolerance = 4e-15 * static_cast<double>(m + n + 10), scale = k > 0 ? x.s[0] : 0;
  REQUIRE(column_defect(x.u) <= tolerance);
  REQUIRE(column_defect(x.vt.view().transposed()) <= tolerance);
  REQUIRE(difference(rebuild(x), a) <= tolerance * scale);
  for (std::size_t i = 0; i < x.s.size(); ++i) {
    REQUIRE(x.s[i] >= 0);
    if (i > 0) REQUIRE(x.s[i] <= x.s[i - 1]);
  }
  for (index_t c = 0; c < k; ++c) {
    double least = 0, most = 0;
    for (index_t i = 0; i < m; ++i) least = std::min(least, x.u(i, c)), most = std::max(most, x.u(i, c));
    REQUIRE(most >= -least * (1 - 1e-8));
  }
}

/// Both ways to compute it; they must agree on the singular values.
void check_both(const matrix<double>& a) {
  const auto x = linalg::svd(a);
  check_svd(a, x);
  auto y = linalg::detail::jacobi_svd<double>(a, {});
  linalg::detail::fix_signs(y);
  check_svd(a, y);
  for (std::size_t i = 0; i < x.s.size(); ++i)
    REQUIRE(std::abs(x.s[i] - y.s[i]) <= 1e-14 * x.s[0] * static_cast<double>(x.s.size() + 10));
}

TEST_CASE("SVD of every shape and rank", "[svd]") {
  for (index_t m : {0, 1, 2, 5, 33, 70})
    for (index_t n : {0, 1, 2, 5, 33, 70}) {
      check_both(random_matrix(m, n, 1));
      check_both(matrix<double>(m, n));
      check_both(matrix<double>(m, n, 1.0));
      check_both(of_rank(m, n, std::min<index_t>(3, std::min(m, n)), 2));
      auto repeated = matrix<double>(m, n);  // all singular values equal
      for (index_t i = 0; i < std::min(m, n); ++i) repeated(i, i) = -2;
      check_both(repeated);
    }
}

TEST_CASE("SVD by hand", "[svd]") {
  matrix<double> a(2, 3);
  a(0, 1) = -3, a(1, 0) = 2;  // rows are orthogonal
  const auto x = linalg::svd(a);
  CHECK(std::abs(x.s[0] - 3) < 1e-15);
  CHECK(std::abs(x.s[1] - 2) < 1e-15);
  CHECK(std::abs(x.u(0, 0) - 1) < 1e-15);
  CHECK(std::abs(x.vt(0, 1) + 1) < 1e-15);
  CHECK(std::abs(x.vt(1, 0) - 1) < 1e-15);
}

TEST_CASE("singular values from 1 to 1e-14 and extreme scales", "[svd]") {
  const index_t n = 15;
  const auto q = linalg::qr(random_matrix(30, n, 3)).q, w = linalg::qr(random_matrix(n, n, 4)).q;
  matrix<double> a = q;
  for (index_t i = 0; i < 30; ++i)
    for (index_t k = 0; k < n; ++k) a(i, k) *= std::pow(10.0, -static_cast<double>(k));
  a = times(a, w);
  check_both(a);
  const auto x = linalg::svd(a);
  for (std::size_t k = 0; k < 15; ++k)
    CHECK(std::abs(x.s[k] - std::pow(10.0, -static_cast<double>(k))) <= 1e-15);
  auto b = random_matrix(6, 4, 5);
  for (double scale : {1e-200, 1e200}) {
    auto c = b;
    for (double& v : c.values()) v *= scale;
    const auto s = linalg::svd(c).s, j = linalg::detail::jacobi_svd<double>(c, {}).s, r = linalg::svd(b).s;
    for (std::size_t i = 0; i < 4; ++i) {
      CHECK(std::abs(s[i] / scale - r[i]) < 1e-13);
      CHECK(std::abs(j[i] / scale - r[i]) < 1e-13);
    }
  }
}

TEST_CASE("SVD does not depend on layout or threads, NaN is an error", "[svd]") {
  const auto a = random_matrix<float>(90, 300, 6);
  const auto at = tersor::copy_as<float>(a.view().transposed());
  const auto one = linalg::svd(a, threads(1)), other = linalg::svd(at.view().transposed(), threads(3));
  CHECK((one.u == other.u && one.s == other.s && one.vt == other.vt));
  const auto big = random_matrix(400, 390, 7);  // large enough for parallel rounds
  const auto j1 = linalg::detail::jacobi_svd<double>(big, threads(1));
  for (int t : {2, 3}) {
    const auto j = linalg::detail::jacobi_svd<double>(big, threads(t));
    CHECK((j.u == j1.u && j.s == j1.s && j.vt == j1.vt));
  }
  auto bad = random_matrix(3, 2, 5);
  bad(1, 1) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(linalg::svd(bad), tersor::error);
  CHECK_THROWS_AS(linalg::randomized_svd(bad, 1), tersor::error);
}

TEST_CASE("left singular vectors by the smaller Gram matrix", "[svd]") {
  for (const auto& [m, n] : {std::pair<index_t, index_t>{1, 1}, {1, 9}, {9, 1}, {30, 30}, {17, 60}, {60, 17}})
    for (const index_t lost : {0, 3}) {  // with three singular values of zero
      const index_t k = std::min(m, n), inner = std::max<index_t>(k - lost, 1);
      const matrix<double> a = lost == 0
                                   ? random_matrix(m, n, 3)
                                   : times(random_matrix(m, inner, 1), random_matrix(inner, n, 2).view());
      const auto exact = linalg::svd(a);
      for (const index_t rank : {index_t{0}, std::min<index_t>(4, k), k}) {
        const auto x = linalg::left_singular(a, rank);
        INFO(m << " x " << n << ", rank " << rank);
        REQUIRE((x.u.rows() == m && x.u.cols() == rank && x.s.size() == exact.s.size()));
        REQUIRE(column_defect(x.u) <= 1e-13);
        for (std::size_t i = 0; i < x.s.size(); ++i)  // 1e-16 s0² / s, at most 1e-8 s0
          REQUIRE(std::abs(x.s[i] - exact.s[i]) <=
                  exact.s[0] * std::min(1e-7, 1e-14 * exact.s[0] / std::max(exact.s[i], 1e-300)));
        for (index_t c = 0; c < std::min(rank, k - lost); ++c)
          for (index_t r = 0; r < m; ++r) REQUIRE(std::abs(x.u(r, c) - exact.u(r, c)) <= 1e-7);
      }
    }
  const auto a = random_matrix(90, 70, 5);
  CHECK(linalg::left_singular(a, 9, threads(1)).u == linalg::left_singular(a, 9, threads(3)).u);
  CHECK(linalg::left_singular(matrix<double>(3, 4), 2).s == std::vector<double>(3));
  CHECK(linalg::left_singular(matrix<double>(0, 4), 0).s.empty());
  CHECK_THROWS_AS(linalg::left_singular(a, 71), tersor::error);
  auto bad = a;
  bad(3, 4) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(linalg::left_singular(bad, 2), tersor::error);
}

TEST_CASE("the randomized SVD is exact where the rank fits into the sketch", "[svd][randomized]") {
  for (index_t m : {1, 20, 80})
    for (index_t n : {1, 25, 60}) {
      const index_t r = std::min<index_t>(5, std::min(m, n));
      const auto a = of_rank(m, n, r, 8);
      const auto exact = linalg::svd(a);
      for (index_t power : {0, 2}) {
        const auto x = linalg::randomized_svd(a, r, {.power_iterations = power, .seed = 3});
        REQUIRE(difference(rebuild(x), a) <= 1e-12 * exact.s[0]);
        REQUIRE(column_defect(x.u) <= 1e-13);
        REQUIRE(column_defect(x.vt.view().transposed()) <= 1e-13);
      }
    }
}

TEST_CASE("the randomized SVD comes close to the best approximation", "[svd][randomized]") {
  const auto a = random_matrix(120, 90, 9);  // a flat spectrum, the hard case
  const auto exact = linalg::svd(a).s;
  double best = 0;
  for (std::size_t i = 10; i < exact.size(); ++i) best += exact[i] * exact[i];
  double previous = std::numeric_limits<double>::infinity();
  for (index_t power : {0, 2, 6}) {
    const auto x = linalg::randomized_svd(a, 10, {.power_iterations = power, .seed = 1});
    const auto approximation = rebuild(x);
    double error = 0;
    for (index_t i = 0; i < a.size(); ++i) error += std::pow(a.data()[i] - approximation.data()[i], 2);
    CHECK(error >= best * (1 - 1e-12));  // Eckart and Young
    CHECK(error < previous);
    previous = error;
    for (std::size_t i = 0; i < 10; ++i) CHECK(x.s[i] <= exact[i] * (1 + 1e-12));
  }
  CHECK(previous < best * 1.01);
  const auto x = linalg::randomized_svd(a, 4, {.seed = 1}, threads(1)),
             y = linalg::randomized_svd(a, 4, {.seed = 1}, threads(3));
  CHECK(x.u == y.u);
  CHECK(linalg::randomized_svd(a, 0).s.empty());
  CHECK(linalg::randomized_svd(a, 90).s.size() == 90);
  CHECK_THROWS_AS(linalg::randomized_svd(a, 91), tersor::error);
  CHECK_THROWS_AS(linalg::randomized_svd(a, -1), tersor::error);
  CHECK_THROWS_AS(linalg::randomized_svd(a, 3, {.oversampling = -1}), tersor::error);
  CHECK_THROWS_AS(linalg::randomized_svd(a, 3, {.power_iterations = -1}), tersor::error);
}

}  // namespace svd_tests
