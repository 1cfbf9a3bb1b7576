// tersor - encoders of GGUF block types (no paper: ggml-org/ggml defines them)
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>  // std::optional
#include <vector>    // std::vector

#include <tersor/core/context.hpp>
#include <tersor/core/matrix.hpp>
#include <tersor/core/parallel.hpp>
#include <tersor/quant/ggml_encode_k.hpp>

namespace tersor::quant {

/// The block types that values can be written in.
inline constexpr std::array encodable_types{
    ggml_type::q4_0,  ggml_type::q4_1,  ggml_type::q5_0,   ggml_type::q5_1,
    ggml_type::q8_0,  ggml_type::q2_k,  ggml_type::q3_k,   ggml_type::q4_k,
    ggml_type::q5_k,  ggml_type::q6_k,  ggml_type::iq4_nl, ggml_type::iq4_xs,
    ggml_type::tq1_0, ggml_type::tq2_0, ggml_type::mxfp4,  ggml_type::nvfp4};

/// Can values be written in this block type?
constexpr bool can_encode(ggml_type t) {
  return std::ranges::find(encodable_types, t) != encodable_types.end();
}

/// Does its encoder use importances?
constexpr bool uses_importance(ggml_type t) {
  return can_encode(t) && t != ggml_type::q8_0 && t != ggml_type::tq1_0 && t != ggml_type::tq2_0 &&
         t != ggml_type::mxfp4 && t != ggml_type::nvfp4;
}

/// The type that rows of this many columns are written in: the one that is wanted where whole blocks fill
/// them, else as llama.cpp replaces it, a type of blocks of 32 with at least as many bits; none where those
/// do not fit.
constexpr std::optional<ggml_type> fitting_type(ggml_type wanted, index_t columns) {
  if (columns % info(wanted).block == 0) return wanted;
  if (columns % 32 != 0) return std::nullopt;
  switch (wanted) {
    case ggml_type::q4_k:
      return ggml_type::q5_0;
    case ggml_type::q5_k:
      return ggml_type::q5_1;
    case ggml_type::q6_k:
      return ggml_type::q8_0;
    case ggml_type::tq1_0:
    case ggml_type::tq2_0:
      return ggml_type::q4_0;
    case ggml_type::nvfp4:
      return ggml_type::mxfp4;  // llama.cpp has no rule for it
    default:
      return ggml_type::iq4_nl;
  }
}

namespace detail {

inline bool is_symmetric(ggml_type t) { return t == ggml_type::q4_0 || t == ggml_type::q5_0; }

/// The codes of Q4_0, Q4_1, Q5_0 or Q5_1 behind the scale (and minimum) that stand at `out` already.
inline void put_simple_codes(ggml_type type, std::span<const std::uint8_t> codes, std::byte* out) {
  out += is_symmetric(type) ? 2 : 4;
  if (type == ggml_type::q5_0 || type == ggml_type::q5_1) {
    for (std::size_t byte = 0; byte < 4; ++byte, ++out) {
      int tops = 0;
      for (std::size_t j = 0; j < 8; ++j) tops |= codes[8 * byte + j] >> 4 << j;
      *out = as_byte(tops);
    }
  }
  for (std::size_t j = 0; j < 16; ++j) out[j] = as_byte((codes[j] & 15) | (codes[j + 16] & 15) << 4);
}

/// Q4_0, Q4_1, Q5_0, Q5_1 with codes from a scale that is not rounded to f16 yet. Symmetric types: the value
/// of largest magnitude has the lowest code. Others: from minimum to maximum. With importance the fits of the
/// super-blocks. @param mean_square of the whole row.
inline void encode_simple(ggml_type type, std::span<const float> x, std::span<const float> importance,
                          float mean_square, std::byte* out) {
  const int levels = type == ggml_type::q4_0 || type == ggml_type::q4_1 ? 16 : 32;
  std::array<std::uint8_t, 32> codes{};
  if (!importance.empty()) {
    std::array<float, 32> weights{};
    importance_weights(x, importance, mean_square, weights);
    if (is_symmetric(type)) {
      put_half(fit_symmetric(x, weights, codes, levels / 2), out);
    } else {
      const auto fit = fit_affine(x, weights, codes, levels - 1, {});
      put_half(fit.scale, out);
      put_half(-fit.minimum, out + 2);
    }
    return put_simple_codes(type, codes, out);
  }
  const auto [low, high] = std::ranges::minmax(x);
  const float d = is_symmetric(type) ? signed_maximum(x) / -static_cast<float>(levels >> 1)
                                     : (high - low) / static_cast<float>(levels - 1);
  const float base = is_symmetric(type) ? 0.0F : low;
  const float shift = is_symmetric(type) ? static_cast<float>(levels >> 1) + 0.5F : 0.5F;
  const float inverse = finite_or_zero(1.0F / d), top = static_cast<float>(levels - 1);
  for (std::size_t j = 0; j < 32; ++j)
    codes[j] = static_cast<std::uint8_t>(std::clamp((x[j] - base) * inverse + shift, 0.0F, top));
  put_half(d, out);
  if (!is_symmetric(type)) put_half(low, out + 2);
  put_simple_codes(type, codes, out);
}

inline void encode_q8_0(std::span<const float> x, std::byte* out) {
  const float d = std::abs(signed_maximum(x)) / 127.0F, inverse = finite_or_zero(1.0F / d);
  put_half(d, out);
  for (std::size_t j = 0; j < 32; ++j)
    out[2 + j] = as_byte(static_cast<int>(std::round(std::clamp(x[j] * inverse, -127.0F, 127.0F))));
}

/// The levels of FP4, doubled as ggml has them, times `unit`: the code of the nearest, the first of equals.
inline int nearest_fp4(float v, float unit) {
  constexpr std::array<float, 8> levels{0.0F, 1.0F, 2.0F, 3.0F, 4.0F, 6.0F, 8.0F, 12.0F};
  int code = 0;
  float best = std::abs(v);
  for (int q = 1; q < 16; ++q) {
    const float level = levels[static_cast<std::size_t>(q & 7)];
    const float error = std::abs((q < 8 ? level : -level) * unit - v);
    if (error < best) {
      best = error;
      code = q;
    }
  }
  return code;
}
inline void put_fp4(std::span<const float> x, float unit, std::byte* out) {
  const std::size_t half = x.size() / 2;
  for (std::size_t j = 0; j < half; ++j)
    out[j] = as_byte(nearest_fp4(x[j], unit) | nearest_fp4(x[j + half], unit) << 4);
}

/// A power of two for 32 values: the largest has the exponent of 4.
inline void encode_mxfp4(std::span<const float> x, std::byte* out) {
  const float most = std::abs(signed_maximum(x));
  const int e = most > 0.0F ? std::clamp(static_cast<int>(std::floor(std::log2(most))) + 125, 0, 254) : 0;
  out[0] = as_byte(e);
  put_fp4(x, std::ldexp(1.0F, e - 128), out + 1);
}

/// A positive number as E4M3 without sign, as ggml rounds it: ties away from zero, from 256 on the largest,
/// 448.
inline int ue4m3_from(float v) {
  if (!(v > 0.0F)) return 0;
  const auto bits = std::bit_cast<std::uint32_t>(v);
  const int exponent = static_cast<int>(bits >> 23) - 120;
  // NOLINTNEXTLINE(bugprone-incorrect-roundings): as the reference rounds
  if (exponent <= 0) return std::min(static_cast<int>(v * 512.0F + 0.5F), 7);
  const int code = exponent * 8 + static_cast<int>(bits >> 20 & 7U) + static_cast<int>(bits >> 19 & 1U);
  return code >= 120 ? 126 : code;
}
/// Half of the value of a code, since levels are doubled.
inline float half_of_ue4m3(int code) {
  const auto mantissa = static_cast<float>(code % 8);
  return code < 8 ? std::ldexp(mantissa, -10) : std::ldexp(8.0F + mantissa, code / 8 - 11);
}

/// Four groups of 16 with a scale each.
inline void encode_nvfp4(std::span<const float> x, std::byte* out) {
  for (std::size_t g = 0; g < 4; ++g) {
    const auto xs = x.subspan(16 * g, 16);
    const float scale = std::abs(signed_maximum(xs)) / 6.0F;
    require(scale <= 448.0F, "encode: scale of a group of NVFP4", scale, "at most 448, the range of E4M3");
    const int code = ue4m3_from(scale);
    out[g] = as_byte(code);
    put_fp4(xs, half_of_ue4m3(code), out + 4 + 8 * g);
  }
}

inline void encode_block(ggml_type type, std::span<const float> x, std::span<const float> importance,
                         float mean_square, std::byte* out) {
  switch (type) {
    case ggml_type::q8_0:
      return encode_q8_0(x, out);
    case ggml_type::q2_k:
    case ggml_type::q4_k:
    case ggml_type::q5_k:
      return encode_affine_k(type, x, importance, out);
    case ggml_type::q3_k:
      return encode_q3_k(x, importance, out);
    case ggml_type::q6_k:
      return encode_q6_k(x, importance, out);
    case ggml_type::iq4_nl:
    case ggml_type::iq4_xs:
      return encode_iq4(x, importance, out);
    case ggml_type::tq1_0:
    case ggml_type::tq2_0:
      return encode_ternary(type, x, out);
    case ggml_type::mxfp4:
      return encode_mxfp4(x, out);
    case ggml_type::nvfp4:
      return encode_nvfp4(x, out);
    default:
      return encode_simple(type, x, importance, mean_square, out);
  }
}

}  // namespace detail

/// The blocks of w [rows, cols], row after row, byte for byte those of `ggml_quantize_chunk` of ggml-org/ggml
/// (where the compiler does not fuse products and sums); cols is a multiple of the type's block. For a block
/// of zeros, or of values below the range of the scale, the result is zeros.
///
/// @param importance [cols], of each input: the factor of its squared error, such as its mean square; finite,
/// none negative. Empty: none. Types of which `uses_importance` is false ignore it. Cost: one pass for Q8_0,
/// ternary and FP4 types, some 20 to 40 passes over each group for others. Errors: values that are not
/// finite, or so large that a scale is beyond F16.
inline std::vector<std::byte> encode(ggml_type type, matrix_view<const float> w,
                                     std::span<const float> importance = {}, const context& ctx = {}) {
  require(can_encode(type), "encode: type", name(type), "a type of encodable_types");
  const auto block = static_cast<std::size_t>(info(type).block),
             bytes = static_cast<std::size_t>(info(type).bytes);
  const auto cols = static_cast<std::size_t>(w.cols());
  require(cols % block == 0, "encode: columns", cols, "a multiple of ", block);
  require_finite(w, "encode: weight");
  require(importance.empty() || importance.size() == cols, "encode: importance", importance.size(), "0 or ",
          cols, " values");
  // beyond these bounds the sums of the fits could overflow
  for (const float v : importance)
    require(v >= 0.0F && v <= 1e12F, "encode: importance", v, "a number in 0 .. 1e12");
  constexpr float largest = 65504.0F * 128 * 32;
  std::vector<std::byte> out(static_cast<std::size_t>(w.rows()) * (cols / block) * bytes);
  parallel_chunks(w.rows(), 8, ctx, [&](index_t first, index_t last) {
    std::vector<float> row(cols);
    for (index_t r = first; r < last; ++r) {
      for (std::size_t j = 0; j < cols; ++j) row[j] = w(r, static_cast<index_t>(j));
      const std::span<const float> x(row);
      const float most = std::abs(signed_maximum(x));
      require(type == ggml_type::mxfp4 || most <= largest, concat("encode: weight in row ", r), most,
              "at most ", largest, " for scales within F16");
      const float mean_square = detail::sum_of_squares(x) / static_cast<float>(cols);
      std::byte* to = out.data() + static_cast<std::size_t>(r) * (cols / block) * bytes;
      for (std::size_t j = 0; j < cols; j += block, to += bytes)
        detail::encode_block(type, x.subspan(j, block),
                             importance.empty() ? importance : importance.subspan(j, block), mean_square, to);
    }
  });
  return out;
}

}  // namespace tersor::quant
