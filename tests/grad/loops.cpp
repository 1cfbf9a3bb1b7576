// tersor - tests of grad/loops.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/loops.hpp>

#include "grad/differences.hpp"

namespace tersor {
namespace loops_tests {

using namespace tersor_test;
using grad::dual;
namespace detail = grad::detail;

TEST_CASE("loops: maps over every length around a block, in place too") {
  for (index_t n = 0; n < 40; ++n) {
    std::vector<float> x(static_cast<std::size_t>(n)), y(x.size());
    for (index_t i = 0; i < n; ++i) x[static_cast<std::size_t>(i)] = static_cast<float>(i);
    detail::map_row(
        n, y.data(), [](float a, float b) { return 2 * a + b; }, std::as_const(x).data(),
        std::as_const(x).data());
    for (index_t i = 0; i < n; ++i) CHECK(y[static_cast<std::size_t>(i)] == static_cast<float>(3 * i));
    detail::map(
        n, threads(2), x.data(), [](float a) { return a + 1; }, std::as_const(x).data());
    for (index_t i = 0; i < n; ++i) CHECK(x[static_cast<std::size_t>(i)] == static_cast<float>(i + 1));
    CHECK(detail::sum_row<float>(
              n, [](double a) { return a; }, std::as_const(x).data()) ==
          static_cast<double>(n * (n + 1) / 2));
  }
}

TEST_CASE("loops: sums over rows do not depend on the number of threads") {
  const auto x = normal_matrix(5000, 37, 1);
  const auto sums = [&](int n) {
    return detail::sums_over_rows<double>(5000, 37, threads(n),
                                          [&](index_t first, index_t last, double* partial) {
                                            for (index_t i = first; i < last; ++i)
                                              for (index_t j = 0; j < 37; ++j) partial[j] += x(i, j);
                                          });
  };
  const auto one = sums(1);
  CHECK(one == sums(4));
  for (index_t j = 0; j < 37; ++j) {
    double expected = 0;
    for (index_t i = 0; i < 5000; ++i) expected += x(i, j);
    CHECK(std::abs(one[static_cast<std::size_t>(j)] - expected) < 1e-10);
  }
  CHECK(detail::sums_over_rows<double>(0, 3, threads(1), [](index_t, index_t, double*) {}) ==
        std::vector<double>(3));
}

TEST_CASE("loops: products of duals follow the product rule, in every orientation") {
  using D = dual<double>;
  const auto av = normal_matrix(3, 4, 1), as = normal_matrix(3, 4, 2), bv = normal_matrix(4, 5, 3),
             bs = normal_matrix(4, 5, 4);
  const auto both = [](const matrix<double>& v, const matrix<double>& s) {
    matrix<D> x(v.rows(), v.cols());
    for (index_t i = 0; i < x.size(); ++i) x.data()[i] = D(v.data()[i], s.data()[i]);
    return x;
  };
  const auto a = both(av, as), b = both(bv, bs);
  for (const double beta : {0.0, 1.0}) {
    matrix<D> c(3, 5, D(1, 2)), ct(5, 3, D(1, 2));
    detail::product<D>(0.5, a.view(), b.view(), beta, c.view(), threads(2));
    detail::product<D>(0.5, b.view().transposed(), a.view().transposed(), beta, ct.view(), threads(2));
    for (index_t i = 0; i < 3; ++i)
      for (index_t j = 0; j < 5; ++j) {
        double value = beta, slope = 2 * beta;
        for (index_t k = 0; k < 4; ++k) {
          value += 0.5 * av(i, k) * bv(k, j);
          slope += 0.5 * (as(i, k) * bv(k, j) + av(i, k) * bs(k, j));
        }
        CHECK(std::abs(c(i, j).value - value) < 1e-14);
        CHECK(std::abs(c(i, j).slope - slope) < 1e-14);
        CHECK(std::abs(ct(j, i).value - value) < 1e-14);
        CHECK(std::abs(ct(j, i).slope - slope) < 1e-14);
      }
  }
}

TEST_CASE("loops: a deep product with a small result is cut, with the same bits for any number of threads") {
  const auto a = converted<float>(normal_matrix(700, 200, 1)),
             b = converted<float>(normal_matrix(700, 90, 2));
  matrix<float> one(200, 90), four(200, 90), whole(200, 90);
  detail::product<float>(1, a.view().transposed(), b.view(), 0, one.view(), threads(1));
  detail::product<float>(1, a.view().transposed(), b.view(), 0, four.view(), threads(4));
  CHECK(one == four);
  linalg::gemm<float>(1, a.view().transposed(), b.view(), 0, whole.view());
  for (index_t i = 0; i < whole.size(); ++i) CHECK(std::abs(one.data()[i] - whole.data()[i]) < 1e-3F);
}

}  // namespace loops_tests
}  // namespace tersor
