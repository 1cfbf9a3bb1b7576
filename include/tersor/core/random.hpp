// tersor - random numbers that are the same on every platform
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>      // std::rotl, std::bit_width
#include <cmath>    // std::fma, std::frexp, std::sqrt
#include <cstdint>  // std::uint64_t
#include <limits>   // std::numeric_limits
#include <span>     // std::span
#include <utility>  // std::swap

#include <tersor/core/error.hpp>

namespace tersor {

namespace detail {

/// splitmix64: a bijective mix of 64 bits, the usual seeder of larger generators.
constexpr std::uint64_t mix_bits(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Natural logarithm of x > 0, within 2 ulp. The standard one differs between platforms in the last bit.
/// Every multiply-add is spelled std::fma, so no compiler flag changes the rounding.
inline double portable_log(double x) {
  int exponent;
  double m = std::frexp(x, &exponent);  // [0.5, 1)
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  const double z = (m - 1) / (m + 1), w = z * z;  // log m = 2 atanh z, |z| < 0.172
  double sum = 1.0 / 25;
  for (int odd = 23; odd >= 1; odd -= 2) sum = std::fma(sum, w, 1.0 / odd);
  return std::fma(static_cast<double>(exponent), 0.69314718055994531, 2 * z * sum);
}

}  // namespace detail

/// xoshiro256++ (Blackman and Vigna), seeded by splitmix64. The same seed gives the same numbers with every
/// compiler, standard library and flag. A value: copies continue independently.
class random_generator {
 public:
  using result_type = std::uint64_t;

  explicit random_generator(std::uint64_t seed = 0) : seed_(seed) {
    for (std::uint64_t i = 0; i < 4; ++i) state_[i] = detail::mix_bits(seed + i * 0x9e3779b97f4a7c15u);
  }

  /// An independent generator for a layer, a row, a thread's task: depends on this one's seed and on `stream`
  /// alone, not on how many numbers were drawn.
  random_generator fork(std::uint64_t stream) const {
    return random_generator(detail::mix_bits(seed_ ^ detail::mix_bits(~stream)));
  }

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<result_type>::max(); }
  /// 64 uniform bits.
  result_type operator()() {
    const std::uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0], t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// Uniform in [0, 1): a multiple of 2⁻⁵³.
  double uniform() { return static_cast<double>((*this)() >> 11) * 0x1p-53; }

  /// Uniform in {0, ..., n - 1}, without bias; n > 0.
  std::uint64_t uniform_index(std::uint64_t n) {
    require(n > 0, "uniform_index: n", n, "a number > 0");
    const int shift = 64 - static_cast<int>(std::bit_width(n - 1));
    if (shift == 64) return 0;
    for (;;) {
      const std::uint64_t x = (*this)() >> shift;
      if (x < n) return x;
    }
  }

  /// Standard normal, by Marsaglia's polar method; every second call returns the pair's other half.
  double normal() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    for (;;) {
      // Multiples of 2⁻²⁵ in [-1, 1): their squares and the sum are exact, fused or not.
      const double u = static_cast<double>((*this)() >> 38) * 0x1p-25 - 1;
      const double v = static_cast<double>((*this)() >> 38) * 0x1p-25 - 1;
      const double s = u * u + v * v;
      if (s >= 1 || s == 0) continue;
      const double f = std::sqrt(-2 * detail::portable_log(s) / s);
      spare_ = v * f;
      has_spare_ = true;
      return u * f;
    }
  }

  /// Uniformly random order (Fisher-Yates).
  template <class T, std::size_t N>
  void shuffle(std::span<T, N> x) {
    using std::swap;
    for (std::size_t i = x.size(); i > 1; --i) swap(x[i - 1], x[uniform_index(i)]);
  }

 private:
  std::uint64_t seed_;
  std::uint64_t state_[4];
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace tersor
