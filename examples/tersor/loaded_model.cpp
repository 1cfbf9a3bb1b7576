// tersor - what the commands load; here alone, as all that can be read is slow to compile
// SPDX-License-Identifier: MIT
#include "loaded_model.hpp"

#include <tersor/model/peft_model.hpp>

command::loaded_model::loaded_model(const std::filesystem::path& path, const std::filesystem::path& adapter)
    : model(tersor::model::load_llama(path)), tokenizer(folder_of(path) / "tokenizer.json") {
  if (!adapter.empty())
    tersor::model::attach(model, tersor::io::read_peft(adapter, tersor::model::peft_modules(model)));
}
