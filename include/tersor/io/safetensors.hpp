// tersor - safetensors files: the format, and a strict memory-mapped reader
// SPDX-License-Identifier: MIT
#pragma once

// Format (safetensors repository, README section "Format"; its validator decides where they differ):
//   bytes 0..7      N, unsigned 64-bit little-endian, at most 100 000 000
//   bytes 8..8+N    JSON object in UTF-8, first byte '{', may be padded with spaces:
//                   name -> {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}, "__metadata__" ->
//                   strings
//   bytes 8+N..     the data; begin and end count bytes from here
// The tensors tile the data without holes, in any order, and end with the file. Values are row-major,
// little-endian, not necessarily aligned.
//
//   tersor::io::safetensors_file file("model.safetensors");
//   tersor::matrix<float> w = file.read_matrix<float>("lm_head.weight");  // [out, in], any numeric type

#include <algorithm>      // std::sort
#include <bit>            // std::endian
#include <cstddef>        // std::byte
#include <cstdint>        // std::uint64_t
#include <cstring>        // std::memcpy
#include <filesystem>     // std::filesystem::path
#include <limits>         // std::numeric_limits
#include <map>            // std::map
#include <memory>         // std::shared_ptr
#include <span>           // std::span
#include <string>         // std::string
#include <string_view>    // std::string_view
#include <tuple>          // std::tie
#include <type_traits>    // std::is_integral_v
#include <unordered_map>  // std::unordered_map
#include <utility>        // std::in_range
#include <vector>         // std::vector

#include <tersor/core/dtype.hpp>
#include <tersor/core/matrix.hpp>
#include <tersor/io/file.hpp>
#include <tersor/io/json.hpp>

namespace tersor::io {

static_assert(
    std::endian::native == std::endian::little,
    "tensor files are little-endian and this library reads them in place: it needs a little-endian machine");

/// The largest header that readers accept, in bytes.
inline constexpr std::uint64_t safetensors_max_header = 100'000'000;
/// The most extents of a shape; other libraries stop at 64 or before.
inline constexpr std::size_t safetensors_max_rank = 64;

/// One tensor of a file: row-major, `shape` [slowest axis, ..., fastest axis] (empty for a single value), at
/// bytes `begin` to `end` of the data.
struct tensor_entry {
  std::string name;
  tersor::dtype dtype;
  std::vector<index_t> shape;
  std::uint64_t begin = 0, end = 0;

