// tersor - GGUF files: the format, and a strict memory-mapped reader
// SPDX-License-Identifier: MIT
#pragma once

// Format (ggml-org/ggml, docs/gguf.md; its reader src/gguf.cpp decides where they differ). Little-endian,
// without alignment between the fields:
//   "GGUF", u32 version (2 or 3), i64 number of tensors, i64 number of keys
//   keys     string name, u32 type, value; an array is u32 element type, u64 count, packed elements
//   tensors  string name, u32 rank (at most 4), i64 extents with the fastest axis first, u32 ggml_type,
//            u64 offset from the first byte of the data
//   data     begins at a multiple of the alignment (key "general.alignment", 32 without it). Tensors in the
//            order of their descriptions, each padded to the alignment, the last one too.
// A string is u64 length and that many bytes. Versions 2 and 3 differ in that 3 may be big-endian.
//
//   tersor::io::gguf_file file("model.gguf");
//   auto blocks = file.get<int>("llama.block_count");
//   std::span<const std::byte> raw = file.bytes("blk.0.attn_q.weight");  // as its ggml_type lays it out

#include <array>          // std::array
#include <bit>            // std::has_single_bit
#include <cassert>        // assert
#include <cstddef>        // std::byte
#include <cstdint>        // std::uint64_t
#include <cstring>        // std::memcpy
#include <filesystem>     // std::filesystem::path
#include <limits>         // std::numeric_limits
#include <memory>         // std::shared_ptr
#include <span>           // std::span
#include <string>         // std::string
#include <string_view>    // std::string_view
#include <type_traits>    // std::is_integral_v
#include <unordered_map>  // std::unordered_map
#include <utility>        // std::in_range
#include <vector>         // std::vector

#include <tersor/core/ggml_type.hpp>
#include <tersor/core/nearest.hpp>
#include <tersor/core/view.hpp>
#include <tersor/io/file.hpp>

