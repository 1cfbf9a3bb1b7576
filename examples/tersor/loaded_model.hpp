// tersor - the model that a subcommand works on, with its tokenizer
// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <tersor/model/evaluate.hpp>
#include <tersor/model/llama_checkpoint.hpp>

namespace command {

inline bool is_gguf(const std::filesystem::path& path) {
  return path.extension() == ".gguf" && !std::filesystem::is_directory(path);
}

/// The model of a folder, of a weight file in one, or of a GGUF file.
tersor::model::llama load_model(const std::filesystem::path& path);

/// What tokenizer.json holds, or would hold.
tersor::io::json tokenizer_json_of(const std::filesystem::path& path);

/// Such a model with its tokenizer.
struct loaded_model {
  std::filesystem::path path;
  tersor::model::llama model;
  std::vector<int> start;  ///< the tokens before a text
  tersor::io::tokenizer tokenizer;

  /// @param adapter folder of a PEFT adapter for its slots, or empty.
  explicit loaded_model(const std::filesystem::path& path, const std::filesystem::path& adapter = {});

  /// Where the files of a model are: its folder, or the GGUF file alone.
  static std::filesystem::path folder_of(const std::filesystem::path& path) {
    return std::filesystem::is_directory(path) || is_gguf(path) ? path : path.parent_path();
  }
  std::vector<std::filesystem::path> weight_files() const;
  /// These and the files that say what they mean: all that a result depends on.
  std::vector<std::filesystem::path> input_files() const;
  /// Bytes of these files.
  std::uint64_t file_bytes() const;
  /// Writes the model's config and tokenizer into a folder, which holds its weights or others of its shapes.
  void write_beside(const std::filesystem::path& folder) const;
  void save(const tersor::model::llama_file& file, const tersor::io::output_folder& out) const {
    file.write(out.path() / "model.safetensors");
    write_beside(out.path());
  }

  /// start + BPE(text).
  std::vector<int> encode(std::string_view text, bool from_start = true) const {
    std::vector<int> ids;
    if (from_start) ids = start;
    const auto body = tokenizer.encode(text);
    ids.insert(ids.end(), body.begin(), body.end());
    return ids;
  }
  /// The same of a file, which fills at least one window.
  std::vector<int> encode_file(const std::string& path, tersor::index_t window) const {
    const auto positions = model.config().max_position_embeddings;
    tersor::require(window >= 2 && window <= positions, "--window", window, "2 .. ", positions,
                    " (max_position_embeddings)");
    auto ids = encode(tersor::io::read_text_file(path));
    tersor::require(static_cast<tersor::index_t>(ids.size()) >= window, path + ": tokens", ids.size(),
                    "at least one window of ", window);
    return ids;
  }
};

}  // namespace command
