// tersor - tables of levels: code books of single values, and the tables that formats share
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::sort, std::lower_bound
#include <cmath>      // std::erfc, std::exp, std::pow
#include <cstdint>    // std::uint8_t
#include <numeric>    // std::iota
#include <vector>     // std::vector

#include <tersor/core/error.hpp>

namespace tersor {

/// Up to 256 levels, each with a code, in any order. A value gets the code of the nearest level; halfway
/// between two it gets the lower one.
class level_table {
 public:
  level_table() = default;
  /// @param values the level of each code, finite; of equal levels the first code is used.
  explicit level_table(std::vector<float> values) : values_(std::move(values)) {
    require(!values_.empty() && values_.size() <= 256, "level_table: levels", values_.size(), "1 .. 256");
    for (std::size_t i = 0; i < values_.size(); ++i)
      require(std::isfinite(values_[i]), concat("level_table: levels[", i, "]"), values_[i],
              "a finite number");
    order_.resize(values_.size());
    std::iota(order_.begin(), order_.end(), std::uint8_t{0});
    std::stable_sort(order_.begin(), order_.end(),
                     [&](std::uint8_t a, std::uint8_t b) { return values_[a] < values_[b]; });
    order_.erase(std::unique(order_.begin(), order_.end(),
                             [&](std::uint8_t a, std::uint8_t b) { return values_[a] == values_[b]; }),
                 order_.end());
    for (std::size_t i = 0; i + 1 < order_.size(); ++i)
      thresholds_.push_back(static_cast<float>(
          (static_cast<double>(values_[order_[i]]) + static_cast<double>(values_[order_[i + 1]])) / 2));
  }

  /// [codes], the level of each.
  const std::vector<float>& values() const { return values_; }
  std::size_t size() const { return values_.size(); }
  float operator[](std::uint8_t code) const { return values_[code]; }
  /// Beyond the first or last level: its code. NaN: that of the lowest level.
  std::uint8_t code(float x) const {
    const auto above = std::lower_bound(thresholds_.begin(), thresholds_.end(), x);
    return order_[static_cast<std::size_t>(above - thresholds_.begin())];
  }

 private:
  std::vector<float> values_, thresholds_;
  std::vector<std::uint8_t> order_;  // codes by ascending level
};

/// x with Φ(x) = p of the standard normal distribution, 0.5 <= p < 1, to a few units in the last place.
inline double normal_quantile(double p) {
  require(p >= 0.5 && p < 1, "normal_quantile: p", p, "0.5 to 1, without 1");
  double x = 0;
  for (int i = 0; i < 100; ++i) {  // Newton from the left of a concave function: monotone
    const double excess = 1 - p - std::erfc(x / std::sqrt(2.0)) / 2;
    const double step = excess / (std::exp(-x * x / 2) / std::sqrt(2 * 3.14159265358979323846));
    x -= step;
    if (std::abs(step) <= 1e-16 * (1 + x)) break;
  }
  return x;
}

/// NormalFloat of `bits` 2 .. 8 (QLoRA, arXiv:2305.14314; official code bitsandbytes, create_normal_map): the
/// quantiles of a normal distribution scaled to [-1, 1], ascending, one more of them positive than negative,
/// and 0. The 16 levels of 4 bits are the constants of the official kernels.
inline level_table normal_float(int bits) {
  require(bits >= 2 && bits <= 8, "normal_float: bits", bits, "2 .. 8");
  if (bits == 4)
    return level_table({-1.0F, -0.6961928009986877F, -0.5250730514526367F, -0.39491748809814453F,
                        -0.28444138169288635F, -0.18477343022823334F, -0.09105003625154495F, 0.0F,
                        0.07958029955625534F, 0.16093020141124725F, 0.24611230194568634F,
                        0.33791524171829224F, 0.44070982933044434F, 0.5626170039176941F, 0.7229568362236023F,
                        1.0F});
  constexpr double last = 0.9677083;  // the quantile that becomes 1
  const int half = 1 << (bits - 1);
  const double largest = normal_quantile(last);
  std::vector<float> levels;
  levels.reserve(std::size_t{1} << bits);
  const auto level = [&](int i, int steps) {  // of `steps` equal steps from the last quantile to the median
    return normal_quantile(last + (0.5 - last) * i / steps) / largest;
  };
  for (int i = 0; i < half - 1; ++i) levels.push_back(static_cast<float>(-level(i, half - 1)));
  levels.push_back(0.0F);
  for (int i = half - 1; i >= 0; --i) levels.push_back(static_cast<float>(level(i, half)));
  return level_table(std::move(levels));
}

/// bitsandbytes' FP4 by bit pattern, scaled to [-1, 1]: codes 0 and 8 are both zero.
inline level_table bitsandbytes_fp4() {
  std::vector<float> levels;
  for (const float sign : {1.0F, -1.0F})
    for (const float v : {0.0F, 0.0625F, 8.0F, 12.0F, 4.0F, 6.0F, 2.0F, 3.0F})
      levels.push_back(v == 0 ? 0.0F : sign * v / 12.0F);
  return level_table(std::move(levels));
}

/// The 8-bit dynamic code of bitsandbytes (arXiv:2110.02861), ascending: a decade per power of two of levels.
/// Signed: 127 negative levels, 0, 128 positive ones up to 1; unsigned: 0 and 255 positive ones.
inline level_table dynamic_levels(bool is_signed) {
  std::vector<float> levels{0.0F, 1.0F};
  for (int i = 0; i < 7; ++i) {
    const int n = is_signed ? 1 << i : 2 << i;
    for (int k = 0; k < n; ++k) {
      const double middle = 0.1 + 0.9 * (k + 0.5) / n;
      const auto v = static_cast<float>(middle * std::pow(10.0, i - 6));
      levels.push_back(v);
      if (is_signed) levels.push_back(-v);
    }
  }
  std::sort(levels.begin(), levels.end());
  return level_table(std::move(levels));
}

}  // namespace tersor
