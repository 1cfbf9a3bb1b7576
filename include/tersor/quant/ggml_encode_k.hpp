// tersor - encoders of GGUF's super-blocks of 256: Q2_K to Q6_K, IQ4_XS with IQ4_NL, and the ternary types
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>  // std::byte
#include <cstring>  // std::memcpy
#include <numeric>  // std::accumulate

#include <tersor/core/error.hpp>
#include <tersor/core/float16.hpp>
#include <tersor/core/ggml_type.hpp>
#include <tersor/quant/ggml_fits.hpp>

// Source: ggml-org/ggml, src/ggml-quants.c (no paper). Layouts: op/ggml_decode.hpp. `importance` is empty, or
// has a factor for each value of the block; weights of the fits are then importance sqrt(mean square of the
// block + x²), as the reference has them; Q6_K takes the importance alone.

// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result): offsets inside a block
namespace tersor::quant::detail {

inline float put_half(float value, std::byte* out) {
  require(std::abs(value) <= 65504.0F, "encode: scale or minimum of a block", value,
          "a finite number of at most 65504, the range of F16");
  const f16 half(value);
  std::memcpy(out, &half.bits, 2);
  return static_cast<float>(half);
}
inline std::byte as_byte(int v) { return static_cast<std::byte>(v); }
inline float sum_of(std::span<const float> x) { return std::accumulate(x.begin(), x.end(), 0.0F); }
inline float sum_of_squares(std::span<const float> x) {
  float sum = 0.0F;
  for (const float v : x) sum += v * v;
  return sum;
}
inline void importance_weights(std::span<const float> x, std::span<const float> importance, float mean_square,
                               std::span<float> weights) {
  for (std::size_t i = 0; i < x.size(); ++i)
    weights[i] = importance[i] * std::sqrt(mean_square + x[i] * x[i]);
}

/// 256 codes of 2 bits: four runs of 32 share 32 bytes.
inline void put_two_bits(const std::uint8_t* codes, std::byte* out) {
  for (int half = 0; half < 2; ++half)
    for (int j = 0; j < 32; ++j) {
      const std::uint8_t* q = codes + 128 * half + j;
      out[32 * half + j] = as_byte(q[0] | q[32] << 2 | q[64] << 4 | q[96] << 6);
    }
}
/// Low 4 bits of 256 codes: two runs of 32 share 32 bytes.
inline void put_nibble_runs(const std::uint8_t* codes, std::byte* out) {
  for (int run = 0; run < 4; ++run)
    for (int j = 0; j < 32; ++j) {
      const std::uint8_t* q = codes + 64 * run + j;
      out[32 * run + j] = as_byte((q[0] & 15) | (q[32] & 15) << 4);
    }
}
/// 8 scales and 8 minima of 6 bits in 12 bytes.
inline void put_scales_and_minima(const std::uint8_t* scales, const std::uint8_t* minima, std::byte* out) {
  for (int g = 0; g < 4; ++g) {
    out[g] = as_byte(scales[g] | scales[g + 4] >> 4 << 6);
    out[g + 4] = as_byte(minima[g] | minima[g + 4] >> 4 << 6);
    out[g + 8] = as_byte((scales[g + 4] & 15) | (minima[g + 4] & 15) << 4);
  }
}
/// 16 scales of 6 bits in 12 bytes (Q3_K).
inline void put_six_bit_scales(const std::uint8_t* scales, std::byte* out) {
  for (int g = 0; g < 8; ++g) out[g] = as_byte((scales[g] & 15) | (scales[g + 8] & 15) << 4);
  for (int g = 0; g < 4; ++g)
    out[g + 8] = as_byte(scales[g] >> 4 | scales[g + 4] >> 4 << 2 | scales[g + 8] >> 4 << 4 |
                         scales[g + 12] >> 4 << 6);
}

/// What differs between Q2_K, Q4_K and Q5_K: groups of `group` values with codes 0 .. top, whose scales and
/// minima are codes 0 .. scale_top times the two numbers of the super-block.
struct affine_format {
  std::size_t group;
  int top, scale_top;
  affine_search plain;  // without importance
};
constexpr affine_format affine_format_of(ggml_type type) {
  if (type == ggml_type::q2_k) return {16, 3, 15, {-0.5F, 0.1F, 15, true}};
  if (type == ggml_type::q4_k) return {32, 15, 63, {-1.0F, 0.1F, 20, false}};
  return {32, 31, 63, {-0.5F, 0.1F, 15, false}};
}

/// Codes of `scales` with the largest as `top`. @return the unit.
inline float round_to_maximum(std::span<const float> scales, std::span<std::uint8_t> codes, int top) {
  float most = 0.0F;
  for (const float s : scales) most = std::max(most, s);
  const float inverse = finite_or_zero(static_cast<float>(top) / most);
  for (std::size_t g = 0; g < scales.size(); ++g)
    codes[g] = static_cast<std::uint8_t>(std::clamp(nearest_code(inverse * scales[g]), 0, top));
  return most / static_cast<float>(top);
}

inline void encode_affine_k(ggml_type type, std::span<const float> x, std::span<const float> importance,
                            std::byte* out) {
  const auto format = affine_format_of(type);
  const std::size_t groups = x.size() / format.group;
  const float mean_square = (type == ggml_type::q2_k ? 1.0F : 2.0F) * sum_of_squares(x) / 256.0F;
  std::array<std::uint8_t, 256> codes{};
  std::array<float, 32> buffer{};
  std::array<float, 16> scale_values{}, minimum_values{}, group_weights{};
  for (std::size_t g = 0; g < groups; ++g) {
    const auto xs = x.subspan(g * format.group, format.group);
    const auto weights = std::span(buffer).first(format.group);
    if (!importance.empty()) {
      importance_weights(xs, importance.subspan(g * format.group, format.group), mean_square, weights);
    } else {
      const float rms = type == ggml_type::q2_k ? 0.0F : std::sqrt(sum_of_squares(xs) / 32.0F);
      for (std::size_t i = 0; i < xs.size(); ++i) weights[i] = rms + std::abs(xs[i]);
    }
    group_weights[g] = sum_of(weights);
    const auto fit = fit_affine(xs, weights, std::span(codes).subspan(g * format.group, format.group),
                                format.top, importance.empty() ? format.plain : affine_search{});
    scale_values[g] = fit.scale;
    minimum_values[g] = fit.minimum;
  }
  std::array<std::uint8_t, 16> scales{}, minima{};
  const auto to_codes = [&](const std::array<float, 16>& values, std::array<std::uint8_t, 16>& to) {
    const auto v = std::span(values).first(groups);
    const auto c = std::span(to).first(groups);
    return importance.empty() ? round_to_maximum(v, c, format.scale_top)
                              : fit_positive(v, std::span(group_weights).first(groups), c, format.scale_top);
  };
  const float unit = to_codes(scale_values, scales), minimum_unit = to_codes(minimum_values, minima);
  std::byte* halves = type == ggml_type::q2_k ? out + 80 : out;
  const float d = put_half(unit, halves), m = put_half(minimum_unit, halves + 2);
  for (std::size_t g = 0; g < groups; ++g) {
    const float scale = d * static_cast<float>(scales[g]), minimum = m * static_cast<float>(minima[g]);
    if (scale == 0.0F) continue;
    for (std::size_t i = g * format.group; i < (g + 1) * format.group; ++i)
      codes[i] = static_cast<std::uint8_t>(std::clamp(nearest_code((x[i] + minimum) / scale), 0, format.top));
  }
  if (type == ggml_type::q2_k) {
    for (std::size_t g = 0; g < 16; ++g) out[g] = as_byte(scales[g] | minima[g] << 4);
    return put_two_bits(codes.data(), out + 16);
  }
  put_scales_and_minima(scales.data(), minima.data(), out + 4);
  if (type == ggml_type::q5_k)
    for (std::size_t j = 0; j < 32; ++j) {
      int tops = 0;
      for (std::size_t g = 0; g < 8; ++g) tops |= codes[32 * g + j] >> 4 << g;
      out[16 + j] = as_byte(tops);
    }
  put_nibble_runs(codes.data(), type == ggml_type::q5_k ? out + 48 : out + 16);
}

/// Codes -half .. half - 1 (stored + half) of x with the scale of its group of 16; where that is 0 they stay.
inline void round_to_scale(std::span<const float> x, float scale, int half, std::span<std::uint8_t> codes) {
  if (scale == 0.0F) return;
  for (std::size_t i = 0; i < x.size(); ++i)
    codes[i] = static_cast<std::uint8_t>(std::clamp(nearest_code(x[i] / scale), -half, half - 1) + half);
}

inline void encode_q3_k(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  std::array<std::uint8_t, 256> codes{};
  std::array<std::uint8_t, 16> scales{};
  std::array<float, 16> values{}, weights{}, group_weights{};
  const float mean_square = 2.0F * sum_of_squares(x) / 256.0F;
  const auto group_of = [](auto s, std::size_t g) { return s.subspan(16 * g, 16); };
  for (std::size_t g = 0; g < 16; ++g) {
    const auto xs = group_of(x, g);
    const auto q = group_of(std::span(codes), g);
    if (importance.empty()) {
      values[g] = fit_symmetric_by_moves(xs, q, 4);
      continue;
    }
    importance_weights(xs, group_of(importance, g), mean_square, weights);
    group_weights[g] = sum_of(weights);
    values[g] = fit_symmetric(xs, weights, q, 4);
  }
  float unit = 0.0F;
  if (!importance.empty()) {
    unit = fit_symmetric(values, group_weights, scales, 32);
  } else if (const float inverse = finite_or_zero(-32.0F / signed_maximum(values)); inverse != 0.0F) {
    for (std::size_t g = 0; g < 16; ++g)
      scales[g] = static_cast<std::uint8_t>(std::clamp(nearest_code(inverse * values[g]), -32, 31) + 32);
    unit = 1.0F / inverse;
  }
  put_six_bit_scales(scales.data(), out + 96);
  const float d = put_half(unit, out + 108);
  for (std::size_t g = 0; g < 16; ++g)
    round_to_scale(group_of(x, g), d * static_cast<float>(scales[g] - 32), 4, group_of(std::span(codes), g));
  for (std::size_t j = 0; j < 32; ++j) {
    int tops = 0;
    for (std::size_t g = 0; g < 8; ++g) tops |= codes[32 * g + j] >> 2 << g;
    out[j] = as_byte(tops);
  }
  for (auto& q : codes) q &= 3;
  put_two_bits(codes.data(), out + 32);
}

inline void encode_q6_k(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  std::array<std::uint8_t, 256> codes{};
  std::array<float, 16> values{}, weights{};
  for (std::size_t g = 0; g < 16; ++g) {
    const auto xs = x.subspan(16 * g, 16);
    for (std::size_t i = 0; i < 16; ++i)
      weights[i] = importance.empty() ? xs[i] * xs[i] : importance[16 * g + i];
    values[g] = fit_symmetric(xs, weights, std::span(codes).subspan(16 * g, 16), 32);
  }
  const float most = signed_maximum(values);
  std::fill_n(out, 210, std::byte{0});
  if (std::abs(most) < fit_smallest) return;
  const float inverse = -128.0F / most;
  const float d = put_half(1.0F / inverse, out + 208);
  for (std::size_t g = 0; g < 16; ++g) {
    const int scale = std::clamp(nearest_code(inverse * values[g]), -128, 127);
    out[192 + g] = as_byte(scale);
    round_to_scale(x.subspan(16 * g, 16), d * static_cast<float>(scale), 32,
                   std::span(codes).subspan(16 * g, 16));
  }
  for (std::size_t half = 0; half < 2; ++half)
    for (std::size_t j = 0; j < 32; ++j) {
      const std::uint8_t* q = codes.data() + 128 * half + j;
      out[64 * half + j] = as_byte((q[0] & 15) | (q[64] & 15) << 4);
      out[64 * half + 32 + j] = as_byte((q[32] & 15) | (q[96] & 15) << 4);
      out[128 + 32 * half + j] = as_byte(q[0] >> 4 | q[32] >> 4 << 2 | q[64] >> 4 << 4 | q[96] >> 4 << 6);
    }
}

/// The levels of IQ4_NL and IQ4_XS.
inline constexpr std::array<std::int8_t, 16> iq4_levels{-127, -104, -83, -65, -49, -35, -22, -10,
                                                        1,    13,   25,  38,  53,  69,  89,  113};
inline float iq4_level(int q) { return static_cast<float>(iq4_levels[static_cast<std::size_t>(q)]); }
/// The nearest level; the upper of two that are equally near.
inline int nearest_iq4(float v) {
  int q = 0;
  for (int next = 1; next < 16; ++next) q += v - iq4_level(next - 1) < iq4_level(next) - v ? 0 : 1;
  return q;
}

/// The best of 16 scales of 32 values.
inline float fit_iq4(std::span<const float> x, std::span<const float> weights) {
  const float most = signed_maximum(x);
  if (std::abs(most) < fit_smallest) return 0.0F;
  const auto sums_of = [&](float inverse) {
    code_sums sums;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float q = iq4_level(nearest_iq4(inverse * x[i]));
      sums.xq += weights[i] * q * x[i];
      sums.qq += weights[i] * q * q;
    }
    return sums;
  };
  auto sums = sums_of(1.0F / (-most / iq4_level(0)));
  float scale = sums.scale(), best = scale * sums.xq;
  for (int step = -7; step <= 7; ++step) {
    sums = sums_of((static_cast<float>(step) + iq4_level(0)) / most);
    if (sums.qq > 0.0F && sums.xq * sums.xq > best * sums.qq) {
      scale = sums.scale();
      best = scale * sums.xq;
    }
  }
  return scale;
}

