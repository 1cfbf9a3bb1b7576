// tersor - conformance: magnitude and Wanda against locuslab/wanda lib/prune.py
// SPDX-License-Identifier: MIT
#include <tersor/prune/magnitude.hpp>
#include <tersor/prune/wanda.hpp>

#include "vectors.hpp"

namespace prune_wanda_tests {

using tersor::matrix;
using tersor::solve::nm_pattern;

const conformance::technique wanda{"prune_wanda",
                                   {"sparsity", "official_sparsity", "removed", "m", "variant", "alpha",
                                    "per_row", "removed_total", "tokens_per_sequence", "forward", "seed"}};

/// The manifests give the number REMOVED of every m.
nm_pattern pattern_of(const conformance::test_case& c) {
  const int m = c.option("m", 0);
  return m == 0 ? nm_pattern{} : nm_pattern{m - c.option("removed", 0), m};
}

tersor::calib::statistics statistics_of(const matrix<float>& x, tersor::index_t tokens_per_sequence) {
  tersor::calib::statistics inputs(x.cols(), {.gram = false});
  for (tersor::index_t t = 0; t < x.rows(); t += tokens_per_sequence)
    inputs.add(x.view().rows(t, std::min(tokens_per_sequence, x.rows() - t)));
  return inputs;
}

matrix<float> as_floats(const std::vector<double>& v) {
  matrix<float> m(1, static_cast<tersor::index_t>(v.size()));
  std::ranges::transform(v, m.values().begin(), [](double x) { return static_cast<float>(x); });
  return m;
}

tersor::index_t zeros(const matrix<float>& w) { return std::ranges::count(w.values(), 0.0F); }

/// x + relu(x Wᵀ) for every row of x.
matrix<float> forward(const matrix<float>& x, const matrix<float>& w) {
  matrix<float> y = x;
  for (tersor::index_t t = 0; t < x.rows(); ++t)
    for (tersor::index_t i = 0; i < w.rows(); ++i) {
      double sum = 0;
      for (tersor::index_t j = 0; j < w.cols(); ++j)
        sum += static_cast<double>(x(t, j)) * static_cast<double>(w(i, j));
      y(t, i) += static_cast<float>(std::max(sum, 0.0));
    }
  return y;
}

TEST_CASE("conformance: prune_wanda") {
  conformance::for_each_case(wanda, [](const conformance::test_case& c) {
    tersor::prune::wanda options{.sparsity = c.option("sparsity", 0.5),
                                 .pattern = pattern_of(c),
                                 .use_variant = c.option("variant", false),
                                 .value_type = tersor::dtype::f32};
    if (c.has_input("W1")) {  // two layers: the second one's inputs come through the pruned first one
      const auto x = c.input("X");
      const auto tokens = c.option<tersor::index_t>("tokens_per_sequence", x.rows());
      const auto text = c.option<std::string>("forward", "");
      if (!text.starts_with("x ← x + relu(x·Wᵀ)"))
        tersor::fail("config forward", text, "x ← x + relu(x·Wᵀ) per layer");
      const auto first = options(c.input("W1"), statistics_of(x, tokens)).op.to_dense();
      CHECK(conformance::mismatches(first.values(), c.output("W1_out").values()) == 0);
      const auto second_inputs = statistics_of(forward(x, first), tokens);
      CHECK(conformance::max_relative(as_floats(second_inputs.energy()).values(), c.output("a2").values()) <=
            1e-5);
      const auto second = options(c.input("W2"), second_inputs).op.to_dense();
      CHECK(conformance::mismatches(second.values(), c.output("W2_out").values()) == 0);
      return;
    }

    const auto w = c.input("W"), expected = c.output("W_out");
    if (c.has_input("X")) {
      const auto x = c.input("X");
      const auto inputs = statistics_of(x, c.option<tersor::index_t>("tokens_per_sequence", x.rows()));
      if (c.has_output("a"))
        CHECK(conformance::max_relative(as_floats(inputs.energy()).values(), c.output("a").values()) <= 1e-5);
      const auto pruned = options(w, inputs).op.to_dense();
      CHECK(conformance::mismatches(pruned.values(), expected.values()) == 0);
      if (c.config().contains("alpha"))
        CHECK(options.select(options.score(w, inputs.energy())).alpha == c.option("alpha", 0.0));
    } else {
      const tersor::prune::magnitude magnitude{.sparsity = c.option("sparsity", 0.5),
                                               .pattern = pattern_of(c),
                                               .scope = c.option("per_row", false)
                                                            ? tersor::solve::selection_scope::per_row
                                                            : tersor::solve::selection_scope::per_tensor,
                                               .value_type = tersor::dtype::f32};
      const auto pruned = magnitude(w).op.to_dense();
      CHECK(conformance::mismatches(pruned.values(), expected.values()) == 0);
    }
    if (c.config().contains("removed_total"))
      CHECK(zeros(expected) == c.option<tersor::index_t>("removed_total", 0));
  });
}

}  // namespace prune_wanda_tests
