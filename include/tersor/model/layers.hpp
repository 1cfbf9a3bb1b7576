// tersor - what stands between a transformer's linear layers: norms, rotary positions, attention
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::max_element
#include <bit>        // std::bit_cast
#include <cmath>      // std::sqrt, std::pow
#include <limits>     // std::numeric_limits
#include <span>       // std::span
#include <vector>     // std::vector

#include <tersor/core/matrix.hpp>
#include <tersor/core/parallel.hpp>
#include <tersor/linalg/gemm.hpp>

namespace tersor::model {

/// e^x to within 2 units in the last place, for |x| < 1e9; 0 below -88, infinity above 89. Only integers are
/// compared, so that loops over it vectorise under the compilers' default floating-point rules.
inline float exp_approx(float x) {
  const float k = (x * 1.44269504F + 12582912.0F) - 12582912.0F;  // nearest integer, in the adder
  const float r = (x - k * 0.693359375F) + k * 2.12194440e-4F;    // ln 2 in two parts
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  std::int32_t exponent = static_cast<std::int32_t>(k) + 127;
  exponent = exponent < 0 ? 0 : exponent;
  exponent = exponent > 255 ? 255 : exponent;
  return p * std::bit_cast<float>(exponent << 23);
}

namespace detail {

/// Reductions in eight lanes, which compilers turn into vector code and which fix the order of the sum.
inline float largest(const float* x, index n) {
  float lanes[8];
  for (float& l : lanes) l = -std::numeric_limits<float>::infinity();
  index j = 0;
  for (; j + 8 <= n; j += 8)
    for (index i = 0; i < 8; ++i) lanes[i] = x[j + i] > lanes[i] ? x[j + i] : lanes[i];
  for (; j < n; ++j) lanes[0] = std::max(lanes[0], x[j]);
  return *std::max_element(lanes, lanes + 8);
}
inline double total(const float* x, index n) {
  double lanes[8] = {};
  index j = 0;
  for (; j + 8 <= n; j += 8)
    for (index i = 0; i < 8; ++i) lanes[i] += static_cast<double>(x[j + i]);
  for (; j < n; ++j) lanes[0] += static_cast<double>(x[j]);
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

}  // namespace detail

/// y[t] = x[t] / sqrt(mean(x[t]²) + epsilon) * weight, row by row. x, y [tokens, features].
inline void rms_norm(matrix_view<const float> x, std::span<const float> weight, float epsilon,
                     matrix_view<float> y) {
  for (index t = 0; t < x.rows(); ++t) {
    double squares = 0.0;
    for (index j = 0; j < x.cols(); ++j)
      squares += static_cast<double>(x(t, j)) * static_cast<double>(x(t, j));
    const auto scale = static_cast<float>(
        1.0 / std::sqrt(squares / static_cast<double>(x.cols()) + static_cast<double>(epsilon)));
    for (index j = 0; j < x.cols(); ++j) y(t, j) = x(t, j) * scale * weight[static_cast<std::size_t>(j)];
  }
}

/// gate := silu(gate) * up.
inline void swiglu(matrix<float>& gate, const matrix<float>& up) {
  float* g = gate.data();
  const float* u = up.data();
  for (index i = 0; i < gate.size(); ++i) g[i] = g[i] / (1.0F + exp_approx(-g[i])) * u[i];
}

/// Rotary position embedding in the "rotate half" layout: channel i of a head is paired with channel i +
/// head_dim / 2.
class rotary {
 public:
  rotary() = default;
  /// @param frequencies [head_dim / 2] radians per position.
  explicit rotary(std::vector<double> frequencies) : frequencies_(std::move(frequencies)) {}