/// IQ4_NL (32 values) or IQ4_XS (256).
inline void encode_iq4(std::span<const float> x, std::span<const float> importance, std::byte* out) {
  const bool one = x.size() == 32;
  const float mean_square = sum_of_squares(x) * (2.0F / static_cast<float>(x.size()));
  std::array<float, 8> scales{};
  std::array<float, 32> weights{};
  for (std::size_t g = 0; g < x.size() / 32; ++g) {
    const auto xs = x.subspan(32 * g, 32);
    if (importance.empty()) {
      for (std::size_t i = 0; i < 32; ++i) weights[i] = xs[i] * xs[i];
    } else {
      importance_weights(xs, importance.subspan(32 * g, 32), mean_square, weights);
    }
    scales[g] = fit_iq4(xs, weights);
  }
  const float unit = one ? scales[0] : -signed_maximum(scales) / 32.0F;
  put_half(unit, out);
  const float inverse = finite_or_zero(1.0F / unit);
  std::byte* codes = one ? out + 2 : out + 8;
  std::array<std::uint8_t, 8> scale_codes{};
  for (std::size_t g = 0; g < x.size() / 32; ++g) {
    const int code = one ? 1 : std::clamp(nearest_code(inverse * scales[g]), -32, 31);
    scale_codes[g] = static_cast<std::uint8_t>(code + 32);
    const float to_level = finite_or_zero(1.0F / (unit * static_cast<float>(code)));
    for (std::size_t j = 0; j < 16; ++j)
      codes[16 * g + j] =
          as_byte(nearest_iq4(to_level * x[32 * g + j]) | nearest_iq4(to_level * x[32 * g + 16 + j]) << 4);
  }
  if (one) return;
  unsigned tops = 0;
  for (std::size_t g = 0; g < 8; ++g) tops |= static_cast<unsigned>(scale_codes[g] >> 4) << (2 * g);
  out[2] = as_byte(static_cast<int>(tops & 255U));
  out[3] = as_byte(static_cast<int>(tops >> 8));
  for (std::size_t g = 0; g < 4; ++g)
    out[4 + g] = as_byte((scale_codes[2 * g] & 15) | (scale_codes[2 * g + 1] & 15) << 4);
}

