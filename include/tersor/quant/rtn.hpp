// tersor - round-to-nearest quantization, with and without a clip search
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/solve/grid.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::quant {

using solve::operator|;
using solve::operator+;

/// Round-to-nearest (no paper; the data-free baseline of GPTQ, AWQ and SmoothQuant): each unit of weights (a
/// run of `group_size` inputs of one row, the row, or the tensor) gets a scale and a zero point, each weight
/// the nearest code.
///
/// Sources: IST-DASLab/gptq quant.py, mit-han-lab/llm-awq quantizer.py, mit-han-lab/smoothquant fake_quant.py
/// (grid conventions: `scheme`). Cost: one pass over W, 80 with the clip search. Guarantee: |w - w^| <= scale
/// / 2 for every weight without a clip search; with it, never a larger sum |w - w^|^norm. Bits per weight:
/// bits + (16 + bits) / group_size, bits + 16 / group_size for symmetric grids.
///
///     auto result = tersor::quant::rtn{.bits = 4}(W);     // W: [out, in], any tensor type
///     result.op.apply(x, y);                              // x: [tokens, in], y: [tokens, out]
///     double error = result.report.relative_error;
struct rtn {
  int bits = 4;
  index_t group_size = 128;
  solve::grid_scheme scheme = solve::grid_scheme::affine0;
  bool per_tensor = false;
  bool clip_search = false;
  float norm = 2.4F;
  int grid = 100;
  float max_shrink = 0.8F;
  dtype scale_type = dtype::f16;
  bool compat_one_sided = false;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "rtn",
      .family = "quant",
      .title = "Round to nearest with optional clip search",
      .arxiv = "",
      .header = "tersor/quant/rtn.hpp",
      .guarantee = "every weight is within half a step of its code's value (without clip search)"};
  static constexpr auto options() {
    return std::tuple_cat(
        std::tuple{option{"bits", &rtn::bits, {.help = "width of a code", .symbol = "b", .min = 2, .max = 8}},
                   solve::group_size_option<rtn>(), solve::scheme_option<rtn>(),
                   option{"per_tensor", &rtn::per_tensor, {.help = "one grid for the whole tensor"}}},
        solve::grid_options<rtn>());
  }
  void validate() const {
    validate_options(*this, info.id);
    require(group_size != 0, "rtn: group_size", group_size, "-1 or at least 1");
  }

  solve::grid_rule rule() const { return solve::rule_of(*this); }

  /// @param w [out, in], any tensor type. @param inputs only adds a weighted error to the report.
  template <matrix_like W>
  solve::compressed<op::quantized> operator()(const W& w, const calib::statistics* inputs = nullptr,
                                              const context& ctx = {}) const {
    return solve::compress_weight<op::quantized>(*this, w, inputs, ctx);
  }

  solve::outcome compress(const solve::layer& l, const context& ctx = {}) const {
    validate();
    solve::check_layer(l);
    const auto grids = solve::fit_grids(l.weight.view(), group_size, per_tensor, rule(), ctx);
    const auto codes = solve::quantize(l.weight.view(), grids, bits, ctx);
    return {solve::quantized_operator(codes, grids, rule(), l.sparsity), l.sparsity, {}};
  }
};

}  // namespace tersor::quant
