// tersor - fuzz target: GGUF files, their tokenizer and the model in them
// SPDX-License-Identifier: MIT
#include <exception>

#include <tersor/io/gguf_tokenizer.hpp>
#include <tersor/model/llama_gguf.hpp>

#include "fuzz/memory_file.hpp"
#include "fuzz/targets.hpp"

namespace tersor::fuzz {

void gguf(std::string_view bytes) {
  const io::gguf_file file(memory_file("model.gguf", bytes));
  for (const auto& t : file.tensors()) touch(file.bytes(t.name));
  std::exception_ptr refused;  // a tokenizer that is no good must not hide the model
  try {
    const auto tokens = io::tokenizer_json(file);
    (void)io::text_start(tokens, "model.gguf");
    const io::tokenizer t(tokens, "model.gguf");
    (void)t.decode(t.encode("The cat's 12 caf\u00e9s"));
  } catch (const error&) {
    refused = std::current_exception();
  }
  (void)model::config_json(file);
  const auto m = model::load_llama_gguf(file);
  if (m.config().num_hidden_layers <= 2 && m.config().hidden_size <= 256)
    for (const auto& l : m.linear_shapes()) (void)m.linear(l.name).to_dense();
  if (refused) std::rethrow_exception(refused);
}

}  // namespace tersor::fuzz
