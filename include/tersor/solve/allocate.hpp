// tersor - distributing a budget: shares, thresholds, and one choice for each item
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::nth_element, std::sort
#include <cmath>      // std::floor
#include <cstdint>    // std::uint8_t
#include <limits>     // std::numeric_limits
#include <numeric>    // std::iota
#include <span>       // std::span
#include <tuple>      // std::tie
#include <vector>     // std::vector

#include <tersor/core/error.hpp>
#include <tersor/core/view.hpp>

namespace tersor::solve {

/// Splits `total` into whole numbers in proportion to `weights`, none above its capacity: parts that are full
/// leave the rest to the others, fractions go to the largest first, of equal ones to the lowest index. All
/// weights zero (of what is not full): equal shares. The sum is exactly `total`. Error if the capacities do
/// not hold it. Cost O(n²) at worst.
inline std::vector<index_t> largest_remainder(index_t total, std::span<const double> weights,
                                              std::span<const index_t> capacities) {
  const std::size_t n = weights.size();
  require(capacities.size() == n, "allocate: capacities", capacities.size(), n);
  index_t room = 0;
  for (std::size_t i = 0; i < n; ++i) {
    require(weights[i] >= 0 && std::isfinite(weights[i]), concat("allocate: weights[", i, "]"), weights[i],
            "a finite number >= 0");
    require(capacities[i] >= 0, concat("allocate: capacities[", i, "]"), capacities[i], "at least 0");
    room += capacities[i];
  }
  require(total >= 0 && total <= room, "allocate: total", total, "0 .. ", room,
          ", the sum of the capacities");
  std::vector<index_t> part(n);
  std::vector<std::uint8_t> full(n);
  index_t rest = total;
  std::vector<double> share(n);
  for (;;) {  // shares of those with room; whoever overflows is filled up and leaves
    double sum = 0;
    std::size_t open = 0;
    for (std::size_t i = 0; i < n; ++i)
      if (full[i] == 0) {
        sum += weights[i];
        ++open;
      }
    bool changed = false;
    const index_t before = rest;
    for (std::size_t i = 0; i < n; ++i) {
      if (full[i] != 0) continue;
      share[i] = static_cast<double>(before) * (sum > 0 ? weights[i] / sum : 1.0 / static_cast<double>(open));
      if (share[i] >= static_cast<double>(capacities[i])) {
        part[i] = capacities[i];
        full[i] = 1;
        rest -= capacities[i];
        changed = true;
      }
    }
    if (!changed || open == 0) break;
  }
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < n; ++i) {
    if (full[i] != 0) continue;
    part[i] = static_cast<index_t>(std::floor(share[i]));
    rest -= part[i];
    order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return share[a] - std::floor(share[a]) > share[b] - std::floor(share[b]);
  });
  while (rest > 0)
    for (const std::size_t i : order) {
      if (rest == 0) break;
      if (part[i] == capacities[i]) continue;
      ++part[i];
      --rest;
    }
  return part;
}

/// kept[i] = 1 where the score is above the k-th smallest of all; k <= 0 keeps everything. Scores that equal
/// the threshold go together, as in AdaLoRA's official code, so more than k may go. Error on NaN, or if k is
/// above the number of scores. Cost O(n).
inline std::vector<std::uint8_t> above_threshold(std::span<const double> scores, index_t k) {
  const auto n = static_cast<index_t>(scores.size());
  require(k <= n, "above_threshold: k", k, "at most ", n);
  std::vector<std::uint8_t> kept(scores.size(), 1);
  for (std::size_t i = 0; i < scores.size(); ++i)
    require(!std::isnan(scores[i]), concat("above_threshold: scores[", i, "]"), scores[i], "a number");
  if (k <= 0) return kept;
  std::vector<double> sorted(scores.begin(), scores.end());
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end());
  const double threshold = sorted[static_cast<std::size_t>(k - 1)];
  for (std::size_t i = 0; i < scores.size(); ++i) kept[i] = scores[i] > threshold;
  return kept;
}

/// kept[i] = 1 at exactly `count` of the largest scores; of equal ones the lowest index goes first. Error on
/// NaN.
inline std::vector<std::uint8_t> keep_highest(std::span<const double> scores, index_t count) {
  const auto n = static_cast<index_t>(scores.size());
  require(count >= 0 && count <= n, "keep_highest: count", count, "0 .. ", n);
  std::vector<std::uint8_t> kept = above_threshold(scores, n - count);
  auto missing = count - static_cast<index_t>(std::count(kept.begin(), kept.end(), std::uint8_t{1}));
  if (missing == 0) return kept;
  double threshold = -std::numeric_limits<double>::infinity();  // the largest score that went
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (kept[i] == 0) threshold = std::max(threshold, scores[i]);
  for (std::size_t i = scores.size(); i-- > 0 && missing > 0;)
    if (kept[i] == 0 && scores[i] == threshold) {
      kept[i] = 1;
      --missing;
    }
  return kept;
}

/// One way to store an item.
struct knapsack_choice {
  double size;
  double cost;
};

/// The choice of each item with its total size and cost, and a bound that no choice can go below.
struct knapsack_result {
  std::vector<std::size_t> choice;
  double size = 0;
  double cost = 0;
  double bound = 0;  ///< the optimum of the linear relaxation
};

