// tersor - tests of adapters/olora.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/olora.hpp>

#include "contract_checks.hpp"

namespace olora_tests {

using namespace tersor_test;
using tersor::adapters::olora;

TEST_CASE("olora: B is orthonormal, and both parts together are the weight", "[olora]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{9, 6}, {6, 9}, {1, 5}, {5, 1}})
    for (index_t rank = 1; rank <= std::min(out, in); rank += 2) {
      const auto w = random_matrix(out, in, static_cast<std::uint64_t>(in + rank));
      const auto start = olora{.rank = rank, .alpha = 3}.init<double>(w);
      REQUIRE(column_defect(start.state.b()) <= 1e-6);
      REQUIRE(difference(start.state.effective({start.weight, {}}).weight, w) <= 1e-12);
      CHECK(start.state.scale() == 3.0 / static_cast<double>(rank));
      check_contract(start.state, 2, 5);
    }
}

TEST_CASE("olora: with s = 1 and full rank nothing is left", "[olora]") {
  const auto w = random_matrix(5, 8, 1);
  CHECK(largest(olora{.rank = 5, .alpha = 5}.init<double>(w).weight) <= 1e-6);
  CHECK_THROWS_AS(olora{.rank = 6}.init<double>(w), tersor::error);
  CHECK_THROWS_AS(olora{.rank = 0}.init<double>(w), tersor::error);
}

}  // namespace olora_tests
