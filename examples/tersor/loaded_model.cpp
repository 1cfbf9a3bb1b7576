// tersor - what the commands load; here alone, as all that can be read is slow to compile
// SPDX-License-Identifier: MIT
#include "loaded_model.hpp"

#include <tersor/io/text_start.hpp>
#include <tersor/model/llama_gguf.hpp>
#include <tersor/model/peft_model.hpp>

tersor::io::json command::tokenizer_json_of(const std::filesystem::path& path) {
  return is_gguf(path) ? tersor::io::tokenizer_json(tersor::io::gguf_file(path))
                       : tersor::io::read_json_file(loaded_model::folder_of(path) / "tokenizer.json");
}

tersor::model::llama command::load_model(const std::filesystem::path& path) {
  return is_gguf(path) ? tersor::model::load_llama_gguf(path) : tersor::model::load_llama(path);
}

namespace {

tersor::io::tokenizer read_tokenizer(const std::filesystem::path& path, const tersor::model::llama_config& c,
                                     std::vector<int>& start) {
  const auto folder = command::loaded_model::folder_of(path);
  const auto file = command::tokenizer_json_of(path);
  start = tersor::io::text_start(file, folder, c.bos_token_id);
  for (const int id : start)
    tersor::require(id >= 0 && id < c.vocab_size, folder.string() + ": post_processor", id,
                    "a token below vocab_size, ", c.vocab_size);
  return {file, (command::is_gguf(path) ? folder : folder / "tokenizer.json").string()};
}

}  // namespace

command::loaded_model::loaded_model(const std::filesystem::path& source, const std::filesystem::path& adapter)
    : path(source), model(load_model(source)), tokenizer(read_tokenizer(source, model.config(), start)) {
  if (!adapter.empty())
    tersor::model::attach(model, tersor::io::read_peft(adapter, tersor::model::peft_modules(model)));
}

std::vector<std::filesystem::path> command::loaded_model::weight_files() const {
  if (is_gguf(path)) return {path};
  const tersor::io::checkpoint checkpoint(path);
  std::vector<std::filesystem::path> paths;
  for (const auto& file : checkpoint.files()) paths.push_back(file.path());
  return paths;
}

std::vector<std::filesystem::path> command::loaded_model::input_files() const {
  auto paths = weight_files();
  if (is_gguf(path)) return paths;
  std::vector<std::string_view> names{"tokenizer.json", "tokenizer_config.json"};
  names.insert(names.end(), tersor::io::settings_files.begin(), tersor::io::settings_files.end());
  for (const auto name : names)
    if (auto file = folder_of(path) / name; std::filesystem::exists(file)) paths.push_back(std::move(file));
  return paths;
}

std::uint64_t command::loaded_model::file_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& file : weight_files()) bytes += std::filesystem::file_size(file);
  return bytes;
}

void command::loaded_model::write_beside(const std::filesystem::path& folder) const {
  if (is_gguf(path)) return tersor::model::write_config_files(tersor::io::gguf_file(path), folder);
  tersor::io::copy_model_files(tersor::io::model_folder_of(path), folder);
}
