// tersor - specs of adapters: one method for the linears of a model that is to be fine-tuned
// SPDX-License-Identifier: MIT
#pragma once

#if !defined(TERSOR_PRECOMPILED)
#include <tersor/pipeline/every_adapter.hpp>
#endif
#include <tersor/pipeline/recipe.hpp>
#include <tersor/pipeline/started_adapters.hpp>

namespace tersor::pipeline {

/// One adapter method, read in the grammar of recipes: "lora(rank=8,alpha=16)".
inline any_stage parse_adapter_spec(std::string_view text, const catalog& techniques = standard_catalog()) {
  const auto stages = detail::spec_parser(text, techniques).stages();
  require(stages.size() == 1 && stages.front().kind() == solve::stage_kind::adapter, "adapter spec", text,
          "one adapter method, such as lora(rank=8,alpha=16)");
  stages.front().validate();
  return stages.front();
}

/// Names of a model's linears that end with one of the targets ("q_proj", "self_attn.o_proj"), in order.
/// Error for a target that matches nothing, with the nearest name.
inline std::vector<std::string> target_linears(const model::llama& m,
                                               const std::vector<std::string>& targets) {
  std::vector<std::string> names, endings;
  for (const auto& l : m.linear_shapes()) {
    names.push_back(l.name);
    endings.push_back(l.name.substr(l.name.rfind('.') + 1));
  }
  std::vector<std::string> found;
  for (const auto& name : names)
    for (const auto& t : targets)
      if (name == t || name.ends_with("." + t)) {
        found.push_back(name);
        break;
      }
  for (const auto& t : targets)
    if (std::ranges::none_of(names, [&](const auto& n) { return n == t || n.ends_with("." + t); })) {
      endings.insert(endings.end(), names.begin(), names.end());
      fail("adapter target", t, "the end of a linear's name" + suggestion(t, endings));
    }
  return found;
}

/// The method's adapters for the linears `names` of a model. @param steps of the run, which schedules follow.
/// Randomness from `ctx.seed`, a stream for each layer.
#if defined(TERSOR_PRECOMPILED)
started_adapters start_adapters(const any_stage& method, const model::llama& m,
                                const std::vector<std::string>& names, index_t steps,
                                const context& ctx = {});
#else
inline started_adapters start_adapters(const any_stage& method, const model::llama& m,
                                       const std::vector<std::string>& names, index_t steps,
                                       const context& ctx = {}) {
  return start_every_adapter(method, m, names, steps, ctx);
}
#endif

/// What a run trained, as PEFT stores it. Methods that PEFT knows keep their type; PiSSA, OLoRA, LaMDA and
/// AFLoRA become the LoRA that they are at the end, of twice the rank where they changed the base, which then
/// is the base as it was.
/// @param targets as they were given.
#if defined(TERSOR_PRECOMPILED)
io::peft_adapter to_peft(const any_stage& method, const started_adapters& run,
                         const std::vector<std::string>& targets);
#else
inline io::peft_adapter to_peft(const any_stage& method, const started_adapters& run,
                                const std::vector<std::string>& targets) {
  return every_adapter_to_peft(method, run, targets);
}
#endif

}  // namespace tersor::pipeline