namespace tersor::io {

static_assert(std::endian::native == std::endian::little,
              "GGUF files are read in place: this library needs a little-endian machine");

/// Types of keys, with the numbers that files hold.
enum class gguf_type : std::uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12
};
inline constexpr std::array<std::string_view, 13> gguf_type_names{
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};
constexpr std::string_view name(gguf_type t) { return gguf_type_names[static_cast<std::size_t>(t)]; }
/// Bytes of a value; 0 for strings and arrays, whose length differs.
constexpr std::size_t bytes_of(gguf_type t) {
  constexpr std::array<std::size_t, 13> bytes{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return bytes[static_cast<std::size_t>(t)];
}

/// A key and its value as a file holds it.
struct gguf_entry {
  std::string key;
  gguf_type type = gguf_type::u32;
  gguf_type element = gguf_type::u32;  ///< of an array
  std::uint64_t count = 1;             ///< elements of an array
  /// The bytes after the type: a number, a string with its length, or an array with element type and count.
  std::span<const std::byte> value;

  /// The packed elements of an array, or the value itself.
  std::span<const std::byte> elements() const { return value.subspan(type == gguf_type::array ? 12 : 0); }
  gguf_type element_type() const { return type == gguf_type::array ? element : type; }
};

/// One tensor of a file. `shape` is [slowest axis, ..., fastest axis] as everywhere in this library: the
/// reverse of the order in the file.
struct gguf_tensor {
  std::string name;
  ggml_type type = ggml_type::f32;
  std::vector<index_t> shape;
  std::uint64_t offset = 0;  ///< from the first byte of the data
  std::uint64_t size = 0;    ///< in bytes, without padding
};

inline constexpr std::uint64_t gguf_default_alignment = 32;
inline constexpr std::size_t gguf_max_key = 65535, gguf_max_name = 63, gguf_max_rank = 4;

namespace detail {

/// Bytes up to the next multiple of the alignment.
constexpr std::uint64_t gguf_padding(std::uint64_t size, std::uint64_t alignment) {
  return (alignment - size % alignment) % alignment;
}

inline void require_gguf_alignment(std::uint64_t alignment, std::string_view where) {
  require(alignment % 8 == 0 && std::has_single_bit(alignment), concat(where, ": general.alignment"),
          alignment, "a power of two, at least 8");
}

/// The bytes of a tensor of these extents (fastest axis last). Extents that are negative, whose last one is
/// not whole blocks, or whose products pass 2^63 are errors.
inline std::uint64_t gguf_tensor_bytes(ggml_type type, std::span<const index_t> shape,
                                       std::string_view where) {
  constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  std::string text;
  for (const index_t extent : shape) text += concat(text.empty() ? "" : " x ", extent);
  const auto& t = info(type);
  const index_t last = shape.empty() ? 1 : shape.back();
  for (const index_t extent : shape) require(extent >= 0, where, text, "extents of at least 0");
  require(last % t.block == 0, where, text, "a multiple of ", t.block, " values in a row, as ", t.name,
          " stores them");
  std::uint64_t elements = 1;
  for (const index_t extent : shape) {
    const auto factor = static_cast<std::uint64_t>(extent);
    require(factor == 0 || elements <= largest / factor, where, text, "fewer than 2^63 values");
    elements *= factor;
  }
  const std::uint64_t blocks = elements / static_cast<std::uint64_t>(t.block);
  const auto bytes = static_cast<std::uint64_t>(t.bytes);
  // Offsets are sums of sizes and padding: an eighth of the range leaves room for them.
  require(blocks <= largest / 8 / bytes, where, text, "fewer than 2^60 bytes");
  return blocks * bytes;
}

/// Reads fields one after another and refuses to pass the end.
class gguf_cursor {
 public:
  gguf_cursor(std::span<const std::byte> bytes, std::string_view where) : bytes_(bytes), where_(where) {}
  std::size_t position() const { return position_; }
  std::uint64_t left() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(std::uint64_t count, std::string_view what) {
    require(count <= left(), concat(where_, ": ", what), concat(left(), " bytes left"), count,
            " bytes: the file is cut off");
    const auto result = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += static_cast<std::size_t>(count);
    return result;
  }
  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }
  std::string_view string(std::string_view what) {
    const auto length = number<std::uint64_t>(what);
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  /// A number of things that take at least `least` bytes each.
  std::uint64_t count(std::uint64_t least, std::string_view what) {
    const auto n = number<std::int64_t>(what);
    require(n >= 0, concat(where_, ": ", what), n, "at least 0");
    require(static_cast<std::uint64_t>(n) <= left() / least, concat(where_, ": ", what), n, "at most ",
            left() / least, ", which is what ", left(), " bytes can hold");
    return static_cast<std::uint64_t>(n);
  }
  std::span<const std::byte> since(std::size_t begin) const {
    return bytes_.subspan(begin, position_ - begin);
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view where_;
  std::size_t position_ = 0;
};

/// Calls f(S{}) with the C++ type of a number (bool as std::uint8_t).
template <class F>
void with_gguf_number(gguf_type type, F&& f) {
  switch (type) {
    case gguf_type::u8:
    case gguf_type::boolean:
      return f(std::uint8_t{});
    case gguf_type::i8:
      return f(std::int8_t{});
    case gguf_type::u16:
      return f(std::uint16_t{});
    case gguf_type::i16:
      return f(std::int16_t{});
    case gguf_type::u32:
      return f(std::uint32_t{});
    case gguf_type::i32:
      return f(std::int32_t{});
    case gguf_type::f32:
      return f(float{});
    case gguf_type::u64:
      return f(std::uint64_t{});
    case gguf_type::i64:
      return f(std::int64_t{});
    case gguf_type::f64:
      return f(double{});
    default:
      assert(type == gguf_type::string || type == gguf_type::array);
  }
}

template <class T>
struct vector_element {
  using type = void;
};
template <class T>
struct vector_element<std::vector<T>> {
  using type = T;
};

}  // namespace detail

/// The value of a key as a T: bool; an integer from any integer type if it fits; float or double from f32 or
/// f64; std::string, or std::string_view into the mapped file; std::vector of these from an array. Anything
/// else is an error that names `where` and the key. Linear in the value's bytes.
template <class T>
T gguf_value(const gguf_entry& e, std::string_view where) {
  using element = typename detail::vector_element<T>::type;
  const std::string place = concat(where, ": ", e.key);
  if constexpr (!std::is_void_v<element>) {
    require(e.type == gguf_type::array, place, name(e.type), "an array");
    T result;
    result.reserve(static_cast<std::size_t>(e.count));  // checked against the file's size when it was opened
    gguf_entry one{e.key, e.element, e.element, 1, {}};
    detail::gguf_cursor in(e.elements(), place);
    for (std::uint64_t i = 0; i < e.count; ++i) {
      const std::size_t begin = in.position();
      if (e.element == gguf_type::string)
        in.string(e.key);
      else
        in.take(bytes_of(e.element), e.key);
      one.value = in.since(begin);
      result.push_back(gguf_value<element>(one, where));
    }
    return result;
  } else if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view>) {
    require(e.type == gguf_type::string, place, name(e.type), "a string");
    return T(reinterpret_cast<const char*>(e.value.data()) + 8, e.value.size() - 8);
  } else if constexpr (std::is_same_v<T, bool>) {
    require(e.type == gguf_type::boolean, place, name(e.type), "a bool");
    return e.value[0] != std::byte{0};
  } else {
    static_assert(std::is_integral_v<T> || std::is_floating_point_v<T>,
                  "gguf_value<T>: T is bool, a number, a string, or a vector of these");
    const bool real = e.type == gguf_type::f32 || e.type == gguf_type::f64;
    const bool number = bytes_of(e.type) != 0 && e.type != gguf_type::boolean;
    require(number && real == std::is_floating_point_v<T>, place, name(e.type),
            std::is_integral_v<T> ? "an integer" : "f32 or f64");
    T result{};
    detail::with_gguf_number(e.type, [&]<class S>(S value) {
      std::memcpy(&value, e.value.data(), sizeof value);
      if constexpr (std::is_integral_v<T> && std::is_integral_v<S>) {
        require(std::in_range<T>(value), place, value, "an integer from ", std::numeric_limits<T>::min(),
                " to ", std::numeric_limits<T>::max());
        result = static_cast<T>(value);  // NOLINT(bugprone-signed-char-misuse): a number of 8 bits
      } else if constexpr (std::is_floating_point_v<T> && std::is_floating_point_v<S>) {
        result = static_cast<T>(value);
      }
    });
    return result;
  }
}

/// An open GGUF file. Opening maps it and checks all of its description; values of tensors are not looked at.
/// Every error names the file, and the key or tensor where there is one. Look-ups by name are O(1).
class gguf_file {
 public:
  explicit gguf_file(const std::filesystem::path& path)
      : file_(std::make_shared<const mapped_file>(path)), where_(path.string()) {
    detail::gguf_cursor in(file_->bytes(), where_);
    read_version(in);
    const auto tensors = in.count(24, "number of tensors");
    const auto keys = in.count(13, "number of keys");
    read_keys(in, keys);
    if (has("general.alignment")) {
      const auto& e = entry("general.alignment");
      require(e.type == gguf_type::u32, where_ + ": general.alignment", io::name(e.type), "u32");
      alignment_ = get<std::uint32_t>("general.alignment");
      detail::require_gguf_alignment(alignment_, where_);
    }
    read_tensors(in, tensors);
    if (tensors_.empty()) return;  // as the reference does: then nothing has to follow
    in.take(detail::gguf_padding(in.position(), alignment_), "padding before the data");
    const auto& last = tensors_.back();
    data_ = in.take(last.offset + last.size + detail::gguf_padding(last.size, alignment_), "data");
  }

  const std::filesystem::path& path() const { return file_->path(); }
  std::uint32_t version() const { return version_; }
  std::uint64_t alignment() const { return alignment_; }
  /// Keys and tensors in the order of the file.
  const std::vector<gguf_entry>& keys() const { return keys_; }
  const std::vector<gguf_tensor>& tensors() const { return tensors_; }
  std::uint64_t file_bytes() const { return file_->size(); }

  bool has(std::string_view key) const { return key_index_.contains(std::string(key)); }
  const gguf_entry& entry(std::string_view key) const {
    const auto found = key_index_.find(std::string(key));
    if (found == key_index_.end()) {
      std::vector<std::string_view> known;
      for (const auto& e : keys_) known.push_back(e.key);
      fail(where_, "", concat("a key \"", key, "\"", suggestion(key, known)));
    }
    return keys_[found->second];
  }
  /// The value of a key, see gguf_value.
  template <class T>
  T get(std::string_view key) const {
    return gguf_value<T>(entry(key), where_);
  }
  /// The same with a default for a key that is missing.
  template <class T>
  T get(std::string_view key, T fallback) const {
    return has(key) ? get<T>(key) : fallback;
  }

  bool contains(std::string_view tensor) const { return tensor_index_.contains(std::string(tensor)); }
  const gguf_tensor& tensor(std::string_view name) const {
    const auto found = tensor_index_.find(std::string(name));
    if (found == tensor_index_.end()) {
      std::vector<std::string_view> known;
      for (const auto& t : tensors_) known.push_back(t.name);
      fail(where_, "", concat("a tensor \"", name, "\"", suggestion(name, known)));
    }
    return tensors_[found->second];
  }
  /// The stored bytes of a tensor, in the mapping, which `mapping()` keeps alive.
  std::span<const std::byte> bytes(std::string_view tensor_name) const {
    const auto& t = tensor(tensor_name);
    return data_.subspan(static_cast<std::size_t>(t.offset), static_cast<std::size_t>(t.size));
  }
  std::shared_ptr<const void> mapping() const { return file_; }
  /// As in safetensors_file: a tensor's pages leave memory until they are touched again.
  void release(std::string_view tensor_name) const { file_->release(bytes(tensor_name)); }
  static void release_pages(const void* mapping, std::span<const std::byte> bytes) {
    static_cast<const mapped_file*>(mapping)->release(bytes);
  }

 private:
  void read_version(detail::gguf_cursor& in) {
    const auto magic = in.take(4, "magic");
    require(std::memcmp(magic.data(), "GGUF", 4) == 0, where_, "", "a GGUF file, which begins with \"GGUF\"");
    version_ = in.number<std::uint32_t>("version");
    require((version_ & 0xFFFFU) != 0, where_ + ": version", version_,
            "2 or 3: the file has the other byte order (big-endian), or no version");
    require(version_ == 2 || version_ == 3, where_ + ": version", version_, "2 or 3");
  }

  gguf_type read_type(detail::gguf_cursor& in, const std::string& place) const {
    const auto number = in.number<std::uint32_t>("type of a key");
    require(number < gguf_type_names.size(), place + ": type", number, "0 (u8) to 12 (f64)");
    return static_cast<gguf_type>(number);
  }
  void skip_value(detail::gguf_cursor& in, gguf_type type, std::string_view key) const {
    if (type == gguf_type::string) {
      in.string(key);
    } else {
      const auto bytes = in.take(bytes_of(type), key);
      require(type != gguf_type::boolean || std::to_integer<int>(bytes[0]) <= 1, concat(where_, ": ", key),
              std::to_integer<int>(bytes[0]), "0 or 1 for a bool");
    }
  }
  void read_keys(detail::gguf_cursor& in, std::uint64_t count) {
    keys_.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) {
      gguf_entry e;
      e.key = in.string(concat("name of key ", i));
      require(!e.key.empty() && e.key.size() <= gguf_max_key, concat(where_, ": name of key ", i),
              concat(e.key.size(), " bytes"), "1 to ", gguf_max_key);
      const std::string place = concat(where_, ": ", e.key);
      require(key_index_.emplace(e.key, keys_.size()).second, place, "", "each key once");
      e.type = read_type(in, place);
      const std::size_t begin = in.position();
      if (e.type == gguf_type::array) {
        e.element = read_type(in, place);
        require(e.element != gguf_type::array, place, "an array of arrays", "an array of numbers or strings");
        const std::uint64_t least = e.element == gguf_type::string ? 8 : bytes_of(e.element);
        e.count = in.count(least, e.key);
        if (e.element == gguf_type::string || e.element == gguf_type::boolean)
          for (std::uint64_t k = 0; k < e.count; ++k) skip_value(in, e.element, e.key);
        else
          in.take(e.count * least, e.key);
      } else {
        skip_value(in, e.type, e.key);
      }
      e.value = in.since(begin);
      keys_.push_back(std::move(e));
    }
  }
  void read_tensors(detail::gguf_cursor& in, std::uint64_t count) {
    tensors_.reserve(static_cast<std::size_t>(count));
    std::uint64_t expected = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
      gguf_tensor t;
      t.name = in.string(concat("name of tensor ", i));
      const std::string place = concat(where_, ": ", t.name);
      require(t.name.size() <= gguf_max_name, place, concat(t.name.size(), " bytes"), "a name of at most ",
              gguf_max_name, " bytes");
      require(tensor_index_.emplace(t.name, tensors_.size()).second, place, "", "each tensor once");
      const auto rank = in.number<std::uint32_t>(t.name);
      require(rank <= gguf_max_rank, place + ": rank", rank, "at most ", gguf_max_rank);
      t.shape.resize(rank);
      for (std::size_t k = rank; k > 0; --k) t.shape[k - 1] = in.number<std::int64_t>(t.name);
      const auto type = in.number<std::uint32_t>(t.name);
      const auto* known = find_ggml_type(type);
      const bool retired = type == 4 || type == 5 || (type >= 31 && type <= 33) || (type >= 36 && type <= 38);
      if (known == nullptr)
        fail(place + ": type", type,
             retired ? "a type in use: this one was retired from the format" : "a known ggml type");
      t.type = known->type;
      t.size = detail::gguf_tensor_bytes(t.type, t.shape, place);
      t.offset = in.number<std::uint64_t>(t.name);
      require(t.offset == expected, place + ": offset", t.offset, expected,
              ", where the tensor before ends with its padding");
      // Sizes are below 2^60; a sum that passed the file's size is refused before it could wrap round.
      expected += t.size + detail::gguf_padding(t.size, alignment_);
      require(expected <= file_->size(), place, concat(file_->size(), " bytes of file"), "at least ",
              expected, " bytes of data: the file is cut off");
      tensors_.push_back(std::move(t));
    }
  }

  std::shared_ptr<const mapped_file> file_;
  std::string where_;
  std::uint32_t version_ = 0;
  std::uint64_t alignment_ = gguf_default_alignment;
  std::vector<gguf_entry> keys_;
  std::vector<gguf_tensor> tensors_;
  std::unordered_map<std::string, std::size_t> key_index_, tensor_index_;
  std::span<const std::byte> data_;
};

}  // namespace tersor::io
