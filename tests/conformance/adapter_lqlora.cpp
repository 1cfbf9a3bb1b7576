// tersor - conformance: LQ-LoRA's levels, scales, weighted decompositions and allocation (HanGuo97/lq-lora)
// SPDX-License-Identifier: MIT
#include <numeric>  // std::accumulate

#include <tersor/quant/lqlora.hpp>
#include <tersor/solve/allocate.hpp>

#include "vectors.hpp"

namespace adapter_lqlora_tests {

const conformance::technique lqlora_vectors{"adapter_lqlora",
                                            {"bits", "num_bits", "num_bits_0", "num_bits_1", "block_size_0",
                                             "block_size_1", "rank", "iterations", "heuristic", "budget"}};

using tersor::dtype;
using tersor::index_t;
using tersor::matrix;

tersor::quant::lqlora options_of(const conformance::test_case& c) {
  return {.rank = c.option<index_t>("rank", 0),
          .bits = c.option("num_bits", 4),
          .block_size = c.option<index_t>("block_size_0", 64),
          .scale_bits = c.option("num_bits_0", 8),
          .scale_block_size = c.option<index_t>("block_size_1", 256),
          .scale_type = c.choice<dtype>("num_bits_1", "fp32",
                                        {{"fp32", dtype::f32}, {"fp16", dtype::f16}, {"bf16", dtype::bf16}}),
          .iterations = c.option("iterations", 100),
          .exact = true,
          .value_type = dtype::f32};
}

/// max |a - official| / max |official| is within what the manifest grants.
void check_near(const conformance::test_case& c, const std::string& role, std::span<const float> a) {
  INFO(role);
  const auto official = c.output_vector(role);
  CHECK(conformance::max_difference(a, official, conformance::max_abs(official)) <= c.tolerance(role));
}

void check_levels(const conformance::test_case& c) {
  const auto levels = tersor::normal_float(c.config().at("bits").get<int>()).values();
  check_near(c, "values", levels);
  std::vector<float> midpoints;
  for (std::size_t i = 0; i + 1 < levels.size(); ++i) midpoints.push_back((levels[i] + levels[i + 1]) / 2);
  check_near(c, "boundaries", midpoints);
}

void check_quantizer(const conformance::test_case& c) {
  const auto w = c.input("A");
  const auto options = options_of(c);
  const auto q = tersor::solve::quantize_to_levels(w, options.rule());
  check_near(c, "absmax", tersor::solve::block_maxima(w, options.block_size));
  std::vector<float> scales(static_cast<std::size_t>(q.scales().size()));
  q.scales().read(0, scales);
  check_near(c, "absmax_dq", scales);
  check_near(c, "out", q.to_dense().values());
  const auto bits = static_cast<float>(options.quantized_bits() * static_cast<double>(w.size()));
  check_near(c, "bits", std::vector<float>{bits});
}

/// ‖√F ⊙ (W - S)‖_F; without F every weight counts 1.
double weighted_error(const matrix<float>& w, const matrix<float>& s, const matrix<float>& fisher) {
  double sum = 0;
  for (index_t i = 0; i < w.size(); ++i) {
    const double d = static_cast<double>(w.data()[i]) - static_cast<double>(s.data()[i]);
    sum += d * d * (fisher.empty() ? 1.0 : static_cast<double>(fisher.data()[i]));
  }
  return std::sqrt(sum);
}
matrix<float> plus(matrix<float> a, const matrix<float>& b, float factor = 1) {
  for (index_t i = 0; i < a.size(); ++i) a.data()[i] += factor * b.data()[i];
  return a;
}

enum class heuristic { none, two_sided, row, column };

/// √ of the means of F over its columns [out] or its rows [in].
std::vector<float> root_means(const matrix<float>& fisher, bool of_rows) {
  const auto f = of_rows ? fisher : tersor::copy_as<float>(fisher.view().transposed());
  std::vector<float> roots;
  for (index_t i = 0; i < f.rows(); ++i) {
    const auto row = f.row(i);
    roots.push_back(static_cast<float>(
        std::sqrt(std::accumulate(row.begin(), row.end(), 0.0) / static_cast<double>(f.cols()))));
  }
  return roots;
}

/// Errors of the decomposition after each turn. The library weighs both sides of a fit or none; the program's
/// one-sided fits are the same loop with ones for the other side.
std::vector<double> errors_of(const tersor::quant::lqlora& options, const matrix<float>& w,
                              const matrix<float>& fisher, heuristic way) {
  if (way == heuristic::none || way == heuristic::two_sided)
    return options.decompose(w, fisher.empty() ? nullptr : &fisher).errors;
  std::vector<float> row(static_cast<std::size_t>(w.rows()), 1),
      column(static_cast<std::size_t>(w.cols()), 1);
  (way == heuristic::row ? row : column) = root_means(fisher, way == heuristic::row);
  std::vector<double> errors;
  matrix<float> rest = w;
  for (int i = 0; i < options.iterations; ++i) {
    const auto l = tersor::solve::fit_low_rank(rest, options.rank, row, column, {.exact = true}).product();
    const auto q = tersor::solve::quantize_to_levels(plus(w, l, -1), options.rule()).to_dense();
    errors.push_back(weighted_error(w, plus(q, l), fisher));
    if (i > 0 && errors[errors.size() - 1] > errors[errors.size() - 2]) break;
    rest = plus(w, q, -1);
  }
  return errors;
}

void check_decomposition(const conformance::test_case& c) {
  const auto w = c.input("A");
  const auto options = options_of(c);
  const auto way =
      c.config().at("heuristic").is_null()
          ? heuristic::none
          : c.choice<heuristic>(
                "heuristic", "",
                {{"two-sided", heuristic::two_sided}, {"row", heuristic::row}, {"col", heuristic::column}});
  matrix<float> fisher;
  if (way != heuristic::none) fisher = c.input("F");
  const auto alone = tersor::solve::quantize_to_levels(w, options.rule()).to_dense();
  check_near(c, "error_quantize_only",
             std::vector<float>{static_cast<float>(weighted_error(w, alone, fisher))});
  // Q is the rounding of what L leaves: the program's own L gives the program's own Q.
  const auto l = c.output("L"), q = c.output("Q");
  const auto rounded = tersor::solve::quantize_to_levels(plus(w, l, -1), options.rule()).to_dense();
  CHECK(conformance::max_difference(rounded.values(), q.values(), conformance::max_abs(q.values())) <= 1e-5);
  // The program returns the pair of its last turn. The manifest grants 0.5 per cent for codes that flip on a
  // boundary; none does here.
  const double official = static_cast<double>(c.output_vector("error").front());
  CHECK(std::abs(errors_of(options, w, fisher, way).back() / official - 1) <= 1e-4);
}

/// Six matrices with four configurations each: the integer program has one optimum.
void check_allocation(const conformance::test_case& c) {
  const auto cost = c.input("cost"), weight = c.input("weight");
  std::vector<std::vector<tersor::solve::knapsack_choice>> items(static_cast<std::size_t>(cost.rows()));
  for (index_t i = 0; i < cost.rows(); ++i)
    for (index_t k = 0; k < cost.cols(); ++k)
      items[static_cast<std::size_t>(i)].push_back(
          {static_cast<double>(weight(i, k)), static_cast<double>(cost(i, k))});
  const auto chosen = tersor::solve::choose_under_budget(items, c.config().at("budget").get<double>());
  CHECK(conformance::mismatches(chosen.choice, c.output_integers("choice")) == 0);
  check_near(c, "objective", std::vector<float>{static_cast<float>(chosen.cost)});
}

TEST_CASE("conformance: adapter_lqlora") {
  conformance::for_each_case(lqlora_vectors, [](const conformance::test_case& c) {
    if (c.has_output("L")) return check_decomposition(c);
    if (c.has_output("absmax")) return check_quantizer(c);
    if (c.has_input("cost")) return check_allocation(c);
    check_levels(c);
  });
}

}  // namespace adapter_lqlora_tests
