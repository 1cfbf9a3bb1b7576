// tersor - what an operator is made of, for saving, loading and counting bytes
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>    // std::max
#include <limits>       // std::numeric_limits
#include <span>         // std::span
#include <string>       // std::string
#include <string_view>  // std::string_view
#include <vector>       // std::vector

#include <tersor/core/dtype.hpp>
#include <tersor/core/options.hpp>
#include <tersor/core/real_array.hpp>
#include <tersor/core/view.hpp>

namespace tersor::op {

/// Receives an operator's parts: small attributes as text, tensors as typed bytes, nested operators as
/// sub-archives.
class archive_writer {
 public:
  virtual ~archive_writer() = default;
  virtual void attribute(std::string_view name, std::string value) = 0;
  /// `bytes` stay valid only during the call unless the operator outlives the writer.
  virtual void tensor(std::string_view name, dtype type, std::span<const index_t> shape,
                      std::span<const std::byte> bytes) = 0;
  /// The same of bytes that nobody else keeps.
  virtual void owned_tensor(std::string_view name, dtype type, std::span<const index_t> shape,
                            std::vector<std::byte> bytes) {
    tensor(name, type, shape, bytes);
  }
  virtual void begin_part(std::string_view name, std::string_view kind) = 0;
  virtual void end_part() = 0;
};

/// Gives an operator's parts back, in any order.
class archive_reader {
 public:
  struct tensor_bytes {
    dtype type;
    std::vector<index_t> shape;
    std::span<const std::byte> bytes;
  };
  virtual ~archive_reader() = default;
  virtual std::string attribute(std::string_view name) const = 0;  ///< missing: error
  virtual tensor_bytes tensor(std::string_view name) const = 0;    ///< missing: error
  virtual std::string begin_part(std::string_view name) = 0;       ///< enters the part, returns its kind
  virtual void end_part() = 0;
  virtual std::string where() const = 0;  ///< the operator's name, for errors
};

/// One stored tensor of an operator.
struct storage_part {
  std::string name;
  dtype type = dtype::u8;
  std::vector<index_t> shape;
  std::size_t bytes = 0;
};

/// Bytes by part; exactly the tensors that are written to disk.
struct storage_report {
  std::vector<storage_part> parts;
  std::size_t bytes() const {
    std::size_t n = 0;
    for (const auto& p : parts) n += p.bytes;
    return n;
  }
};

namespace detail {

/// Adapts one `describe(self, archive)` of an operator to saving ...
struct save_archive {
  static constexpr bool loading = false;
  archive_writer& out;

  template <class V>
  void attribute(std::string_view name, const V& value) {
    if constexpr (std::is_same_v<V, std::string>)
      out.attribute(name, value);
    else
      out.attribute(name, option_text<V>::format(value));
  }
  void extents(index_t rows, index_t cols) {
    attribute("rows", rows);
    attribute("cols", cols);
  }
  template <class T>
  void tensor(std::string_view name, const std::vector<T>& values, const std::vector<index_t>& shape) {
    out.tensor(name, dtype_of<T>, shape, std::as_bytes(std::span(values)));
  }
  void tensor(std::string_view name, const real_array& values, const std::vector<index_t>& shape) {
    out.tensor(name, values.type(), shape, values.bytes());
  }
  void any_reals(std::string_view name, const real_array& values, const std::vector<index_t>& shape) {
    tensor(name, values, shape);
  }
  template <class Op>
  void part(std::string_view name, const Op& inner) {
    out.begin_part(name, inner.kind());
    inner.save(out);
    out.end_part();
  }
  /// A tensor that some operators of the kind lack, as an attribute says: a file that lost it is noticed.
  template <class Values>
  void optional_tensor(std::string_view name, const Values& values, const std::vector<index_t>& shape) {
    attribute(concat("has_", name), !values.empty());
    if (!values.empty()) tensor(name, values, shape);
  }
};

/// ... and to loading, where every shape is checked against what the attributes say.
struct load_archive {
  static constexpr bool loading = true;
  archive_reader& in;

