// tersor - PEFT adapters on a decoder: its modules, and adapters in its slots
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>  // std::function

#include <tersor/adapters/combine.hpp>
#include <tersor/io/peft.hpp>
#include <tersor/model/finetune.hpp>
#include <tersor/solve/layer.hpp>

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

/// One layer that was merged, and how well the operator that is stored now holds the merged weight.
struct merged_layer {
  std::string name;
  double relative_error = 0;  ///< 0 of a dense layer
  double change_kept = 1;     ///< of the adapter's change, as `adapters::merged_operator` says
};

/// Stores a merged weight as it is, in f32.
inline solve::outcome store_dense(const solve::layer& merged) {
  return {op::dense(merged.weight.view()), {}, {}};
}

/// The model without adapters: every adapted slot holds what `store` makes of its merged weight, one dense
/// weight or a compressor's operator. Biases of the adapters go to the model's. Error for the bias of an
/// adapter where the model has none.
inline std::vector<merged_layer> merge_adapters(
    llama& m, const std::function<solve::outcome(const solve::layer&)>& store = store_dense) {
  std::vector<merged_layer> layers;
  for (const auto& l : m.linear_shapes()) {
    const op::any_operator slot = m.linear(l.name);
    const auto* adapted = slot.as<adapted_linear>();
    if (!adapted) continue;
    auto merged = adapters::merge_compressed(
        adapted->adapter(), adapted->base(), {},
        [&](const matrix<float>& weight) { return store({.name = l.name, .weight = weight}); });
    if (!merged.bias.empty()) {
      const auto name = l.name + ".bias";
      require(m.has_vector(name), "merge: layer whose adapter has a bias", l.name, "one that has a bias too");
      auto bias = m.vector(name);
      for (std::size_t o = 0; o < bias.size(); ++o) bias[o] += merged.bias[o];
      m.set_vector(name, std::move(bias));
    }
    m.set_linear(l.name, std::move(merged.op));
    layers.push_back({l.name, merged.relative_error, merged.change_kept});
  }
  return layers;
}

}  // namespace tersor::model
