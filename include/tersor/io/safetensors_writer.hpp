// tersor - safetensors files: a writer of aligned tensors
// SPDX-License-Identifier: MIT
#pragma once

//   tersor::io::safetensors_writer out;
//   out.add("lm_head.weight", tersor::dtype::f32, {w.rows(), w.cols()}, std::as_bytes(w.values()));
//   out.write("copy.safetensors");

#include <cstddef>      // std::byte
#include <cstdint>      // std::uint64_t
#include <filesystem>   // std::filesystem::path
#include <functional>   // std::function
#include <map>          // std::map
#include <set>          // std::set
#include <span>         // std::span
#include <string>       // std::string
#include <string_view>  // std::string_view
#include <utility>      // std::move
#include <vector>       // std::vector

#include <tersor/io/safetensors.hpp>
#include <tersor/io/tensor_sink.hpp>

namespace tersor::io {

/// Collects tensors and writes them as one file: ordered by alignment of their dtype (largest first), then by
/// name, the header padded with spaces to a multiple of 8 bytes, so that every tensor is naturally aligned.
/// The same tensors give the same bytes whatever the order in which they were added. Memory beyond the
/// tensors: the header.
class safetensors_writer final : public tensor_sink {
 public:
  /// Adds a tensor whose memory stays with the caller and must live until `write`. @param bytes row-major
  /// values.
  void add(std::string name, dtype type, std::vector<index_t> shape,
           std::span<const std::byte> bytes) override {
    insert(std::move(name), type, std::move(shape), bytes, {});
  }
  /// Adds a tensor and takes over its memory.
  void add(std::string name, dtype type, std::vector<index_t> shape,
           std::vector<std::byte>&& bytes) override {
    const std::span<const std::byte> view(bytes);
    insert(std::move(name), type, std::move(shape), view, std::move(bytes));
  }
  /// Adds a string to "__metadata__"; a second value for the same key is an error.
  void metadata(std::string key, std::string value) override {
    require(!metadata_.contains(key), "safetensors metadata", key, "each key once");
    quoted(key, "safetensors metadata");
    quoted(value, concat("safetensors metadata ", key));
    metadata_.emplace(std::move(key), std::move(value));
  }

  /// The exact size in bytes of the file that `write` makes, and of its data without the header.
  std::uint64_t file_size() const { return 8 + header().size() + data_size(); }
  std::uint64_t data_size() const {
    std::uint64_t sum = 0;
    for (const auto& [key, t] : tensors_) sum += t.bytes.size();
    return sum;
  }

  /// Writes the file under a temporary name and renames it into place: a failure (disk full) is an error that
  /// names the file, and leaves neither half a file nor a change to an older one.
  /// @param written is called with each piece of a tensor's memory when it is in the file.
  void write(const std::filesystem::path& path,
             const std::function<void(std::span<const std::byte>)>& written = {}) const {
    const std::string text = header();
    const std::uint64_t length = text.size();
    require(length <= safetensors_max_header, path.string(), concat("header of ", length, " bytes"),
            "at most ", safetensors_max_header);
    file_writer file(path);
    file.write(std::as_bytes(std::span(&length, 1)));
    file.write(text);
    constexpr std::size_t piece = std::size_t{1} << 24;
    for (const auto& [key, t] : tensors_)
      for (std::size_t begin = 0; begin < t.bytes.size(); begin += piece) {
        const auto part = t.bytes.subspan(begin, std::min(piece, t.bytes.size() - begin));
        file.write(part);
        if (written) written(part);
      }
    file.commit();
  }

 private:
  /// Order in the file: wide types first, then by name.
  struct order {
    int negative_bits;
    std::string name;
    friend auto operator<=>(const order&, const order&) = default;
  };
  struct tensor {
    tersor::dtype dtype;
    std::vector<index_t> shape;
    std::span<const std::byte> bytes;
    std::vector<std::byte> owned;
  };

  void insert(std::string name, dtype type, std::vector<index_t> shape, std::span<const std::byte> bytes,
              std::vector<std::byte> owned) {
    require(name != "__metadata__", "tensor name", name, "another name: this one is reserved");
    quoted(name, "tensor name");
    require(!names_.contains(name), "tensor name", name, "each name once");
    const std::uint64_t expected = detail::checked_bytes(shape, type, name);
    require(bytes.size() == expected, name, concat(bytes.size(), " bytes"), expected, " bytes for ",
            tersor::name(type), " ", detail::shape_text(shape));
    names_.insert(name);
    tensors_.emplace(order{-bits_of(type), std::move(name)},
                     tensor{type, std::move(shape), bytes, std::move(owned)});
  }

  std::string header() const {
    std::string text = "{";
    const auto separate = [&] { return text.size() > 1 ? "," : ""; };
    if (!metadata_.empty()) text += "\"__metadata__\":" + json_text(metadata_);
    std::uint64_t position = 0;
    for (const auto& [key, t] : tensors_) {
      const std::uint64_t end = position + t.bytes.size();
      text += concat(separate(), quoted(key.name, "tensor name"), ":{\"dtype\":\"", tersor::name(t.dtype),
                     "\",\"shape\":", json_text(t.shape), ",\"data_offsets\":[", position, ",", end, "]}");
      position = end;
    }
    text += "}";
    text.resize((text.size() + 7) / 8 * 8, ' ');
    return text;
  }

  std::map<order, tensor> tensors_;
  std::set<std::string> names_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace tersor::io