/// TQ1_0 and TQ2_0: -1, 0 or 1 times the largest magnitude.
inline void encode_ternary(ggml_type type, std::span<const float> x, std::byte* out) {
  const float d = std::abs(signed_maximum(x)), inverse = finite_or_zero(1.0F / d);
  const auto trit = [&](std::size_t i) {
    return static_cast<int>(std::round(std::clamp(x[i] * inverse, -1.0F, 1.0F))) + 1;
  };
  if (type == ggml_type::tq2_0) {
    std::array<std::uint8_t, 256> codes{};
    for (std::size_t i = 0; i < 256; ++i) codes[i] = static_cast<std::uint8_t>(trit(i));
    put_two_bits(codes.data(), out);
    put_half(d, out + 64);
    return;
  }
  // bytes of 5 trits, which lie `stride` values apart: a fraction of 3^5, rounded up to 1/256
  const auto put = [&](std::size_t first, std::size_t stride, std::size_t trits, std::byte* to) {
    for (std::size_t j = 0; j < stride; ++j) {
      int value = 0;
      for (std::size_t n = 0; n < 5; ++n) value = 3 * value + (n < trits ? trit(first + n * stride + j) : 0);
      to[j] = as_byte((value * 256 + 242) / 243);
    }
  };
  put(0, 32, 5, out);
  put(160, 16, 5, out + 32);
  put(240, 4, 4, out + 48);
  put_half(d, out + 52);
}

}  // namespace tersor::quant::detail
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)
