// tersor - what the commands load; here alone, as all that can be read is slow to compile
// SPDX-License-Identifier: MIT
#include "loaded_model.hpp"

#include <tersor/model/llama_gguf.hpp>
#include <tersor/model/peft_model.hpp>

namespace {

tersor::io::tokenizer tokenizer_of(const std::filesystem::path& path) {
  if (!command::is_gguf(path))
    return tersor::io::tokenizer(command::loaded_model::folder_of(path) / "tokenizer.json");
  const tersor::io::gguf_file file(path);
  return {tersor::io::tokenizer_json(file), path.string()};
}

}  // namespace

tersor::model::llama command::load_model(const std::filesystem::path& path) {
  return is_gguf(path) ? tersor::model::load_llama_gguf(path) : tersor::model::load_llama(path);
}

command::loaded_model::loaded_model(const std::filesystem::path& source, const std::filesystem::path& adapter)
    : path(source), model(load_model(source)), tokenizer(tokenizer_of(source)) {
  if (!adapter.empty())
    tersor::model::attach(model, tersor::io::read_peft(adapter, tersor::model::peft_modules(model)));
}

std::uint64_t command::loaded_model::file_bytes() const {
  return is_gguf(path) ? std::filesystem::file_size(path) : tersor::io::checkpoint(path).file_bytes();
}

void command::loaded_model::save(const tersor::model::llama_file& file,
                                 const tersor::io::output_folder& out) const {
  if (!is_gguf(path)) return tersor::model::save_llama(file, path, out);
  file.write(out.path() / "model.safetensors");
  tersor::model::write_config_files(tersor::io::gguf_file(path), out.path());
}