/// One choice for each item with the least total cost whose sizes sum to at most the budget (LQ-LoRA,
/// arXiv:2311.12023, and every assignment of bit widths). Each item's lower convex hull of (size, cost) is
/// walked in order of the steepest slope over all items, the optimum of the linear relaxation with at most
/// one item in between; then, up to `exact_items` items, a dynamic program on sizes in units of budget /
/// `grid`, rounded up so that the budget holds, improves on it where it can. Ties go to the lower item, then
/// to the smaller choice. Error if an item has no choice, a number is not finite, or the smallest choices
/// exceed the budget. Cost O(n c log(n c)), and n c grid for the dynamic program.
inline knapsack_result choose_under_budget(std::span<const std::vector<knapsack_choice>> items, double budget,
                                           std::size_t exact_items = 512, index_t grid = 4096) {
  require(grid >= 1, "knapsack: grid", grid, "at least 1");
  struct move {
    double slope;  // cost saved for each unit of size
    std::size_t item, to;
  };
  knapsack_result result;
  std::vector<move> moves;
  for (std::size_t i = 0; i < items.size(); ++i) {
    require(!items[i].empty(), concat("knapsack: choices of item ", i), 0, "at least 1");
    for (const auto& c : items[i])
      require(std::isfinite(c.size) && std::isfinite(c.cost) && c.size >= 0, concat("knapsack: item ", i),
              concat("size ", c.size, ", cost ", c.cost), "finite numbers, size >= 0");
    std::vector<std::size_t> order(items[i].size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto& c = items[i];
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return c[a].size != c[b].size ? c[a].size < c[b].size : c[a].cost < c[b].cost;
    });
    std::vector<std::size_t> hull;
    for (const std::size_t k : order) {
      if (!hull.empty() && c[k].cost >= c[hull.back()].cost) continue;  // larger and no better
      const auto slope = [&](std::size_t a, std::size_t b) {
        return (c[a].cost - c[b].cost) / (c[b].size - c[a].size);
      };
      while (hull.size() > 1 && slope(hull[hull.size() - 2], hull.back()) <= slope(hull.back(), k))
        hull.pop_back();
      hull.push_back(k);
    }
    for (std::size_t h = 1; h < hull.size(); ++h)
      moves.push_back(
          {(c[hull[h - 1]].cost - c[hull[h]].cost) / (c[hull[h]].size - c[hull[h - 1]].size), i, hull[h]});
    result.choice.push_back(hull.front());
    result.size += c[hull.front()].size;
    result.cost += c[hull.front()].cost;
  }
  require(result.size <= budget, "knapsack: budget", budget, "at least ", result.size,
          ", the sum of the smallest choices");
  std::stable_sort(moves.begin(), moves.end(),
                   [](const move& a, const move& b) { return a.slope > b.slope; });
  result.bound = result.cost;
  double relaxed = budget - result.size;
  std::vector<std::uint8_t> stopped(items.size());
  for (const move& m : moves) {
    const auto &from = items[m.item][result.choice[m.item]], &to = items[m.item][m.to];
    const double more = to.size - from.size, saved = from.cost - to.cost;
    if (relaxed >= 0) {
      const double part = more <= relaxed ? 1.0 : relaxed / more;
      result.bound -= part * saved;
      relaxed = part < 1 ? -1 : relaxed - more;
    }
    if (stopped[m.item] != 0) continue;
    if (result.size + more > budget) {
      stopped[m.item] = 1;
      continue;
    }
    result.choice[m.item] = m.to;
    result.size += more;
    result.cost -= saved;
  }
  const auto totals = [&](const std::vector<std::size_t>& choice) {
    double size = 0, cost = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
      size += items[i][choice[i]].size;
      cost += items[i][choice[i]].cost;
    }
    return std::pair{size, cost};
  };
  if (items.size() <= exact_items && budget > 0 && !items.empty()) {
    const double unit = budget / static_cast<double>(grid);
    const auto width = static_cast<std::size_t>(grid) + 1;
    constexpr double never = std::numeric_limits<double>::infinity();
    std::vector<double> best(width, 0.0), next(width);
    std::vector<std::vector<std::uint32_t>> picked(items.size(), std::vector<std::uint32_t>(width));
    for (std::size_t i = 0; i < items.size(); ++i) {
      std::fill(next.begin(), next.end(), never);
      for (std::size_t k = 0; k < items[i].size(); ++k) {
        const double units = std::ceil(items[i][k].size / unit * (1 - 1e-12));
        if (units > static_cast<double>(grid)) continue;
        const auto u = static_cast<std::size_t>(units);
        for (std::size_t b = u; b < width; ++b)
          if (best[b - u] + items[i][k].cost < next[b]) {
            next[b] = best[b - u] + items[i][k].cost;
            picked[i][b] = static_cast<std::uint32_t>(k);
          }
      }
      best.swap(next);
    }
    if (best.back() < result.cost) {
      std::vector<std::size_t> choice(items.size());
      std::size_t b = width - 1;
      for (std::size_t i = items.size(); i-- > 0;) {
        choice[i] = picked[i][b];
        b -= static_cast<std::size_t>(std::ceil(items[i][choice[i]].size / unit * (1 - 1e-12)));
      }
      if (totals(choice).first <= budget) result.choice = std::move(choice);
    }
  }
  std::tie(result.size, result.cost) = totals(result.choice);
  return result;
}

}  // namespace tersor::solve
