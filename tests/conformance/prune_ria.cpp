// tersor - conformance: RIA against the program of its authors, lib/prune.py
// SPDX-License-Identifier: MIT
#include <tersor/prune/ria.hpp>

#include "vectors.hpp"

namespace prune_ria_tests {

using tersor::matrix;

const conformance::technique ria{
    "prune_ria",
    {"sparsity", "official_sparsity", "removed", "m", "per_row", "power", "reallocation", "importance",
     "assignment", "kept_before", "kept_heuristic", "kept_final", "reconstruction", "damp", "blocksize",
     "removed_total", "tokens_per_sequence", "seed"}};

tersor::prune::ria_importance importance_of(const std::string& name) {
  if (name == "sum") return tersor::prune::ria_importance::sum;
  if (name == "retained_degree_unstructured") return tersor::prune::ria_importance::retained_degree;
  if (name == "retained_degree_per_outneuron") return tersor::prune::ria_importance::retained_degree_per_row;
  tersor::fail("importance", name, "one that the program knows");
}

tersor::prune::ria options_of(const conformance::test_case& c) {
  tersor::prune::ria o{.sparsity = c.option("sparsity", 0.5),
                       .scope = c.option("per_row", false) ? tersor::solve::selection_scope::per_row
                                                           : tersor::solve::selection_scope::per_tensor,
                       .alpha = c.option("power", 0.5),
                       .permute = c.option("reallocation", false),
                       .importance = importance_of(c.option<std::string>("importance", "sum")),
                       .assignment = c.option("assignment", false),
                       .keep_better = false,  // the program takes the new order even where it keeps less
                       .percdamp = c.option("damp", 0.01),
                       .block_size = c.option<tersor::index_t>("blocksize", 128),
                       .value_type = tersor::dtype::f32};
  if (const int m = c.option("m", 0); m > 0) o.pattern = {m - c.option("removed", 0), m};
  if (c.option("reconstruction", false)) o.update = tersor::solve::weight_update::feedback;
  return o;
}

/// Statistics whose column energies are `a`: one sequence of one token.
tersor::calib::statistics with_energies(const std::vector<float>& a) {
  matrix<float> x(1, static_cast<tersor::index_t>(a.size()));
  for (std::size_t j = 0; j < a.size(); ++j) x.values()[j] = std::sqrt(a[j]);
  tersor::calib::statistics inputs(x.cols());
  inputs.add(x);
  return inputs;
}

bool close(double a, double b) { return std::abs(a - b) <= 1e-5 * std::abs(b); }

TEST_CASE("conformance: prune_ria") {
  conformance::for_each_case(ria, [](const conformance::test_case& c) {
    const auto options = options_of(c);
    const auto w = c.input("W"), expected = c.output("W_out");
    const auto a = c.input_vector("a");
    const std::vector<double> energy(a.begin(), a.end());

    const auto score = options.score(w, energy);
    if (c.has_output("score"))
      CHECK(conformance::max_relative(score.values(), c.output("score").values()) <= 1e-5);

    if (options.permute) {
      const auto order = options.reallocate(score);
      if (c.has_output("perm")) CHECK(order.permutation == c.output_integers("perm"));
      if (c.config().contains("kept_before")) CHECK(close(order.kept_before, c.option("kept_before", 0.0)));
      if (c.config().contains("kept_heuristic"))
        CHECK(close(order.kept_heuristic, c.option("kept_heuristic", 0.0)));
      if (c.config().contains("kept_final")) CHECK(close(order.kept_final, c.option("kept_final", 0.0)));
    }

    auto inputs = with_energies(a);
    if (c.has_input("X")) {
      const auto x = c.input("X");
      const auto tokens = c.option<tersor::index_t>("tokens_per_sequence", x.rows());
      inputs = tersor::calib::statistics(w.cols());
      for (tersor::index_t t = 0; t < x.rows(); t += tokens)
        inputs.add(x.view().rows(t, std::min(tokens, x.rows() - t)));
    }
    const auto result = options(w, inputs);
    const auto pruned = result.op.to_dense();
    if (options.update == tersor::solve::weight_update::none) {
      CHECK(conformance::mismatches(pruned.values(), expected.values()) == 0);
    } else {
      for (tersor::index_t i = 0; i < w.size(); ++i) {
        const double p = pruned.data()[i], e = expected.data()[i];
        CHECK((p == 0) == (e == 0));
        CHECK(std::abs(p - e) <= 1e-5 + 1e-5 * std::abs(e));
      }
    }
    if (options.permute) CHECK(result.op.kind() == "permuted");
    if (c.config().contains("removed_total"))
      CHECK(std::ranges::count(pruned.values(), 0.0F) == c.option<tersor::index_t>("removed_total", 0));
  });
}

}  // namespace prune_ria_tests
