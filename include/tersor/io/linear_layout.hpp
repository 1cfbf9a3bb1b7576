// tersor - the contract between the layout of a checkpoint's linears and what loads or writes them
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>    // std::ranges::find
#include <array>        // std::array
#include <memory>       // std::unique_ptr
#include <set>          // std::set
#include <string>       // std::string
#include <string_view>  // std::string_view
#include <utility>      // std::pair
#include <vector>       // std::vector

#include <tersor/io/checkpoint.hpp>
#include <tersor/io/tensor_sink.hpp>
#include <tersor/op/any_operator.hpp>

namespace tersor::io {

/// What settings and tensors of a linear say that its operator does not: how others quantize its inputs.
struct beside_operator {
  ordered_json settings = ordered_json::object();  ///< for the note of a writer of the same format
  std::vector<std::string> tensors;                ///< that go along as they are
};

/// How the compressed linears of a checkpoint are stored: which tensors make the linear NAME
/// ("model.layers.0.self_attn.q_proj"), and the operator that they are. An implementation keeps the settings
/// that the checkpoint gives and refuses, when it is made, those that it does not read; what is wrong with
/// one linear is an error that names it.
class linear_layout {
 public:
  virtual ~linear_layout() = default;
  /// The name of the format, as `tersor convert --to` takes it.
  virtual std::string_view format() const = 0;
  /// Is the linear NAME stored in this layout? Others are dense: one tensor NAME.weight.
  virtual bool holds(const checkpoint& files, const std::string& name) const = 0;
  /// Every linear in this layout, in the order of the files' data.
  virtual std::vector<std::string> linears(const checkpoint& files) const = 0;
  /// The tensors that make a linear that is held. A bias is not among them: it is a tensor of its own.
  virtual std::vector<std::string> tensors(const checkpoint& files, const std::string& name) const = 0;
  /// The operator whose weights are exactly those of the file.
  virtual op::any_operator read(const checkpoint& files, const std::string& name) const = 0;
  /// What a writer of the same format takes over of a linear. @param note what it returned of the operator
  virtual beside_operator beside(const checkpoint&, const std::string&, const ordered_json&) const {
    return {};
  }
  /// The same of the whole checkpoint: members of the settings.
  virtual ordered_json beside_operators() const { return ordered_json::object(); }
};

/// What a checkpoint's settings have to say of its linears.
struct linear_notes {
  std::vector<std::pair<std::string, ordered_json>> compressed;  ///< name, and what `write` returned of it
  std::vector<std::string> dense;                                ///< linears that stay as they are
};

/// Writes linears in a layout, and the settings that belong to them. Nothing is rounded: an operator that the
/// layout cannot hold exactly is an error that names the linear, what is in the way and what would do.
class linear_writer {
 public:
  virtual ~linear_writer() = default;
  virtual std::string_view format() const = 0;
  /// Hands the tensors of a linear to `out`. The result is for `settings`; it goes through JSON text
  /// unchanged.
  virtual ordered_json write(tensor_sink& out, const std::string& name, const op::any_operator& op) const = 0;
  /// "quantization_config" of config.json. An error where the linears do not fit one file's settings.
  virtual ordered_json settings(const linear_notes& notes) const = 0;
  /// A second file that tools of the format read, or an empty name.
  virtual std::string settings_file() const { return {}; }
};

namespace detail {

/// The part of `tensor` before the first of `suffixes` that it ends with; empty: it ends with none.
inline std::string_view stem_of(std::string_view tensor, std::span<const std::string_view> suffixes) {
  for (const auto suffix : suffixes)
    if (tensor.size() > suffix.size() && tensor.ends_with(suffix))
      return tensor.substr(0, tensor.size() - suffix.size());
  return {};
}
/// Those of `suffixes` that follow NAME.
inline std::vector<std::string> present(const checkpoint& files, const std::string& name,
                                        std::span<const std::string_view> suffixes) {
  std::vector<std::string> result;
  for (const auto suffix : suffixes)
    if (auto tensor = concat(name, suffix); files.contains(tensor)) result.push_back(std::move(tensor));
  return result;
}
/// "file: tensor", as errors name it.
inline std::string place_of(const checkpoint& files, const std::string& tensor) {
  return concat(files.file_of(tensor).path().string(), ": ", tensor);
}
/// Tells the compressed linears of a layout by their tensors. Each one is enough: what a damaged file lacks
/// is an error of reading then, and no linear passes for a dense one.
struct linear_parts {
  /// Ends of the tensors' names; a longer one before that which it ends with.
  std::span<const std::string_view> suffixes;
  /// Types in which NAME.weight is one of the tensors.
  std::span<const dtype> codes{};

