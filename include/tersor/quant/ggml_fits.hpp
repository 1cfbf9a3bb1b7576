// tersor - weighted least-squares fits of a scale, or a scale and a minimum, to the codes of a group
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::clamp
#include <array>      // std::array
#include <bit>        // std::bit_cast
#include <cassert>    // assert
#include <cmath>      // std::abs
#include <cstdint>    // std::uint8_t
#include <span>       // std::span

// The searches of ggml-org/ggml, src/ggml-quants.c (no paper), which GGUF block types share. All sums are in
// float and in the order of the reference, so that codes are the same to the bit where the compiler does not
// fuse products and sums. Groups have at most 32 values; weights are >= 0 and count each value's squared
// error.

namespace tersor::quant {

/// The nearest integer, ties to even; |v| is cut at 2^22 - 1, and no value (NaN) is some integer.
inline int nearest_code(float v) {
  const float shifted = std::clamp(v, -4194303.0F, 4194303.0F) + 12582912.0F;  // 1.5 2^23: units are ones
  return (std::bit_cast<std::int32_t>(shifted) & 0x7fffff) - 0x400000;
}

/// v, or 0 where it is not finite: an inverse scale of zeros, or of values so small that it overflows.
inline float finite_or_zero(float v) { return std::isfinite(v) ? v : 0.0F; }

/// The value of largest magnitude, with its sign; the first of several.
inline float signed_maximum(std::span<const float> x) {
  float largest = 0.0F;
  for (const float v : x)
    if (std::abs(v) > std::abs(largest)) largest = v;
  return largest;
}

/// Values smaller than this are zeros to the fits.
inline constexpr float fit_smallest = 1e-15F;

/// Steps of `fit_affine`: inverse scales (top + first + step i) / range for i = 0 .. count.
struct affine_search {
  float first = -0.9F, step = 0.05F;
  int count = 36;
  bool absolute = false;  ///< judges by weighted |error| instead of its square
};
struct affine_fit {
  float scale = 0.0F;
  float minimum = 0.0F;  ///< >= 0; value = scale code - minimum
};

/// Codes 0 .. top with a scale and a minimum that is not above zero: for each inverse scale of the search the
/// codes are rounded, the pair is solved by weighted least squares, and the best is kept. Later steps start
/// from the minimum of the best so far (range = largest value - minimum), as the reference does.
/// @param codes [x.size()], written.
inline affine_fit fit_affine(std::span<const float> x, std::span<const float> weights,
                             std::span<std::uint8_t> codes, int top, const affine_search& search) {
  assert(x.size() <= 32 && weights.size() == x.size() && codes.size() == x.size());
  float low = x[0], high = x[0], sum_w = 0.0F, sum_x = 0.0F;
  for (std::size_t i = 0; i < x.size(); ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
    sum_w += weights[i];
    sum_x += weights[i] * x[i];
  }
  low = std::min(low, 0.0F);
  const float range = high - low, levels = static_cast<float>(top);
  const float first_inverse = finite_or_zero(levels / range);
  std::ranges::fill(codes, std::uint8_t{0});
  if (first_inverse == 0.0F) return {0.0F, -low};

  std::array<std::uint8_t, 32> trial{};
  const auto round = [&](float inverse, float from) {
    for (std::size_t i = 0; i < x.size(); ++i)
      trial[i] = static_cast<std::uint8_t>(std::clamp(nearest_code(inverse * (x[i] - from)), 0, top));
  };
  const auto error_of = [&](float scale, float minimum) {
    float error = 0.0F;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float e = scale * static_cast<float>(trial[i]) + minimum - x[i];
      error += weights[i] * (search.absolute ? std::abs(e) : e * e);
    }
    return error;
  };
  float scale = 1.0F / first_inverse, minimum = low;
  round(first_inverse, minimum);
  float best = error_of(scale, minimum);
  std::copy_n(trial.begin(), codes.size(), codes.begin());
  for (int step = 0; step <= search.count; ++step) {
    round((search.first + search.step * static_cast<float>(step) + levels) / (high - minimum), minimum);
    float sum_q = 0.0F, sum_qq = 0.0F, sum_qx = 0.0F;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto q = static_cast<float>(trial[i]);
      const float wq = weights[i] * q;
      sum_q += wq;
      sum_qq += wq * q;
      sum_qx += wq * x[i];
    }
    const float determinant = sum_w * sum_qq - sum_q * sum_q;
    if (!(determinant > 0.0F)) continue;
    float s = (sum_w * sum_qx - sum_x * sum_q) / determinant;
    float m = (sum_qq * sum_x - sum_q * sum_qx) / determinant;
    if (m > 0.0F) {
      m = 0.0F;
      s = sum_qx / sum_qq;
    }
    const float error = error_of(s, m);
    if (error < best) {
      best = error;
      scale = s;
      minimum = m;
      std::copy_n(trial.begin(), codes.size(), codes.begin());
    }
  }
  return {scale, -minimum};
}

namespace detail {

/// sum w x q and sum w q², of which the fitted scale is the ratio.
struct code_sums {
  float xq = 0.0F, qq = 0.0F;
  void add(float w, float x, float q) {
    xq += w * x * q;
    qq += w * q * q;
  }
  void take(float w, float x, float q) {
    xq -= w * x * q;
    qq -= w * q * q;
  }
  float scale() const { return qq > 0.0F ? xq / qq : 0.0F; }
  /// Is the error of these codes, each with its best scale, smaller than that of `other`?
  bool better_than(const code_sums& other) const { return xq * xq * other.qq > other.xq * other.xq * qq; }
};

}  // namespace detail

