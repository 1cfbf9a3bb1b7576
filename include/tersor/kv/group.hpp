// tersor - per-token group quantization of keys and values
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/codec.hpp>
#include <tersor/kv/quantized_tokens.hpp>

namespace tersor::kv {

/// Per-token group quantization (the 4-bit cache of FlexGen, arXiv:2303.06865, official code
/// FMInference/FlexLLMGen; GEAR's third backbone): keys and values alike in groups of `group_size` channels
/// of one token and head, between the group's minimum and maximum. A group ends with its head, so the last
/// one may be shorter. Every token is stored by itself, as soon as it has been attended to: the baseline of
/// KIVI and GEAR, and the compressed codec for policies that drop tokens one by one.
///
/// Cost: one pass over new tokens. Guarantee: |x - x^| <= scale / 2, up to rounding in float. Bits per
/// element: bits + 32 / group_size.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::streaming{} | tersor::kv::group{.bits = 4});
struct group {
  int bits = 4;
  index_t group_size = 64;
  dtype scale_type = dtype::f16;

  static constexpr solve::stage_kind kind = solve::stage_kind::codec;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "group",
      .family = "kv",
      .title = "Per-token group quantization of keys and values",
      .arxiv = "2303.06865",
      .header = "tersor/kv/group.hpp",
      .guarantee = "every element is within half a step of its group's grid"};
  static constexpr auto options() {
    return std::tuple{
        option{"bits", &group::bits, {.help = "width of a code", .symbol = "b", .min = 1, .max = 8}},
        option{
            "group_size", &group::group_size, {.help = "channels that share a scale", .min = 1, .max = 1e6}},
        option{"scale_type", &group::scale_type, {.help = "stored type of scales and minimums"}}};
  }
  void validate() const { validate_options(*this, info.id); }

  std::unique_ptr<body> open(side, index_t heads, index_t head_dim, const context& = {}) const {
    validate();
    return std::make_unique<quantized_tokens>(heads, head_dim, bits, group_axis::channels, group_size,
                                              scale_type);
  }
  flush_rule rule(side) const { return {}; }
  dtype tail() const { return dtype::f32; }  // for one step
  bool joins_heads() const { return false; }
  bool drops() const { return true; }
};

}  // namespace tersor::kv