  /// The frequencies theta^(-2i / head_dim).
  static std::vector<double> base_frequencies(index head_dim, double theta) {
    std::vector<double> f(static_cast<std::size_t>(head_dim / 2));
    for (std::size_t i = 0; i < f.size(); ++i)
      f[i] = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    return f;
  }
  /// Rotates x [tokens, heads * head_dim] in place; row t sits at position `first + t`.
  void apply(matrix_view<float> x, index heads, index first) const {
    const auto half = static_cast<index>(frequencies_.size());
    std::vector<float> cosine(frequencies_.size()), sine(frequencies_.size());
    for (index t = 0; t < x.rows(); ++t) {
      for (std::size_t i = 0; i < frequencies_.size(); ++i) {
        const double angle = static_cast<double>(first + t) * frequencies_[i];
        cosine[i] = static_cast<float>(std::cos(angle));
        sine[i] = static_cast<float>(std::sin(angle));
      }
      for (index h = 0; h < heads; ++h) {
        float* a = &x(t, h * 2 * half);
        float* b = a + half;
        for (index i = 0; i < half; ++i) {
          const float c = cosine[static_cast<std::size_t>(i)], s = sine[static_cast<std::size_t>(i)];
          const float u = a[i], v = b[i];
          a[i] = u * c - v * s;
          b[i] = v * c + u * s;
        }
      }
    }
  }

 private:
  std::vector<double> frequencies_;
};

/// Causal attention with grouped queries. q [tokens, heads * d]; k, v [past + tokens, kv_heads * d], the last
/// `tokens` rows being those of q; out [tokens, heads * d]. Query head h reads key-value head h / (heads /
/// kv_heads). Scores are scaled by 1 / sqrt(d).
inline void causal_attention(matrix_view<const float> q, matrix_view<const float> k,
                             matrix_view<const float> v, index heads, index kv_heads, matrix_view<float> out,
                             const context& ctx = {}) {
  constexpr index query_rows = 128;
  const index d = q.cols() / heads, tokens = q.rows(), past = k.rows() - tokens;
  const index blocks = (tokens + query_rows - 1) / query_rows;
  const float scale = 1.0F / std::sqrt(static_cast<float>(d));
  parallel_for(heads * blocks, ctx, [&](index task) {
    const index h = task / blocks, kv = h / (heads / kv_heads);
    const index t0 = task % blocks * query_rows, rows = std::min(query_rows, tokens - t0);
    const index keys = past + t0 + rows;
    matrix<float> scores(rows, keys);
    linalg::gemm<float>(scale, q.block(t0, h * d, rows, d), k.block(0, kv * d, keys, d).transposed(), 0.0F,
                        scores.view());
    for (index t = 0; t < rows; ++t) {
      float* s = scores.row(t).data();
      const index seen = past + t0 + t + 1;
      const float top = detail::largest(s, seen);
      for (index j = 0; j < seen; ++j) s[j] = exp_approx(s[j] - top);
      const auto inverse = static_cast<float>(1.0 / detail::total(s, seen));
      for (index j = 0; j < seen; ++j) s[j] *= inverse;
      for (index j = seen; j < keys; ++j) s[j] = 0.0F;
    }
    linalg::gemm<float>(1.0F, scores.view(), v.block(0, kv * d, keys, d), 0.0F,
                        out.block(t0, h * d, rows, d));
  });
}

/// log(sum_j e^x[j]), stable.
inline double log_sum_exp(std::span<const float> x) {
  const float top = detail::largest(x.data(), static_cast<index>(x.size()));
  double lanes[8] = {};
  float e[8];
  std::size_t j = 0;
  for (; j + 8 <= x.size(); j += 8) {
    for (std::size_t i = 0; i < 8; ++i) e[i] = exp_approx(x[j + i] - top);
    for (std::size_t i = 0; i < 8; ++i) lanes[i] += static_cast<double>(e[i]);
  }
  double sum = 0.0;
  for (; j < x.size(); ++j) sum += static_cast<double>(exp_approx(x[j] - top));
  for (const double l : lanes) sum += l;
  return static_cast<double>(top) + std::log(sum);
}

}  // namespace tersor::model
