// tersor - a PEFT adapter: its configuration, and a state for each module
// SPDX-License-Identifier: MIT
#pragma once

#include <map>     // std::map
#include <string>  // std::string

#include <tersor/adapters/adalora.hpp>
#include <tersor/adapters/any_adapter.hpp>
#include <tersor/adapters/lora.hpp>
#include <tersor/adapters/vera.hpp>
#include <tersor/core/real_array.hpp>
#include <tersor/io/peft_config.hpp>
#include <tersor/io/safetensors.hpp>

namespace tersor::io {

/// Tensors that all modules of one adapter share.
struct peft_shared {
  std::shared_ptr<const adapters::vera_projections<float>> vera;
};

/// A tensor that is kept as it was stored.
struct peft_tensor {
  tersor::dtype dtype;
  std::vector<index_t> shape;
  std::vector<std::byte> bytes;
};

/// An adapter for many modules.
struct peft_adapter {
  static constexpr std::string_view model_prefix = "base_model.model.";

  peft_config config;
  std::map<std::string, adapters::any_adapter> modules;                 ///< by path
  std::map<std::string, adapters::lora_embedding<float>> embeddings{};  ///< by path
  peft_shared shared{};
  std::map<std::string, peft_tensor> others{};  ///< biases and whole modules, by key

  /// The layer without the adapter, W [out, in] and b as the base stores them: W is [in, out] where the
  /// configuration says fan_in_fan_out. A bias that was trained replaces b. Error if the module has no
  /// adapter.
  adapters::dense_layer<float> merged(const std::string& module, adapters::dense_layer<float> layer) const {
    const auto found = modules.find(module);
    if (found == modules.end()) {
      std::vector<std::string> names;
      for (const auto& [name, state] : modules) names.push_back(name);
      fail("adapter of module", module, concat("a module with an adapter", suggestion(module, names)));
    }
    for (const char* name : {".base_layer.bias", ".bias"}) {
      const std::string key = concat(model_prefix, module, name);
      if (others.contains(key)) layer.bias = values(key);
    }
    if (!config.fan_in_fan_out()) return found->second.effective(std::move(layer));
    layer.weight = copy_as<float>(layer.weight.view().transposed());
    layer = found->second.effective(std::move(layer));
    layer.weight = copy_as<float>(layer.weight.view().transposed());
    return layer;
  }
  index_t trainable_count() const {
    index_t n = 0;
    for (const auto& [name, state] : modules) n += state.trainable_count();
    for (const auto& [name, state] : embeddings) n += state.trainable_count();
    return n;
  }
  /// Bytes of the tensors in the file; what all modules share counts once, and not where it is left out.
  index_t stored_bytes() const {
    index_t n = 0;
    const auto add = [&](const auto& of) {
      for (const auto& [name, state] : of)
        for (const auto& p : state.tensors()) n += p.size() * bits_of(p.stored_type) / 8;
    };
    add(modules);
    add(embeddings);
    if (shared_is_stored())
      n += (shared.vera->a.size() + shared.vera->b.size()) * bits_of(shared.vera->stored_type) / 8;
    for (const auto& [key, t] : others) n += static_cast<index_t>(t.bytes.size());
    return n;
  }
  bool shared_is_stored() const { return shared.vera != nullptr && config.get("save_projection", true); }

  /// One of `others` as floats.
  std::vector<float> values(const std::string& key) const {
    const auto& t = others.at(key);
    tensor_entry entry{key, t.dtype, t.shape, 0, t.bytes.size()};
    std::vector<float> v(static_cast<std::size_t>(entry.elements()));
    detail::read_elements(entry, t.bytes, v.data(), key);
    return v;
  }
};

/// Keeps the live triplets of AdaLoRA alone, and notes in the configuration which they are.
inline void compact_adalora(peft_adapter& adapter, const std::string& module,
                            std::span<const std::uint8_t> kept) {
  const auto found = adapter.modules.find(module);
  const auto* state =
      found == adapter.modules.end() ? nullptr : found->second.as<adapters::adalora_state<float>>();
  require(state != nullptr, "compact_adalora: module", module, "a module with an AdaLoRA adapter");
  std::vector<bool> pattern;
  for (const auto k : kept) pattern.push_back(k != 0);
  json& all = adapter.config.fields()["rank_pattern"];
  if (!all.is_object()) all = json::object();
  all[module + ".lora_E"] = pattern;
  found->second = state->compacted(kept);
}

}  // namespace tersor::io
