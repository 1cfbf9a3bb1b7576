// tersor - conformance: AWQ against mit-han-lab/llm-awq and AutoAWQ
// SPDX-License-Identifier: MIT
#include <tersor/quant/awq.hpp>
#include <tersor/quant/awq_layout.hpp>

#include "vectors.hpp"

namespace quant_awq_tests {

const conformance::technique awq{
    "quant_awq",
    {"bits", "group_size", "zero_point", "n_sample_token", "token_stride", "n_grid", "max_shrink",
     "inspected_function", "producer", "consumers", "order", "layout"}};

using tersor::index_t;
using tersor::matrix;
using tersor::matrix_view;

tersor::quant::awq options_of(const conformance::test_case& c) {
  if (!c.option("zero_point", true))
    tersor::fail("config zero_point", "false", "true, as the program's only");
  return {.bits = c.option("bits", 4),
          .group_size = c.option<index_t>("group_size", -1),
          .n_grid = c.option("n_grid", 20),
          .clip_grid = c.option("n_grid", 20),
          .max_shrink = c.option("max_shrink", 0.5F),
          .clip_tokens = c.option<index_t>("n_sample_token", 512)};
}

void check_quantizer(const conformance::test_case& c) {
  const auto target = options_of(c).target();
  const auto w = c.input("W");
  const auto grids = tersor::solve::fit_grids(w.view(), target.group_size, false, target.rule);
  CHECK(conformance::max_relative(grids.scale.values(), c.output("scale").values()) <= 1e-6);
  CHECK(conformance::mismatches(grids.zero.values(), c.output("zero").values()) == 0);
  const auto codes = tersor::solve::quantize(w.view(), grids, target.rule.bits);
  CHECK(conformance::mismatches(codes.values(), c.output("codes").values()) == 0);
  const auto out = tersor::solve::rounded_to_grid(w.view(), target);
  CHECK(conformance::max_relative(out.values(), c.output("out").values()) <= 1e-6);
}

void check_clip(const conformance::test_case& c) {
  const auto options = options_of(c);
  auto w = c.input("W");
  const auto x = c.input("X");
  REQUIRE(x.rows() / options.clip_tokens == c.option<index_t>("token_stride", 1));
  const auto clips = options.search_clips(w.view(), x.view());
  CHECK(conformance::max_relative(clips.values(), c.output("max_val").values()) <= 1e-6);
  options.adjust(w, x.view(), {});
  const auto target = options.target();
  const auto grids = tersor::solve::fit_grids(w.view(), target.group_size, false, target.rule);
  CHECK(conformance::max_relative(grids.scale.values(), c.output("scale").values()) <= 1e-5);
  CHECK(conformance::mismatches(grids.zero.values(), c.output("zero").values()) == 0);
}

matrix<float> linear(matrix_view<const float> x, const matrix<float>& w) {
  return tersor::linalg::multiply(x, w.view().transposed());
}

/// A searched site: what folding needs of it.
struct site {
  std::string producer;
  std::vector<std::string> consumers;
  matrix<float> first_weight, x;
  std::vector<float> bias, scales;  // of the last consumer, if it has one
};

site check_scales(const conformance::test_case& c) {
  site found{c.option<std::string>("producer", ""),
             c.option<std::vector<std::string>>("consumers", {}),
             {},
             c.input("X"),
             {},
             {}};
  tersor::calib::statistics inputs(found.x.cols(), {.gram = false});
  inputs.add(found.x);
  tersor::solve::scale_site s;
  s.name = found.consumers.front();
  for (const auto& name : found.consumers) {
    s.weights.push_back(c.input(name + ".weight"));
    if (c.has_input(name + ".bias")) found.bias = c.input_vector(name + ".bias");
  }
  found.first_weight = s.weights.front();
  s.inputs = &inputs;
  s.samples.push_back(found.x);

  const auto inspected = c.option<std::string>("inspected_function", "");
  if (inspected.starts_with("concatenation") || inspected == "the linear itself") {
    // a bias is the same in both outputs: it does not enter their difference
    s.inspect = [](matrix_view<const float> x, std::span<const matrix<float>> w) {
      index_t columns = 0, first = 0;
      for (const auto& m : w) columns += m.rows();
      matrix<float> y(x.rows(), columns);
      for (const auto& m : w) {
        tersor::copy(linear(x, m).view(), y.view().block(0, first, x.rows(), m.rows()));
        first += m.rows();
      }
      return y;
    };
  } else if (inspected.starts_with("down(silu(gate(x))")) {
    REQUIRE(found.consumers.size() == 2);
    s.inspect = [down = c.input("mlp.down_proj.weight")](matrix_view<const float> x,
                                                         std::span<const matrix<float>> w) {
      auto hidden = linear(x, w[0]);
      const auto up = linear(x, w[1]);
      for (index_t i = 0; i < hidden.size(); ++i) {
        const float v = hidden.data()[i];
        hidden.data()[i] = v / (1.0F + std::exp(-v)) * up.data()[i];
      }
      return linear(hidden.view(), down);
    };
  } else {
    FAIL("no inspected function called " << inspected);
  }

  const auto result = options_of(c).search_scales(s);
  const auto expected = c.output_vector("loss");
  CHECK(conformance::max_relative(std::vector<float>(result.losses.begin(), result.losses.end()), expected) <=
        1e-4);
  CHECK(std::abs(result.exponent - c.scalar("best_exponent")) <= 1e-9);
  CHECK(conformance::max_relative(result.scales, c.output_vector("scales")) <= 1e-5);
  found.scales = result.scales;
  return found;
}

/// The sites of a block, one after the other: four, or three where v and o differ in shape. A site belongs to
/// the block that holds its first weight.
void check_folding(const conformance::test_case& c, const std::vector<site>& sites) {
  std::map<std::string, matrix<float>> weights;
  std::map<std::string, std::vector<float>> vectors, inputs;
  for (const auto& [role, entry] : c.description().at("inputs").items()) {
    const auto name = role.substr(0, role.rfind(".weight"));
    if (c.input_shape(role).size() == 2)
      weights[name] = c.input(role);
    else
      vectors[role] = c.input_vector(role);
  }
  std::vector<const site*> mine;
  for (const auto& s : sites) {
    const auto first = weights.find(s.consumers.front());
    if (first == weights.end() || !(first->second == s.first_weight)) continue;
    mine.push_back(&s);
    if (!s.bias.empty()) vectors[s.consumers.back() + ".bias"] = s.bias;
  }
  REQUIRE_FALSE(mine.empty());
  for (const auto* found : mine) {
    const auto& s = *found;
    for (const auto& consumer : s.consumers) tersor::solve::scale_columns(weights.at(consumer), s.scales);
    if (vectors.count(s.producer + ".weight") != 0) {
      tersor::solve::divide_channels(vectors[s.producer + ".weight"], s.scales);
    } else {
      const auto bias = vectors.find(s.producer + ".bias");
      tersor::solve::divide_rows(weights.at(s.producer),
                                 bias == vectors.end() ? std::span<float>{} : std::span(bias->second),
                                 s.scales);
    }
    auto x = s.x;
    for (index_t t = 0; t < x.rows(); ++t) tersor::solve::divide_channels(x.row(t), s.scales);
    inputs["X." + s.consumers.front()].assign(x.values().begin(), x.values().end());
  }
  for (const auto& [role, entry] : c.description().at("outputs").items()) {
    INFO(role);
    REQUIRE(role.starts_with("folded."));
    const auto name = role.substr(7), stem = name.substr(0, name.rfind(".weight"));
    const auto expected = c.output_vector(role);
    if (weights.count(stem) != 0)
      CHECK(conformance::max_relative(weights[stem].values(), expected) <= 1e-6);
    else
      CHECK(conformance::max_relative(vectors.count(name) != 0 ? vectors[name] : inputs[name], expected) <=
            1e-6);
  }
}

void check_packing(const conformance::test_case& c) {
  const auto given = c.input("codes"), scale = c.input("scale"), zero = c.input("zero");
  const auto group_size = c.option<index_t>("group_size", 128);
  matrix<std::uint8_t> codes(given.rows(), given.cols());
  std::ranges::transform(given.values(), codes.values().begin(),
                         [](float v) { return static_cast<std::uint8_t>(v); });
  const tersor::op::quantized op(
      codes, tersor::op::affine_grid(4, codes.rows(), codes.cols(), group_size, scale.view(), zero.view(),
                                     tersor::dtype::f16));
  const auto layout = c.option<std::string>("layout", "");
  if (layout.starts_with("gemm")) {
    const auto t = tersor::quant::awq_gemm_pack(op);
    CHECK(conformance::mismatches(t.qweight.values(), c.output_integers("qweight")) == 0);
    CHECK(conformance::mismatches(t.qzeros.values(), c.output_integers("qzeros")) == 0);
    CHECK(tersor::to_matrix<float>(t.scales) == tersor::copy_as<float>(scale.view().transposed()));
    const auto back = tersor::quant::awq_gemm_unpack(t, group_size);
    CHECK(back.codes() == codes);
    CHECK(back.to_dense() == op.to_dense());
  } else if (layout == "tinychat v2") {
    const auto t = tersor::quant::awq_v2_pack(op);
    CHECK(conformance::mismatches(t.qweight.values(), c.output_integers("qweight")) == 0);
    CHECK(conformance::mismatches(tersor::to_matrix<float>(t.scales).values(), c.output_vector("scales")) ==
          0);
    auto products = c.output_vector("scaled_zeros");  // floats; the file's type is F16
    for (float& v : products) v = tersor::f16(v);
    CHECK(conformance::mismatches(tersor::to_matrix<float>(t.scaled_zeros).values(), products) == 0);
    const auto back = tersor::quant::awq_v2_unpack(t, group_size);
    CHECK(back.codes() == codes);
    CHECK(back.to_dense() == op.to_dense());
  } else {
    FAIL("no layout called " << layout);
  }
}

TEST_CASE("conformance: quant_awq") {
  std::vector<site> sites;
  conformance::for_each_case(awq, [&](const conformance::test_case& c) {
    const auto function = c.function();
    if (function.starts_with("pseudo_quantize_tensor"))
      check_quantizer(c);
    else if (function.starts_with("auto_clip_layer"))
      check_clip(c);
    else if (function.starts_with("auto_scale_block"))
      sites.push_back(check_scales(c));
    else if (function.starts_with("WQLinear"))
      check_packing(c);
    else
      REQUIRE(function == "apply_scale");  // in the second pass, with the scales found in the first
  });
  conformance::for_each_case(awq, [&](const conformance::test_case& c) {
    if (c.function() == "apply_scale") check_folding(c, sites);
  });
}

}  // namespace quant_awq_tests
