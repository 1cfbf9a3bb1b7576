// tersor - GGUF block types that store integer codes, as codes and scales
// SPDX-License-Identifier: MIT
#pragma once

#include <array>  // std::array

#include <tersor/core/ggml_type.hpp>
#include <tersor/op/ggml_codes_simple.hpp>
#include <tersor/op/ggml_codes_super.hpp>

namespace tersor::op::detail {

/// Value = scale * level of its code, plus an offset where the type has them; scale and offset are those of
/// its group. Products of a scale and a level have at most 24 bits and are exact in float, but for Q8_K.
struct ggml_coding {
  ggml_type type;
  int bits;                                                    ///< of a code
  int group;                                                   ///< values that share a scale
  int zero;                                                    ///< the level of code c is c - zero ...
  const std::int8_t* levels;                                   ///< ... or levels[c]
  bool offsets;                                                ///< does each group have one?
  void (*codes)(const std::byte* block, std::uint8_t* codes);  ///< of all values
  void (*scales)(const std::byte* block, float* scales, float* offsets);  ///< of all groups

  float level(std::uint8_t code) const {
    return levels != nullptr ? static_cast<float>(levels[code])
                             : static_cast<float>(static_cast<int>(code) - zero);
  }
};

inline constexpr std::array<ggml_coding, 20> ggml_codings{{
    {ggml_type::q1_0, 1, 128, 0, ggml_sign_levels, false, ggml_codes_q1_0, ggml_scale_at<0>},
    {ggml_type::q2_0, 2, 64, 1, nullptr, false, ggml_codes_q2_0, ggml_scale_at<0>},
    {ggml_type::q4_0, 4, 32, 8, nullptr, false, ggml_codes_of_4_bits<2>, ggml_scale_at<0>},
    {ggml_type::q4_1, 4, 32, 0, nullptr, true, ggml_codes_of_4_bits<4>, ggml_scale_and_offset},
    {ggml_type::q5_0, 5, 32, 16, nullptr, false, ggml_codes_of_5_bits<2>, ggml_scale_at<0>},
    {ggml_type::q5_1, 5, 32, 0, nullptr, true, ggml_codes_of_5_bits<4>, ggml_scale_and_offset},
    {ggml_type::q8_0, 8, 32, 128, nullptr, false, ggml_codes_of_8_bits<2>, ggml_scale_at<0>},
    {ggml_type::q8_1, 8, 32, 128, nullptr, false, ggml_codes_of_8_bits<4>, ggml_scale_at<0>},
    {ggml_type::iq4_nl, 4, 32, 0, ggml_nonlinear_levels, false, ggml_codes_of_4_bits<2>, ggml_scale_at<0>},
    {ggml_type::mxfp4, 4, 32, 0, ggml_e2m1_levels, false, ggml_codes_of_4_bits<1>, ggml_scale_mxfp4},
    {ggml_type::nvfp4, 4, 16, 0, ggml_e2m1_levels, false, ggml_codes_nvfp4, ggml_scales_nvfp4},
    {ggml_type::q2_k, 2, 16, 0, nullptr, true, ggml_codes_of_2_bits<16>, ggml_scales_q2_k},
    {ggml_type::q3_k, 3, 16, 4, nullptr, false, ggml_codes_q3_k, ggml_scales_q3_k},
    {ggml_type::q4_k, 4, 32, 0, nullptr, true, ggml_codes_of_nibbles<16>, ggml_scales_k45},
    {ggml_type::q5_k, 5, 32, 0, nullptr, true, ggml_codes_q5_k, ggml_scales_k45},
    {ggml_type::q6_k, 6, 16, 32, nullptr, false, ggml_codes_q6_k, ggml_scales_q6_k},
    {ggml_type::q8_k, 8, 256, 128, nullptr, false, ggml_codes_q8_k, ggml_scale_q8_k},
    {ggml_type::iq4_xs, 4, 32, 0, ggml_nonlinear_levels, false, ggml_codes_iq4_xs, ggml_scales_iq4_xs},
    {ggml_type::tq1_0, 2, 256, 1, nullptr, false, ggml_codes_tq1_0, ggml_scale_at<52>},
    {ggml_type::tq2_0, 2, 256, 1, nullptr, false, ggml_codes_of_2_bits<0>, ggml_scale_at<64>},
}};

/// The coding of a type, or nullptr for types whose codes stand for points of a grid, and for reals.
constexpr const ggml_coding* find_ggml_coding(ggml_type type) {
  for (const auto& c : ggml_codings)
    if (c.type == type) return &c;
  return nullptr;
}

/// @param count values of a block.
inline void decode_coded_block(const ggml_coding& coding, int count, const std::byte* block, float* out) {
  std::uint8_t codes[256];
  float scales[16], offsets[16];
  coding.codes(block, codes);
  coding.scales(block, scales, offsets);
  for (int g = 0, first = 0; first < count; ++g, first += coding.group) {
    const float scale = scales[g];
    const std::uint8_t* code = codes + first;
    float* value = out + first;
    if (coding.levels != nullptr)
      for (int j = 0; j < coding.group; ++j) value[j] = scale * static_cast<float>(coding.levels[code[j]]);
    else
      for (int j = 0; j < coding.group; ++j) value[j] = scale * static_cast<float>(code[j] - coding.zero);
    if (coding.offsets)
      for (int j = 0; j < coding.group; ++j) value[j] += offsets[g];
  }
}

}  // namespace tersor::op::detail
