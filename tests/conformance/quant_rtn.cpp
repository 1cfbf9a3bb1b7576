// tersor - conformance: round-to-nearest against IST-DASLab/gptq quant.py
// SPDX-License-Identifier: MIT
#include <tersor/quant/rtn.hpp>

#include "vectors.hpp"

namespace quant_rtn_tests {

const conformance::technique rtn{"quant_rtn",
                                 {"bits", "sym", "clip_search", "granularity", "norm", "grid", "maxshrink"}};

/// "tensor", "row" or "group of G along the input".
tersor::quant::rtn options_of(const conformance::test_case& c) {
  tersor::quant::rtn o{.bits = c.option("bits", 4),
                       .group_size = -1,
                       .scale_type = tersor::dtype::f32,
                       .compat_one_sided = true};
  o.scheme =
      c.option("sym", false) ? tersor::solve::grid_scheme::sym_unsigned : tersor::solve::grid_scheme::affine0;
  o.clip_search = c.option("clip_search", false);
  o.norm = c.option("norm", o.norm);
  o.grid = c.option("grid", o.grid);
  o.max_shrink = c.option("maxshrink", o.max_shrink);
  const auto granularity = c.option<std::string>("granularity", "row");
  constexpr std::string_view group = "group of ";
  if (granularity.starts_with(group))
    o.group_size = std::stoi(granularity.substr(group.size()));
  else
    o.per_tensor = c.choice<bool>("granularity", "row", {{"row", false}, {"tensor", true}});
  return o;
}

TEST_CASE("conformance: quant_rtn") {
  conformance::for_each_case(rtn, [](const conformance::test_case& c) {
    const auto options = options_of(c);
    const auto w = c.input("W");
    const auto grids =
        tersor::solve::fit_grids(w.view(), options.group_size, options.per_tensor, options.rule());
    const auto codes = tersor::solve::quantize(w.view(), grids, options.bits);
    CHECK(conformance::max_relative(grids.scale.values(), c.output("scale").values()) <= 1e-6);
    CHECK(conformance::mismatches(grids.zero.values(), c.output("zero").values()) == 0);
    CHECK(conformance::mismatches(codes.values(), c.output("codes").values()) == 0);

    // the stored operator holds the same grid and the same codes
    const auto result = options(w);
    CHECK(result.op.codes() == codes);
    for (tersor::index_t r = 0; r < w.rows(); ++r)
      for (tersor::index_t g = 0; g < result.op.grid().groups(); ++g)
        CHECK(result.op.grid().scale(r, g) == grids.at(r, g).scale);
  });
}

}  // namespace quant_rtn_tests
