// tersor - conformance: packed GPTQ checkpoints against AutoGPTQ qlinear_cuda.py
// SPDX-License-Identifier: MIT
#include <tersor/quant/gptq_layout.hpp>

#include "vectors.hpp"

namespace quant_gptq_pack_tests {

const conformance::technique gptq_pack{"quant_gptq_pack", {"bits", "group_size", "act_order", "out", "in_"}};

using tersor::index_t;
using tersor::matrix;
using tersor::quant::gptq_variant;

TEST_CASE("conformance: quant_gptq_pack") {
  conformance::for_each_case(gptq_pack, [](const conformance::test_case& c) {
    const auto bits = c.option("bits", 4);
    const auto w = c.input("W"), scale = c.input("scale"), zero = c.input("zero"), given = c.input("codes");
    const auto g_idx = c.input_integers("g_idx");
    CHECK(w.rows() == c.option("out", w.rows()));
    CHECK(w.cols() == c.option("in_", w.cols()));
    auto group_size = c.option<index_t>("group_size", -1);
    if (group_size < 0) group_size = w.cols();
    if (!c.choice<bool>("act_order", "no", {{"no", false}, {"dynamic", true}, {"static", true}}))
      CHECK(std::ranges::is_sorted(g_idx));
    matrix<std::uint8_t> codes(w.rows(), w.cols());
    std::ranges::transform(given.values(), codes.values().begin(),
                           [](float v) { return static_cast<std::uint8_t>(v); });
    const tersor::op::quantized op(
        codes, tersor::op::affine_grid(bits, w.rows(), w.cols(), group_size, scale.view(), zero.view(),
                                       tersor::dtype::f16, g_idx));

    const auto packed = tersor::quant::gptq_pack(op, gptq_variant::v1);
    CHECK(conformance::mismatches(packed.qweight.values(), c.output_integers("qweight")) == 0);
    CHECK(conformance::mismatches(packed.qzeros.values(), c.output_integers("qzeros")) == 0);
    CHECK(conformance::mismatches(tersor::to_matrix<float>(packed.scales).values(),
                                  c.output("scales").values()) == 0);
    CHECK(packed.g_idx == g_idx);

    const auto back = tersor::quant::gptq_unpack(packed, bits, group_size, gptq_variant::v1);
    CHECK(back.codes() == codes);
    CHECK(conformance::max_difference(back.to_dense().values(), w.values()) <= 1e-6);
    const auto x = c.input("X"), expected = c.output("y");
    matrix<float> y(x.rows(), w.rows());
    back.apply(x.view(), y.view());
    if (c.has_input("bias")) {
      const auto bias = c.input_vector("bias");
      for (index_t t = 0; t < y.rows(); ++t)
        for (index_t r = 0; r < y.cols(); ++r) y(t, r) += bias[static_cast<std::size_t>(r)];
    }
    CHECK(conformance::max_difference(y.values(), expected.values(),
                                      conformance::max_abs(expected.values())) <= 1e-5);

    // the second variant holds the same operator
    const auto second = tersor::quant::gptq_pack(back, gptq_variant::v2);
    CHECK(second.qweight == packed.qweight);
    CHECK(tersor::quant::gptq_unpack(second, bits, group_size, gptq_variant::v2).to_dense() ==
          back.to_dense());
  });
}

}  // namespace quant_gptq_pack_tests
