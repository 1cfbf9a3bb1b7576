// tersor - rows of unequal length dealt to sixteen lanes in nearly equal numbers
// SPDX-License-Identifier: MIT
#pragma once

// No paper: sliced ELLPACK pads the rows of a slice to the longest; here the lanes of short rows help.

#include <algorithm>  // std::max_element
#include <array>      // std::array
#include <cstdint>    // std::uint32_t

#include <tersor/core/view.hpp>

namespace tersor::kernel {

/// Who takes the entries of sixteen rows: of row r the first own[r] lane r, those behind them the lanes l
/// with helped[l] = r, each end[l] - own[l] of them, in the order of lanes. A lane helps one row at most,
/// itself being none.
struct deal {
  std::array<std::uint32_t, 16> own{}, end{};
  std::array<std::uint8_t, 16> helped{};  ///< the lane's own row where it helps none

  std::uint32_t steps() const { return *std::max_element(end.begin(), end.end()); }
  /// Steps at the beginning in which every lane has an entry of its own row.
  std::uint32_t even() const { return *std::min_element(own.begin(), own.end()); }
};

namespace detail {

/// A deal in at most `steps` steps; false if none was found. Long rows come first; each takes the lane that
/// has just enough room for the rest of it, else the one that has most.
inline bool deal_within(const std::array<std::uint32_t, 16>& lengths, std::uint32_t steps, deal& out) {
  out = {};
  std::array<std::uint8_t, 16> order{};
  for (std::size_t l = 0; l < 16; ++l) {
    order[l] = out.helped[l] = static_cast<std::uint8_t>(l);
    out.own[l] = out.end[l] = std::min(lengths[l], steps);
  }
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return lengths[a] > lengths[b]; });
  for (const auto row : order)
    for (std::uint32_t rest = lengths[row] - out.own[row]; rest > 0;) {
      std::size_t best = 16;
      for (std::size_t l = 0; l < 16; ++l) {
        if (out.end[l] >= steps || out.helped[l] != l) continue;
        if (best == 16) {
          best = l;
          continue;
        }
        const std::uint32_t room = steps - out.end[l], most = steps - out.end[best];
        if (most < rest ? room > most : room >= rest && room < most) best = l;
      }
      if (best == 16) return false;
      const std::uint32_t n = std::min(rest, steps - out.end[best]);
      out.helped[best] = row;
      out.end[best] += n;
      rest -= n;
    }
  return true;
}

}  // namespace detail

/// Rows of these lengths, in few steps: at least one sixteenth of their sum, at most the longest. Their sum
/// is below 2^31, so that there are fewer than 2^28 steps.
inline deal deal_rows(const std::array<std::uint32_t, 16>& lengths) {
  std::uint64_t sum = 0;
  for (const auto n : lengths) sum += n;
  auto low = static_cast<std::uint32_t>((sum + 15) / 16);
  std::uint32_t high = *std::max_element(lengths.begin(), lengths.end());
  deal best, tried;
  detail::deal_within(lengths, high, best);
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    if (detail::deal_within(lengths, middle, tried)) {
      best = tried;
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return best;
}

}  // namespace tersor::kernel
