// tersor - fuzz target: config.json of a Llama model
// SPDX-License-Identifier: MIT
#include <tersor/model/llama.hpp>

#include "fuzz/targets.hpp"

namespace tersor::fuzz {

void config(std::string_view bytes) {
  const auto c = model::llama_config::from_json(io::parse_json(bytes, "config.json"), "config.json");
  if (c.num_hidden_layers > 64) return;  // an empty model has a slot for each linear
  const model::llama m(c);
  (void)m.linear_shapes();
  (void)m.vector_shapes();
}

}  // namespace tersor::fuzz
