// tersor - fuzz target: adapter_config.json of PEFT
// SPDX-License-Identifier: MIT
#include <tersor/io/peft.hpp>
#include <tersor/io/safetensors_writer.hpp>

#include "fuzz/memory_file.hpp"
#include "fuzz/targets.hpp"

namespace tersor::fuzz {

void peft(std::string_view bytes) {
  const std::vector<io::peft_module> base{{"model.layers.0.self_attn.q_proj", 8, 8},
                                          {"model.layers.0.mlp.up_proj", 16, 8},
                                          {"lm_head", 32, 8, 0, 0, false, true}};
  const auto folder = memory_file("adapter_config.json", bytes).parent_path();
  if (!std::filesystem::exists(folder / "adapter_model.safetensors")) {
    io::safetensors_writer weights;
    for (const auto& m : base) {
      const std::string key = "base_model.model." + m.name;
      const auto add = [&](const char* part, index_t rows, index_t cols) {
        const std::vector<float> values(static_cast<std::size_t>(rows * cols), 0.25F);
        const auto stored = store_as(dtype::f32, std::span(values));
        weights.add(key + part, dtype::f32, {rows, cols},
                    std::vector<std::byte>(stored.bytes().begin(), stored.bytes().end()));
      };
      add(".lora_A.weight", 4, m.in);
      add(".lora_B.weight", m.out, 4);
    }
    weights.write(folder / "adapter_model.safetensors");
  }
  const auto adapter = io::read_peft(folder, base);
  (void)adapter;
}

}  // namespace tersor::fuzz
