// tersor - a checkpoint that is written tensor by tensor, in one file or in shards with an index
// SPDX-License-Identifier: MIT
#pragma once

// A safetensors file begins with the list of its tensors, aligned ones first, and nothing may lie between
// them: the file is not known before its last tensor is. So a shard is collected on the disk, tensor after
// tensor, and copied in order behind its header when it is full. That costs a second copy of one shard on the
// disk, no memory, and gives the bytes that `safetensors_writer` gives.
//
//   tersor::io::sharded_writer out(folder, 5'000'000'000);
//   out.add("lm_head.weight", tersor::dtype::bf16, {rows, cols}, bytes);  // on the disk when it returns
//   out.finish();

#include <cstdio>      // std::fopen
#include <filesystem>  // std::filesystem::path
#include <functional>  // std::function
#include <map>         // std::map
#include <set>         // std::set
#include <string>      // std::string
#include <vector>      // std::vector

#include <tersor/io/safetensors_writer.hpp>

namespace tersor::io {

/// Writes model.safetensors, or model-00001-of-0000N.safetensors and model.safetensors.index.json, into a
/// folder. Memory: the names. A shard has at most `shard_bytes` of data unless one tensor alone has more. The
/// same tensors in the same order give the same files. Errors name the file or the tensor.
///
/// An interrupted run can go on: `take_progress()` says what was added since the last call and is on the
/// disk, and `restore` takes these lists back; what came after the last of them is forgotten. That holds
/// until the function that `finish` is given returns: it notes that all is written.
class sharded_writer final : public tensor_sink {
 public:
  /// @param folder exists; @param shard_bytes 0: one file
  explicit sharded_writer(std::filesystem::path folder, std::uint64_t shard_bytes = 0)
      : folder_(std::move(folder)), shard_bytes_(shard_bytes) {}
  sharded_writer(const sharded_writer&) = delete;
  sharded_writer& operator=(const sharded_writer&) = delete;
  ~sharded_writer() override {
    if (spool_ != nullptr) std::fclose(spool_);
  }

