// tersor - conformance: GPTQ against IST-DASLab/gptq gptq.py
// SPDX-License-Identifier: MIT
#include <tersor/quant/gptq.hpp>

#include "vectors.hpp"

namespace quant_gptq_tests {

const conformance::technique gptq{"quant_gptq",
                                  {"bits", "sym", "groupsize", "actorder", "static_groups", "blocksize",
                                   "clip_search", "percdamp", "n_sequences", "dead_channels"}};

tersor::quant::gptq options_of(const conformance::test_case& c) {
  return {.bits = c.option("bits", 4),
          .group_size = c.option<tersor::index_t>("groupsize", -1),
          .scheme = c.option("sym", false) ? tersor::solve::grid_scheme::sym_unsigned
                                           : tersor::solve::grid_scheme::affine0,
          .act_order = c.option("actorder", false),
          .static_groups = c.option("static_groups", false),
          .percdamp = c.option("percdamp", 0.01),
          .block_size = c.option<tersor::index_t>("blocksize", 128),
          .refit_from = tersor::quant::refit_source::stale,
          .clip_search = c.option("clip_search", false),
          .scale_type = tersor::dtype::f32,
          .compat_one_sided = true};
}

TEST_CASE("conformance: quant_gptq") {
  conformance::for_each_case(gptq, [](const conformance::test_case& c) {
    const auto options = options_of(c);
    const auto w = c.input("W");

    // H from X, cut into as many sequences as the program saw, is the program's H
    const auto x = c.input("X");
    const auto sequences = c.option<tersor::index_t>("n_sequences", 1);
    tersor::calib::statistics inputs(w.cols());
    for (tersor::index_t s = 0; s < sequences; ++s)
      inputs.add(x.view().rows(s * x.rows() / sequences, x.rows() / sequences));
    const auto h = c.input("H");
    const auto hessian = tersor::to_matrix<float>(inputs.hessian());
    CHECK(conformance::max_difference(hessian.values(), h.values(), conformance::max_abs(h.values())) <=
          1e-5);

    for (const auto dead : c.option<std::vector<tersor::index_t>>("dead_channels", {}))
      CHECK(h(dead, dead) == 0.0F);

    const auto expected_codes = c.output("codes");
    for (const auto& start : {tersor::to_matrix<double>(h), inputs.hessian()}) {
      const auto s = options.quantize(w, start);
      CHECK(conformance::mismatches(s.codes.values(), expected_codes.values()) == 0);
      CHECK(conformance::max_relative(s.grids.scale.values(), c.output("scale").values()) <= 1e-5);
      CHECK(conformance::mismatches(s.grids.zero.values(), c.output("zero").values()) == 0);
      CHECK(std::abs(s.loss - c.scalar("loss")) <= 1e-4 * c.scalar("loss"));
      const auto g_idx = c.output_integers("g_idx");
      for (tersor::index_t j = 0; j < w.cols(); ++j) {
        const auto k = static_cast<std::size_t>(j);
        CHECK((s.g_idx.empty() ? j / s.grids.group_size : s.g_idx[k]) == g_idx[k]);
      }
    }
    if (c.has_output("Q")) {
      auto guarded = options;
      guarded.keep_better = false;
      const auto q = guarded(w, inputs).op.to_dense();
      const auto scale = c.output("scale");
      CHECK(conformance::max_difference(q.values(), c.output("Q").values()) <=
            1e-4 * conformance::max_abs(scale.values()));
    }
  });
}

}  // namespace quant_gptq_tests
