// tersor - NF4 and its relatives: blocks on the quantiles of a normal distribution
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/solve/codebook.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::quant {

using solve::operator|;
using solve::operator+;

enum class level_kind {
  normal,  ///< NormalFloat of any width
  fp4      ///< bitsandbytes' FP4 (E2M1 with a table of its own), 4 bits
};
constexpr auto option_names(level_kind) {
  using row = std::pair<std::string_view, level_kind>;
  return std::array<row, 2>{{{"normal", level_kind::normal}, {"fp4", level_kind::fp4}}};
}

/// QLoRA's storage (arXiv:2305.14314; official code bitsandbytes-foundation/bitsandbytes): blocks of
/// `block_size` weights of the row-major matrix, each weight the nearest of 2^bits normal quantiles times the
/// block's largest magnitude. With `double_quantization` the maxima, less their mean, are 8-bit dynamic codes
/// with one float for each 256.
///
/// Cost: one pass over W. Guarantee: without double quantization |w - w^| is at most half the widest gap of
/// the levels (0.152 for 4 bits) times the block's maximum; zeros and the maximum itself are exact. Bits per
/// weight: bits + 8 / block_size + 32 / (256 block_size), 4.127 by default, or bits + 32 / block_size; and
/// the table of levels and the mean of the maxima, 68 bytes a layer for 4 bits.
///
///     auto result = tersor::quant::nf4{}(W);     // W: [out, in], any tensor type
///     result.op.apply(x, y);                     // x: [tokens, in], y: [tokens, out]
struct nf4 {
  int bits = 4;
  index_t block_size = 64;
  bool double_quantization = true;
  index_t scale_block_size = 256;
  level_kind levels = level_kind::normal;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "nf4",
      .family = "quant",
      .title = "NormalFloat blocks with double quantization of their maxima",
      .arxiv = "2305.14314",
      .header = "tersor/quant/nf4.hpp",
      .guarantee = "without double quantization within half the widest gap of the levels; zeros stay zero"};
  static constexpr auto options() {
    return std::tuple{
        option{"bits", &nf4::bits, {.help = "width of a code", .symbol = "k", .min = 2, .max = 8}},
        option{"block_size", &nf4::block_size, {.help = "weights with one scale", .min = 1, .max = 1 << 20}},
        option{"double_quantization", &nf4::double_quantization, {.help = "scales as 8-bit codes"}},
        option{"scale_block_size",
               &nf4::scale_block_size,
               {.help = "scales with one maximum", .min = 1, .max = 1 << 20}},
        option{"levels", &nf4::levels, {.help = "table of levels"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(levels == level_kind::normal || bits == 4, "nf4: bits", bits, "4 for levels = fp4");
  }
  solve::codebook_rule rule() const {
    return {.levels = levels == level_kind::fp4 ? bitsandbytes_fp4() : normal_float(bits),
            .block_size = block_size,
            .scales = {.coding = double_quantization ? op::scale_coding::dynamic : op::scale_coding::plain,
                       .block_size = scale_block_size}};
  }

  /// @param w [out, in], any tensor type. @param inputs only adds a weighted error to the report.
  template <matrix_like W>
  solve::compressed<op::codebook> operator()(const W& w, const calib::statistics* inputs = nullptr,
                                             const context& ctx = {}) const {
    return solve::compress_weight<op::codebook>(*this, w, inputs, ctx);
  }

  solve::outcome compress(const solve::layer& l, const context& ctx = {}) const {
    validate();
    solve::check_layer(l);
    return {solve::quantize_to_levels(l.weight, rule(), ctx), l.sparsity, {}};
  }
};

}  // namespace tersor::quant
