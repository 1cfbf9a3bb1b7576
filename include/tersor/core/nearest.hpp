// tersor - the nearest of a set of names, for "did you mean" in errors
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>    // std::min, std::max
#include <cstddef>      // std::size_t
#include <string>       // std::string
#include <string_view>  // std::string_view
#include <utility>      // std::swap
#include <vector>       // std::vector

namespace tersor {

/// Edit distance in bytes: the least number of insertions, deletions, replacements and swaps of neighbours
/// that turn `a` into `b`, no place being edited twice, or `limit` as soon as it is certain to be at least
/// that. Cost |a|·|b|.
inline std::size_t edit_distance(std::string_view a, std::string_view b,
                                 std::size_t limit = static_cast<std::size_t>(-1)) {
  const std::size_t difference = a.size() > b.size() ? a.size() - b.size() : b.size() - a.size();
  if (difference >= limit) return limit;
  std::vector<std::size_t> before(b.size() + 1), row(b.size() + 1), next(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    next[0] = i + 1;
    std::size_t least = next[0];
    for (std::size_t j = 0; j < b.size(); ++j) {
      next[j + 1] = std::min({row[j + 1] + 1, next[j] + 1, row[j] + (a[i] == b[j] ? 0U : 1U)});
      if (i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j])
        next[j + 1] = std::min(next[j + 1], before[j - 1] + 1);
      least = std::min(least, next[j + 1]);
    }
    if (least >= limit) return limit;
    std::swap(before, row);
    std::swap(row, next);
  }
  return std::min(row[b.size()], limit);
}

/// The name of `names` (anything iterable whose elements convert to std::string_view) with the least edit
/// distance to `wanted`; the first of several. "" if none is within a third of the length of `wanted` (at
/// least one edit).
template <class Names>
std::string nearest_name(std::string_view wanted, const Names& names) {
  std::size_t best = std::max<std::size_t>(1, wanted.size() / 3) + 1;
  std::string found;
  for (const auto& candidate : names) {
    const std::string_view name(candidate);
    const std::size_t distance = edit_distance(wanted, name, best);
    if (distance < best) {
      best = distance;
      found = std::string(name);
    }
  }
  return found;
}

/// ` (did you mean "x"?)` for the nearest name, or "" if nothing is close: to be appended to an error.
template <class Names>
std::string suggestion(std::string_view wanted, const Names& names) {
  const std::string name = nearest_name(wanted, names);
  return name.empty() ? name : " (did you mean \"" + name + "\"?)";
}

}  // namespace tersor
