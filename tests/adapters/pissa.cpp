// tersor - tests of adapters/pissa.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/pissa.hpp>

#include "contract_checks.hpp"

namespace pissa_tests {

using namespace tersor_test;
using tersor::adapters::pissa;

TEST_CASE("pissa: the base and the adapter together are the weight", "[pissa]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{9, 6}, {6, 9}, {1, 5}, {5, 1}, {8, 8}})
    for (index_t rank = 1; rank <= std::min(out, in); rank += 2)
      for (const double alpha : {1.0, 6.0}) {
        const auto w = random_matrix(out, in, static_cast<std::uint64_t>(out + rank));
        const auto start = pissa{.rank = rank, .alpha = alpha}.init<double>(w);
        const auto together = start.state.effective({start.weight, {}}).weight;
        REQUIRE(difference(together, w) <= 1e-12);
        const auto spectrum = tersor::linalg::svd(w).s;
        const auto left = tersor::linalg::svd(start.weight).s;
        const auto k = static_cast<std::size_t>(rank);
        REQUIRE(std::abs(left[0] - (k < spectrum.size() ? spectrum[k] : 0.0)) <= 1e-12 * spectrum[0]);
        check_contract(start.state, 2, 5);
      }
}

TEST_CASE("pissa: a weight of that rank leaves nothing", "[pissa]") {
  const auto w = of_rank(12, 10, 3, 1);
  CHECK(largest(pissa{.rank = 3}.init<double>(w).weight) <= 1e-6);
  CHECK(largest(pissa{.rank = 3, .power_iterations = 2}.init<double>(w).weight) <= 1e-6);
}

TEST_CASE("pissa: factors are rounded before they are subtracted", "[pissa]") {
  const auto w = random_matrix<float>(12, 20, 3);
  for (const auto type : {tersor::dtype::bf16, tersor::dtype::f16, tersor::dtype::f32}) {
    const auto start = pissa{.rank = 4, .value_type = type}.init(w);
    for (const float v : start.state.a().values()) REQUIRE(tersor::round_to(type, v) == v);
    CHECK(gap(start.state.effective({start.weight, {}}).weight, w) <= 1e-5);
    CHECK(start.state.stored_bytes() == 4 * 32 * tersor::bits_of(type) / 8);
  }
}

TEST_CASE("pissa: errors", "[pissa]") {
  CHECK_THROWS_AS(pissa{.rank = 5}.init<double>(matrix<double>(4, 6)), tersor::error);
  CHECK_THROWS_AS(pissa{.alpha = 0}.init<double>(matrix<double>(4, 6)), tersor::error);
  matrix<double> w(4, 6);
  w(1, 2) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(pissa{.rank = 2}.init<double>(w), tersor::error);
  CHECK(largest(pissa{.rank = 2}.init<double>(matrix<double>(4, 6)).weight) == 0);
}

}  // namespace pissa_tests