  index_t elements() const {
    std::uint64_t n = 1;
    for (index_t extent : shape) n *= static_cast<std::uint64_t>(extent);
    return static_cast<index_t>(n);
  }
  std::uint64_t size() const { return end - begin; }
};

namespace detail {

inline std::string shape_text(std::span<const index_t> shape) {
  std::string s = "[";
  for (std::size_t k = 0; k < shape.size(); ++k) s += (k ? ", " : "") + to_text(shape[k]);
  return s + "]";
}

/// The bytes of `shape` elements of `type`; products that do not fit 64 bits, and sub-byte totals that are
/// not whole bytes, are errors. Multiplied from the left, so that [2^40, 2^40, 0] is refused as the reference
/// does.
inline std::uint64_t checked_bytes(std::span<const index_t> shape, dtype type, std::string_view where) {
  constexpr std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();
  require(shape.size() <= safetensors_max_rank, where, concat(shape.size(), " extents"), "at most ",
          safetensors_max_rank);
  std::uint64_t bits = 1;
  // the text of a shape is only made for an error: it takes longer than the product
  const auto multiply = [&](std::uint64_t factor) {
    if (factor != 0 && bits > largest / factor) fail(where, shape_text(shape), "fewer than 2^64 bits");
    bits *= factor;
  };
  for (index_t extent : shape) {
    if (extent < 0) fail(where, shape_text(shape), "extents of at least 0");
    multiply(static_cast<std::uint64_t>(extent));
  }
  multiply(static_cast<std::uint64_t>(bits_of(type)));
  if (bits % 8 != 0)
    fail(where, concat(name(type), " ", shape_text(shape)),
         concat("a whole number of bytes, not ", bits, " bits"));
  return bits / 8;
}

/// One stored value as a T. Integers go into integers only where they fit; floating-point values never go
/// into integers (the caller refuses that by type).
template <class T, class S>
T convert_element(S value, const tensor_entry& entry, std::size_t position, std::string_view where) {
  if constexpr (std::is_same_v<T, S>) {
    return value;
  } else if constexpr (std::is_integral_v<T>) {
    require(std::in_range<T>(value), concat(where, ": ", entry.name, "[", position, "]"), value,
            "a value that fits ", name(dtype_of<T>));
    return static_cast<T>(value);
  } else if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(value);
  } else {
    return T(static_cast<float>(value));
  }
}

/// Converts `count` values of type S at `bytes`, which need not be aligned.
template <class T, class S>
void convert_elements(const std::byte* bytes, std::size_t count, T* out, const tensor_entry& entry,
                      std::string_view where) {
  if constexpr (std::is_same_v<T, S>) {
    if (count != 0) std::memcpy(out, bytes, count * sizeof(T));
  } else {
    for (std::size_t i = 0; i < count; ++i) {
      S value;
      std::memcpy(&value, bytes + i * sizeof(S), sizeof(S));
      out[i] = convert_element<T>(value, entry, i, where);
    }
  }
}

/// Reads a tensor of any numeric dtype as T. @param bytes entry.size() bytes; @param out entry.elements()
/// values.
template <class T>
void read_elements(const tensor_entry& entry, std::span<const std::byte> bytes, T* out,
                   std::string_view where) {
  static_assert(!std::is_same_v<T, bool>, "read BOOL tensors as std::uint8_t: 0 or 1");
  const auto count = static_cast<std::size_t>(entry.elements());
  const auto with = [&]<class S>(S) { convert_elements<T, S>(bytes.data(), count, out, entry, where); };
  switch (entry.dtype) {
    case dtype::boolean:
      for (std::size_t i = 0; i < count; ++i)
        out[i] = convert_element<T>(static_cast<std::uint8_t>(bytes[i] != std::byte{0}), entry, i, where);
      return;
    case dtype::u8:
      return with(std::uint8_t{});
    case dtype::i8:
      return with(std::int8_t{});
    case dtype::u16:
      return with(std::uint16_t{});
    case dtype::i16:
      return with(std::int16_t{});
    case dtype::u32:
      return with(std::uint32_t{});
    case dtype::i32:
      return with(std::int32_t{});
    case dtype::u64:
      return with(std::uint64_t{});
    case dtype::i64:
      return with(std::int64_t{});
    case dtype::f8_e4m3:
    case dtype::f8_e5m2:
    case dtype::f8_e8m0:
    case dtype::f16:
    case dtype::bf16:
    case dtype::f32:
    case dtype::f64:
      if constexpr (std::is_integral_v<T>)
        fail(concat(where, ": ", entry.name), name(entry.dtype),
             concat("an integer type to read as ", name(dtype_of<T>)));
      else if (entry.dtype == dtype::f8_e4m3)
        return with(f8_e4m3{});
      else if (entry.dtype == dtype::f8_e5m2)
        return with(f8_e5m2{});
      else if (entry.dtype == dtype::f8_e8m0)
        return with(f8_e8m0{});
      else
        return with_float_type(entry.dtype, entry.name, with);
    default:
      break;
  }
  fail(concat(where, ": ", entry.name), name(entry.dtype),
       "a type that can be read as numbers: BOOL, U8 to U64, I8 to I64, F8_E4M3, F8_E5M2, F8_E8M0, F16, "
       "BF16, F32 or F64");
}

}  // namespace detail

/// An open safetensors file. Opening maps the file and checks the whole header; values are not looked at
/// until they are read. Every error names the file, and the tensor where there is one. Look-ups by name are
/// O(1).
class safetensors_file {
 public:
  explicit safetensors_file(const std::filesystem::path& path)
      : file_(std::make_shared<const mapped_file>(path)), where_(path.string()) {
    const std::uint64_t size = file_->size();
    require(size >= 8, where_, concat(size, " bytes"), "a safetensors file: at least 8 bytes");
    std::uint64_t header = 0;
    std::memcpy(&header, file_->bytes().data(), 8);
    require(header <= safetensors_max_header, where_, concat("header of ", header, " bytes"),
            "a safetensors file: a header of at most ", safetensors_max_header, " bytes");
    require(header <= size - 8, where_, concat(size, " bytes"), "at least ", header + 8,
            " bytes: the header is cut off");
    const std::string_view text(reinterpret_cast<const char*>(file_->bytes().data()) + 8,
                                static_cast<std::size_t>(header));
    require(text.starts_with('{'), where_, "", "a safetensors header that begins with '{'");
    const std::string what = where_ + ": header";
    read_header(parse_json(text, what, duplicate_keys::refuse));
    data_ = file_->bytes().subspan(static_cast<std::size_t>(8 + header));
    check_tiling();
  }

  const std::filesystem::path& path() const { return file_->path(); }
  /// The tensors in the order of their data.
  const std::vector<tensor_entry>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Bytes of the whole file, and of its data without the header.
  std::uint64_t file_bytes() const { return file_->size(); }
  std::uint64_t data_bytes() const { return data_.size(); }

  bool contains(std::string_view name) const { return by_name_.contains(std::string(name)); }
  const tensor_entry& entry(std::string_view name) const {
    const auto found = by_name_.find(std::string(name));
    if (found == by_name_.end())
      fail(where_, "", concat("a tensor \"", name, "\"", suggestion(name, names())));
    return tensors_[found->second];
  }
  std::vector<std::string_view> names() const {
    std::vector<std::string_view> result;
    for (const tensor_entry& t : tensors_) result.push_back(t.name);
    return result;
  }
  /// The stored bytes of a tensor, in the mapping: valid while this object lives, not necessarily aligned.
  std::span<const std::byte> bytes(std::string_view name) const { return bytes_of(entry(name)); }

