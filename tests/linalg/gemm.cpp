// tersor - tests of linalg/gemm.hpp
// SPDX-License-Identifier: MIT
#include <tersor/core/random.hpp>
#include <tersor/linalg/gemm.hpp>

#include <limits>
#include <numeric>

#include "catch.hpp"

namespace gemm_tests {

using tersor::context;
using tersor::index_t;
using tersor::matrix;
using tersor::matrix_view;
namespace linalg = tersor::linalg;

context threads(int n) {
  context ctx;
  ctx.threads = n;
  return ctx;
}

template <class T>
matrix<T> random_matrix(index_t m, index_t n, std::uint64_t seed) {
  tersor::random_generator g(seed);
  matrix<T> x(m, n);
  for (T& v : x.values()) v = static_cast<T>(g.normal());
  return x;
}

/// The same values in another layout; the storage is the caller's.
template <class T>
matrix_view<T> in_layout(const matrix<T>& x, int layout, std::vector<T>& storage) {
  const index_t m = x.rows(), n = x.cols();
  matrix_view<T> v;
  switch (layout) {
    case 0:
      v = {nullptr, {m, n}, {n, 1}};
      break;  // row-major
    case 1:
      v = {nullptr, {m, n}, {1, m}};
      break;  // column-major
    case 2:
      v = {nullptr, {m, n}, {n + 3, 1}};
      break;  // rows with a gap
    case 3:
      v = {nullptr, {m, n}, {1, m + 5}};
      break;  // columns with a gap
    case 4:
      v = {nullptr, {m, n}, {2 * n + 1, 2}};
      break;  // every second element
    default:
      v = {nullptr, {m, n}, {-n, -1}};
      break;  // both orders reversed
  }
  storage.assign(static_cast<std::size_t>((m + 6) * (n + 6) * 2), T(77));
  v.data = storage.data() + (layout > 4 ? m * n : 0);
  for (index_t i = 0; i < m; ++i)
    for (index_t j = 0; j < n; ++j) v(i, j) = x(i, j);
  return v;
}

/// alpha a b + beta c by the definition, in long double.
template <class T>
matrix<T> product_by_definition(T alpha, matrix_view<const T> a, matrix_view<const T> b, T beta,
                                matrix_view<const T> c) {
  matrix<T> r(c.rows(), c.cols());
  for (index_t i = 0; i < r.rows(); ++i)
    for (index_t j = 0; j < r.cols(); ++j) {
      long double sum = 0;
      for (index_t k = 0; k < a.cols(); ++k) sum += static_cast<long double>(a(i, k)) * b(k, j);
      r(i, j) = static_cast<T>(alpha * sum + (beta == T(0) ? 0 : static_cast<long double>(beta) * c(i, j)));
    }
  return r;
}

template <class T>
double largest_difference(matrix_view<const T> a, matrix_view<const T> b) {
  double d = 0;
  for (index_t i = 0; i < a.rows(); ++i)
    for (index_t j = 0; j < a.cols(); ++j) {
      const double e = std::abs(static_cast<double>(a(i, j)) - static_cast<double>(b(i, j)));
      d = e <= d ? d : e;  // a NaN is taken over
    }
  return d;
}

template <class T>
void check_shape(index_t m, index_t n, index_t k, int la, int lb, int lc, T alpha, T beta) {
  const auto a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2), c = random_matrix<T>(m, n, 3);
  std::vector<T> sa, sb, sc;
  const auto va = in_layout(a, la, sa), vb = in_layout(b, lb, sb), vc = in_layout(c, lc, sc);
  const auto expected = product_by_definition<T>(alpha, a, b, beta, c);
  const double padding = std::accumulate(sc.begin(), sc.end(), 0.0) - [&] {
    double s = 0;
    for (T x : c.values()) s += x;
    return s;
  }();
  linalg::gemm<T>(alpha, va, vb, beta, vc);
  // Each sum has k + 1 terms of magnitude ~1; rounding grows at most linearly.
  const double tolerance = 8 * static_cast<double>(k + 2) * std::numeric_limits<T>::epsilon();
  INFO(m << "x" << n << "x" << k << " layouts " << la << lb << lc << " alpha " << alpha << " beta " << beta);
  REQUIRE(largest_difference<T>(vc, expected) <= tolerance);
  double values = 0;
  for (index_t i = 0; i < m; ++i)
    for (index_t j = 0; j < n; ++j) values += static_cast<double>(vc(i, j));
  REQUIRE(std::abs(std::accumulate(sc.begin(), sc.end(), 0.0) - values - padding) <
          1e-6 * static_cast<double>(sc.size()));
}

