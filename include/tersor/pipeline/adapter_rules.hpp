// tersor - the training rules of methods with a penalty or a schedule
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/adalora.hpp>
#include <tersor/adapters/aflora.hpp>
#include <tersor/adapters/lamda.hpp>

namespace tersor::pipeline {

/// AdaLoRA: the penalty that keeps A and B orthogonal, and one budget of ranks for all layers.
class adalora_rule final : public adapters::training_rule {
 public:
  adalora_rule(const adapters::adalora& method, index_t layers)
      : penalty_(method.orthogonality), control_(method, layers) {}

  adapters::gradient_map penalty_gradients(adapters::adapter_map& adapters, const context& ctx) override {
    adapters::gradient_map g;
    if (penalty_ == 0) return g;
    std::vector<const state*> states;
    std::vector<adapters::gradients<float>*> to;
    for (const auto& [name, a] : adapters) {
      states.push_back(a.as<state>());
      to.push_back(&(g[name] = a.make_gradients()));
    }
    adapters::add_orthogonality_penalty<float>(states, to, penalty_, ctx);
    return g;
  }
  void after_step(index_t step, adapters::adapter_map& adapters,
                  const adapters::gradient_map& gradients) override {
    std::vector<state*> states;
    std::vector<const adapters::gradients<float>*> g;
    for (auto& [name, a] : adapters) {
      states.push_back(a.as<state>());
      g.push_back(&gradients.at(name));
    }
    control_.after_step<float>(step, states, g);
  }
  adapters::rule_state save(const adapters::adapter_map&) const override { return control_.state(); }
  void restore(index_t, const adapters::rule_state& saved, adapters::adapter_map&) override {
    control_.restore(saved);
  }

 private:
  using state = adapters::adalora_state<float>;
  double penalty_;
  adapters::adalora_controller control_;
};

/// LaMDA: columns of B freeze one by one.
class lamda_rule final : public adapters::training_rule {
 public:
  explicit lamda_rule(const adapters::lamda_freezing& freezing) : freezing_(freezing) {}

  void after_step(index_t step, adapters::adapter_map& adapters, const adapters::gradient_map&) override {
    for (auto& [name, a] : adapters) freezing_.after_step(step, *a.as<adapters::lamda_state<float>>());
  }
  adapters::rule_state save(const adapters::adapter_map&) const override { return {}; }
  void restore(index_t step, const adapters::rule_state&, adapters::adapter_map& adapters) override {
    after_step(step, adapters, {});
  }

 private:
  adapters::lamda_freezing freezing_;
};

/// AFLoRA: projections freeze as their gradients settle.
class aflora_rule final : public adapters::training_rule {
 public:
  explicit aflora_rule(const adapters::aflora& method) : control_(method) {}

  void after_step(index_t step, adapters::adapter_map& adapters,
                  const adapters::gradient_map& gradients) override {
    std::vector<adapters::parameter<float>*> projections;
    std::vector<const matrix<float>*> g;
    for (auto& [name, a] : adapters)
      for (std::size_t i = 0; i < 2; ++i) {
        projections.push_back(&a.tensors()[i]);
        g.push_back(&gradients.at(name)[i]);
      }
    control_.after_step<float>(step, projections, g);
  }
  adapters::rule_state save(const adapters::adapter_map& adapters) const override {
    auto s = control_.state();
    for (const auto& [name, a] : adapters)
      s["trains " + name] = {a.tensors()[0].trains() ? 1.0 : 0.0, a.tensors()[1].trains() ? 1.0 : 0.0};
    return s;
  }
  void restore(index_t, const adapters::rule_state& saved, adapters::adapter_map& adapters) override {
    control_.restore(saved);
    for (auto& [name, a] : adapters) {
      const auto trains = saved.find("trains " + name);
      require(trains != saved.end() && trains->second.size() == 2, "aflora: saved state of", name,
              "two flags");
      for (std::size_t i = 0; i < 2; ++i)
        if (trains->second[i] == 0) a.tensors()[i].frozen.freeze_all();
    }
  }

 private:
  adapters::aflora_controller control_;
};

}  // namespace tersor::pipeline
