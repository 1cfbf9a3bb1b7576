// tersor - the block types of GGUF files as a technique
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/ggml_blocks.hpp>
#include <tersor/quant/ggml_encode.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor {

/// The block types that weights can be written in.
constexpr auto option_names(ggml_type) {
  std::array<std::pair<std::string_view, ggml_type>, quant::encodable_types.size()> names{};
  for (std::size_t i = 0; i < names.size(); ++i)
    names[i] = {name(quant::encodable_types[i]), quant::encodable_types[i]};
  return names;
}

}  // namespace tersor

namespace tersor::quant {

using solve::operator|;
using solve::operator+;

/// How much each input counts in the search for scales.
enum class input_importance {
  automatic,  ///< its mean square, where there are statistics and the type's encoder can use them
  none        ///< all the same
};
constexpr auto option_names(input_importance) {
  using row = std::pair<std::string_view, input_importance>;
  return std::array<row, 2>{{{"auto", input_importance::automatic}, {"none", input_importance::none}}};
}

/// Blocks of GGUF (no paper; ggml-org/ggml and llama.cpp's `quantize`): 32, 64 or 256 weights of a row with
/// scales of their own, in the bytes that llama.cpp reads. Q4_0 to Q8_0 have one scale (and minimum) of 16
/// bits for 32 weights, Q2_K to Q6_K quantize the scales of 16 or 32 weights once more, IQ4_NL and IQ4_XS
/// have levels that are dense near 0, TQ1_0 and TQ2_0 are ternary, MXFP4 and NVFP4 hold FP4 numbers.
///
/// Data-free. With statistics of the inputs, their mean squares weight the errors as llama.cpp's importance
/// matrix does; the mean of the importances is made 1, and none is less than 1e-6, so inputs that the
/// calibration never saw still have their weights. Rows that are not whole blocks take the type that
/// llama.cpp gives them (`fitting_type`, Q4_K: Q5_0, Q5_K: Q5_1, Q6_K: Q8_0, Q2_K, Q3_K and IQ4_XS: IQ4_NL,
/// ternary ones: Q4_0), which the report notes; in_features that 32 does not divide are an error. After a
/// pruner, types that cannot hold 0 in every block (those with a minimum, and IQ4) are an error.
///
/// Cost: one pass over W (Q8_0, ternary, FP4) to about 40. Guarantee: Q8_0 is within half a step, the largest
/// magnitude of 32 weights / 254; others have no bound but that of their grids. Bits per weight: Q4_0 and
/// Q4_K 4.5, Q4_1 5, Q5_0 and Q5_K 5.5, Q5_1 6, Q8_0 8.5, Q2_K 2.625, Q3_K 3.4375, Q6_K 6.5625, IQ4_NL 4.5,
/// IQ4_XS 4.25, TQ1_0 1.6875, TQ2_0 2.0625, MXFP4 4.25, NVFP4 4.5.
///
///     auto result = tersor::quant::ggml_blocks{.type = tersor::ggml_type::q4_k}(W);  // W: [out, in]
///     result.op.apply(x, y);                                                         // x: [tokens, in]
struct ggml_blocks {
  ggml_type type = ggml_type::q4_k;
  input_importance importance = input_importance::automatic;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "ggml",
                                              .family = "quant",
                                              .title = "Block types of GGUF files",
                                              .arxiv = "",
                                              .header = "tersor/quant/ggml_blocks.hpp",
                                              .guarantee =
                                                  "the bytes of llama.cpp's encoders; Q8_0 is within half a "
                                                  "step, ternary weights are exact in TQ types"};
  static constexpr auto options() {
    return std::tuple{option{"type", &ggml_blocks::type, {.help = "block type, as llama.cpp calls it"}},
                      option{"importance",
                             &ggml_blocks::importance,
                             {.help = "auto: mean squares of the inputs, where a calibration gathers them"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(can_encode(type), "ggml: type", name(type), option_text<ggml_type>::range({}));
  }

  /// @param w [out, in], any tensor type. @param inputs for the importances; null: none.
  template <matrix_like W>
  solve::compressed<op::ggml_blocks> operator()(const W& w, const calib::statistics* inputs = nullptr,
                                                const context& ctx = {}) const {
    return solve::compress_weight<op::ggml_blocks>(*this, w, inputs, ctx);
  }

  solve::outcome compress(const solve::layer& l, const context& ctx = {}) const {
    validate();
    solve::check_layer(l);
    const index_t out = l.weight.rows(), in = l.weight.cols();
    const auto fitting = fitting_type(type, in);
    require(fitting.has_value(), concat("ggml: in_features of ", l.name), in, "a multiple of 32, for ",
            name(type), " of ", tersor::info(type).block);
    require(l.sparsity.empty() || holds_zeros(*fitting),
            concat("ggml: type of ", l.name, ", which is sparse"), name(*fitting),
            "a type that holds zeros, such as Q4_0, Q5_0, Q8_0, Q3_K or Q6_K");
    solve::outcome result;
    if (*fitting != type)
      result.notes.push_back(
          concat("ggml: ", name(*fitting), ", since rows of ", in, " are not whole blocks of ", name(type)));
    const auto bytes = encode(*fitting, l.weight.view(), importance_of(l), ctx);
    result.op = op::ggml_blocks(*fitting, out, in, bytes, nullptr);
    result.sparsity = l.sparsity;
    return result;
  }

 private:
  static bool holds_zeros(ggml_type t) {
    for (const auto other : {ggml_type::q4_1, ggml_type::q5_1, ggml_type::q2_k, ggml_type::q4_k,
                             ggml_type::q5_k, ggml_type::iq4_nl, ggml_type::iq4_xs})
      if (t == other) return false;
    return true;
  }
  /// Mean squares of the inputs with a mean of 1, or none.
  std::vector<float> importance_of(const solve::layer& l) const {
    if (importance == input_importance::none || l.inputs == nullptr || l.inputs->empty()) return {};
    const auto& energy = l.require_inputs(info.id).sum_squares();
    double sum = 0;
    for (const double e : energy) sum += e;
    if (!(sum > 0)) return {};
    std::vector<float> factors(energy.size());
    for (std::size_t j = 0; j < factors.size(); ++j)
      factors[j] = static_cast<float>(std::max(energy[j] * static_cast<double>(energy.size()) / sum, 1e-6));
    return factors;
  }
};

}  // namespace tersor::quant