  void add(std::string name, dtype type, std::vector<index_t> shape,
           std::span<const std::byte> bytes) override {
    const std::uint64_t expected = detail::checked_bytes(shape, type, name);
    require(bytes.size() == expected, name, concat(bytes.size(), " bytes"), expected, " bytes for ",
            tersor::name(type), " ", detail::shape_text(shape));
    require(names_.insert(name).second, "tensor name", name, "each name once");
    if (shard_bytes_ > 0 && filled_ > 0 && filled_ + bytes.size() > shard_bytes_) close_shard();
    if (spool_ == nullptr) open_spool();
    if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), spool_) != bytes.size()) refuse();
    total_ += bytes.size();
    filled_ += bytes.size();
    tensors_.push_back({std::move(name), type, std::move(shape), shard_});
    ++unreported_;
  }
  void add(std::string name, dtype type, std::vector<index_t> shape,
           std::vector<std::byte>&& bytes) override {
    add(std::move(name), type, std::move(shape), std::span<const std::byte>(bytes));
  }
  /// For the last file.
  void metadata(std::string key, std::string value) override {
    last_metadata_.emplace_back(std::move(key), std::move(value));
  }
  /// For each file.
  void metadata_of_all(std::string key, std::string value) {
    metadata_.emplace_back(std::move(key), std::move(value));
  }

  /// The tensors added since the last call, which are on the disk when it returns. What the last call said is
  /// taken to be noted when the next one comes.
  json take_progress() {
    if (spool_ != nullptr) {
      if (std::fflush(spool_) != 0) refuse();
#if TERSOR_HAS_MMAP
      ::fsync(::fileno(spool_));
#endif
    }
    // what was collected in shards before the one that the last call ended in is not needed from here on
    for (std::size_t k = kept_spools_; k < noted_shard_; ++k) std::filesystem::remove(spool_path(k));
    kept_spools_ = noted_shard_;
    noted_shard_ = shard_;
    json list = json::array();
    for (std::size_t i = tensors_.size() - unreported_; i < tensors_.size(); ++i) {
      const auto& t = tensors_[i];
      list.push_back({t.shard, t.name, std::string(tersor::name(t.type)), t.shape});
    }
    unreported_ = 0;
    return list;
  }
  /// Takes up what an interrupted run left in the folder. @param progress its lists, in order. To be called
  /// before the first `add`.
  void restore(const std::vector<json>& progress, const std::string& where) {
    for (const auto& list : progress) {
      require(list.is_array(), where, type_of(list), "a list of tensors");
      for (const auto& t : list) {
        require(t.is_array() && t.size() == 4, where, json_text(t), "a tensor");
        const auto type_name = json_as<std::string>::from(t[2], where);
        const auto known =
            std::find_if(dtypes.begin(), dtypes.end(), [&](const auto& d) { return d.name == type_name; });
        require(known != dtypes.end(), where, type_name, "a known dtype");
        entry e{json_as<std::string>::from(t[1], where), known->type,
                json_as<std::vector<index_t>>::from(t[3], where), json_as<std::size_t>::from(t[0], where)};
        if (e.shard != shard_) filled_ = 0;
        shard_ = e.shard;
        const std::uint64_t size = detail::checked_bytes(e.shape, e.type, e.name);
        filled_ += size;
        total_ += size;
        require(names_.insert(e.name).second, where, e.name, "each tensor once");
        tensors_.push_back(std::move(e));
      }
    }
    kept_spools_ = noted_shard_ = shard_;
    std::error_code ignored;
    for (std::size_t k = 0; k < shard_; ++k) {
      std::filesystem::remove(spool_path(k), ignored);
      if (!std::filesystem::exists(shard_path(k))) take_name_back(k);
      require(std::filesystem::exists(shard_path(k)), where, shard_path(k).string(),
              "a finished file of the interrupted run");
    }
    if (filled_ == 0) return;
    const auto size = std::filesystem::file_size(spool_path(shard_), ignored);
    require(!ignored, spool_path(shard_).string(), "missing", filled_, " bytes of the interrupted run");
    require(size >= filled_, spool_path(shard_).string(), size, filled_, " bytes of the interrupted run");
    std::filesystem::resize_file(spool_path(shard_), filled_);
    spool_ = std::fopen(spool_path(shard_).string().c_str(), "ab");
    if (spool_ == nullptr) refuse();
  }
  /// Was a tensor of that name added?
  bool contains(const std::string& name) const { return names_.contains(name); }

  /// Writes the last file and, with several, the index. @param noted is called with the bytes of the weight
  /// files when all have their names; what `restore` needs is removed when it returns. @return these bytes.
  std::uint64_t finish(const std::function<void(std::uint64_t bytes)>& noted = {}) {
    last_ = true;
    close_shard();
    std::uint64_t bytes = 0;
    json weight_map = json::object();
    const std::size_t count = shard_;
    for (std::size_t k = 0; k < count; ++k) {
      const auto path = folder_ / file_name(k, count);
      std::filesystem::rename(shard_path(k), path);
      bytes += std::filesystem::file_size(path);
    }
    if (count > 1) {
      for (const auto& t : tensors_) weight_map[t.name] = file_name(t.shard, count);
      const json index{{"metadata", {{"total_size", total_}}}, {"weight_map", std::move(weight_map)}};
      write_text_file(folder_ / "model.safetensors.index.json", index.dump(2) + "\n");
    }
    if (noted) noted(bytes);
    remove_collected();
    return bytes;
  }
  /// Removes what shards were collected in, which a run leaves that ends between `noted` and the removal.
  void remove_collected() const {
    std::error_code ignored;
    std::vector<std::filesystem::path> left;
    for (const auto& file : std::filesystem::directory_iterator(folder_, ignored))
      if (file.path().filename().string().starts_with(spool_name)) left.push_back(file.path());
    for (const auto& path : left) std::filesystem::remove(path, ignored);
  }

 private:
  struct entry {
    std::string name;
    dtype type;
    std::vector<index_t> shape;
    std::size_t shard;
  };

  static std::string number(std::size_t n) {
    std::string digits = std::to_string(n);
    if (digits.size() < 5) digits.insert(0, 5 - digits.size(), '0');
    return digits;
  }
  static std::string file_name(std::size_t k, std::size_t count) {
    return count == 1 ? "model.safetensors"
                      : concat("model-", number(k + 1), "-of-", number(count), ".safetensors");
  }
  static constexpr std::string_view spool_name = ".model.safetensors.tensors-";
  std::filesystem::path spool_path(std::size_t k) const {
    return folder_ / concat(spool_name, number(k + 1));
  }
  std::filesystem::path shard_path(std::size_t k) const { return folder_ / concat(".shard-", number(k + 1)); }

  /// A run that ended while it finished has given shard k its last name.
  void take_name_back(std::size_t k) const {
    const std::string beginning = concat("model-", number(k + 1), "-of-");
    std::error_code ignored;
    for (const auto& file : std::filesystem::directory_iterator(folder_, ignored)) {
      if (!file.path().filename().string().starts_with(beginning)) continue;
      std::filesystem::rename(file.path(), shard_path(k), ignored);
      return;
    }
  }

  void open_spool() {
    spool_ = std::fopen(spool_path(shard_).string().c_str(), "wb");
    if (spool_ == nullptr) refuse();
  }
  [[noreturn]] void refuse() const {
    fail(spool_path(shard_).string(), "", "all bytes to be written (" + detail::reason(errno) + ")");
  }
  /// Copies what was collected into a file in order.
  void close_shard() {
    if (spool_ == nullptr) open_spool();
    if (std::fclose(std::exchange(spool_, nullptr)) != 0) refuse();
    {
      const mapped_file collected(spool_path(shard_));
      safetensors_writer file;
      std::uint64_t begin = 0;
      for (const auto& t : tensors_) {
        if (t.shard != shard_) continue;
        const std::uint64_t size = detail::checked_bytes(t.shape, t.type, t.name);
        require(begin + size <= collected.size(), collected.path().string(), collected.size(), "at least ",
                begin + size, " bytes, as were written to it");
        file.add(t.name, t.type, t.shape, collected.bytes().subspan(begin, size));
        begin += size;
      }
      for (const auto& [key, value] : metadata_) file.metadata(key, value);
      if (last_)
        for (const auto& [key, value] : last_metadata_) file.metadata(key, value);
      file.write(shard_path(shard_), [&](std::span<const std::byte> part) { collected.release(part); });
    }
    ++shard_;
    filled_ = 0;
  }

  std::filesystem::path folder_;
  std::uint64_t shard_bytes_;
  std::FILE* spool_ = nullptr;  // of the current shard
  std::size_t shard_ = 0, kept_spools_ = 0, noted_shard_ = 0, unreported_ = 0;
  std::uint64_t filled_ = 0, total_ = 0;
  bool last_ = false;
  std::vector<entry> tensors_;
  std::set<std::string> names_;
  std::vector<std::pair<std::string, std::string>> metadata_, last_metadata_;
};

}  // namespace tersor::io
