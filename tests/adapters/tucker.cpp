// tersor - tests of adapters/tucker.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/tucker.hpp>

#include "contract_checks.hpp"

namespace tucker_tests {

using namespace tersor_test;

TEST_CASE("tucker: against its definition", "[tucker]") {
  const index_t r = 2, out = 3, channels = 4, places = 6;
  tersor::adapters::tucker<double> t{random_matrix(r, r * places, 1), random_matrix(r, out, 2),
                                     random_matrix(r, channels, 3)};
  const auto m = t.dense(places, {});
  for (index_t o = 0; o < out; ++o)
    for (index_t i = 0; i < channels; ++i)
      for (index_t k = 0; k < places; ++k) {
        double sum = 0;
        for (index_t p = 0; p < r; ++p)
          for (index_t q = 0; q < r; ++q) sum += t.a(p, o) * t.core(p, q * places + k) * t.b(q, i);
        REQUIRE(std::abs(sum - m(o, i * places + k)) <= 1e-12);
      }
  CHECK_THROWS_AS(t.check(out, channels, places + 1, "t"), tersor::error);
  CHECK_THROWS_AS(t.check(out + 1, channels, places, "t"), tersor::error);
}

}  // namespace tucker_tests
