// tersor - tests of quant/lqlora_plan.hpp
// SPDX-License-Identifier: MIT
#include <set>

#include <tersor/quant/lqlora_plan.hpp>

#include "samples.hpp"

namespace lqlora_plan_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::quant::lqlora;
using tersor::quant::plan_lqlora;

const std::vector<lqlora>& few() {
  static const std::vector<lqlora> five = [] {
    std::vector<lqlora> c;
    for (const int bits : {2, 3, 4, 5, 8})
      c.push_back({.rank = 2, .bits = bits, .block_size = 32, .scale_block_size = 16, .iterations = 3});
    return c;
  }();
  return five;
}

TEST_CASE("lqlora_plan: the official configurations", "[lqlora]") {
  const auto all = tersor::quant::lqlora_configurations({.rank = 7});
  REQUIRE(all.size() == 432);
  CHECK(all.front().rank == 7);
  std::set<std::string> different;
  for (const auto& c : all) {
    c.validate();
    different.insert(tersor::concat(c.bits, " ", c.scale_bits, " ", static_cast<int>(c.scale_type), " ",
                                    c.block_size, " ", c.scale_block_size));
  }
  CHECK(different.size() == 432);
}

TEST_CASE("lqlora_plan: the budget holds, and the plan is the best of all", "[lqlora]") {
  std::vector<matrix<float>> weights;
  for (std::uint64_t i = 0; i < 4; ++i) {
    weights.push_back(random_matrix<float>(16, 32, i));
    for (float& v : weights.back().values()) v *= static_cast<float>(1 << i);
  }
  std::vector<std::array<double, 5>> cost(4);
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t k = 0; k < 5; ++k) cost[i][k] = std::pow(few()[k].decompose(weights[i]).error, 2);
  for (const double budget : {2.5, 3.3, 4.1, 6.0}) {
    const auto plan = plan_lqlora(weights, few(), budget);
    CHECK(plan.bits_per_weight <= budget);
    double best = 1e30;
    for (std::size_t a = 0; a < 5; ++a)
      for (std::size_t b = 0; b < 5; ++b)
        for (std::size_t c = 0; c < 5; ++c)
          for (std::size_t d = 0; d < 5; ++d) {
            const double bits = (few()[a].quantized_bits() + few()[b].quantized_bits() +
                                 few()[c].quantized_bits() + few()[d].quantized_bits()) /
                                4;
            if (bits <= budget) best = std::min(best, cost[0][a] + cost[1][b] + cost[2][c] + cost[3][d]);
          }
    CHECK(std::abs(plan.error * plan.error - best) <= 1e-9 * best);
    CHECK(plan.layers[3].bits >= plan.layers[0].bits);  // the loudest matrix gets the most
  }
  for (const auto& c : plan_lqlora(weights, few(), 100).layers) CHECK(c.bits == 8);
}

TEST_CASE("lqlora_plan: errors", "[lqlora]") {
  const std::vector<matrix<float>> one{random_matrix<float>(8, 32, 1)};
  CHECK(error_text([&] { plan_lqlora(one, few(), 1.0); }) != "");
  CHECK(holds(error_text([&] { plan_lqlora({}, few(), 4); }), "matrices"));
  CHECK(holds(error_text([&] { plan_lqlora(one, {}, 4); }), "configurations"));
  const std::vector<matrix<float>> two(2);
  CHECK(holds(error_text([&] { plan_lqlora(one, few(), 4, two); }), "fisher"));
}

}  // namespace lqlora_plan_tests
