// tersor - tests of adapters/lamda_pp.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/lamda_pp.hpp>
#include <tersor/core/random.hpp>

#include "catch.hpp"

namespace lamda_pp_tests {

using tersor::index_t;
using tersor::adapters::lamda_pp;
using tersor::adapters::rank_rule;
using spectra = std::vector<std::vector<double>>;

spectra random_spectra(std::size_t layers, std::uint64_t seed) {
  tersor::random_generator g(seed);
  spectra all;
  for (std::size_t l = 0; l < layers; ++l) {
    const double decay = 0.8 + 0.2 * g.uniform();
    std::vector<double> s{1};
    for (int i = 1; i < 40; ++i) s.push_back(s.back() * decay);
    all.push_back(s);
  }
  return all;
}

TEST_CASE("lamda_pp: flat spectra get the large ranks", "[lamda_pp]") {
  const spectra s{{4, 0, 0, 0, 0, 0}, {1, 1, 1, 1, 1, 1}, {2, 1, 1, 1, 0, 0}};
  using list = std::vector<index_t>;
  CHECK(lamda_pp{.min_rank = 1, .max_rank = 5}.ranks(s) == list{1, 5, 3});
  CHECK(std::abs(lamda_pp::energy(s[2], 1) - 4.0 / 7) <= 1e-12);
  CHECK(lamda_pp::energy(std::vector<double>{0, 0}, 1) == 1);
}

TEST_CASE("lamda_pp: equal spectra get equal ranks, the sum is within the budget", "[lamda_pp]") {
  for (const auto rule : {rank_rule::groups, rank_rule::threshold})
    for (std::size_t layers : {1U, 2U, 3U, 7U, 24U})
      for (index_t levels = 1; levels <= 5; ++levels) {
        const lamda_pp o{.min_rank = 3, .max_rank = 20, .levels = levels, .rule = rule};
        const auto same = o.ranks(spectra(layers, random_spectra(1, 1)[0]));
        for (const index_t r : same) REQUIRE(r == same[0]);
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
          const auto ranks = o.ranks(random_spectra(layers, seed));
          index_t sum = 0;
          for (const index_t r : ranks) {
            REQUIRE((r >= 3 && r <= 20));
            sum += r;
          }
          REQUIRE(sum <= static_cast<index_t>(layers) * 23 / 2);
        }
      }
}

TEST_CASE("lamda_pp: ranks above a layer's number of singular values, and errors", "[lamda_pp]") {
  const auto ranks = lamda_pp{.min_rank = 2, .max_rank = 8}.ranks(spectra{{1, 1, 1}, {5, 0, 0}, {3, 1, 0}});
  for (const index_t r : ranks) CHECK(r <= 3);
  CHECK(lamda_pp{}.ranks(spectra{}).empty());
  CHECK_THROWS_AS(lamda_pp{}.ranks(spectra{{}}), tersor::error);
  CHECK_THROWS_AS((lamda_pp{.min_rank = 5, .max_rank = 4}.validate()), tersor::error);
}

}  // namespace lamda_pp_tests
