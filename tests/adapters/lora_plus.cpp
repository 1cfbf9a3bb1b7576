// tersor - tests of adapters/lora_plus.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/dora.hpp>
#include <tersor/adapters/lora_plus.hpp>

#include "contract_checks.hpp"

namespace lora_plus_tests {

using namespace tersor_test;
using tersor::adapters::lora_plus;
using tersor::adapters::parameter_kind;

TEST_CASE("lora_plus: one step of SGD moves B exactly ratio times as far, A the same", "[lora_plus]") {
  const auto layer = random_layer(5, 8, 1);
  auto start = tersor::adapters::lora{.rank = 2}.init<double>(layer, random_generator(2));
  randomise(start, 3);
  const auto x = random_matrix(4, 8, 4), gy = random_matrix(4, 5, 5);
  auto g = start.make_gradients();
  start.backward(layer, x.view(), gy.view(), {}, g);
  const auto step = [&](const lora_plus& groups, std::size_t tensor) {
    const auto& p = start.tensors()[tensor];
    auto moved = g[tensor];
    for (double& v : moved.values()) v *= groups.group_of(p.kind).learning_rate;
    return moved;
  };
  const lora_plus plain{.learning_rate = 0.5, .ratio = 1}, plus{.learning_rate = 0.5, .ratio = 16};
  CHECK(step(plain, 0) == step(plus, 0));
  auto b = step(plain, 1);
  for (double& v : b.values()) v *= 16;
  CHECK(b == step(plus, 1));
}

TEST_CASE("lora_plus: groups", "[lora_plus]") {
  const lora_plus o{.learning_rate = 2, .ratio = 8, .embedding_learning_rate = 3, .weight_decay = 0.1};
  const auto group = [&](parameter_kind kind) { return o.group_of(kind); };
  CHECK(group(parameter_kind::projection).learning_rate == 2);
  CHECK(group(parameter_kind::up_projection).learning_rate == 16);
  CHECK(group(parameter_kind::vector).learning_rate == 16);
  CHECK(group(parameter_kind::embedding).learning_rate == 3);
  CHECK(group(parameter_kind::bias).learning_rate == 16);
  CHECK(group(parameter_kind::bias).weight_decay == 0);
  CHECK(group(parameter_kind::projection).weight_decay == 0.1);
  CHECK_THROWS_AS(lora_plus{.ratio = 0.5}.validate(), tersor::error);
}

}  // namespace lora_plus_tests