  /// Gives the memory of a tensor's pages back to the system; they are read again when they are touched.
  void release(std::string_view name) const { file_->release(bytes(name)); }

  /// What keeps those bytes mapped when this object is gone, and what lets go of their pages.
  std::shared_ptr<const void> mapping() const { return file_; }
  static void release_pages(const void* mapping, std::span<const std::byte> bytes) {
    static_cast<const mapped_file*>(mapping)->release(bytes);
  }

  /// All values in row-major order, any rank. T is float, double, bf16, f16 or an integer type. Floats
  /// convert by rounding, integers to integers only if they fit, floats to integers never. Values of 8 bits
  /// are as stored: scales that belong to them are tensors of their own.
  template <class T>
  std::vector<T> read_tensor(std::string_view name) const {
    const tensor_entry& e = entry(name);
    std::vector<T> values(static_cast<std::size_t>(e.elements()));
    detail::read_elements(e, bytes_of(e), values.data(), where_);
    return values;
  }
  /// A tensor of rank 1.
  template <class T>
  std::vector<T> read_vector(std::string_view name) const {
    require_rank(entry(name), 1);
    return read_tensor<T>(name);
  }
  /// A tensor of rank 2: [shape[0], shape[1]].
  template <class T>
  matrix<T> read_matrix(std::string_view name) const {
    const tensor_entry& e = entry(name);
    require_rank(e, 2);
    matrix<T> values(e.shape[0], e.shape[1]);
    detail::read_elements(e, bytes_of(e), values.data(), where_);
    return values;
  }

 private:
  std::span<const std::byte> bytes_of(const tensor_entry& e) const {
    return data_.subspan(static_cast<std::size_t>(e.begin), static_cast<std::size_t>(e.size()));
  }
  void require_rank(const tensor_entry& e, std::size_t rank) const {
    require(e.shape.size() == rank, concat(where_, ": ", e.name), detail::shape_text(e.shape), "rank ", rank);
  }

  void read_header(const json& header) {
    for (const auto& item : header.items()) {
      if (item.key() == "__metadata__") {
        if (item.value().is_null()) continue;
        const std::string where = where_ + ": __metadata__";
        require(item.value().is_object(), where, type_of(item.value()), "an object");
        for (const auto& pair : item.value().items())
          metadata_[pair.key()] = get<std::string>(item.value(), pair.key(), where);
      } else {
        tensors_.push_back(read_entry(item.key(), item.value()));
      }
    }
    std::sort(tensors_.begin(), tensors_.end(), [](const tensor_entry& a, const tensor_entry& b) {
      return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
    });
    for (std::size_t i = 0; i < tensors_.size(); ++i) by_name_[tensors_[i].name] = i;
  }

  tensor_entry read_entry(const std::string& name, const json& value) const {
    const std::string where = where_ + ": " + name;
    tensor_entry e;
    e.name = name;
    const auto type = get<std::string>(value, "dtype", where);
    const auto known =
        std::find_if(dtypes.begin(), dtypes.end(), [&](const dtype_info& d) { return d.name == type; });
    require(known != dtypes.end(), where, type, "a known dtype: BOOL, U8, I8, ..., F32, F64");
    e.dtype = known->type;
    e.shape = get<std::vector<index_t>>(value, "shape", where);
    const auto offsets = get<std::vector<std::uint64_t>>(value, "data_offsets", where);
    require(offsets.size() == 2, where, concat(offsets.size(), " data_offsets"), "two: begin and end");
    e.begin = offsets[0];
    e.end = offsets[1];
    return e;
  }

  /// The tensors follow one another from byte 0 of the data to its end, each as long as its shape says.
  void check_tiling() const {
    std::uint64_t position = 0;
    for (const tensor_entry& e : tensors_) {
      const std::string where = where_ + ": " + e.name;
      const std::string offsets = concat("data_offsets [", e.begin, ", ", e.end, "]");
      require(e.begin == position, where, offsets, "to begin at ", position,
              ", where the tensor before ends: ", e.begin > position ? "there is a hole" : "they overlap");
      require(e.end >= e.begin, where, offsets, "an end not before the beginning");
      const std::uint64_t bytes = detail::checked_bytes(e.shape, e.dtype, where);
      require(e.size() == bytes, where, offsets, bytes, " bytes for ", tersor::name(e.dtype), " ",
              detail::shape_text(e.shape), ", not ", e.size());
      position = e.end;
    }
    require(position == data_.size(), where_, concat(data_.size(), " bytes of data"), position,
            " bytes, where the last tensor ends: ",
            position > data_.size() ? "the file is cut off" : "there are bytes left over");
  }

  std::shared_ptr<const mapped_file> file_;
  std::string where_;
  std::span<const std::byte> data_;
  std::vector<tensor_entry> tensors_;
  std::unordered_map<std::string, std::size_t> by_name_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace tersor::io