/// Codes -half .. half - 1, stored as code + half, with a scale of any sign: the value of largest magnitude
/// gets the code -half, or a little less in 18 retries, of which the best is kept.
/// @return the scale; 0, and codes 0, where x is all zeros.
inline float fit_symmetric(std::span<const float> x, std::span<const float> weights,
                           std::span<std::uint8_t> codes, int half) {
  assert(weights.size() == x.size() && codes.size() == x.size());
  const float most = signed_maximum(x);
  if (std::abs(most) < fit_smallest) {
    std::ranges::fill(codes, std::uint8_t{0});
    return 0.0F;
  }
  const auto code = [&](float inverse, float v) {
    return std::clamp(nearest_code(inverse * v), -half, half - 1);
  };
  const auto sums_of = [&](float inverse) {
    detail::code_sums sums;
    for (std::size_t i = 0; i < x.size(); ++i)
      sums.add(weights[i], x[i], static_cast<float>(code(inverse, x[i])));
    return sums;
  };
  const auto levels = static_cast<float>(half);
  float kept = -levels / most;
  auto sums = sums_of(kept);
  float scale = sums.scale(), best = scale * sums.xq;
  for (int step = -9; step <= 9; ++step) {
    if (step == 0) continue;
    const float inverse = -(levels + 0.1F * static_cast<float>(step)) / most;
    sums = sums_of(inverse);
    if (sums.qq > 0.0F && sums.xq * sums.xq > best * sums.qq) {
      kept = inverse;
      scale = sums.scale();
      best = scale * sums.xq;
    }
  }
  for (std::size_t i = 0; i < x.size(); ++i) codes[i] = static_cast<std::uint8_t>(code(kept, x[i]) + half);
  return scale;
}

/// As `fit_symmetric` with weights x², but instead of retries single codes move, in at most 5 passes, as long
/// as that helps.
inline float fit_symmetric_by_moves(std::span<const float> x, std::span<std::uint8_t> codes, int half) {
  assert(x.size() <= 32 && codes.size() == x.size());
  const float most = signed_maximum(x);
  std::ranges::fill(codes, std::uint8_t{0});
  if (std::abs(most) < fit_smallest) return 0.0F;
  const float inverse = static_cast<float>(-half) / most;
  std::array<int, 32> q{};
  detail::code_sums sums;
  for (std::size_t i = 0; i < x.size(); ++i) {
    q[i] = std::clamp(nearest_code(inverse * x[i]), -half, half - 1);
    sums.add(x[i] * x[i], x[i], static_cast<float>(q[i]));
  }
  bool moved = true;
  for (int pass = 0; pass < 5 && moved; ++pass) {
    moved = false;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float w = x[i] * x[i];
      auto others = sums;
      others.take(w, x[i], static_cast<float>(q[i]));
      if (!(others.xq > 0.0F)) continue;
      const int next = std::clamp(nearest_code(x[i] * others.qq / others.xq), -half, half - 1);
      if (next == q[i]) continue;
      others.add(w, x[i], static_cast<float>(next));
      if (!(others.qq > 0.0F && others.better_than(sums))) continue;
      q[i] = next;
      sums = others;
      moved = true;
    }
  }
  for (std::size_t i = 0; i < x.size(); ++i) codes[i] = static_cast<std::uint8_t>(q[i] + half);
  return sums.scale();
}

/// Codes 0 .. top of values that are not negative (the scales of groups): the best of 9 inverse scales, then
/// single codes move in at most 5 passes. @return the scale, 0 where x is all zeros.
inline float fit_positive(std::span<const float> x, std::span<const float> weights,
                          std::span<std::uint8_t> codes, int top) {
  assert(x.size() <= 32 && weights.size() == x.size() && codes.size() == x.size());
  float most = 0.0F;
  for (const float v : x) most = std::max(most, v);
  std::ranges::fill(codes, std::uint8_t{0});
  if (most < fit_smallest) return 0.0F;
  const auto code = [&](float inverse, float v) { return std::clamp(nearest_code(inverse * v), 0, top); };
  const auto levels = static_cast<float>(top);
  const auto error_of = [&](float inverse) {
    const float scale = 1.0F / inverse;
    float error = 0.0F;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float e = x[i] - scale * static_cast<float>(code(inverse, x[i]));
      error += weights[i] * e * e;
    }
    return error;
  };
  float kept = levels / most, best = error_of(kept);
  for (int step = -4; step <= 4; ++step) {
    if (step == 0) continue;
    const float inverse = (0.1F * static_cast<float>(step) + levels) / most;
    const float error = error_of(inverse);
    if (error < best) {
      best = error;
      kept = inverse;
    }
  }
  detail::code_sums sums;
  for (std::size_t i = 0; i < x.size(); ++i) {
    codes[i] = static_cast<std::uint8_t>(code(kept, x[i]));
    sums.add(weights[i], x[i], static_cast<float>(codes[i]));
  }
  bool moved = true;
  for (int pass = 0; pass < 5 && moved; ++pass) {
    moved = false;
    for (std::size_t i = 0; i < x.size(); ++i) {
      auto others = sums;
      others.take(weights[i], x[i], static_cast<float>(codes[i]));
      if (!(others.xq > 0.0F && others.qq > 0.0F)) continue;
      const int next = std::clamp(nearest_code(x[i] * others.qq / others.xq), 0, top);
      if (next == codes[i]) continue;
      others.add(weights[i], x[i], static_cast<float>(next));
      if (!others.better_than(sums)) continue;
      codes[i] = static_cast<std::uint8_t>(next);
      sums = others;
      moved = true;
    }
  }
  return sums.scale();
}

}  // namespace tersor::quant
