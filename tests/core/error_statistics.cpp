// tersor - tests of core/error_statistics.hpp
// SPDX-License-Identifier: MIT
#include <tersor/core/error_statistics.hpp>
#include <tersor/core/random.hpp>

#include "catch.hpp"

namespace error_statistics_tests {

using tersor::error_statistics;
using tersor::index_t;
using tersor::matrix;

TEST_CASE("hand-computed statistics", "[error_statistics]") {
  error_statistics s;
  s.add(std::vector<float>{3, 0, -4, 1}, std::vector<double>{3, 0, -2, 0});
  CHECK(s.count == 4);
  CHECK(s.squared_error == 5);
  CHECK(s.squared_reference == 26);
  CHECK(s.squared_approximation == 13);
  CHECK(s.dot == 17);
  CHECK(s.max_abs() == 2);
  CHECK(s.exact == 2);
  CHECK(s.reference_zeros == 1);
  CHECK(s.approximation_zeros == 2);
  CHECK(s.mean_squared() == 1.25);
  CHECK(std::abs(s.relative_frobenius() - std::sqrt(5.0 / 26.0)) < 1e-15);
  CHECK(std::abs(s.cosine() - 17 / std::sqrt(26.0 * 13.0)) < 1e-15);
}

TEST_CASE("empty and zero inputs have defined results", "[error_statistics]") {
  error_statistics empty;
  empty.add(matrix<float>(0, 3), matrix<float>(0, 3));
  empty.add(matrix<float>(3, 0), matrix<float>(3, 0));
  CHECK(empty == error_statistics{});
  CHECK(empty.relative_frobenius() == 0);
  CHECK(empty.cosine() == 1);
  CHECK(empty.max_abs() == 0);
  CHECK(empty.mean_squared() == 0);
  CHECK(empty.weighted_relative() == 0);

  error_statistics zero;
  zero.add(matrix<float>(2, 2), matrix<float>(2, 2));
  CHECK(zero.relative_frobenius() == 0);
  CHECK(zero.cosine() == 1);
  CHECK(zero.exact == 4);

  error_statistics wrong;
  wrong.add(matrix<float>(2, 2), matrix<float>(2, 2, 1.0f));
  CHECK(std::isinf(wrong.relative_frobenius()));
  CHECK(wrong.cosine() == 0);

  error_statistics weighted;
  weighted.add_weighted(-1e-20, 4);
  CHECK(weighted.weighted_relative() == 0);
  weighted.add_weighted(1, 0);
  CHECK(std::abs(weighted.weighted_relative() - 0.5) < 1e-15);
}

TEST_CASE("statistics of parts merge into those of the whole, in every layout", "[error_statistics]") {
  tersor::random_generator g(1);
  matrix<float> r(37, 19), a(37, 19);
  for (auto& v : r.values()) v = static_cast<float>(g.normal());
  for (index_t i = 0; i < r.size(); ++i) a.data()[i] = g.uniform() < 0.3 ? 0.0f : r.data()[i] * 0.9f;
  error_statistics whole, parts, other, transposed;
  whole.add(r, a);
  parts.add(r.view().rows(0, 20), a.view().rows(0, 20));
  other.add(r.view().rows(20, 17), a.view().rows(20, 17));
  parts.merge(other);
  transposed.add(r.view().transposed(), a.view().transposed());
  for (const auto& s : {parts, transposed}) {
    CHECK(s.count == whole.count);
    CHECK(s.approximation_zeros == whole.approximation_zeros);
    CHECK(s.exact == whole.exact);
    CHECK(s.max_abs() == whole.max_abs());
    CHECK(std::abs(s.relative_frobenius() - whole.relative_frobenius()) < 1e-14);
    CHECK(std::abs(s.cosine() - whole.cosine()) < 1e-14);
  }
}

TEST_CASE("bad input is named", "[error_statistics]") {
  error_statistics s;
  matrix<float> r(2, 2), a(2, 2);
  CHECK_THROWS_AS(s.add(r, matrix<float>(2, 3)), tersor::error);
  CHECK_THROWS_AS(s.add(std::vector<float>{1}, std::vector<float>{1, 2}), tersor::error);
  a(1, 0) = std::numeric_limits<float>::quiet_NaN();
  try {
    s.add(r, a);
    FAIL("a NaN went through");
  } catch (const tersor::error& e) {
    CHECK(e.argument() == "approximation[1, 0]");
  }
}

}  // namespace error_statistics_tests
