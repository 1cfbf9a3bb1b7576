// tersor - exact linear assignment
// SPDX-License-Identifier: MIT
#pragma once

#include <limits>       // std::numeric_limits
#include <type_traits>  // std::type_identity_t
#include <utility>      // std::move
#include <vector>       // std::vector

#include <tersor/core/matrix.hpp>

namespace tersor::linalg {

enum class assignment_goal { minimum, maximum };

struct assignment_result {
  std::vector<index_t> column;  ///< [n], the column of each row; no column twice
  double total = 0;             ///< sum of the assigned costs
};

/// Gives each row of cost [n, m], n <= m, a column of its own such that the sum of the assigned entries is
/// minimal (or maximal). Shortest augmenting paths with potentials (Hungarian method, Jonker and Volgenant).
/// Of equally good columns a search step takes the first, so the result is deterministic. Errors: more rows
/// than columns, NaN or infinity. Cost O(n² m), memory O(n + m).
template <std::same_as<double> T = double>
assignment_result assign(std::type_identity_t<matrix_view<const T>> cost,
                         assignment_goal goal = assignment_goal::minimum) {
  const index_t n = cost.rows(), m = cost.cols();
  require(n <= m, "assign: cost", concat(n, " x ", m), "no more rows than columns");
  require_finite(cost, "assign: cost");
  const T sign = goal == assignment_goal::minimum ? T(1) : T(-1);
  constexpr index_t none = -1;
  const auto rows = static_cast<std::size_t>(n), columns = static_cast<std::size_t>(m);
  std::vector<T> row_potential(rows), column_potential(columns), distance(columns);
  std::vector<index_t> owner(columns, none),
      previous(columns);  // row of a column; column before it on the path
  std::vector<bool> done(columns);
  for (index_t start = 0; start < n; ++start) {
    // Dijkstra over reduced costs from row `start` to the nearest free column.
    std::fill(distance.begin(), distance.end(), std::numeric_limits<T>::infinity());
    std::fill(done.begin(), done.end(), false);
    std::vector<index_t> path;  // columns in the order in which they were reached
    index_t row = start, last = none;
    T reached = 0;
    for (;;) {
      index_t nearest = none;
      for (index_t j = 0; j < m; ++j) {
        const auto c = static_cast<std::size_t>(j);
        if (done[c]) continue;
        const T through = reached + (sign * cost(row, j) - row_potential[static_cast<std::size_t>(row)] -
                                     column_potential[c]);
        if (through < distance[c]) {
          distance[c] = through;
          previous[c] = last;
        }
        if (nearest == none || distance[c] < distance[static_cast<std::size_t>(nearest)]) nearest = j;
      }
      const auto c = static_cast<std::size_t>(nearest);
      reached = distance[c];
      done[c] = true;
      last = nearest;
      if (owner[c] == none) break;
      path.push_back(nearest);
      row = owner[c];
    }
    row_potential[static_cast<std::size_t>(start)] += reached;
    for (index_t j : path) {
      const T slack = reached - distance[static_cast<std::size_t>(j)];
      row_potential[static_cast<std::size_t>(owner[static_cast<std::size_t>(j)])] += slack;
      column_potential[static_cast<std::size_t>(j)] -= slack;
    }
    for (index_t j = last; j != none;) {  // every column on the path hands its row on
      const index_t before = previous[static_cast<std::size_t>(j)];
      owner[static_cast<std::size_t>(j)] = before == none ? start : owner[static_cast<std::size_t>(before)];
      j = before;
    }
  }
  assignment_result result{std::vector<index_t>(rows, none), 0};
  for (index_t j = 0; j < m; ++j)
    if (const index_t i = owner[static_cast<std::size_t>(j)]; i != none)
      result.column[static_cast<std::size_t>(i)] = j;
  for (index_t i = 0; i < n; ++i) result.total += cost(i, result.column[static_cast<std::size_t>(i)]);
  return result;
}

}  // namespace tersor::linalg
