// tersor - PEFT adapters on a decoder: its modules, and adapters in its slots
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/io/peft.hpp>
#include <tersor/model/finetune.hpp>

namespace tersor::model {

/// The modules of a model that adapters can name.
inline std::vector<io::peft_module> peft_modules(const llama& m) {
  std::vector<io::peft_module> modules;
  for (const auto& l : m.linear_shapes()) modules.push_back({.name = l.name, .out = l.out, .in = l.in});
  const auto& c = m.config();
  modules.push_back(
      {.name = "model.embed_tokens", .out = c.hidden_size, .in = c.vocab_size, .embedding = true});
  modules.push_back({.name = "lm_head", .out = c.vocab_size, .in = c.hidden_size, .output_head = true});
  return modules;
}

/// Puts a PEFT adapter into the slots of a model, unmerged, and its trained biases in the place of the
/// model's. Error for what a slot cannot hold: adapters of the embedding or the head, and modules that were
/// saved whole.
inline void attach(llama& m, const io::peft_adapter& adapter) {
  require(adapter.embeddings.empty(), "adapter of module",
          adapter.embeddings.empty() ? std::string() : adapter.embeddings.begin()->first,
          "linear layers of the blocks");
  for (const auto& [key, tensor] : adapter.others) {
    std::string name = key.substr(io::peft_adapter::model_prefix.size());
    if (const auto at = name.find(".base_layer."); at != std::string::npos) name.erase(at, 11);
    require(name.ends_with(".bias") && m.has_vector(name), "adapter: tensor", key,
            "tensors of linear layers, or biases that the model has");
    m.set_vector(name, adapter.values(key));
  }
  adapter_map linears;
  for (const auto& [name, state] : adapter.modules) {
    require(name != "lm_head", "adapter of module", name, "linear layers of the blocks");
    linears.emplace(name, state);
  }
  attach(m, linears);
}

/// The model without adapters: every adapted slot as one dense weight, in f32.
inline void merge_adapters(llama& m) {
  for (const auto& l : m.linear_shapes())
    if (m.linear(l.name).as<adapted_linear>())
      m.set_linear(l.name, op::dense(m.linear(l.name).to_dense().view()));
}

}  // namespace tersor::model
