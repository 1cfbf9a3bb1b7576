// tersor - conformance: AdaLoRA's budget against huggingface/peft tuners/adalora/layer.py
// SPDX-License-Identifier: MIT
#include <tersor/adapters/adalora.hpp>

#include "vectors.hpp"

namespace adapter_adalora_tests {

const conformance::technique adalora_vectors{
    "adapter_adalora",
    {"layers", "beta1", "beta2", "init_r", "target_r", "tinit", "tfinal", "deltaT", "total_step"}};

using tersor::index_t;
using tersor::matrix;
using tersor::adapters::adalora;
using state = tersor::adapters::adalora_state<float>;
using gradients = tersor::adapters::gradients<float>;

/// The gradients are given for every step; the tensors do not train in between, only e is masked.
void check(const conformance::test_case& c) {
  const auto layers = c.config().at("layers").size();
  const adalora method{.rank = c.config().at("init_r").get<index_t>(),
                       .target_rank = c.config().at("target_r").get<index_t>(),
                       .warmup = c.config().at("tinit").get<index_t>(),
                       .final_steps = c.config().at("tfinal").get<index_t>(),
                       .interval = c.config().at("deltaT").get<index_t>(),
                       .total_steps = c.config().at("total_step").get<index_t>(),
                       .beta1 = c.config().at("beta1").get<double>(),
                       .beta2 = c.config().at("beta2").get<double>()};
  constexpr const char* names[] = {"lora_A", "lora_E", "lora_B"};
  std::vector<state> states;
  std::vector<std::array<std::vector<float>, 3>> all(layers);
  for (std::size_t l = 0; l < layers; ++l) {
    const auto tensor = [&](std::size_t k) { return c.input(tersor::concat("t:", l, ".", names[k])); };
    states.emplace_back(tensor(0), tensor(1), tensor(2), method.scale());
    CHECK(states.back().in_features() == c.config().at("layers")[l].at("in_features").get<index_t>());
    CHECK(states.back().out_features() == c.config().at("layers")[l].at("out_features").get<index_t>());
    for (std::size_t k = 0; k < 3; ++k) all[l][k] = c.input_vector(tersor::concat("grad:", l, ".", names[k]));
  }
  std::vector<state*> pointers;
  for (auto& s : states) pointers.push_back(&s);

  tersor::adapters::adalora_controller control(method, static_cast<index_t>(layers));
  const auto budget = c.output_vector("budget"), expected = c.output_vector("E");
  std::size_t next = 0;
  for (index_t step = 1; step <= method.total_steps; ++step) {
    std::vector<gradients> g(layers);
    std::vector<const gradients*> views;
    for (std::size_t l = 0; l < layers; ++l) {
      for (std::size_t k = 0; k < 3; ++k) {
        matrix<float> m = states[l].tensors()[k].value;
        std::copy_n(all[l][k].begin() + (step - 1) * m.size(), m.size(), m.values().begin());
        g[l].push_back(std::move(m));
      }
      views.push_back(&g[l]);
    }
    control.after_step<float>(step, pointers, views);
    INFO("step " << step);
    CHECK(control.budget(step) == static_cast<index_t>(budget[static_cast<std::size_t>(step - 1)]));
    for (const auto& s : states)
      for (const float v : s.e().values()) REQUIRE(v == expected[next++]);
  }
  std::vector<int> pattern;
  for (const auto& layer : control.live()) pattern.insert(pattern.end(), layer.begin(), layer.end());
  CHECK(conformance::mismatches(pattern, c.output_integers("final_pattern")) == 0);
}

TEST_CASE("conformance: adapter_adalora") { conformance::for_each_case(adalora_vectors, check); }

}  // namespace adapter_adalora_tests
