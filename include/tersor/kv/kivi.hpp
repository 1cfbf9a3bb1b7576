// tersor - KIVI: keys quantized per channel, values per token, the newest tokens in full precision
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/codec.hpp>
#include <tersor/kv/quantized_tokens.hpp>

namespace tersor::kv {

/// KIVI (arXiv:2402.02750, official code jy-yuan/KIVI): the large entries of keys sit in a few channels, so a
/// key's group is `group_size` tokens of one channel; those of values do not, and a value's group is
/// `group_size` channels of one token, whose error then stays in that token. Keys go to the body `residual`
/// at a time, values one by one behind the newest `residual`.
///
/// Differences: a constant group, on which the program divides by zero, gets code 0; scales and minimums are
/// rounded to `scale_type` before codes are computed, outward, so that the guarantee holds for what is
/// stored. With scale_type and tail_type f32 codes are those of the program.
///
/// Cost: one pass over new tokens; attention decodes as it reads. Guarantee: |x - x^| <= scale / 2, up to
/// rounding in float. Bits per element of the body: bits + 32 / group_size; the tail takes 16.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::full{} | tersor::kv::kivi{.bits = 2});
struct kivi {
  int bits = 2;
  int value_bits = 0;
  index_t group_size = 32;
  index_t residual = 128;
  index_t key_residual = 0;
  dtype scale_type = dtype::f16;
  dtype tail_type = dtype::f16;

  static constexpr solve::stage_kind kind = solve::stage_kind::codec;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "kivi",
      .family = "kv",
      .title = "Keys quantized per channel, values per token, a full-precision tail",
      .arxiv = "2402.02750",
      .header = "tersor/kv/kivi.hpp",
      .guarantee = "every element of the body is within half a step of its group's grid"};
  static constexpr auto options() {
    return std::tuple{
        option{"bits", &kivi::bits, {.help = "width of a code", .symbol = "b", .min = 1, .max = 8}},
        option{"value_bits", &kivi::value_bits, {.help = "of values; 0: as keys", .min = 0, .max = 8}},
        option{"group_size",
               &kivi::group_size,
               {.help = "tokens of a key group, channels of a value group",
                .symbol = "G",
                .min = 1,
                .max = 1e6}},
        option{"residual",
               &kivi::residual,
               {.help = "newest tokens in full precision", .symbol = "R", .min = 1, .max = 1e6}},
        option{"key_residual",
               &kivi::key_residual,
               {.help = "newest tokens whose keys stay in full precision too; 0: only those that fill no "
                        "residual, as released",
                .min = 0,
                .max = 1e6}},
        option{"scale_type", &kivi::scale_type, {.help = "stored type of scales and minimums"}},
        option{"tail_type", &kivi::tail_type, {.help = "stored type of the tail"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(residual % group_size == 0, "kivi: residual", residual, "a multiple of group_size, ", group_size);
  }

  std::unique_ptr<body> open(side s, index_t heads, index_t head_dim, const context& = {}) const {
    validate();
    require(head_dim % group_size == 0, "kivi: group_size", group_size, "a divisor of the head's ", head_dim,
            " channels");
    if (s == side::keys)
      return std::make_unique<quantized_tokens>(heads, head_dim, bits, group_axis::tokens, group_size,
                                                scale_type);
    return std::make_unique<quantized_tokens>(heads, head_dim, value_bits == 0 ? bits : value_bits,
                                              group_axis::channels, group_size, scale_type);
  }
  flush_rule rule(side s) const {
    if (s == side::keys) return {.keep = key_residual, .prompt_lump = residual, .lump = residual};
    return {.keep = residual, .prompt_lump = 1, .lump = 1};
  }
  dtype tail() const { return tail_type; }
  bool joins_heads() const { return false; }
  bool drops() const { return false; }
};

}  // namespace tersor::kv
