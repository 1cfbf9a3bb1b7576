// tersor - tests of linalg/assignment.hpp
// SPDX-License-Identifier: MIT
#include <tersor/linalg/assignment.hpp>

#include <algorithm>
#include <numeric>

#include "catch.hpp"
#include "oracle.hpp"

namespace assignment_tests {

using namespace tersor_test;
using tersor::index_t;
namespace linalg = tersor::linalg;
using linalg::assignment_goal;

/// The best total over all ways to choose columns.
double by_trying_all(const matrix<double>& cost, assignment_goal goal) {
  std::vector<index_t> order(static_cast<std::size_t>(cost.cols()));
  std::iota(order.begin(), order.end(), index_t{0});
  double best = 0;
  bool first = true;
  do {
    double total = 0;
    for (index_t i = 0; i < cost.rows(); ++i) total += cost(i, order[static_cast<std::size_t>(i)]);
    if (first || (goal == assignment_goal::minimum ? total < best : total > best)) best = total;
    first = false;
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
}

TEST_CASE("assignments are as good as the best of all", "[assignment]") {
  for (index_t n = 0; n <= 6; ++n)
    for (index_t m = n; m <= 6; ++m)
      for (std::uint64_t seed = 0; seed < 6; ++seed) {
        auto cost = random_matrix(n, m, seed);
        if (seed % 2)
          for (double& c : cost.values()) c = std::round(c);  // many ties
        for (auto goal : {assignment_goal::minimum, assignment_goal::maximum}) {
          const auto r = linalg::assign(cost, goal);
          REQUIRE(std::abs(r.total - by_trying_all(cost, goal)) <= 1e-12);
          auto columns = r.column;
          REQUIRE(columns.size() == static_cast<std::size_t>(n));
          std::sort(columns.begin(), columns.end());
          REQUIRE(std::adjacent_find(columns.begin(), columns.end()) == columns.end());
          double total = 0;
          for (index_t i = 0; i < n; ++i) total += cost(i, r.column[static_cast<std::size_t>(i)]);
          REQUIRE(total == r.total);
        }
      }
}

TEST_CASE("a hidden permutation is found, and ties are decided the same way each time", "[assignment]") {
  const index_t n = 150;
  tersor::random_generator g(1);
  std::vector<index_t> order(n);
  std::iota(order.begin(), order.end(), index_t{0});
  g.shuffle(std::span(order));
  matrix<double> score = random_matrix(n, n, 2);
  for (index_t i = 0; i < n; ++i) score(i, order[static_cast<std::size_t>(i)]) += 20;
  CHECK(linalg::assign(score, assignment_goal::maximum).column == order);
  CHECK(linalg::assign(score.view().transposed().transposed(), assignment_goal::maximum).column == order);
  std::vector<index_t> identity_order(n);
  std::iota(identity_order.begin(), identity_order.end(), index_t{0});
  CHECK(linalg::assign(matrix<double>(n, n, 3.0)).column == identity_order);
}

TEST_CASE("bad costs are errors", "[assignment]") {
  CHECK_THROWS_AS(linalg::assign(matrix<double>(3, 2)), tersor::error);
  matrix<double> cost(2, 2);
  cost(0, 1) = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(linalg::assign(cost), tersor::error);
}

}  // namespace assignment_tests
