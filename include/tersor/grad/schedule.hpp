// tersor - learning-rate schedules: constant, and warm-up followed by a linear or cosine decay
// SPDX-License-Identifier: MIT
#pragma once

#include <array>    // std::array
#include <cmath>    // std::cos
#include <numbers>  // std::numbers::pi
#include <tuple>    // std::tuple

#include <tersor/core/options.hpp>
#include <tersor/core/view.hpp>

namespace tersor::grad {

enum class decay_form {
  constant,  ///< stays at 1
  linear,    ///< falls evenly
  cosine     ///< half a cosine: slow, fast, slow
};
constexpr auto option_names(decay_form) {
  using row = std::pair<std::string_view, decay_form>;
  return std::array<row, 3>{
      {{"constant", decay_form::constant}, {"linear", decay_form::linear}, {"cosine", decay_form::cosine}}};
}

/// The factor of the learning rate at update t = 1, 2, ...: t / warmup up to t = warmup, then from 1 down to
/// `final` at t = total, and `final` after it.
///
///     tersor::grad::schedule s{.form = tersor::grad::decay_form::cosine, .warmup = 100, .total = 2000};
///     optimizer.step(s(optimizer.steps() + 1));
struct schedule {
  decay_form form = decay_form::constant;
  index_t warmup = 0;
  index_t total = 0;
  double final = 0;

  static constexpr auto options() {
    return std::tuple{
        option{"form", &schedule::form, {.help = "how the learning rate falls after the warm-up"}},
        option{"warmup", &schedule::warmup, {.help = "updates until the full learning rate", .min = 0}},
        option{"total", &schedule::total, {.help = "updates until the end of the decay", .min = 0}},
        option{"final", &schedule::final, {.help = "factor at the end of the decay", .min = 0, .max = 1}}};
  }
  void validate() const {
    validate_options(*this, "schedule");
    require(form == decay_form::constant || total > warmup, "schedule: total", total, "more than warmup, ",
            warmup);
  }

  /// @param t the number of the update, from 1.
  double operator()(index_t t) const {
    validate();
    require(t >= 1, "schedule: update", t, "1 or more");
    if (t <= warmup) return static_cast<double>(t) / static_cast<double>(warmup);
    if (form == decay_form::constant) return 1;
    if (t >= total) return final;
    const double done = static_cast<double>(t - warmup) / static_cast<double>(total - warmup);
    const double left = form == decay_form::linear ? 1 - done : 0.5 * (1 + std::cos(std::numbers::pi * done));
    return final + (1 - final) * left;
  }
};

}  // namespace tersor::grad
