// tersor - dense KV cache: each token as plain reals, down to FP8
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/codec.hpp>

namespace tersor::kv {

/// The element types of a dense cache.
enum class element_type { f32, f16, bf16, f8_e4m3, f8_e5m2 };
constexpr auto option_names(element_type) {
  using row = std::pair<std::string_view, element_type>;
  return std::array<row, 5>{{{"f32", element_type::f32},
                             {"f16", element_type::f16},
                             {"bf16", element_type::bf16},
                             {"f8_e4m3", element_type::f8_e4m3},
                             {"f8_e5m2", element_type::f8_e5m2}}};
}
constexpr dtype to_dtype(element_type t) {
  constexpr std::array types{dtype::f32, dtype::f16, dtype::bf16, dtype::f8_e4m3, dtype::f8_e5m2};
  return types[static_cast<std::size_t>(t)];
}

/// Dense storage (no paper): what a cache is without compression, and, as FP8, half of it. Rounding to
/// nearest, ties to even; FP8 saturates and has no scale, so it suits keys and values of moderate size (448,
/// 57344).
///
/// Cost: one rounding per element. Guarantee: |x - x^| is at most half a unit in the last place of the type,
/// inside its range. Bits per element: 32, 16 or 8.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::full{} | tersor::kv::dense{.type =
///     element_type::f8_e4m3});
struct dense {
  element_type type = element_type::f16;

  static constexpr solve::stage_kind kind = solve::stage_kind::codec;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "dense",
      .family = "kv",
      .title = "Dense cache in f32, f16, bf16 or FP8",
      .arxiv = "",
      .header = "tersor/kv/dense.hpp",
      .guarantee = "every element is the nearest number of the type (inside its range)"};
  static constexpr auto options() {
    return std::tuple{option{"type", &dense::type, {.help = "stored type of the elements"}}};
  }
  void validate() const { validate_options(*this, info.id); }

  std::unique_ptr<body> open(side, index_t heads, index_t head_dim, const context& = {}) const {
    return std::make_unique<dense_tokens>(heads, head_dim, to_dtype(type));
  }
  flush_rule rule(side) const { return {}; }
  dtype tail() const { return dtype::f32; }  // for one step, so that elements are rounded once
  bool joins_heads() const { return false; }
  bool drops() const { return true; }
};

}  // namespace tersor::kv
