// tersor - the nonlinear parts of a transformer over contiguous rows: softmax, log-sum-exp, SwiGLU, RMSNorm
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::max_element
#include <bit>        // std::bit_cast
#include <cmath>      // std::sqrt, std::log
#include <cstdint>    // std::int32_t
#include <limits>     // std::numeric_limits

#include <tersor/core/view.hpp>
#include <tersor/kernel/target.hpp>

namespace tersor::kernel {

/// e^x to within 2 units in the last place; 0 below -88, infinity above 89, NaN of NaN. Only integers are
/// compared, so that loops over it vectorise under the compilers' default floating-point rules.
TERSOR_ALWAYS_INLINE float exponential(float x) {
  // far beyond both ends r would not be small: 128 stands for all from there to infinity
  const auto bits = std::bit_cast<std::int32_t>(x), size = bits & 0x7FFFFFFF;
  const std::int32_t nearer = size > 0x43000000 ? 0x43000000 : size;
  x = std::bit_cast<float>((size > 0x7F800000 ? size : nearer) | (bits & ~0x7FFFFFFF));
  constexpr float magic = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const float shifted = x * 1.44269504F + magic;  // (a conversion to int would not be defined for NaN)
  const float k = shifted - magic;
  const float r = (x - k * 0.693359375F) + k * 2.12194440e-4F;  // ln 2 in two parts
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  auto exponent = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(shifted) -
                                            std::bit_cast<std::uint32_t>(magic) + 127U);
  exponent = exponent < 0 ? 0 : exponent;
  exponent = exponent > 255 ? 255 : exponent;
  return p * std::bit_cast<float>(exponent << 23);
}

namespace detail {

/// Elements that a loop body handles at a time: a constant, which compilers vectorise at every level of
/// optimisation that does so at all, and the number of independent sums of a reduction.
inline constexpr index_t block = 16;

/// f(i) for i in [0, n), in blocks.
template <class F>
TERSOR_ALWAYS_INLINE void for_each(index_t n, const F& f) {
  const index_t whole = n - n % block;
  for (index_t i = 0; i < whole; i += block)
    for (index_t l = 0; l < block; ++l) f(i + l);
  for (index_t i = whole; i < n; ++i) f(i);
}
/// Σ f(i) in double.
template <class F>
TERSOR_ALWAYS_INLINE double sum(index_t n, const F& f) {
  double lanes[block] = {};
  const index_t whole = n - n % block;
  for (index_t i = 0; i < whole; i += block)
    for (index_t l = 0; l < block; ++l) lanes[l] += static_cast<double>(f(i + l));
  double rest = 0;  // not one of the lanes, which GCC would then add to one by one
  for (index_t i = whole; i < n; ++i) rest += static_cast<double>(f(i));
  for (index_t half = block / 2; half > 0; half /= 2)
    for (index_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  return lanes[0] + rest;
}
TERSOR_ALWAYS_INLINE float largest(const float* x, index_t n) {
  float lanes[block];
  for (float& l : lanes) l = -std::numeric_limits<float>::infinity();
  const index_t whole = n - n % block;
  for (index_t i = 0; i < whole; i += block)
    for (index_t l = 0; l < block; ++l) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
  float top = -std::numeric_limits<float>::infinity();
  for (index_t i = whole; i < n; ++i) top = x[i] > top ? x[i] : top;
  for (const float l : lanes) top = l > top ? l : top;
  return top;
}

struct total {
  TERSOR_ALWAYS_INLINE static double run(const float* x, index_t n) {
    return sum(n, [=](index_t i) { return x[i]; });
  }
};
struct softmax {
  TERSOR_ALWAYS_INLINE static void run(float* x, index_t n) {
    const float top = largest(x, n);
    for_each(n, [=](index_t i) { x[i] = exponential(x[i] - top); });
    const auto inverse = static_cast<float>(1.0 / sum(n, [=](index_t i) { return x[i]; }));
    for_each(n, [=](index_t i) { x[i] *= inverse; });
  }
};
struct log_sum_exp {
  TERSOR_ALWAYS_INLINE static double run(const float* x, index_t n) {
    const float top = largest(x, n);
    return static_cast<double>(top) + std::log(sum(n, [=](index_t i) { return exponential(x[i] - top); }));
  }
};
/// Largest of scale * x[i], and Σ of what is left in x: e^(scale x[i] - largest).
struct scaled_exponentials {
  float largest;
  double sum;
};
struct exponentials {
  TERSOR_ALWAYS_INLINE static scaled_exponentials run(float* x, index_t n, float scale) {
    const float top = scale * kernel::detail::largest(x, n);
    for_each(n, [=](index_t i) { x[i] = exponential(scale * x[i] - top); });
    return {top, sum(n, [=](index_t i) { return x[i]; })};
  }
};
struct swiglu {
  TERSOR_ALWAYS_INLINE static void run(float* gate, const float* up, index_t n) {
    for_each(n, [=](index_t i) { gate[i] = gate[i] / (1.0F + exponential(-gate[i])) * up[i]; });
  }
};
struct rms_norm {
  TERSOR_ALWAYS_INLINE static void run(const float* x, const float* weight, float epsilon, index_t n,
                                       float* y) {
    const double squares =
        sum(n, [=](index_t i) { return static_cast<double>(x[i]) * static_cast<double>(x[i]); });
    const auto scale =
        static_cast<float>(1.0 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(epsilon)));
    for_each(n, [=](index_t i) { y[i] = x[i] * scale * weight[i]; });
  }
};

}  // namespace detail

#if defined(TERSOR_PRECOMPILED)  // in src/activations.cpp, which is optimised in every build
extern template double run<detail::total>(target, const float*, index_t);
extern template void run<detail::softmax>(target, float*, index_t);
extern template double run<detail::log_sum_exp>(target, const float*, index_t);
extern template detail::scaled_exponentials run<detail::exponentials>(target, float*, index_t, float);
extern template void run<detail::swiglu>(target, float*, const float*, index_t);
extern template void run<detail::rms_norm>(target, const float*, const float*, float, index_t, float*);
#endif

/// Σ x[i] for x [n].
inline double sum(const float* x, index_t n, target t = best_target()) { return run<detail::total>(t, x, n); }
/// x[i] := e^x[i] / Σ e^x[j] for x [n], n > 0; stable.
inline void softmax(float* x, index_t n, target t = best_target()) { run<detail::softmax>(t, x, n); }
/// log Σ e^x[i] for x [n], n > 0; stable.
inline double log_sum_exp(const float* x, index_t n, target t = best_target()) {
  return run<detail::log_sum_exp>(t, x, n);
}
/// x[i] := e^(scale x[i] - m) for x [n], n > 0, m the largest of scale x[i], scale > 0. Returns m and the sum
/// of the new x: what softmax over several pieces needs of each.
using detail::scaled_exponentials;
inline scaled_exponentials exponentials(float* x, index_t n, float scale, target t = best_target()) {
  return run<detail::exponentials>(t, x, n, scale);
}
/// gate[i] := silu(gate[i]) * up[i].
inline void swiglu(float* gate, const float* up, index_t n, target t = best_target()) {
  run<detail::swiglu>(t, gate, up, n);
}
/// y[i] = x[i] / sqrt(mean(x²) + epsilon) * weight[i] for x, weight, y [n].
inline void rms_norm(const float* x, const float* weight, float epsilon, index_t n, float* y,
                     target t = best_target()) {
  run<detail::rms_norm>(t, x, weight, epsilon, n, y);
}

}  // namespace tersor::kernel
