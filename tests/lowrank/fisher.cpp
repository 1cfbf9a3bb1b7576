// tersor - tests of lowrank/fisher.hpp
// SPDX-License-Identifier: MIT
#include <tersor/lowrank/fisher.hpp>

#include "../linalg/oracle.hpp"
#include "catch.hpp"

namespace fisher_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::lowrank::fisher_information;

TEST_CASE("fisher: by hand", "[fisher]") {
  matrix<float> first(2, 3), second(1, 3);
  const float values[] = {1, -2, 0, 3, 2, 0};
  std::ranges::copy(values, first.data());
  second(0, 0) = 1, second(0, 1) = -4;
  fisher_information f(3);
  f.add(first);  // means of squares 5, 4, 0
  CHECK(std::abs(f.value()[0] - std::sqrt(5.0)) < 1e-15);
  f.add(second);  // 1, 16, 0: mean over both batches 3, 10, 0
  CHECK(f.batches() == 2);
  const auto v = f.value();
  CHECK(std::abs(v[0] - std::sqrt(3.0)) < 1e-15);
  CHECK(std::abs(v[1] - std::sqrt(10.0)) < 1e-15);
  CHECK(v[2] == 0);
}

TEST_CASE("fisher: neither the order of outputs, nor signs, nor the layout matter", "[fisher]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const auto& [out, in] : {std::pair<index_t, index_t>{1, 1}, {1, 9}, {9, 1}, {7, 12}}) {
      const auto g = random_matrix<float>(out, in, seed);
      matrix<float> other(out, in);
      for (index_t i = 0; i < out; ++i)
        for (index_t j = 0; j < in; ++j) other(out - 1 - i, j) = -g(i, j);
      const auto columns = tersor::copy_as<double>(g.view().transposed());
      fisher_information a(in), b(in), c(in);
      a.add(g);
      b.add(other);
      c.add(columns.view().transposed());
      for (std::size_t j = 0; j < a.value().size(); ++j) {
        CHECK(std::abs(a.value()[j] - b.value()[j]) <= 1e-12 * a.value()[j]);
        CHECK(a.value()[j] == c.value()[j]);
      }
    }
}

TEST_CASE("fisher: errors", "[fisher]") {
  CHECK_THROWS_AS(fisher_information(0), tersor::error);
  fisher_information f(3);
  CHECK_THROWS_AS(f.value(), tersor::error);
  CHECK_THROWS_AS(f.add(matrix<float>(2, 4)), tersor::error);
  CHECK_THROWS_AS(f.add(matrix<float>(0, 3)), tersor::error);
  matrix<float> g(2, 3);
  g(1, 2) = std::numeric_limits<float>::quiet_NaN();
  try {
    f.add(g);
    FAIL("no error");
  } catch (const tersor::error& e) {
    CHECK(e.argument() == "gradient[1, 2]");
  }
  CHECK(f.batches() == 0);
}

}  // namespace fisher_tests