  template <class V>
  void attribute(std::string_view name, V& value) {
    const std::string text = in.attribute(name);
    if constexpr (std::is_same_v<V, std::string>) {
      value = text;
    } else {
      const auto parsed = option_text<V>::parse(text);
      if (!parsed)
        fail(concat(in.where(), ": attribute ", name), text, option_text<V>::range(option_doc{""}));
      value = *parsed;
    }
  }
  /// The shape of a matrix, small enough that no later product of extents and bits overflows.
  void extents(index_t& rows, index_t& cols) {
    attribute("rows", rows);
    attribute("cols", cols);
    constexpr index_t most = std::numeric_limits<index_t>::max() / 64;
    require(rows >= 0 && cols >= 0 && rows <= most / std::max<index_t>(cols, 1) && cols <= most,
            concat(in.where(), ": shape"), concat(rows, " x ", cols), "no negative extent, fewer than ", most,
            " weights");
  }
  template <class T>
  void tensor(std::string_view name, std::vector<T>& values, const std::vector<index_t>& shape) {
    const auto t = in.tensor(name);
    check(name, t, shape, dtype_of<T>);
    values.resize(t.bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), t.bytes.data(), t.bytes.size());
  }
  void tensor(std::string_view name, real_array& values, const std::vector<index_t>& shape) {
    const auto t = in.tensor(name);
    require(is_wide_real(t.type), concat(in.where(), ".", name), tersor::name(t.type),
            "type F32, F16 or BF16");
    read_reals(name, t, values, shape);
  }
  /// Reals of 8 bits too.
  void any_reals(std::string_view name, real_array& values, const std::vector<index_t>& shape) {
    const auto t = in.tensor(name);
    require(is_wide_real(t.type) || is_float8(t.type), concat(in.where(), ".", name), tersor::name(t.type),
            "type F32, F16, BF16, F8_E4M3, F8_E5M2 or F8_E8M0");
    read_reals(name, t, values, shape);
  }
  template <class Values>
  void optional_tensor(std::string_view name, Values& values, const std::vector<index_t>& shape) {
    bool present = false;
    attribute(concat("has_", name), present);
    if (present) tensor(name, values, shape);
  }
  template <class Op>
  void part(std::string_view name, Op& inner) {
    const std::string kind = in.begin_part(name);
    inner = Op::load(kind, in);
    in.end_part();
  }

 private:
  void read_reals(std::string_view name, const archive_reader::tensor_bytes& t, real_array& values,
                  const std::vector<index_t>& shape) const {
    check(name, t, shape, t.type);
    index_t n = 1;
    for (index_t e : shape) n *= e;
    values = real_array(t.type, n);
    if (!t.bytes.empty()) std::memcpy(values.bytes().data(), t.bytes.data(), t.bytes.size());
  }
  void check(std::string_view name, const archive_reader::tensor_bytes& t, const std::vector<index_t>& shape,
             dtype type) const {
    auto text = [](const std::vector<index_t>& s) {
      std::string out = "[";
      for (index_t e : s) out += (out.size() > 1 ? ", " : "") + std::to_string(e);
      return out + "]";
    };
    const std::string tensor_name = concat(in.where(), ".", name);
    require(t.shape == shape, tensor_name, text(t.shape), "shape ", text(shape));
    require(t.type == type, tensor_name, tersor::name(t.type), "type ", tersor::name(type));
    std::size_t bytes = static_cast<std::size_t>(bits_of(type)) / 8;
    for (index_t e : shape) bytes *= static_cast<std::size_t>(e);
    require(t.bytes.size() == bytes, concat(tensor_name, ": bytes"), t.bytes.size(), bytes);
  }
};

/// Collects sizes.
class storage_counter final : public archive_writer {
 public:
  storage_report report;
  void attribute(std::string_view, std::string) override {}
  void tensor(std::string_view name, dtype type, std::span<const index_t> shape,
              std::span<const std::byte> bytes) override {
    report.parts.push_back({prefix_ + std::string(name), type, {shape.begin(), shape.end()}, bytes.size()});
  }
  void begin_part(std::string_view name, std::string_view) override {
    lengths_.push_back(prefix_.size());
    prefix_ += std::string(name) + ".";
  }
  void end_part() override {
    prefix_.resize(lengths_.back());
    lengths_.pop_back();
  }

 private:
  std::string prefix_;
  std::vector<std::size_t> lengths_;
};

}  // namespace detail

/// What `op` stores, part by part.
template <class Op>
storage_report storage_of(const Op& op) {
  detail::storage_counter counter;
  op.save(counter);
  return std::move(counter.report);
}

}  // namespace tersor::op
