// tersor - checkpoints: one safetensors file, or a folder with one or with shards and their index
// SPDX-License-Identifier: MIT
#pragma once

// A folder holds model.safetensors, or model.safetensors.index.json ({"weight_map": {tensor: file}}) and the
// files it names. As in transformers, model.safetensors wins where both are there. "total_size" of the index
// is not used: it is wrong in many published files.
//
//   const tersor::io::checkpoint model("model-folder");
//   tersor::matrix<float> w = model.read_matrix<float>("lm_head.weight");

#include <cstddef>        // std::byte
#include <cstdint>        // std::uint64_t
#include <filesystem>     // std::filesystem::path
#include <map>            // std::map
#include <span>           // std::span
#include <string>         // std::string
#include <string_view>    // std::string_view
#include <unordered_map>  // std::unordered_map
#include <vector>         // std::vector

#include <tersor/core/matrix.hpp>
#include <tersor/core/nearest.hpp>
#include <tersor/io/json.hpp>
#include <tersor/io/safetensors.hpp>

namespace tersor::io {

/// All tensors of a checkpoint, whatever the number of its files. Opening maps the files and checks every
/// header and the index against them: each tensor lies in exactly one file, the one that the index says.
/// Errors name the file and the tensor. Look-ups are O(1); values are read when asked for.
class checkpoint {
 public:
  /// @param path a folder, a .safetensors file, or an index file (*.index.json).
  explicit checkpoint(const std::filesystem::path& path) : where_(path.string()) {
    if (!std::filesystem::is_directory(path)) {
      folder_ = path.parent_path();
      if (path.string().ends_with(".index.json"))
        open_shards(path);
      else
        open_file(path);
      return;
    }
    folder_ = path;
    const auto single = path / "model.safetensors", index_file = path / "model.safetensors.index.json";
    if (std::filesystem::exists(single))
      open_file(single);
    else if (std::filesystem::exists(index_file))
      open_shards(index_file);
    else
      fail(where_, "", "a folder with model.safetensors or model.safetensors.index.json");
  }

  /// The path that was opened, as errors call it.
  const std::string& where() const { return where_; }
  /// The folder of the weight files, where config.json and tokenizer.json lie as well.
  const std::filesystem::path& folder() const { return folder_; }
  /// The weight files, shards in the order of their names.
  const std::vector<safetensors_file>& files() const { return files_; }
  /// The names of all tensors: file by file, in the order of their data.
  const std::vector<std::string_view>& names() const { return names_; }

  /// Bytes of all tensors, and of all weight files with their headers.
  std::uint64_t data_bytes() const {
    std::uint64_t sum = 0;
    for (const safetensors_file& file : files_) sum += file.data_bytes();
    return sum;
  }
  std::uint64_t file_bytes() const {
    std::uint64_t sum = 0;
    for (const safetensors_file& file : files_) sum += file.file_bytes();
    return sum;
  }

  bool contains(std::string_view name) const { return file_of_.contains(name); }
  /// The file that holds a tensor; an unknown name is an error that suggests the nearest one.
  const safetensors_file& file_of(std::string_view name) const {
    const auto found = file_of_.find(name);
    if (found == file_of_.end())
      fail(where_, "", concat("a tensor \"", name, "\"", suggestion(name, names_)));
    return files_[found->second];
  }
  const tensor_entry& entry(std::string_view name) const { return file_of(name).entry(name); }
  /// As in safetensors_file: valid while this object lives, not necessarily aligned.
  std::span<const std::byte> bytes(std::string_view name) const { return file_of(name).bytes(name); }
  /// As in safetensors_file: the tensor's pages leave memory until they are touched again.
  void release(std::string_view name) const { file_of(name).release(name); }
  template <class T>
  std::vector<T> read_tensor(std::string_view name) const {
    return file_of(name).read_tensor<T>(name);
  }
  template <class T>
  std::vector<T> read_vector(std::string_view name) const {
    return file_of(name).read_vector<T>(name);
  }
  template <class T>
  matrix<T> read_matrix(std::string_view name) const {
    return file_of(name).read_matrix<T>(name);
  }

 private:
  void open_file(const std::filesystem::path& path) {
    files_.emplace_back(path);
    list_tensors();
  }

  void open_shards(const std::filesystem::path& index_file) {
    const std::string where = index_file.string();
    const json content = read_json_file(index_file, duplicate_keys::refuse);
    const json& weight_map = member(content, "weight_map", where);
    require(weight_map.is_object(), where + ": weight_map", type_of(weight_map), "an object: tensor to file");
    std::map<std::string, std::vector<std::string>> shards;
    for (const auto& item : weight_map.items())
      shards[json_as<std::string>::from(item.value(), concat(where, ": \"", item.key(), "\""))].push_back(
          item.key());
    for (const auto& [shard, tensors] : shards) {
      // A name with a folder in it could point anywhere.
      require(
          !shard.empty() && std::filesystem::path(shard).filename() == shard && shard != "." && shard != "..",
          where, shard, "the name of a file beside the index");
      require(std::filesystem::exists(folder_ / shard), where, "", "the file ", (folder_ / shard).string(),
              ", which holds \"", tensors.front(), "\"");
      const safetensors_file& file = files_.emplace_back(folder_ / shard);
      for (const std::string& tensor : tensors)
        if (!file.contains(tensor))
          fail(where, "", concat("\"", tensor, "\" in ", shard, suggestion(tensor, file.names())));
    }
    list_tensors();
    for (const safetensors_file& file : files_)
      for (const tensor_entry& tensor : file.tensors())
        require(weight_map.contains(tensor.name), where, "", "an entry for \"", tensor.name, "\" of ",
                file.path().filename().string());
  }

  void list_tensors() {
    for (std::size_t i = 0; i < files_.size(); ++i)
      for (const tensor_entry& tensor : files_[i].tensors()) {
        const auto [place, added] = file_of_.emplace(tensor.name, i);
        if (!added)
          fail(files_[i].path().string(), "",
               concat("each tensor in one file, but \"", tensor.name, "\" is in ",
                      files_[place->second].path().filename().string(), " as well"));
        names_.push_back(tensor.name);
      }
  }

  std::string where_;
  std::filesystem::path folder_;
  std::vector<safetensors_file> files_;
  std::unordered_map<std::string_view, std::size_t> file_of_;  // the names are those of the files' entries
  std::vector<std::string_view> names_;
};

}  // namespace tersor::io
