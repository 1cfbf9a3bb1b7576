// tersor - tests of solve/allocate.hpp
// SPDX-License-Identifier: MIT
#include <tersor/core/random.hpp>
#include <tersor/solve/allocate.hpp>

#include "catch.hpp"

namespace allocate_tests {

using tersor::index_t;
using tersor::solve::above_threshold;
using tersor::solve::choose_under_budget;
using tersor::solve::keep_highest;
using tersor::solve::knapsack_choice;
using tersor::solve::largest_remainder;

std::vector<index_t> shares(index_t total, std::vector<double> w, std::vector<index_t> c) {
  return largest_remainder(total, w, c);
}

TEST_CASE("allocate: largest remainder by hand", "[allocate]") {
  using list = std::vector<index_t>;
  CHECK(shares(10, {1, 1, 2}, {100, 100, 100}) == list{3, 2, 5});  // 2.5, 2.5, 5: the lower index first
  CHECK(shares(10, {1, 1, 2}, {100, 100, 3}) == list{4, 3, 3});
  CHECK(shares(3, {0, 0, 0}, {9, 9, 9}) == list{1, 1, 1});
  CHECK(shares(5, {1, 0, 0}, {2, 9, 9}) == list{2, 2, 1});  // what is left of weight zero shares equally
  CHECK(shares(0, {1, 2}, {3, 3}) == list{0, 0});
  CHECK(shares(0, {}, {}) == list{});
}

TEST_CASE("allocate: shares sum to the total within the capacities, and follow the weights", "[allocate]") {
  tersor::random_generator g(1);
  for (int run = 0; run < 300; ++run) {
    const auto n = static_cast<std::size_t>(1 + g.uniform_index(9));
    std::vector<double> w(n);
    std::vector<index_t> c(n);
    index_t room = 0;
    for (std::size_t i = 0; i < n; ++i) {
      w[i] = g.uniform() < 0.2 ? 0 : g.uniform();
      c[i] = static_cast<index_t>(g.uniform_index(40));
      room += c[i];
    }
    const auto total = static_cast<index_t>(g.uniform_index(static_cast<std::uint64_t>(room) + 1));
    const auto part = largest_remainder(total, w, c);
    index_t sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
      REQUIRE((part[i] >= 0 && part[i] <= c[i]));
      sum += part[i];
      for (std::size_t j = 0; j < n; ++j)
        if (w[i] >= w[j] && part[i] < c[i]) REQUIRE(part[i] >= part[j] - 1);
    }
    REQUIRE(sum == total);
  }
  CHECK_THROWS_AS(shares(7, {1, 1}, {3, 3}), tersor::error);
  CHECK_THROWS_AS(shares(1, {-1, 1}, {3, 3}), tersor::error);
  CHECK_THROWS_AS(shares(1, {1}, {3, 3}), tersor::error);
}

TEST_CASE("allocate: thresholds with and without ties", "[allocate]") {
  using list = std::vector<std::uint8_t>;
  const std::vector<double> s{3, 1, 2, 1, 5};
  CHECK(above_threshold(s, 0) == list{1, 1, 1, 1, 1});
  CHECK(above_threshold(s, 1) == list{1, 0, 1, 0, 1});  // equal scores go together
  CHECK(above_threshold(s, 3) == list{1, 0, 0, 0, 1});
  CHECK(above_threshold(s, 5) == list{0, 0, 0, 0, 0});
  CHECK(keep_highest(s, 4) == list{1, 0, 1, 1, 1});  // exact: the lowest index goes first
  CHECK(keep_highest(s, 0) == list{0, 0, 0, 0, 0});
  CHECK(keep_highest(s, 5) == list{1, 1, 1, 1, 1});
  const std::vector<double> equal(6, 2.0);
  CHECK(keep_highest(equal, 2) == list{0, 0, 0, 0, 1, 1});
  CHECK_THROWS_AS(above_threshold(s, 6), tersor::error);
  CHECK_THROWS_AS(keep_highest(s, -1), tersor::error);
  const std::vector<double> nan{1, std::numeric_limits<double>::quiet_NaN()};
  CHECK_THROWS_AS(above_threshold(nan, 1), tersor::error);
}

