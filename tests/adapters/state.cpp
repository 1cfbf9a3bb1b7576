// tersor - tests of adapters/state.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/lora.hpp>

#include "contract_checks.hpp"

namespace state_tests {

using namespace tersor_test;

TEST_CASE("adapter state: what is merged, and into what", "[state]") {
  auto s =
      tersor::adapters::lora{.rank = 2, .bias = true}.init<double>(matrix<double>(4, 5), random_generator(1));
  randomise(s, 2);
  dense_layer<double> layer = random_layer(4, 5, 3, false);
  const auto before = layer;
  s.merge(layer);
  CHECK(layer.bias == s.delta_bias());  // a layer without a bias gains one
  s.unmerge(layer);
  CHECK(difference(layer.weight, before.weight) <= 1e-14);
  dense_layer<double> other{matrix<double>(5, 4), {}};
  CHECK_THROWS_AS(s.merge(other), tersor::error);
  CHECK_FALSE(s.merged());
  other = {matrix<double>(4, 5), {1, 2}};
  CHECK_THROWS_AS(s.effective(other), tersor::error);
  CHECK_FALSE(s.merged());
  s.merge(layer);
  CHECK_NOTHROW(s.effective(before));  // of the tensors, whether merged or not
  CHECK(s.merged());
}

TEST_CASE("adapter state: the gradient of the weight", "[state]") {
  const auto x = random_matrix(6, 4, 1), g = random_matrix(6, 3, 2);
  CHECK(difference(tersor::adapters::weight_gradient<double>(x.view(), g.view()),
                   times(g.view().transposed(), x)) <= 1e-14);
}

TEST_CASE("adapter state: starting values", "[state]") {
  random_generator random(1);
  const auto m = tersor::adapters::detail::kaiming<double>(40, 50, 0, random, 50);
  CHECK(largest(m) <= std::sqrt(6.0 / 50));
  CHECK(largest(m) >= 0.99 * std::sqrt(6.0 / 50));  // 2000 uniform draws
}

}  // namespace state_tests