  bool holds(const checkpoint& files, const std::string& name) const {
    const std::string weight = name + ".weight";
    return !present(files, name, suffixes).empty() || (files.contains(weight) && has_codes(files, weight));
  }
  /// In the order of the files' data.
  std::vector<std::string> linears(const checkpoint& files) const {
    constexpr std::array<std::string_view, 1> weight{".weight"};
    std::vector<std::string> result;
    std::set<std::string_view> seen;
    for (const auto tensor : files.names()) {
      auto name = stem_of(tensor, suffixes);
      if (name.empty() && has_codes(files, tensor)) name = stem_of(tensor, weight);
      if (!name.empty() && seen.insert(name).second) result.emplace_back(name);
    }
    return result;
  }

 private:
  bool has_codes(const checkpoint& files, std::string_view tensor) const {
    return !codes.empty() && std::ranges::find(codes, files.entry(tensor).dtype) != codes.end();
  }
};
/// A tensor without elements costs no bytes, so its other extents could be any: what is computed of them
/// would overflow, or take forever.
inline void require_elements(const checkpoint& files, const std::vector<std::string>& tensors) {
  for (const auto& tensor : tensors)
    require(files.entry(tensor).size() > 0, place_of(files, tensor), shape_text(files.entry(tensor).shape),
            "at least one element");
}
inline void require_dtype(const checkpoint& files, const std::string& tensor, dtype type) {
  const auto found = files.entry(tensor).dtype;
  require(found == type, place_of(files, tensor), name(found), name(type));
}
inline void require_tensor_shape(const checkpoint& files, const std::string& tensor,
                                 const std::vector<index_t>& shape) {
  const auto& found = files.entry(tensor).shape;
  require(found == shape, place_of(files, tensor), shape_text(found), shape_text(shape));
}
/// A tensor of reals in its stored type, copied out of the file; a NaN or an infinity is an error.
inline real_array read_reals(const checkpoint& files, const std::string& tensor) {
  const auto& e = files.entry(tensor);
  require(is_wide_real(e.dtype) || is_float8(e.dtype), place_of(files, tensor), name(e.dtype),
          "F32, F16, BF16 or a type of 8 bits");
  real_array values(e.dtype, files.bytes(tensor), nullptr);
  for (index_t i = 0; i < values.size(); ++i)
    require(std::isfinite(values[i]), concat(place_of(files, tensor), "[", i, "]"), values[i],
            "a finite number");
  return values;
}
/// A matrix of reals as F16, which they must be exactly.
inline matrix<f16> read_f16_matrix(const checkpoint& files, const std::string& tensor) {
  const auto wide = files.read_matrix<float>(tensor);
  matrix<f16> values(wide.rows(), wide.cols());
  for (index_t i = 0; i < wide.size(); ++i) {
    const float x = wide.data()[i];
    values.data()[i] = f16(x);
    require(static_cast<float>(values.data()[i]) == x, concat(place_of(files, tensor), "[", i, "]"), x,
            "a finite number that F16 holds");
  }
  return values;
}
/// Is NAME a table of embeddings, by the last of its parts? Files do not say what a matrix is for.
inline bool is_table(std::string_view name) {
  constexpr std::array<std::string_view, 14> tables{"embed_tokens",
                                                    "embed_tokens_per_layer",
                                                    "tok_embeddings",
                                                    "word_embeddings",
                                                    "token_embedding",
                                                    "embed_in",
                                                    "embed_positions",
                                                    "position_embedding",
                                                    "position_embeddings",
                                                    "token_type_embeddings",
                                                    "embeddings",
                                                    "embedding",
                                                    "wte",
                                                    "wpe"};
  const auto last = name.substr(name.rfind('.') + 1);  // npos + 1 is 0
  return std::ranges::find(tables, last) != tables.end();
}
/// A regular expression that matches a name and nothing else.
inline std::string literal_pattern(std::string_view name) {
  std::string pattern = "^";
  for (const char c : name) {
    if (std::string_view(".^$*+?()[]{}|\\").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern + "$";
}
/// What an operator is, for the errors of writers.
[[noreturn]] inline void refuse_operator(const std::string& name, std::string_view format,
                                         const op::any_operator& op, std::string_view held) {
  fail(concat(name, ": operator"), op.kind(),
       concat(held, ", what ", format, " holds; --to tersor keeps any operator, --to dense its values"));
}
#if TERSOR_HAS_EXCEPTIONS
/// Runs f; an error that does not say which linear it is about is told.
template <class F>
decltype(auto) naming(const std::string& name, F&& f) {
  try {
    return f();
  } catch (const error& e) {
    if (e.argument().find(name) != std::string::npos) throw;
    throw error(concat(name, ": ", e.argument()), e.value(), e.expected());
  }
}
#else
template <class F>
decltype(auto) naming(const std::string&, F&& f) {
  return f();
}
#endif

}  // namespace detail

}  // namespace tersor::io
