// tersor - the files beside a model's weights: copied, with the settings of quantization that belong to them
// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>  // std::filesystem::path

#include <tersor/io/json.hpp>

namespace tersor::io {

/// The folder of a model that is named by its folder or by a weight file in it.
inline std::filesystem::path model_folder_of(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path) ? path : path.parent_path();
}

/// Copies the tokenizer and generation files of a model folder, and config.json with `quantization` as its
/// "quantization_config" (null: none), and with `torch_dtype` where one is given. A config.json that stays
/// as it is is copied byte for byte.
inline void copy_model_files(const std::filesystem::path& source, const std::filesystem::path& destination,
                             const json& quantization = nullptr, const std::string& torch_dtype = {}) {
  for (const char* name : {"generation_config.json", "tokenizer.json", "tokenizer_config.json",
                           "tokenizer.model", "vocab.json", "merges.txt", "special_tokens_map.json",
                           "added_tokens.json", "chat_template.json", "chat_template.jinja"})
    if (std::filesystem::exists(source / name))
      write_text_file(destination / name, read_text_file(source / name));
  if (!std::filesystem::exists(source / "config.json")) return;
  const std::string text = read_text_file(source / "config.json");
  json config = parse_json(text, (source / "config.json").string());
  require(config.is_object(), (source / "config.json").string(), type_of(config), "an object");
  const json before = config;
  for (const char* key : {"quantization_config", "compression_config"}) config.erase(key);
  if (!quantization.is_null()) config["quantization_config"] = quantization;
  if (!torch_dtype.empty()) config[config.contains("dtype") ? "dtype" : "torch_dtype"] = torch_dtype;
  write_text_file(destination / "config.json", config == before ? text : config.dump(2) + "\n");
}

}  // namespace tersor::io
