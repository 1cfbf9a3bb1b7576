// tersor - tests of kv/pyramid.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/keydiff.hpp>
#include <tersor/kv/pyramid.hpp>

#include "policies.hpp"

namespace pyramid_tests {

using namespace tersor_test;

index_t budget_of(const kv::pyramid& policy, index_t tokens, index_t layer, index_t layers) {
  kv::attention_layout layout{.heads = 1, .kv_heads = 1, .head_dim = 1};
  layout.layer = layer;
  layout.layers = layers;
  return policy.budget(layout, tokens);
}

TEST_CASE("pyramid: budgets, by hand") {
  // mean 100, lo = 100 / 5 = 20, hi = 180, five layers
  const kv::pyramid policy{.capacity = 100, .beta = 5, .window = 16};
  const std::array<index_t, 5> expected{180, 140, 100, 60, 20};
  for (index_t l = 0; l < 5; ++l)
    CHECK(budget_of(policy, 1000, l, 5) == expected[static_cast<std::size_t>(l)]);
  // cut at tokens - window = 134, so the last layer has 200 - 134
  CHECK(budget_of(policy, 150, 0, 5) == 134);
  CHECK(budget_of(policy, 150, 4, 5) == 66);
  // lo = 20 is below a window of 32: the mean for all; so with one layer
  CHECK(budget_of({.capacity = 100, .beta = 5, .window = 32}, 1000, 4, 5) == 100);
  CHECK(budget_of(policy, 1000, 0, 1) == 100);
  CHECK(budget_of(policy, 100, 4, 5) == 100);
  CHECK(budget_of(policy, 30, 4, 5) == 30);
  CHECK(budget_of({.ratio = 0}, 1000, 4, 5) == 1000);
}

TEST_CASE("pyramid: budgets never grow and sum to the mean's") {
  for (const index_t layers : {1, 2, 7, 32})
    for (const index_t tokens : {65, 200, 513, 4096})
      for (const double ratio : {0.1, 0.25, 0.5, 0.8, 0.95})
        for (const double beta : {1.0, 7.0, 20.0})
          for (const index_t window : {1, 32, 64}) {
            const kv::pyramid policy{.ratio = ratio, .beta = beta, .window = window};
            double sum = 0;
            index_t before = tokens;
            for (index_t l = 0; l < layers; ++l) {
              const index_t b = budget_of(policy, tokens, l, layers);
              CHECK((b >= 0 && b <= before));
              before = b;
              sum += static_cast<double>(b);
            }
            const auto n = static_cast<double>(layers);
            CHECK(std::abs(sum - n * static_cast<double>(tokens) * (1 - ratio)) <= n / 2 + 1e-6);
          }
}

TEST_CASE("pyramid: each layer keeps its budget, of SnapKV's or other scores") {
  for (index_t layer = 0; layer < 4; ++layer) {
    random_prompt x(4, 2, 120, 4, 7);
    x.layout.layers = 4;
    x.layout.layer = layer;
    kv::pyramid policy{.ratio = 0.5, .beta = 4, .window = 8};
    const index_t count = policy.budget(x.layout, 120);
    CHECK(policy.select(x.prompt()).kept ==
          kv::snapkv{.capacity = count, .window = 8}.select(x.prompt()).kept);
    policy.score = kv::keydiff{};
    CHECK(policy.select(x.prompt()).kept == kv::keydiff{.capacity = count}.select(x.prompt()).kept);
  }
}

TEST_CASE("pyramid: a prompt that the budget covers stays") {
  const random_prompt x(2, 1, 30, 4, 7);
  CHECK(kv::pyramid{.ratio = 0}.select(x.prompt()).kept == kv::selection::all(1, 30).kept);
  CHECK(kv::pyramid{.capacity = 64}.select(x.prompt()).kept == kv::selection::all(1, 30).kept);
}

TEST_CASE("pyramid: errors") {
  CHECK(holds(error_of([] { kv::pyramid{.capacity = 63}.validate(); }), {"pyramid: capacity", "63", "64"}));
  CHECK_THROWS_AS(kv::pyramid{.beta = 0.5}.validate(), tersor::error);
  CHECK(holds(error_of([] { kv::pyramid{.kernel = 2}.validate(); }), {"pyramid: kernel", "2", "odd"}));
  CHECK(holds(error_of([] { kv::pyramid{.capacity = 100, .ratio = 0.4}.validate(); }),
              {"pyramid: ratio", "0.4"}));
  const random_prompt x(2, 1, 90, 4, 7);  // half of it is less than the window
  CHECK(holds(error_of([&] { kv::pyramid{}.select(x.prompt()); }), {"pyramid", "45", "64"}));
}

}  // namespace pyramid_tests
