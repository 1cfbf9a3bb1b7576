// tersor - GGUF files: a writer that holds one tensor at a time
// SPDX-License-Identifier: MIT
#pragma once

//   tersor::io::gguf_writer out;
//   out.set("general.architecture", "llama");
//   out.add("output_norm.weight", tersor::ggml_type::f32, {576});
//   out.write("model.gguf", [&](const tersor::io::gguf_tensor& t) { return bytes_of(t.name); });

#include <concepts>     // std::same_as
#include <cstddef>      // std::byte
#include <cstdint>      // std::uint64_t
#include <filesystem>   // std::filesystem::path
#include <set>          // std::set
#include <span>         // std::span
#include <string>       // std::string
#include <string_view>  // std::string_view
#include <utility>      // std::move
#include <vector>       // std::vector

#include <tersor/io/gguf.hpp>

namespace tersor::io {

namespace detail {

/// The type in which a C++ value is written.
template <class T>
constexpr gguf_type gguf_type_of() {
  if constexpr (std::is_same_v<T, bool>)
    return gguf_type::boolean;
  else if constexpr (std::is_same_v<T, float>)
    return gguf_type::f32;
  else if constexpr (std::is_same_v<T, double>)
    return gguf_type::f64;
  else if constexpr (std::is_integral_v<T> && sizeof(T) == 1)
    return std::is_signed_v<T> ? gguf_type::i8 : gguf_type::u8;
  else if constexpr (std::is_integral_v<T> && sizeof(T) == 2)
    return std::is_signed_v<T> ? gguf_type::i16 : gguf_type::u16;
  else if constexpr (std::is_integral_v<T> && sizeof(T) == 4)
    return std::is_signed_v<T> ? gguf_type::i32 : gguf_type::u32;
  else if constexpr (std::is_integral_v<T> && sizeof(T) == 8)
    return std::is_signed_v<T> ? gguf_type::i64 : gguf_type::u64;
  else
    return gguf_type::string;
}

inline void append_bytes(std::string& out, std::span<const std::byte> bytes) {
  out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}
template <class T>
void append_gguf(std::string& out, const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    out += value ? '\1' : '\0';
  } else if constexpr (std::is_arithmetic_v<T>) {
    append_bytes(out, std::as_bytes(std::span(&value, 1)));
  } else {
    const std::string_view text(value);
    append_gguf(out, static_cast<std::uint64_t>(text.size()));
    out += text;
  }
}

}  // namespace detail

/// Collects keys and the types and shapes of tensors, hence their offsets, and writes a file of version 3
/// whose data comes tensor by tensor. The same calls give the same bytes; memory is the description and the
/// tensor that is being written.
class gguf_writer {
 public:
  /// Adds a key whose type in the file is that of the value: bool, integers of 8 to 64 bits, float, double,
  /// text.
  template <class T>
  void set(const std::string& key, const T& value) {
    std::string bytes;
    detail::append_gguf(bytes, value);
    insert(key, detail::gguf_type_of<T>(), std::move(bytes));
  }
  /// Adds an array.
  template <class T>
  void set(std::string key, const std::vector<T>& values) {
    std::string bytes;
    detail::append_gguf(bytes, static_cast<std::uint32_t>(detail::gguf_type_of<T>()));
    detail::append_gguf(bytes, static_cast<std::uint64_t>(values.size()));
    for (const T& v : values) detail::append_gguf(bytes, v);
    insert(std::move(key), gguf_type::array, std::move(bytes));
  }
  /// Adds a key as another file holds it, byte by byte.
  void copy(const gguf_entry& e) {
    std::string bytes;
    detail::append_bytes(bytes, e.value);
    insert(e.key, e.type, std::move(bytes));
  }
  bool has(const std::string& key) const { return key_names_.contains(key); }

