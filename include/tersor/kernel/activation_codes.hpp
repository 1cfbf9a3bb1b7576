// tersor - activations as 8-bit codes, quantized on the fly
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>      // std::bit_cast
#include <cstdint>  // std::int8_t
#include <span>     // std::span

#include <tersor/core/view.hpp>
#include <tersor/kernel/activations.hpp>

namespace tersor::kernel {

/// One run of activations as symmetric codes: x ≈ scale * code, |x - scale * code| <= scale / 2.
struct code_run {
  float scale;       ///< max |x| / 127; not finite if an x is not
  std::int32_t sum;  ///< of the codes
};

namespace detail {

/// v[0] := the 2 half numbers of v, put together by halves: no chain of as many steps.
template <index_t half, class T, class F>
TERSOR_ALWAYS_INLINE void fold(T* v, const F& f) {
  for (index_t l = 0; l < half; ++l) v[l] = f(v[l], v[l + half]);
  if constexpr (half > 1) fold<half / 2>(v, f);
}

struct activation_codes {
  TERSOR_ALWAYS_INLINE static code_run run(const float* x, index_t n, std::int8_t* codes) {
    float lanes[block] = {}, poison[block] = {};
    const index_t whole = n - n % block;
    for (index_t i = 0; i < whole; i += block)
      for (index_t l = 0; l < block; ++l) {
        const float size = std::bit_cast<float>(std::bit_cast<std::uint32_t>(x[i + l]) & 0x7fffffffU);
        lanes[l] = size > lanes[l] ? size : lanes[l];
        poison[l] += x[i + l] * 0.0F;
      }
    for (index_t i = whole; i < n; ++i) {
      const float size = x[i] < 0 ? -x[i] : x[i];
      lanes[0] = size > lanes[0] ? size : lanes[0];
      poison[0] += x[i] * 0.0F;
    }
    fold<block / 2>(lanes, [](float a, float b) { return b > a ? b : a; });
    fold<block / 2>(poison, [](float a, float b) { return a + b; });
    const float top = lanes[0], spoiled = poison[0];
    const float scale = top / 127.0F;
    const float inverse = scale > 0 ? 127.0F / top : 0.0F;
    constexpr float magic =
        12582912.0F;  // 1.5 * 2^23: adding it rounds half to even, the code is the low byte
    std::int32_t sums[block] = {};
    for (index_t i = 0; i < whole; i += block)
      for (index_t l = 0; l < block; ++l) {
        const auto code = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(x[i + l] * inverse + magic) -
                                                    std::bit_cast<std::uint32_t>(magic));
        codes[i + l] = static_cast<std::int8_t>(code);
        sums[l] += code;
      }
    for (index_t i = whole; i < n; ++i) {
      const auto code = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(x[i] * inverse + magic) -
                                                  std::bit_cast<std::uint32_t>(magic));
      codes[i] = static_cast<std::int8_t>(code);
      sums[0] += code;
    }
    fold<block / 2>(sums, [](std::int32_t a, std::int32_t b) { return a + b; });
    return {scale + spoiled, sums[0]};
  }
};

struct activation_code_runs {
  TERSOR_ALWAYS_INLINE static void run(const float* x, const index_t* lengths, index_t runs,
                                       std::int8_t* codes, code_run* out) {
    for (index_t i = 0; i < runs; ++i) {
      out[i] = activation_codes::run(x, lengths[i], codes);
      x += lengths[i];
      codes += lengths[i];
    }
  }
};

}  // namespace detail

/// Codes of x [n] to the nearest, ties to even. Where an x is not finite the codes are unspecified and the
/// scale is NaN or infinite, so that every product with it shows.
inline code_run quantize_run(const float* x, index_t n, std::int8_t* codes, target t = best_target()) {
  return run<detail::activation_codes>(t, x, n, codes);
}
/// The same of runs that follow each other. @param lengths of the runs, which are as many as `out`.
inline void quantize_runs(const float* x, std::span<const index_t> lengths, std::int8_t* codes, code_run* out,
                          target t = best_target()) {
  run<detail::activation_code_runs>(t, x, lengths.data(), static_cast<index_t>(lengths.size()), codes, out);
}

}  // namespace tersor::kernel
