// tersor - what the fuzzers and the corpus of broken files are given to: one function for each kind of file
// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>

namespace tersor::fuzz {

// Each reads `bytes` as its kind of file and uses what it says. A mistake in them is a tersor::error; any
// other exception, crash, endless loop or allocation beyond what the file justifies is a finding.

void safetensors(std::string_view bytes);  ///< every tensor, and every operator of the metadata
void gguf(std::string_view bytes);         ///< keys, tensors, the tokenizer and the model
void tokenizer(std::string_view bytes);    ///< tokenizer.json; encodes and decodes a text
void config(std::string_view bytes);       ///< config.json of a model
void peft(std::string_view bytes);         ///< an adapter's configuration and weights, merged
void spec(std::string_view bytes);         ///< text of a recipe, of a cache and of an adapter
/// A line that is config.json, then a safetensors file: every linear in the layout that the line names.
void layouts(std::string_view bytes);

}  // namespace tersor::fuzz