  /// Declares a tensor. @param shape [slowest axis, ..., fastest axis], at most 4 axes; rows are whole blocks
  /// of the type.
  void add(std::string name, ggml_type type, std::vector<index_t> shape) {
    require(name.size() <= gguf_max_name, "tensor name", name, "at most ", gguf_max_name, " bytes");
    require(shape.size() <= gguf_max_rank, concat(name, ": rank"), shape.size(), "at most ", gguf_max_rank);
    const auto size = detail::gguf_tensor_bytes(type, shape, name);
    require(tensor_names_.insert(name).second, "tensor name", name, "each name once");
    tensors_.push_back({std::move(name), type, std::move(shape), 0, size});
  }
  const std::vector<gguf_tensor>& tensors() const { return tensors_; }

  /// The exact size in bytes of the file that `write` makes.
  std::uint64_t file_size() const { return description().size() + data_size(); }

  /// Writes the file under a temporary name and renames it into place. @param source source(tensor) returns
  /// the bytes of a tensor (std::vector<std::byte>, or a span of memory that lives on); it is called once for
  /// each in order. An error leaves neither half a file nor a change to an older one.
  template <class Source>
  void write(const std::filesystem::path& path, Source&& source) const {
    file_writer file(path);
    file.write(description());
    for (const auto& t : tensors_) {
      const auto& held = source(t);
      const std::span<const std::byte> bytes(held);
      require(bytes.size() == t.size, t.name, concat(bytes.size(), " bytes"), t.size, " for its shape as ",
              tersor::name(t.type));
      file.write(bytes);
      pad(file, t.size);
    }
    file.commit();
  }

 private:
  struct stored_key {
    std::string name;
    gguf_type type;
    std::string value;
  };

  void insert(std::string name, gguf_type type, std::string value) {
    require(!name.empty() && name.size() <= gguf_max_key, "GGUF key", name, "1 to ", gguf_max_key, " bytes");
    if (name == "general.alignment") {
      require(type == gguf_type::u32, "GGUF key general.alignment", io::name(type), "u32");
      std::uint32_t alignment;
      std::memcpy(&alignment, value.data(), sizeof alignment);
      detail::require_gguf_alignment(alignment, "GGUF key");
      alignment_ = alignment;
    }
    require(key_names_.insert(name).second, "GGUF key", name, "each key once");
    keys_.push_back({std::move(name), type, std::move(value)});
  }
  void pad(file_writer& file, std::uint64_t size) const {
    file.write(std::string(static_cast<std::size_t>(detail::gguf_padding(size, alignment_)), '\0'));
  }
  std::uint64_t data_size() const {
    std::uint64_t sum = 0;
    for (const auto& t : tensors_) sum += t.size + detail::gguf_padding(t.size, alignment_);
    return sum;
  }
  /// All that comes before the data, padded.
  std::string description() const {
    std::string text = "GGUF";
    detail::append_gguf(text, std::uint32_t{3});
    detail::append_gguf(text, static_cast<std::uint64_t>(tensors_.size()));
    detail::append_gguf(text, static_cast<std::uint64_t>(keys_.size()));
    for (const auto& k : keys_) {
      detail::append_gguf(text, k.name);
      detail::append_gguf(text, static_cast<std::uint32_t>(k.type));
      text += k.value;
    }
    std::uint64_t offset = 0;
    for (const auto& t : tensors_) {
      detail::append_gguf(text, t.name);
      detail::append_gguf(text, static_cast<std::uint32_t>(t.shape.size()));
      for (std::size_t k = t.shape.size(); k > 0; --k)
        detail::append_gguf(text, static_cast<std::int64_t>(t.shape[k - 1]));
      detail::append_gguf(text, static_cast<std::uint32_t>(t.type));
      detail::append_gguf(text, offset);
      offset += t.size + detail::gguf_padding(t.size, alignment_);
    }
    text.append(static_cast<std::size_t>(detail::gguf_padding(text.size(), alignment_)), '\0');
    return text;
  }

  std::vector<stored_key> keys_;
  std::set<std::string> key_names_, tensor_names_;
  std::vector<gguf_tensor> tensors_;
  std::uint64_t alignment_ = gguf_default_alignment;
};

}  // namespace tersor::io
