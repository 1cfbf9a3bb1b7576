// tersor - tests of adapters/square_inverse.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/square_inverse.hpp>

#include "contract_checks.hpp"

namespace square_inverse_tests {

using namespace tersor_test;
using tersor::adapters::detail::square_inverse;

TEST_CASE("square inverse: products with the matrix are the identity", "[square_inverse]") {
  for (const index_t n : {1, 2, 5, 33, 64}) {
    const auto m = random_matrix(n, n, static_cast<std::uint64_t>(n));
    CHECK(difference(times(m, square_inverse(m, "m")), identity(n)) <= 1e-9);
  }
  CHECK_THROWS_AS(square_inverse(matrix<double>(3, 3), "m"), tersor::error);
  CHECK_THROWS_AS(square_inverse(of_rank(5, 5, 4, 1), "m"), tersor::error);
}

}  // namespace square_inverse_tests
