// tersor - tests of adapters/extract.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/extract.hpp>

#include "contract_checks.hpp"

namespace extract_tests {

using namespace tersor_test;
using tersor::adapters::extract;

matrix<float> plus(const matrix<float>& a, const matrix<double>& d) {
  matrix<float> b = a;
  for (std::size_t i = 0; i < b.values().size(); ++i) b.values()[i] += static_cast<float>(d.values()[i]);
  return b;
}

TEST_CASE("extract: an exact rank is found by each rule", "[extract]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{9, 14}, {14, 9}, {3, 3}}) {
    const index_t rank = std::min<index_t>(3, std::min(out, in));
    const auto base = random_matrix<float>(out, in, 1);
    const auto tuned = plus(base, of_rank(out, in, rank, 2));
    for (const auto& o : {extract{.rank = rank}, extract{.energy = 1 - 1e-9}, extract{.error = 1e-4}}) {
      const auto found = o(base, tuned);
      CHECK(found.state.rank() == rank);
      CHECK(found.relative_error <= 1e-4);
      CHECK(gap(found.state.effective({base, {}}).weight, tuned) <= 1e-5);
    }
  }
}

TEST_CASE("extract: energy and error are those of the cut, and the least rank meets them", "[extract]") {
  const auto base = random_matrix<float>(12, 10, 1), tuned = random_matrix<float>(12, 10, 2);
  const auto difference_of = [&](const extract& o) {
    const auto found = o(base, tuned);
    const auto got = found.state.effective({base, {}}).weight;
    double error = 0, all = 0;
    for (std::size_t i = 0; i < got.values().size(); ++i) {
      error += std::pow(static_cast<double>(got.values()[i] - tuned.values()[i]), 2);
      all += std::pow(static_cast<double>(base.values()[i] - tuned.values()[i]), 2);
    }
    CHECK(std::abs(std::sqrt(error / all) - found.relative_error) <= 1e-5);
    CHECK(std::abs(1 - error / all - found.energy) <= 1e-5);
    return found;
  };
  for (const double share : {0.3, 0.6, 0.9}) {
    const auto found = difference_of({.energy = share});
    CHECK(found.energy >= share);
    if (found.state.rank() > 1) CHECK(difference_of({.rank = found.state.rank() - 1}).energy < share);
    const auto by_error = difference_of({.error = share});
    CHECK(by_error.relative_error <= share);
    if (by_error.state.rank() > 1)
      CHECK(difference_of({.rank = by_error.state.rank() - 1}).relative_error > share);
  }
  CHECK(difference_of({.energy = 0.9, .max_rank = 2}).state.rank() == 2);
}

TEST_CASE("extract: equal weights, rounding and errors", "[extract]") {
  const auto w = random_matrix<float>(5, 6, 1);
  const auto none = extract{.energy = 0.9}(w, w);
  CHECK(none.state.rank() == 1);
  CHECK(none.energy == 1);
  CHECK(none.state.effective({w, {}}).weight == w);
  const auto half = extract{.rank = 2, .value_type = tersor::dtype::bf16}(w, random_matrix<float>(5, 6, 2));
  for (const float v : half.state.a().values()) CHECK(tersor::round_to(tersor::dtype::bf16, v) == v);
  CHECK(half.state.stored_bytes() == 2 * 2 * 11);
  CHECK_THROWS_AS(extract{}(w, w), tersor::error);
  CHECK_THROWS_AS(extract{.rank = 6}(w, w), tersor::error);
  CHECK_THROWS_AS(extract{.rank = 1}(w, matrix<float>(6, 5)), tersor::error);
  CHECK_THROWS_AS((extract{.rank = 3, .max_rank = 2}(w, w)), tersor::error);
}

}  // namespace extract_tests
