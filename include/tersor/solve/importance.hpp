// tersor - smoothed importance of trained values, and its variation
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::fill
#include <cmath>      // std::abs
#include <span>       // std::span
#include <vector>     // std::vector

#include <tersor/core/error.hpp>
#include <tersor/core/view.hpp>

namespace tersor::solve {

/// How raw importances are smoothed.
struct importance_options {
  double beta1 = 0.85;     ///< of the importance
  double beta2 = 0.85;     ///< of its variation
  index_t window = 1;      ///< steps whose mean is one raw importance
  index_t first_step = 0;  ///< number of the first step: windows begin at multiples of their length

  void validate() const {
    require(beta1 >= 0 && beta1 <= 1, "importance: beta1", beta1, "0 .. 1");
    require(beta2 >= 0 && beta2 <= 1, "importance: beta2", beta2, "0 .. 1");
    require(window >= 1, "importance: window", window, "at least 1");
    require(first_step >= 0, "importance: first_step", first_step, "at least 0");
  }
};

/// Running importance of the elements of one tensor (PLATON, arXiv:2206.12562; AdaLoRA, AFLoRA): with I the
/// raw importance, Ī ← β₁ Ī + (1 - β₁) I and then Ū ← β₂ Ū + (1 - β₂) |I - Ī|; the score is Ī Ū. With a
/// window of n steps I is the mean over n steps, and Ī and Ū move when the next window begins; in the
/// official programs the steps of the first window before the first step count as zero, and so they do here.
/// Memory: three doubles an element (two without a window).
class importance_tracker {
 public:
  importance_tracker() = default;
  explicit importance_tracker(const importance_options& options) : options_(options) { options.validate(); }

  /// One step. @param raw importances, always of the same size.
  void add(std::span<const double> raw) {
    if (mean_.empty()) {
      mean_.assign(raw.size(), 0);
      variation_.assign(raw.size(), 0);
      window_.assign(options_.window > 1 ? raw.size() : 0, 0);
    }
    require(raw.size() == mean_.size(), "importance: values", raw.size(), mean_.size());
    if (options_.window == 1) return smooth(raw);
    const index_t place = (options_.first_step + steps_) % options_.window;
    if (place == 0 && steps_ > 0) smooth(window_);
    ++steps_;
    const auto n = static_cast<double>(place);
    if (place == 0) std::fill(window_.begin(), window_.end(), 0.0);
    for (std::size_t i = 0; i < raw.size(); ++i) window_[i] = (window_[i] * n + raw[i]) / (n + 1);
  }

  /// Elements seen; 0 before the first step.
  std::size_t size() const { return mean_.size(); }
  double score(std::size_t i) const { return mean_[i] * variation_[i]; }
  std::span<const double> mean() const { return mean_; }
  std::span<const double> variation() const { return variation_; }

  /// All that the next steps depend on, as plain numbers, and back; the options are not among them.
  std::vector<double> state() const {
    std::vector<double> s{static_cast<double>(steps_), static_cast<double>(mean_.size())};
    for (const auto* part : {&mean_, &variation_, &window_}) s.insert(s.end(), part->begin(), part->end());
    return s;
  }
  void restore(std::span<const double> s) {
    const std::size_t n = s.size() < 2 ? 0 : static_cast<std::size_t>(s[1]);
    const std::size_t window = options_.window > 1 ? n : 0, expected = 2 + 2 * n + window;
    require(s.size() == expected, "importance: values of a state", s.size(), expected);
    steps_ = static_cast<index_t>(s[0]);
    const auto part = [&](std::size_t first, std::size_t count) {
      const auto values = s.subspan(2 + first, count);
      return std::vector<double>(values.begin(), values.end());
    };
    mean_ = part(0, n);
    variation_ = part(n, n);
    window_ = part(2 * n, window);
  }

 private:
  void smooth(std::span<const double> raw) {
    for (std::size_t i = 0; i < raw.size(); ++i) {
      mean_[i] = options_.beta1 * mean_[i] + (1 - options_.beta1) * raw[i];
      variation_[i] = options_.beta2 * variation_[i] + (1 - options_.beta2) * std::abs(raw[i] - mean_[i]);
    }
  }
  importance_options options_;
  index_t steps_ = 0;
  std::vector<double> mean_, variation_, window_;
};

/// |p g| of each element: what the loss loses to first order if the value is removed.
template <class T>
std::vector<double> sensitivity(std::span<const T> values, std::span<const T> gradient) {
  require(values.size() == gradient.size(), "importance: gradient", gradient.size(), values.size());
  std::vector<double> raw(values.size());
  for (std::size_t i = 0; i < raw.size(); ++i)
    raw[i] = std::abs(static_cast<double>(values[i]) * static_cast<double>(gradient[i]));
  return raw;
}
/// |g| of each element.
template <class T>
std::vector<double> magnitude(std::span<const T> gradient) {
  std::vector<double> raw(gradient.size());
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = std::abs(static_cast<double>(gradient[i]));
  return raw;
}

}  // namespace tersor::solve
