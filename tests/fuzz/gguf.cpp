// tersor - fuzz target: GGUF files, their tokenizer and the model in them
// SPDX-License-Identifier: MIT
#include <tersor/io/gguf_tokenizer.hpp>
#include <tersor/model/llama_gguf.hpp>

#include "fuzz/memory_file.hpp"
#include "fuzz/targets.hpp"

namespace tersor::fuzz {

void gguf(std::string_view bytes) {
  const io::gguf_file file(memory_file("model.gguf", bytes));
  for (const auto& t : file.tensors()) touch(file.bytes(t.name));
  const auto m = model::load_llama_gguf(file);
  const io::tokenizer t(io::tokenizer_json(file), "model.gguf");
  (void)t.decode(t.encode("The cat's 12 caf\u00e9s"));
  if (m.config().num_hidden_layers <= 2 && m.config().hidden_size <= 64)
    for (const auto& l : m.linear_shapes()) (void)m.linear(l.name).to_dense();
}

}  // namespace tersor::fuzz
