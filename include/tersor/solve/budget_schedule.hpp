// tersor - budgets that change over the steps of training
// SPDX-License-Identifier: MIT
#pragma once

#include <array>    // std::array
#include <cmath>    // std::cos
#include <numbers>  // std::numbers::pi
#include <utility>  // std::pair

#include <tersor/core/error.hpp>
#include <tersor/core/view.hpp>

namespace tersor::solve {

/// The way from the first value to the last.
enum class schedule_shape {
  cubic,  ///< fast at first: end + (start - end) (1 - p)³ (arXiv:1710.01878)
  linear,
  cosine,  ///< slow at both ends
  step     ///< in `stairs` equal jumps, the first of them after the first part
};
constexpr auto option_names(schedule_shape) {
  using row = std::pair<std::string_view, schedule_shape>;
  return std::array<row, 4>{{{"cubic", schedule_shape::cubic},
                             {"linear", schedule_shape::linear},
                             {"cosine", schedule_shape::cosine},
                             {"step", schedule_shape::step}}};
}

/// `start` up to and including step `warmup`, `end` after step total - cooldown, and the shape's way between
/// them.
struct budget_schedule {
  double start = 0;
  double end = 1;
  index_t total = 1;
  index_t warmup = 0;
  index_t cooldown = 0;
  schedule_shape shape = schedule_shape::cubic;
  int stairs = 4;  ///< of shape step

  void validate() const {
    require(total >= 1, "budget_schedule: total", total, "at least 1");
    require(warmup >= 0, "budget_schedule: warmup", warmup, "at least 0");
    require(cooldown >= 0 && warmup <= total - cooldown, "budget_schedule: cooldown", cooldown, "0 .. ",
            total - warmup, ", what the warmup leaves");
    require(stairs >= 1, "budget_schedule: stairs", stairs, "at least 1");
    require(std::isfinite(start) && std::isfinite(end), "budget_schedule: start", start,
            "finite values at both ends");
  }

  /// The value at a step, which may be any.
  double at(index_t t) const {
    if (t <= warmup) return start;
    if (t > total - cooldown) return end;
    const double p = static_cast<double>(t - warmup) / static_cast<double>(total - cooldown - warmup);
    return end + (start - end) * left(p);
  }

 private:
  /// The part of the way that is left at p in (0, 1].
  double left(double p) const {
    const double q = 1 - p;
    switch (shape) {
      case schedule_shape::cubic:
        return q * q * q;
      case schedule_shape::linear:
        return q;
      case schedule_shape::cosine:
        return (1 + std::cos(std::numbers::pi * p)) / 2;
      case schedule_shape::step:
        return 1 - std::floor(p * stairs) / stairs;
    }
    return q;
  }
};

}  // namespace tersor::solve
