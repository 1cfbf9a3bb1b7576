// tersor - fuzz target: adapter_config.json of PEFT, with or without weights behind it
// SPDX-License-Identifier: MIT
#include <tersor/io/peft.hpp>
#include <tersor/io/safetensors_writer.hpp>

#include "fuzz/memory_file.hpp"
#include "fuzz/targets.hpp"

namespace tersor::fuzz {

namespace {

const std::vector<io::peft_module> peft_base{
    {.name = "model.layers.0.self_attn.q_proj", .out = 8, .in = 8},
    {.name = "model.layers.0.mlp.up_proj", .out = 16, .in = 8},
    {.name = "model.conv", .out = 4, .in = 4, .kernel_rows = 2, .kernel_cols = 2},
    {.name = "model.embed_tokens", .out = 8, .in = 10, .embedding = true},
    {.name = "lm_head", .out = 32, .in = 8, .output_head = true}};

/// A LoRA of rank 4 for the linear layers, as bytes of a file.
std::string lora_weights() {
  io::safetensors_writer weights;
  for (const auto& m : peft_base) {
    if (m.embedding || m.kernel_rows > 0) continue;
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
  const auto path = memory_file("adapter_model.safetensors", "");
  weights.write(path);
  return io::read_text_file(path);
}

}  // namespace

/// The configuration ends at a zero byte, behind which adapter_model.safetensors may follow.
void peft(std::string_view bytes) {
  static const std::string lora = lora_weights();
  const auto end = bytes.find('\0');
  const auto folder = memory_file("adapter_config.json", bytes.substr(0, end)).parent_path();
  memory_file("adapter_model.safetensors",
              end == bytes.npos ? std::string_view(lora) : bytes.substr(end + 1));
  const auto adapter = io::read_peft(folder, peft_base);
  for (const auto& m : peft_base)
    if (adapter.modules.contains(m.name) && !adapter.config.fan_in_fan_out())
      adapter.merged(m.name, {matrix<float>(m.out, m.in * m.places(), 0.5F), {}});
  for (const auto& [name, table] : adapter.embeddings) table.delta_table();
}

}  // namespace tersor::fuzz