/// The least cost over all combinations.
double brute_force(const std::vector<std::vector<knapsack_choice>>& items, double budget) {
  double best = std::numeric_limits<double>::infinity();
  std::vector<std::size_t> pick(items.size());
  for (;;) {
    double size = 0, cost = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
      size += items[i][pick[i]].size;
      cost += items[i][pick[i]].cost;
    }
    if (size <= budget) best = std::min(best, cost);
    std::size_t i = 0;
    while (i < items.size() && ++pick[i] == items[i].size()) pick[i++] = 0;
    if (i == items.size()) return best;
  }
}

TEST_CASE("allocate: one choice each under a budget equals brute force", "[allocate]") {
  tersor::random_generator g(2);
  for (int run = 0; run < 200; ++run) {
    std::vector<std::vector<knapsack_choice>> items(4, std::vector<knapsack_choice>(5));
    double smallest = 0, largest = 0;
    for (auto& item : items) {
      double least = 1e9, most = 0;
      for (auto& c : item) {  // whole sizes: exact in the grid of the dynamic program
        c = {static_cast<double>(1 + g.uniform_index(20)), g.uniform()};
        least = std::min(least, c.size);
        most = std::max(most, c.size);
      }
      smallest += least;
      largest += most;
    }
    const double budget = std::floor(smallest + g.uniform() * (largest - smallest));
    const auto r = choose_under_budget(items, budget, 512, static_cast<index_t>(budget));
    REQUIRE(r.size <= budget);
    REQUIRE(std::abs(r.cost - brute_force(items, budget)) <= 1e-12);
    REQUIRE(r.bound <= r.cost + 1e-12);
    // without the dynamic program: within the budget, above the bound, off by less than one item's spread
    const auto greedy = choose_under_budget(items, budget, 0);
    REQUIRE(greedy.size <= budget);
    REQUIRE(greedy.cost >= r.cost - 1e-12);
    REQUIRE(greedy.cost <= greedy.bound + 1.0);
    // all of the largest: the cheapest everywhere
    const auto rich = choose_under_budget(items, largest);
    double cheapest = 0;
    for (const auto& item : items)
      cheapest += std::ranges::min_element(item, {}, &knapsack_choice::cost)->cost;
    REQUIRE(std::abs(rich.cost - cheapest) <= 1e-12);
  }
}

TEST_CASE("allocate: budgets that fit nothing, ties and errors", "[allocate]") {
  const std::vector<std::vector<knapsack_choice>> items{{{2, 5}, {4, 1}}, {{2, 5}, {4, 1}}};
  CHECK(choose_under_budget(items, 6).choice == std::vector<std::size_t>{1, 0});  // the lower item first
  CHECK(choose_under_budget(items, 4).choice == std::vector<std::size_t>{0, 0});
  CHECK(choose_under_budget(items, 5).bound == 8);
  CHECK_THROWS_AS(choose_under_budget(items, 3.9), tersor::error);
  CHECK_THROWS_AS(choose_under_budget(std::vector<std::vector<knapsack_choice>>{{}}, 3), tersor::error);
  CHECK_THROWS_AS(choose_under_budget(std::vector<std::vector<knapsack_choice>>{{{-1, 0}}}, 3),
                  tersor::error);
  CHECK(choose_under_budget({}, 0).choice.empty());
  // a size that the grid does not hold exactly never exceeds the budget
  const std::vector<std::vector<knapsack_choice>> odd{{{0.1, 5}, {0.3, 1}}, {{0.1, 5}, {0.7, 0}}};
  const auto r = choose_under_budget(odd, 0.8 + 1e-15, 512, 7);
  CHECK(r.size <= 0.8 + 1e-15);
}

}  // namespace allocate_tests
