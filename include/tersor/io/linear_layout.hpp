// tersor - the contract between the layout of a checkpoint's linears and what loads or writes them
// SPDX-License-Identifier: MIT
#pragma once

#include <memory>       // std::unique_ptr
#include <string>       // std::string
#include <string_view>  // std::string_view
#include <utility>      // std::pair
#include <vector>       // std::vector

#include <tersor/io/checkpoint.hpp>
#include <tersor/io/tensor_sink.hpp>
#include <tersor/op/any_operator.hpp>

namespace tersor::io {

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

/// The names before `suffix` of all tensors that end so.
inline std::vector<std::string> stems(const checkpoint& files, std::string_view suffix) {
  std::vector<std::string> result;
  for (const auto name : files.names())
    if (name.size() > suffix.size() && name.ends_with(suffix))
      result.emplace_back(name.substr(0, name.size() - suffix.size()));
  return result;
}
/// Those of `suffixes` that follow NAME.
inline std::vector<std::string> present(const checkpoint& files, const std::string& name,
                                        std::initializer_list<std::string_view> suffixes) {
  std::vector<std::string> result;
  for (const auto suffix : suffixes)
    if (auto tensor = concat(name, suffix); files.contains(tensor)) result.push_back(std::move(tensor));
  return result;
}
/// "file: tensor", as errors name it.
inline std::string place_of(const checkpoint& files, const std::string& tensor) {
  return concat(files.file_of(tensor).path().string(), ": ", tensor);
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
