// tersor - what fine-tuning needs of each adapter method of the library; includes all of them
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/bat.hpp>
#include <tersor/adapters/bone.hpp>
#include <tersor/adapters/combine.hpp>
#include <tersor/adapters/dora.hpp>
#include <tersor/adapters/ia3.hpp>
#include <tersor/adapters/loha.hpp>
#include <tersor/adapters/lokr.hpp>
#include <tersor/adapters/oft.hpp>
#include <tersor/adapters/olora.hpp>
#include <tersor/adapters/pissa.hpp>
#include <tersor/adapters/vera.hpp>
#include <tersor/io/peft_methods.hpp>
#include <tersor/pipeline/adapter_rules.hpp>
#include <tersor/pipeline/started_adapters.hpp>

namespace tersor::pipeline {

namespace detail {

/// IA3 rescales what the second linear of a feed-forward block reads, as PEFT does for this family of models,
/// and what the others return.
inline bool scales_inputs(std::string_view linear) {
  constexpr std::string_view second = "down_proj";
  return linear == second || linear.ends_with(".down_proj");
}

template <class Method>
void start_method(const Method& method, const model::llama& m, const std::vector<std::string>& names,
                  index_t steps, const context& ctx, started_adapters& out) {
  std::shared_ptr<const adapters::vera_projections<float>> shared;
  if constexpr (std::is_same_v<Method, adapters::vera>) {
    index_t rows = 0, cols = 0;
    for (const auto& name : names) {
      rows = std::max(rows, m.linear(name).rows());
      cols = std::max(cols, m.linear(name).cols());
    }
    shared = adapters::vera_projections<float>::draw(method.rank, cols, rows, ctx.seed);
  }
  std::uint64_t stream = 0;
  for (const auto& name : names) {
    const auto& base = m.linear(name);
    const adapters::layer_view<float> layer(base);
    const auto random = random_generator(ctx.seed).fork(stream++);
    auto start = [&] {
      if constexpr (std::is_same_v<Method, adapters::vera>)
        return method.template init<float>(layer, shared);
      else if constexpr (requires { method.template init<float>(layer, random); })
        return method.template init<float>(layer, random);
      else if constexpr (requires { method.template init<float>(layer, ctx); })
        return method.template init<float>(layer, ctx);
      else if constexpr (std::is_same_v<Method, adapters::ia3>)
        return adapters::ia3{.feedforward = method.feedforward || scales_inputs(name),
                             .value_type = method.value_type}
            .template init<float>(layer);
      else
        return method.template init<float>(layer);
    }();
    if constexpr (requires { start.weight; }) {
      if (start.weight != base.to_dense()) out.new_base.emplace(name, std::move(start.weight));
      out.initial.emplace(name, start.state);
      out.adapters.emplace(name, std::move(start.state));
    } else {
      out.adapters.emplace(name, std::move(start));
    }
  }
  auto scheduled = method;
  if constexpr (requires { scheduled.total_steps; }) scheduled.total_steps = steps;
  if constexpr (std::is_same_v<Method, adapters::adalora>)
    out.rule = std::make_shared<adalora_rule>(scheduled, static_cast<index_t>(names.size()));
  else if constexpr (std::is_same_v<Method, adapters::lamda>)
    out.rule = std::make_shared<lamda_rule>(method.freezing(steps));
  else if constexpr (std::is_same_v<Method, adapters::aflora>)
    out.rule = std::make_shared<aflora_rule>(scheduled);
}

}  // namespace detail

/// What `start_adapters` returns.
inline started_adapters start_every_adapter(const any_stage& method, const model::llama& m,
                                            const std::vector<std::string>& names, index_t steps,
                                            const context& ctx) {
  started_adapters out;
  bool found = false;
  const auto attempt = [&](const auto* held) {
    if (!held) return;
    found = true;
    detail::start_method(*held, m, names, steps, ctx, out);
  };
  attempt(method.as<adapters::lora>());
  attempt(method.as<adapters::dora>());
  attempt(method.as<adapters::pissa>());
  attempt(method.as<adapters::olora>());
  attempt(method.as<adapters::vera>());
  attempt(method.as<adapters::adalora>());
  attempt(method.as<adapters::loha>());
  attempt(method.as<adapters::lokr>());
  attempt(method.as<adapters::ia3>());
  attempt(method.as<adapters::oft>());
  attempt(method.as<adapters::bone>());
  attempt(method.as<adapters::bat>());
  attempt(method.as<adapters::lamda>());
  attempt(method.as<adapters::aflora>());
  require(found, "adapter", method.id(), "an adapter method of this library");
  return out;
}

/// What `to_peft` returns.
inline io::peft_adapter every_adapter_to_peft(const any_stage& method, const started_adapters& run,
                                              const std::vector<std::string>& targets) {
  io::peft_adapter out;
  bool known = false;
  const auto attempt = [&](const auto* held) {
    if (!held) return;
    known = true;
    out.config = io::make_peft_config(*held, targets);
    out.modules = run.adapters;
  };
  attempt(method.as<adapters::lora>());
  attempt(method.as<adapters::dora>());
  attempt(method.as<adapters::vera>());
  attempt(method.as<adapters::adalora>());
  attempt(method.as<adapters::loha>());
  attempt(method.as<adapters::lokr>());
  attempt(method.as<adapters::ia3>());
  attempt(method.as<adapters::oft>());
  attempt(method.as<adapters::bone>());
  attempt(method.as<adapters::bat>());
  if (const auto* ia3 = method.as<adapters::ia3>(); ia3 && !ia3->feedforward) {
    io::json feedforward = io::json::array();
    for (const auto& t : targets)
      if (detail::scales_inputs(t)) feedforward.push_back(t);
    out.config.fields()["feedforward_modules"] = std::move(feedforward);
  }
  if (known) {
    for (const auto& [name, a] : out.modules)
      if (const auto* vera = a.as<adapters::vera_state<float>>()) out.shared.vera = vera->shared();
    return out;
  }
  index_t rank = 1;
  double scale = 1;
  for (const auto& [name, trained] : run.adapters) {
    const bool changed = run.new_base.contains(name);
    const adapters::any_adapter both[] = {trained, changed ? run.initial.at(name) : trained};
    const double signs[] = {1, changed ? -1.0 : 0.0};
    auto state = adapters::combine(both, signs);
    rank = state.rank();
    scale = state.scale();
    out.modules.emplace(name, std::move(state));
  }
  out.config =
      io::make_peft_config(adapters::lora{.rank = rank, .alpha = scale * static_cast<double>(rank)}, targets);
  return out;
}

}  // namespace tersor::pipeline
