// tersor - W8A8: symmetric int8 weights with activations quantized on the fly
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/w8a8.hpp>
#include <tersor/solve/grid.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::quant {

using solve::operator|;
using solve::operator+;

/// What shares one scale of the weights.
enum class weight_unit { per_row, per_tensor };
constexpr auto option_names(weight_unit) {
  using row = std::pair<std::string_view, weight_unit>;
  return std::array<row, 2>{{{"per_row", weight_unit::per_row}, {"per_tensor", weight_unit::per_tensor}}};
}

/// W8A8, the format of SmoothQuant (arXiv:2211.10438; official code mit-han-lab/smoothquant, fake_quant.py):
/// weights and activations as symmetric 8-bit integers, products summed exactly. Without a smoothing stage
/// before it, activation outliers spoil it.
///
/// Cost: one pass over W. Guarantee: |w - w^| <= scale / 2. Bits per weight: 8 + 32 / in.
///
///     auto result = tersor::quant::w8a8{}(W);
///     result.op.apply(x, y);   // quantizes each row of x
struct w8a8 {
  weight_unit weights = weight_unit::per_row;
  op::activation_unit activations = op::activation_unit::per_token;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  /// The most that any choice of `activations` asks for; `needed()` says what this one does.
  static constexpr solve::calibration_need needs = solve::calibration_need::sums;
  static constexpr solve::technique_info info{
      .id = "w8a8",
      .family = "quant",
      .title = "8-bit weights and activations",
      .arxiv = "2211.10438",
      .header = "tersor/quant/w8a8.hpp",
      .guarantee = "every weight is within half a step; integer sums are exact"};
  static constexpr auto options() {
    return std::tuple{
        option{"weights", &w8a8::weights, {.help = "what shares one scale of the weights"}},
        option{"activations", &w8a8::activations, {.help = "what shares one scale of the activations"}}};
  }
  void validate() const { validate_options(*this, info.id); }
  constexpr solve::calibration_need needed() const {
    return activations == op::activation_unit::fixed_tensor ? solve::calibration_need::sums
                                                            : solve::calibration_need::none;
  }

  template <matrix_like W>
  solve::compressed<op::w8a8> operator()(const W& w, const calib::statistics* inputs = nullptr,
                                         const context& ctx = {}) const {
    return solve::compress_weight<op::w8a8>(*this, w, inputs, ctx);
  }

  solve::outcome compress(const solve::layer& l, const context& = {}) const {
    validate();
    solve::check_layer(l);
    const auto& w = l.weight;
    auto scale_of = [](std::span<const float> x) {
      float largest = 0.0F;
      for (const float v : x) largest = std::max(largest, std::fabs(v));
      return op::int8_scale(largest);
    };
    std::vector<float> scale;
    if (weights == weight_unit::per_tensor) scale.push_back(scale_of(w.values()));
    std::vector<std::int8_t> codes;
    for (index_t r = 0; r < w.rows(); ++r) {
      if (weights == weight_unit::per_row) scale.push_back(scale_of(w.row(r)));
      for (const float v : w.row(r))
        codes.push_back(static_cast<std::int8_t>(round_half_even(v / scale.back())));
    }
    float fixed_scale = 0.0F;
    if (activations == op::activation_unit::fixed_tensor)
      fixed_scale = op::int8_scale(static_cast<float>(std::ranges::max(l.require_inputs(info.id).max_abs())));
    return {op::w8a8(w.rows(), w.cols(), std::move(codes), std::move(scale), activations, fixed_scale),
            l.sparsity,
            {}};
  }
};

}  // namespace tersor::quant