TEMPLATE_TEST_CASE("products of every small shape and layout", "[gemm]", float, double) {
  using T = TestType;
  for (index_t m : {0, 1, 2, 5, 17})
    for (index_t n : {0, 1, 3, 16, 33})
      for (index_t k : {0, 1, 4, 31})
        for (int layout = 0; layout < 6; ++layout) {
          check_shape<T>(m, n, k, layout, (layout + 1) % 6, (layout + 2) % 6, T(1), T(0));
          check_shape<T>(m, n, k, (layout + 3) % 6, layout, (layout + 3) % 6, T(-0.5), T(2));
          check_shape<T>(m, n, k, layout, layout, layout, T(1), T(1));
        }
}

TEST_CASE("beta = 0 overwrites what was there, even NaN", "[gemm]") {
  for (index_t m : {1, 3, 20})
    for (index_t n : {1, 2, 40})
      for (index_t k : {0, 1, 50})
        for (int layout = 0; layout < 6; ++layout) {
          const auto a = random_matrix<float>(m, k, 1), b = random_matrix<float>(k, n, 2);
          std::vector<float> storage;
          const auto c =
              in_layout(matrix<float>(m, n, std::numeric_limits<float>::quiet_NaN()), layout, storage);
          linalg::gemm(1.0f, a, b, 0.0f, c);
          const auto expected = product_by_definition<float>(1, a, b, 0, c);
          REQUIRE(largest_difference<float>(c, expected) <= 1e-4);
        }
}

TEST_CASE("the number of threads does not change a bit", "[gemm]") {
  // Shapes that are cut into several tiles: square, few rows, few columns, one row, one column.
  const index_t shapes[][3] = {
      {801, 790, 33}, {7, 5000, 600}, {5000, 7, 600}, {1, 9000, 800}, {9000, 1, 800}};
  for (const auto& s : shapes) {
    const auto a = random_matrix<float>(s[0], s[2], 1), b = random_matrix<float>(s[1], s[2], 2);
    matrix<float> one(s[0], s[1]), other(s[0], s[1]);
    linalg::gemm(1.0f, a, b.view().transposed(), 0.0f, one, threads(1));
    for (int t : {2, 3}) {
      linalg::gemm(1.0f, a, b.view().transposed(), 0.0f, other, threads(t));
      REQUIRE(other == one);
    }
    const index_t i = s[0] - 1, j = s[1] - 1;
    double expected = 0;
    for (index_t k = 0; k < s[2]; ++k)
      expected += static_cast<double>(a(i, k)) * static_cast<double>(b(j, k));
    CHECK(std::abs(static_cast<double>(one(i, j)) - expected) < 1e-3);
  }
}

TEST_CASE("wrong shapes are errors", "[gemm]") {
  matrix<float> a(2, 3), b(4, 2), c(2, 2);
  CHECK_THROWS_AS(linalg::gemm(1.0f, a, b, 0.0f, c), tersor::error);
  CHECK_THROWS_AS(linalg::gemm(1.0f, a, a.view().transposed(), 0.0f, b), tersor::error);
  matrix<double> h(2, 2);
  CHECK_THROWS_AS(linalg::gram(a, h), tersor::error);
}

TEST_CASE("gram adds xᵀx in double, exactly symmetric, for any threads and layout", "[gemm][gram]") {
  for (index_t n : {0, 1, 5, 256, 257, 600})
    for (index_t tokens : {0, 1, 3, 1500}) {
      if (n == 600 && tokens != 1500) continue;
      const auto x = random_matrix<float>(tokens, n, 4);
      matrix<double> start(n, n);
      for (index_t i = 0; i < n; ++i)
        for (index_t j = 0; j < n; ++j) start(i, j) = static_cast<double>(i + j);
      matrix<double> h = start;
      linalg::gram(x, h, threads(1));
      for (int t : {2, 3}) {
        matrix<double> other = start;
        linalg::gram(x, other, threads(t));
        REQUIRE(other == h);
      }
      for (int layout : {1, 2, 4}) {
        std::vector<float> storage;
        matrix<double> other = start;
        linalg::gram(in_layout(x, layout, storage), other);
        REQUIRE(largest_difference<double>(other, h) <= 1e-3);
      }
      for (index_t i = 0; i < n; i += 37)
        for (index_t j = 0; j < n; j += 41) {
          double expected = start(i, j);
          for (index_t k = 0; k < tokens; ++k)
            expected += static_cast<double>(x(k, i)) * static_cast<double>(x(k, j));
          REQUIRE(std::abs(h(i, j) - expected) <= 1e-3);  // float sums over 1024 tokens of magnitude 1
          REQUIRE(h(i, j) == h(j, i));
        }
    }
}

TEST_CASE("gram keeps long sums in double", "[gemm][gram]") {
  // 0.1 squared over 2^15 tokens: one float sum would be off by about 1e-3 relative.
  const matrix<float> x(1 << 15, 2, 0.1f);
  matrix<double> h(2, 2);
  linalg::gram(x, h);
  const double exact = static_cast<double>(0.1f) * static_cast<double>(0.1f) * (1 << 15);
  CHECK(std::abs(h(0, 1) / exact - 1) < 2e-5);
}

}  // namespace gemm_tests
