// tersor - dual numbers: a value and its slope along one direction
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>        // std::exp, std::log, std::sqrt, std::tanh, std::erf
#include <concepts>     // std::floating_point
#include <numbers>      // std::numbers::inv_sqrtpi_v
#include <type_traits>  // std::is_arithmetic_v

#include <tersor/kernel/activations.hpp>

namespace tersor::grad {

/// value + slope ε with ε² = 0: arithmetic carries the derivative along one direction. A tape over duals
/// whose parameters have the slope v computes, in the slopes of its gradients, the product of the Hessian and
/// v (grad/hessian.hpp). Comparisons look at values only.
template <std::floating_point S>
struct dual {
  S value{};
  S slope{};

  constexpr dual() = default;
  constexpr dual(S v, S s) : value(v), slope(s) {}
  /// A constant.
  template <class U>
  requires std::is_arithmetic_v<U>
  constexpr dual(U v) : value(static_cast<S>(v)) {}
  template <std::floating_point U>
  requires(!std::is_same_v<U, S>) constexpr explicit dual(dual<U> x)
      : value(static_cast<S>(x.value)), slope(static_cast<S>(x.slope)) {}
  constexpr explicit operator double() const { return static_cast<double>(value); }

  constexpr dual& operator+=(dual b) { return *this = *this + b; }
  constexpr dual& operator-=(dual b) { return *this = *this - b; }
  constexpr dual& operator*=(dual b) { return *this = *this * b; }
  constexpr dual& operator/=(dual b) { return *this = *this / b; }
  friend constexpr dual operator-(dual a) { return {-a.value, -a.slope}; }
  friend constexpr dual operator+(dual a, dual b) { return {a.value + b.value, a.slope + b.slope}; }
  friend constexpr dual operator-(dual a, dual b) { return {a.value - b.value, a.slope - b.slope}; }
  friend constexpr dual operator*(dual a, dual b) {
    return {a.value * b.value, a.slope * b.value + a.value * b.slope};
  }
  friend constexpr dual operator/(dual a, dual b) {
    const S quotient = a.value / b.value;
    return {quotient, (a.slope - quotient * b.slope) / b.value};
  }
  friend constexpr bool operator==(dual a, dual b) { return a.value == b.value; }
  friend constexpr auto operator<=>(dual a, dual b) { return a.value <=> b.value; }
};

namespace detail {

template <class T>
struct scalar_traits {
  using real = T;       // of which T is made
  using wide = double;  // in which sums are kept
};
template <class S>
struct scalar_traits<dual<S>> {
  using real = S;
  using wide = dual<double>;
};

}  // namespace detail

/// float, double, or a dual of one of them: what a tape can work in.
template <class T>
concept scalar = std::floating_point<typename detail::scalar_traits<T>::real>;
template <class T>
using real_of = typename detail::scalar_traits<T>::real;
/// The type in which sums of T are kept: double, or a dual of it.
template <class T>
using wide_of = typename detail::scalar_traits<T>::wide;

namespace detail {

// Elementary functions of every scalar. Those of float that the library's kernels vectorise come from there.

TERSOR_ALWAYS_INLINE float exponential(float x) { return kernel::exponential(x); }
TERSOR_ALWAYS_INLINE double exponential(double x) { return std::exp(x); }
template <class S>
dual<S> exponential(dual<S> x) {
  const S y = exponential(x.value);
  return {y, y * x.slope};
}
template <class T>
T logarithm(T x) {
  if constexpr (std::floating_point<T>)
    return std::log(x);
  else
    return {std::log(x.value), x.slope / x.value};
}
template <class T>
TERSOR_ALWAYS_INLINE T square_root(T x) {
  if constexpr (std::floating_point<T>) {
    return std::sqrt(x);
  } else {
    const auto y = std::sqrt(x.value);
    return {y, x.slope / (2 * y)};
  }
}
template <class T>
T hyperbolic_tangent(T x) {
  if constexpr (std::floating_point<T>) {
    return std::tanh(x);
  } else {
    const auto y = std::tanh(x.value);
    return {y, (1 - y * y) * x.slope};
  }
}
/// Φ(x), the distribution function of the standard normal, and its density φ(x).
template <class T>
T normal_density(T x) {
  constexpr auto factor = std::numbers::inv_sqrtpi_v<real_of<T>> / std::numbers::sqrt2_v<real_of<T>>;
  return T(factor) * exponential(T(-0.5) * x * x);
}
template <class T>
T normal_distribution(T x) {
  using real = real_of<T>;
  if constexpr (std::floating_point<T>)
    return real(0.5) * std::erfc(-x / std::numbers::sqrt2_v<real>);
  else
    return {normal_distribution(x.value), normal_density(x.value) * x.slope};
}
template <class T>
TERSOR_ALWAYS_INLINE T logistic(T x) {
  return T(1) / (T(1) + exponential(-x));
}
/// x to the nearest integer, ties to even; the slope passes straight through.
template <class T>
TERSOR_ALWAYS_INLINE T rounded(T x) {
  if constexpr (std::floating_point<T>)
    return std::nearbyint(x);
  else
    return {std::nearbyint(x.value), x.slope};
}

}  // namespace detail

}  // namespace tersor::grad
