// tersor - conformance: SmoothQuant and W8A8 against mit-han-lab/smoothquant
// SPDX-License-Identifier: MIT
#include <tersor/quant/smoothquant.hpp>

#include "vectors.hpp"

namespace quant_smoothquant_tests {

const conformance::technique smoothquant{"quant_smoothquant",
                                         {"alpha", "norm", "act_quant", "weight_quant", "dead_channels"}};

using tersor::index_t;
using tersor::matrix;
using tersor::op::activation_unit;
using tersor::quant::weight_unit;

/// At most 0.1 % of the codes differ, none by more than one step.
template <class Codes>
void check_codes(const Codes& codes, const std::vector<float>& expected) {
  REQUIRE(codes.size() == expected.size());
  std::size_t differing = 0;
  float worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const float d = std::fabs(static_cast<float>(codes[i]) - expected[i]);
    differing += d != 0.0F;
    worst = std::max(worst, d);
  }
  CHECK(worst <= 1.0F);
  CHECK(static_cast<double>(differing) <= 1e-3 * static_cast<double>(expected.size()));
}

TEST_CASE("conformance: quant_smoothquant") {
  conformance::for_each_case(smoothquant, [](const conformance::test_case& c) {
    const tersor::quant::smoothquant options{.alpha = c.option("alpha", 0.5F), .compat_dead = true};
    std::vector<matrix<float>> weights;
    while (c.has_input("W" + std::to_string(weights.size())))
      weights.push_back(c.input("W" + std::to_string(weights.size())));
    auto x = c.input("X");

    // the channel maxima of the inputs are what the program collected
    tersor::calib::statistics inputs(x.cols(), {.gram = false});
    inputs.add(x);
    const auto largest = c.input_vector("act_scales");
    CHECK(conformance::mismatches(inputs.max_abs(), largest) == 0);
    for (const auto dead : c.option<std::vector<std::size_t>>("dead_channels", {}))
      CHECK(largest.at(dead) == 0.0F);
    const bool layer_norm = c.choice<bool>("norm", "RMSNorm", {{"RMSNorm", false}, {"LayerNorm", true}});
    CHECK(c.has_input("norm_bias") == layer_norm);

    const auto s = options.scales(largest, weights);
    CHECK(conformance::max_relative(s, c.output_vector("scales")) <= 1e-5);
    for (const std::string part : {"norm_weight", "norm_bias"})
      if (c.has_input(part)) {
        auto v = c.input_vector(part);
        tersor::solve::divide_channels(v, s);
        CHECK(conformance::max_relative(v, c.output_vector("smoothed_" + part)) <= 1e-5);
      }
    for (index_t t = 0; t < x.rows(); ++t) tersor::solve::divide_channels(x.row(t), s);

    const auto unit = c.choice<activation_unit>(
        "act_quant", "per_token",
        {{"per_token", activation_unit::per_token}, {"per_tensor", activation_unit::per_tensor}});
    check_codes(tersor::op::quantize_activations(x.view(), unit).codes.values(), c.output_vector("qX"));
    const tersor::quant::w8a8 quantizer{
        .weights = c.choice<weight_unit>(
            "weight_quant", "per_channel",
            {{"per_channel", weight_unit::per_row}, {"per_tensor", weight_unit::per_tensor}}),
        .activations = unit};
    for (std::size_t k = 0; k < weights.size(); ++k) {
      const auto number = std::to_string(k);
      tersor::solve::scale_columns(weights[k], s);
      CHECK(conformance::max_relative(weights[k].values(), c.output("smoothed_W" + number).values()) <= 1e-5);
      const auto result = quantizer(weights[k]);
      check_codes(result.op.codes(), c.output_vector("qW" + number));

      matrix<float> y(x.rows(), weights[k].rows());
      result.op.apply(x.view(), y.view());
      if (c.has_input("b" + number)) {
        const auto bias = c.input_vector("b" + number);
        for (index_t t = 0; t < y.rows(); ++t)
          for (index_t r = 0; r < y.cols(); ++r) y(t, r) += bias[static_cast<std::size_t>(r)];
      }
      if (c.output_meaning("y" + number).find("output quantized too") != std::string::npos) {
        auto q = tersor::op::quantize_activations(y.view(), unit);
        for (index_t t = 0; t < y.rows(); ++t)
          for (index_t r = 0; r < y.cols(); ++r)
            y(t, r) = q.codes(t, r) * q.scale[q.scale.size() == 1 ? 0 : static_cast<std::size_t>(t)];
      }
      const auto expected = c.output("y" + number);
      CHECK(conformance::max_difference(y.values(), expected.values(),
                                        conformance::max_abs(expected.values())) <= 1e-3);
    }
  });
}

}  // namespace quant_smoothquant_tests
