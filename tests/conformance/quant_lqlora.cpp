// tersor - conformance: LQ-LoRA against HanGuo97/lq-lora
// SPDX-License-Identifier: MIT
#include <tersor/quant/lqlora.hpp>
#include <tersor/quant/lqlora_layout.hpp>
#include <tersor/solve/allocate.hpp>

#include "vectors.hpp"

namespace quant_lqlora_tests {

const conformance::technique lqlora{"quant_lqlora",
                                    {"num_bits", "num_bits_0", "num_bits_1", "block_size_0", "block_size_1",
                                     "rank", "max_iterations", "svd", "heuristic", "budget"}};

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
          .iterations = c.option("max_iterations", 100),
          .exact = c.choice<bool>("svd", "exact (randomized=False)", {{"exact (randomized=False)", true}}),
          .value_type = dtype::f32};
}

void check_levels(const conformance::test_case& c) {
  for (int bits = 2; bits <= 8; ++bits) {
    const auto role = tersor::concat("nf", bits);
    if (c.has_output(role))
      CHECK(conformance::max_difference(tersor::normal_float(bits).values(), c.output_vector(role)) <= 2e-6);
  }
}

void check_quantizer(const conformance::test_case& c) {
  const auto w = c.input("W");
  const auto options = options_of(c);
  const auto q = tersor::solve::quantize_to_levels(w, options.rule());
  CHECK(conformance::mismatches(q.codes().values(), c.output("codes").values()) == 0);
  const auto words = tersor::quant::pack_lqlora_words(options.bits, q.codes().values());
  std::vector<std::int32_t> as_integers;
  for (const auto word : words) as_integers.push_back(static_cast<std::int32_t>(word));
  CHECK(conformance::mismatches(as_integers, c.output_integers("packed")) == 0);
  CHECK(conformance::mismatches(q.scales().codes(), c.output_vector("scale_codes")) == 0);
  std::vector<float> largest(static_cast<std::size_t>(q.scales().reals().size()));
  q.scales().reals().read(0, largest);
  CHECK(conformance::max_relative(largest, c.output_vector("scale_max")) <=
        (options.scale_type == dtype::f32 ? 1e-6 : 0.0));
  const auto offset = static_cast<double>(q.scales().offset());
  CHECK(std::abs(offset - c.scalar("offset")) <= 1e-6 * offset);
  std::vector<float> scales(static_cast<std::size_t>(q.scales().size()));
  q.scales().read(0, scales);
  const auto ours = q.to_dense(), expected = c.output("out");
  double worst = 0;
  for (index_t i = 0; i < ours.size(); ++i)
    worst =
        std::max(worst, std::abs(static_cast<double>(ours.data()[i] - expected.data()[i])) /
                            static_cast<double>(scales[static_cast<std::size_t>(i / options.block_size)]));
  CHECK(worst <= 1e-5);
}

void check_decomposition(const conformance::test_case& c) {
  const auto w = c.input("W");
  const auto options = options_of(c);
  const bool weighted = c.choice<bool>("heuristic", "none", {{"none", false}, {"two-sided", true}});
  matrix<float> fisher;
  if (weighted) fisher = c.input("fisher");
  const auto s = options.decompose(w, weighted ? &fisher : nullptr);
  const auto errors = c.output_vector("errors");
  REQUIRE(s.errors.size() == errors.size());
  for (std::size_t i = 0; i < errors.size(); ++i)
    CHECK(std::abs(s.errors[i] - static_cast<double>(errors[i])) <= 1e-4 * static_cast<double>(errors[i]));
  const double best = static_cast<double>(*std::min_element(errors.begin(), errors.end()));
  CHECK(s.error <= best * (1 + 1e-4));
  // The program returns its last pair: comparable where that is the best one too.
  if (s.errors.back() > s.error) return;
  const double most = conformance::max_abs(w.values());
  CHECK(conformance::max_difference(s.factors.product().values(), c.output("LR").values(), most) <= 1e-4);
  const auto q = s.quantized.to_dense(), expected = c.output("Q");
  std::size_t off = 0;
  for (index_t i = 0; i < q.size(); ++i)
    off += std::abs(static_cast<double>(q.data()[i] - expected.data()[i])) > 1e-4 * most;
  CHECK(off <= (errors.size() == 1 ? 0 : static_cast<std::size_t>(q.size()) / 200));
  const auto left = c.output_vector("L1_norms"), right = c.output_vector("L2_norms");
  for (index_t k = 0; k < options.rank; ++k) {
    double a = 0, b = 0;
    for (index_t i = 0; i < s.factors.a.rows(); ++i)
      a += static_cast<double>(s.factors.a(i, k)) * static_cast<double>(s.factors.a(i, k));
    for (index_t j = 0; j < s.factors.b.cols(); ++j)
      b += static_cast<double>(s.factors.b(k, j)) * static_cast<double>(s.factors.b(k, j));
    const auto l = static_cast<double>(left[static_cast<std::size_t>(k)]),
               r = static_cast<double>(right[static_cast<std::size_t>(k)]);
    CHECK(std::abs(std::sqrt(a) - l) <= 1e-4 * l);
    CHECK(std::abs(std::sqrt(b) - r) <= 1e-4 * r);
  }
}

/// The program's optimum under the budget; several choices may share it.
void check_allocation(const conformance::test_case& c) {
  const auto costs = c.input("costs"), sizes = c.input("sizes");
  std::vector<std::vector<tersor::solve::knapsack_choice>> items(static_cast<std::size_t>(costs.rows()));
  for (index_t i = 0; i < costs.rows(); ++i)
    for (index_t k = 0; k < costs.cols(); ++k)
      items[static_cast<std::size_t>(i)].push_back(
          {static_cast<double>(sizes(i, k)), static_cast<double>(costs(i, k))});
  const auto budget = c.config().at("budget").get<double>();
  const auto chosen = tersor::solve::choose_under_budget(items, budget);
  CHECK(chosen.size <= budget);
  // Sizes are rounded up to budget / 4096: a heuristic may be up to 1 per cent above the optimum.
  CHECK(chosen.cost <= 1.01 * c.scalar("objective"));
  CHECK(chosen.cost >= c.scalar("objective") * (1 - 1e-6));
}

TEST_CASE("conformance: quant_lqlora") {
  conformance::for_each_case(lqlora, [](const conformance::test_case& c) {
    if (c.has_output("LR")) return check_decomposition(c);
    if (c.has_output("codes")) return check_quantizer(c);
    if (c.has_input("costs")) return check_allocation(c);
    check_levels(c);
  });
}

}  // namespace quant_lqlora_tests
