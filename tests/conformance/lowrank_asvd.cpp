// tersor - conformance: ASVD against hahnyuan/ASVD4LLM (scales, factors, sensitivity, rank search)
// SPDX-License-Identifier: MIT
#include <tersor/lowrank/asvd_search.hpp>
#include <tersor/lowrank/svd.hpp>

#include "vectors.hpp"

namespace lowrank_asvd_tests {

const conformance::technique asvd{
    "lowrank_asvd",
    {"ratio", "alpha", "method", "rank_align", "rank", "exact", "best_error", "program_error",
     "tokens_per_batch", "target", "ratios", "sizes", "realised", "seed"}};

using tersor::index_t;
using tersor::matrix;

void check_factors(const conformance::test_case& c) {
  const auto& config = c.config();
  const auto w = c.input("W"), x = c.input("X"), expected = c.output("W_hat");
  tersor::calib::statistics inputs(w.cols(), {.gram = false});
  const auto tokens = config.at("tokens_per_batch").get<index_t>();
  for (index_t first = 0; first < x.rows(); first += tokens)
    inputs.add(x.view().rows(first, std::min(tokens, x.rows() - first)));
  const tersor::lowrank::svd options{.method = tersor::lowrank::svd_method::asvd,
                                     .ratio = config.at("ratio").get<double>(),
                                     .rank_align = c.option<index_t>("rank_align", 1),
                                     .alpha = config.at("alpha").get<double>(),
                                     .asvd_scale = c.choice<tersor::lowrank::activation_scale>(
                                         "method", "",
                                         {{"abs_mean", tersor::lowrank::activation_scale::abs_mean},
                                          {"abs_max", tersor::lowrank::activation_scale::abs_max}}),
                                     .value_type = tersor::dtype::f32};
  const auto f = options.factorize(w.view(), &inputs);
  CHECK(f.a.cols() == config.at("rank").get<index_t>());
  // The program adds 1e-6 when it uses the scales it gathered; the manifest holds them before alpha.
  std::vector<float> gathered;
  for (double v : options.asvd_scale == tersor::lowrank::activation_scale::abs_max
                      ? inputs.max_abs()
                      : inputs.sum_sequence_mean_abs())
    gathered.push_back(static_cast<float>(v));
  CHECK(conformance::max_relative(gathered, c.output_vector("scale")) <= 1e-5);

  const auto w_hat = tersor::linalg::multiply(f.a, f.b);
  const auto error = [&](const matrix<float>& approximation) {
    double sum = 0;
    for (index_t i = 0; i < w.rows(); ++i)
      for (index_t j = 0; j < w.cols(); ++j)
        sum += std::pow(
            static_cast<double>(w(i, j) - approximation(i, j)) * f.scale[static_cast<std::size_t>(j)], 2);
    return std::sqrt(sum);
  };
  const double best = config.at("best_error").get<double>(),
               program = config.at("program_error").get<double>();
  if (config.at("exact").get<bool>()) {
    CHECK(conformance::max_difference(w_hat.values(), expected.values()) <= 1e-4);
  } else {
    CHECK(error(w_hat) >= best * (1 - 1e-5));  // both are sums of floats
    CHECK(error(w_hat) <= program);
    CHECK(error(w_hat) <= error(expected));
    CHECK(std::abs(f.truncation - best) <= 1e-5 * best);
  }
}

void check_search(const conformance::test_case& c) {
  const auto& config = c.config();
  const auto ratios = config.at("ratios").get<std::vector<double>>();
  const auto sizes = config.at("sizes").get<std::vector<index_t>>();
  const auto expected = c.output("sensitivity");
  std::vector<tersor::lowrank::ratio_trial> trials;
  for (std::size_t l = 0; l < sizes.size(); ++l) {
    const auto w = c.input("l" + std::to_string(l));
    REQUIRE(w.size() == sizes[l]);
    const auto found = tersor::lowrank::stable_rank_sensitivity(w, ratios);
    const auto row = expected.row(static_cast<index_t>(l));
    CHECK(conformance::max_relative(std::vector<float>(found.begin(), found.end()), row) <= 1e-5);
    for (std::size_t k = 0; k < ratios.size(); ++k)
      trials.push_back({static_cast<index_t>(l), ratios[k], static_cast<double>(row[k])});
  }
  const double target = config.at("target").get<double>();
  const auto official =
      tersor::lowrank::select_ratios(trials, sizes, target, tersor::lowrank::cut_rule::last_midpoint);
  const auto chosen = c.output_vector("chosen");
  REQUIRE(chosen.size() == sizes.size());
  for (std::size_t l = 0; l < sizes.size(); ++l) CHECK(static_cast<float>(official.ratio[l]) == chosen[l]);
  CHECK(std::abs(official.realised - config.at("realised").get<double>()) <= 1e-12);
  // the library's own rule never exceeds the target, and is at most one trial away
  const auto own = tersor::lowrank::select_ratios(trials, sizes, target);
  CHECK(own.realised <= target * (1 + 1e-12));
  CHECK(std::abs(own.cut - official.cut) <= 1);
}

TEST_CASE("conformance: lowrank_asvd") {
  conformance::for_each_case(asvd, [](const conformance::test_case& c) {
    if (c.config().contains("target"))
      check_search(c);
    else
      check_factors(c);
  });
}

}  // namespace lowrank_asvd_tests
