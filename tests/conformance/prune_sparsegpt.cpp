// tersor - conformance: SparseGPT against IST-DASLab/sparsegpt sparsegpt.py
// SPDX-License-Identifier: MIT
#include <tersor/prune/sparsegpt.hpp>

#include "vectors.hpp"

namespace prune_sparsegpt_tests {

using tersor::matrix;

const conformance::technique sparsegpt{
    "prune_sparsegpt",
    {"sparsity", "official_sparsity", "removed", "m", "blocksize", "damp", "bits", "sym", "mse",
     "as_released", "removed_per_panel", "exact_k_removed_per_panel", "tokens_per_sequence", "seed",
     "total_error", "fp64_gap"}};

tersor::prune::sparsegpt options_of(const conformance::test_case& c) {
  tersor::prune::sparsegpt o{.sparsity = c.option("sparsity", 0.0),
                             .block_size = c.option<tersor::index_t>("blocksize", 128),
                             .percdamp = c.option("damp", 0.01),
                             .bits = c.option("bits", 0),
                             .scheme = c.option("sym", false) ? tersor::solve::grid_scheme::sym_unsigned
                                                              : tersor::solve::grid_scheme::affine0,
                             .clip_search = c.option("mse", false),
                             .scale_type = tersor::dtype::f32,
                             .value_type = tersor::dtype::f32,
                             .refine = 0,
                             .as_released = c.option("as_released", false),
                             .compat_one_sided = true};
  if (const int m = c.option("m", 0); m > 0) o.pattern = {m - c.option("removed", 0), m};
  return o;
}

/// The number in "abs+rel 3e-05 (...)".
double tolerance_of(const conformance::test_case& c) {
  if (!c.description().contains("tolerance")) return 1e-5;
  for (const auto& [key, text] : c.description().at("tolerance").items())
    if (key.find("W_out") != std::string::npos) {
      const auto t = text.get<std::string>();
      const auto at = t.find("abs+rel ");
      if (at != std::string::npos) return std::stod(t.substr(at + 8));
    }
  return 1e-5;
}

void check_close(std::span<const float> a, std::span<const float> b, double tolerance) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = a[i], y = b[i];
    CHECK(std::abs(x - y) <= tolerance + tolerance * std::abs(y));
  }
}

TEST_CASE("conformance: prune_sparsegpt") {
  conformance::for_each_case(sparsegpt, [](const conformance::test_case& c) {
    const auto options = options_of(c);
    const double tolerance = tolerance_of(c);
    const auto w = c.input("W"), x = c.input("X"), h = c.input("H");
    const auto expected = c.output("W_out");

    // H from X, cut into sequences, is the program's H, but for columns that it found dead
    const auto tokens = c.option<tersor::index_t>("tokens_per_sequence", x.rows());
    tersor::calib::statistics inputs(w.cols());
    for (tersor::index_t t = 0; t < x.rows(); t += tokens)
      inputs.add(x.view().rows(t, std::min(tokens, x.rows() - t)));
    const auto hessian = tersor::to_matrix<float>(inputs.hessian());
    CHECK(conformance::max_difference(hessian.values(), h.values(), conformance::max_abs(h.values())) <=
          1e-5);

    if (c.has_output("U")) {
      auto copy = w;
      const auto f = tersor::solve::factor_hessian(tersor::to_matrix<double>(h), copy, options.percdamp);
      const auto u = c.output("U");
      CHECK(conformance::max_difference(f.factor.values(), u.values(), conformance::max_abs(u.values())) <=
            1e-4);
    }

    for (const auto& start : {tersor::to_matrix<double>(h), inputs.hessian()}) {
      const auto s = options.prune(w, start);
      check_close(s.weight.values(), expected.values(), tolerance);
      std::vector<float> loss(s.row_loss.begin(), s.row_loss.end());
      check_close(loss, c.output("row_loss").values(), tolerance);
      if (options.bits == 0) {
        for (tersor::index_t i = 0; i < w.size(); ++i)
          CHECK((s.weight.data()[i] != 0.0F) == (expected.data()[i] != 0.0F));
      } else {
        CHECK(conformance::mismatches(s.codes.values(), c.output("codes").values()) == 0);
        CHECK(conformance::max_relative(s.grids.scale.values(), c.output("scale").values()) <= 1e-5);
        CHECK(conformance::mismatches(s.grids.zero.values(), c.output("zero").values()) == 0);
      }
      if (c.config().contains("removed_per_panel")) {
        tersor::index_t first = 0;
        for (const tersor::index_t removed :
             c.config().at("removed_per_panel").get<std::vector<tersor::index_t>>()) {
          const tersor::index_t last = std::min(w.cols(), first + options.block_size);
          tersor::index_t zeros = 0;
          for (tersor::index_t r = 0; r < w.rows(); ++r)
            for (tersor::index_t j = first; j < last; ++j) zeros += s.kept(r, j) == 0;
          CHECK(zeros == removed);
          first = last;
        }
      }
    }

    // the stored operator holds the same weights
    const auto stored = options(w, inputs).op.to_dense();
    check_close(stored.values(), expected.values(), tolerance);
  });
}

}  // namespace prune_sparsegpt_tests
