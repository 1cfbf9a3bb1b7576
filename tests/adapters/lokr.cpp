// tersor - tests of adapters/lokr.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/lokr.hpp>

#include "contract_checks.hpp"

namespace lokr_tests {

using namespace tersor_test;
using tersor::adapters::kronecker_split;
using tersor::adapters::lokr;
using tersor::adapters::lokr_state;

TEST_CASE("lokr: splits of dimensions", "[lokr]") {
  const auto is = [](index_t d, index_t f, index_t m, index_t n) {
    return kronecker_split(d, f) == std::pair<index_t, index_t>{m, n};
  };
  CHECK(is(768, -1, 24, 32));
  CHECK(is(4096, -1, 64, 64));
  CHECK(is(11008, -1, 86, 128));
  CHECK(is(127, -1, 1, 127));
  CHECK(is(128, 32, 32, 4));  // not sorted
  CHECK(is(1, -1, 1, 1));
  for (index_t d = 1; d < 200; ++d) {
    const auto s = kronecker_split(d);
    REQUIRE((s.first * s.second == d && s.first <= s.second));
  }
  CHECK_THROWS_AS(kronecker_split(0), tersor::error);
}

TEST_CASE("lokr: by hand", "[lokr]") {
  matrix<double> w1(1, 2), w2(2, 1);
  w1(0, 0) = 2, w1(0, 1) = 3;
  w2(0, 0) = 5, w2(1, 0) = 7;
  const auto d = lokr_state<double>({.whole = w1}, {.whole = w2}, 1).delta_weight();
  CHECK((d(0, 0) == 10 && d(0, 1) == 15 && d(1, 0) == 14 && d(1, 1) == 21));
}

TEST_CASE("lokr: the contract, factored or not", "[lokr]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{12, 10}, {7, 6}, {1, 9}, {8, 1}})
    for (const index_t rank : {index_t{1}, index_t{2}, index_t{30}})
      for (const bool both : {false, true})
        for (const bool lycoris : {false, true}) {
          const lokr o{.rank = rank, .alpha = 2, .decompose_both = both, .lycoris_start = lycoris};
          auto s = o.init<double>(matrix<double>(out, in), random_generator(1));
          check_identity(s, 1);
          randomise(s, 2);
          if (!lycoris) check_contract(s, 3, 3);
        }
}

TEST_CASE("lokr: the contract of convolutions with a core", "[lokr]") {
  auto s = lokr{.rank = 1, .alpha = 2}.shape<double>(12, 8, 3, 2, true);
  REQUIRE(s.tensors().back().key == "lokr_t2");
  CHECK(s.tensors().back().shape == std::vector<index_t>{1, 1, 3, 2});
  CHECK(s.in_features() == 8 * 6);
  randomise(s, 2);
  check_contract(s, 2, 3);
  auto plain = lokr{.rank = 1, .alpha = 2}.shape<double>(12, 8, 3, 2);
  CHECK(plain.in_features() == 8 * 6);
  randomise(plain, 2);
  check_contract(plain, 2, 3);
}

TEST_CASE("lokr: errors", "[lokr]") {
  CHECK_THROWS_AS(lokr{.factor = 0}.init<double>(matrix<double>(4, 4), random_generator(1)), tersor::error);
  CHECK_THROWS_AS(lokr{.rank = 0}.init<double>(matrix<double>(4, 4), random_generator(1)), tersor::error);
  CHECK_THROWS_AS(lokr_state<double>({.a = matrix<double>(2, 1), .b = matrix<double>(2, 3)},
                                     {.whole = matrix<double>(1, 1)}, 1),
                  tersor::error);
}

}  // namespace lokr_tests
