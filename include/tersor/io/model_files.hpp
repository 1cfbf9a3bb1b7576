// tersor - the files beside a model's weights: copied, with the settings of quantization that belong to them
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>    // std::ranges::any_of
#include <array>        // std::array
#include <filesystem>   // std::filesystem::path
#include <string>       // std::string
#include <string_view>  // std::string_view

#include <tersor/io/json.hpp>

namespace tersor::io {

/// The folder of a model that is named by its folder or by a weight file in it.
inline std::filesystem::path model_folder_of(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path) ? path : path.parent_path();
}

/// The files that say how weights are stored. With other weights they are others.
inline constexpr std::array<std::string_view, 3> settings_files{"config.json", "quantize_config.json",
                                                                "quant_config.json"};

namespace detail {

/// Files of the tokenizer and of generation, which belong to a model even where its config.json is missing.
inline constexpr std::array<std::string_view, 10> tokenizer_files{
    "generation_config.json",  "tokenizer.json",    "tokenizer_config.json",
    "tokenizer.model",         "vocab.json",        "merges.txt",
    "special_tokens_map.json", "added_tokens.json", "chat_template.json",
    "chat_template.jinja"};
inline constexpr std::array<std::string_view, 12> weight_file_ends{
    ".safetensors", ".index.json", ".bin", ".pt",   ".pth",     ".ckpt",
    ".gguf",        ".h5",         ".npz", ".onnx", ".msgpack", ".onnx_data"};

/// Does a file of a model folder go along with other weights? Other tools' weights do not, and what is larger
/// than any code or vocabulary is taken for such.
inline bool goes_along(const std::filesystem::directory_entry& file, bool has_config) {
  constexpr std::uintmax_t most = 64 << 20;
  const std::string name = file.path().filename().string();
  const auto is_name = [&](std::string_view other) { return name == other; };
  if (!file.is_regular_file()) return false;
  if (std::ranges::any_of(tokenizer_files, is_name)) return true;
  return has_config && name.front() != '.' && file.file_size() <= most &&
         std::ranges::none_of(settings_files, is_name) &&
         std::ranges::none_of(weight_file_ends, [&](std::string_view end) { return name.ends_with(end); });
}

}  // namespace detail

/// Copies what lies beside the weights of a model folder (tokenizer, generation, code, notes), and
/// config.json with `quantization` as its "quantization_config" (null: none), and with `torch_dtype` where
/// one is given. A config.json that stays as it is is copied byte for byte. Without one the folder may be
/// any, and only files with the names of a tokenizer's are copied.
inline void copy_model_files(const std::filesystem::path& source, const std::filesystem::path& destination,
                             const json& quantization = nullptr, const std::string& torch_dtype = {}) {
  const bool has_config = std::filesystem::exists(source / "config.json");
  for (const auto& file : std::filesystem::directory_iterator(source.empty() ? "." : source))
    if (detail::goes_along(file, has_config))
      write_text_file(destination / file.path().filename(), read_text_file(file.path()));
  if (!has_config) return;
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
