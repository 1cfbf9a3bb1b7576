// tersor - int-quantized linears of compressed-tensors: integers of 8 bits, one a byte
// SPDX-License-Identifier: MIT
#pragma once

// weight I8 [out, in]; weight_scale [out, groups], [out, 1] or [1]; weight_zero_point I8; weight_g_idx I32
// [in]; input_scale [1]

#include <tersor/io/compressed_tensors_grid.hpp>
#include <tersor/op/quantized.hpp>
#include <tersor/op/w8a8.hpp>

namespace tersor::io::detail {

/// How op::w8a8 quantizes the scheme's activations, if it does.
inline std::optional<op::activation_unit> activation_unit_of(const compressed_tensors_scheme& s) {
  const json& a = s.activations;
  if (a.is_null()) return std::nullopt;
  const std::string place = s.where + ": input_activations";
  const auto dynamic = get<json>(a, "dynamic", place, json(false));
  if (get<int>(a, "num_bits", place, 8) != 8 || get<std::string>(a, "type", place, "int") != "int" ||
      !get<bool>(a, "symmetric", place, true) || !dynamic.is_boolean())
    return std::nullopt;
  const auto strategy = strategy_of(a, place);
  if (strategy == "tensor")
    return dynamic.get<bool>() ? op::activation_unit::per_tensor : op::activation_unit::fixed_tensor;
  if (strategy == "token" && dynamic.get<bool>()) return op::activation_unit::per_token;
  return std::nullopt;
}

/// @param version_says are words of zero points padded?
inline op::any_operator read_int_quantized(const checkpoint& files, const std::string& name,
                                           const compressed_tensors_scheme& s,
                                           std::optional<bool> version_says) {
  require(!s.is_float && s.unit != scale_extent::block, s.where + ": weights", "floats or blocks",
          "integers per tensor, channel or group for int-quantized");
  const std::string tensor = name + ".weight";
  require_dtype(files, tensor, dtype::i8);
  const auto values = files.read_matrix<std::int8_t>(tensor);
  const index_t out = values.rows(), in = values.cols();
  const auto g = read_grid_scales(files, name + ".weight_scale", s, out, in);
  auto g_idx = read_g_idx(files, name + ".weight_g_idx", s, g.group_size, in);
  if (const auto unit = activation_unit_of(s); unit && s.symmetric && s.unit != scale_extent::group) {
    float fixed = 0.0F;
    if (*unit == op::activation_unit::fixed_tensor) {
      const auto scale = read_reals(files, name + ".input_scale");
      require(scale.size() == 1, name + ".input_scale", scale.size(), "one value");
      fixed = scale[0];
    }
    return op::w8a8(out, in, {values.values().begin(), values.values().end()},
                    {g.values.values().begin(), g.values.values().end()}, *unit, fixed);
  }
  const auto zero = read_zero_points(files, name + ".weight_zero_point", s, g, 128, version_says);
  matrix<std::uint8_t> codes(out, in);
  for (index_t i = 0; i < values.size(); ++i)
    codes.data()[i] = static_cast<std::uint8_t>(values.data()[i] + 128);
  return op::quantized(codes, op::affine_grid(8, out, in, g.group_size, g.values.view(), zero.view(), g.type,
                                              std::move(g_idx)));
}

inline ordered_json write_int_quantized(tensor_sink& out, const std::string& name, const op::w8a8& q) {
  out.add_values<std::int8_t>(name + ".weight", {q.rows(), q.cols()}, q.codes());
  const bool tensor = q.scale().size() == 1 && q.rows() != 1;
  out.add_values<float>(name + ".weight_scale",
                        tensor ? std::vector<index_t>{1} : std::vector<index_t>{q.rows(), 1}, q.scale());
  const bool fixed = q.activations() == op::activation_unit::fixed_tensor,
             token = q.activations() == op::activation_unit::per_token;
  if (fixed) out.add_values<float>(name + ".input_scale", {1}, std::array{q.fixed_scale()});
  return scheme_json("int-quantized", 8, "int", true, tensor ? "tensor" : "channel", 0,
                     {{"num_bits", 8},
                      {"type", "int"},
                      {"symmetric", true},
                      {"strategy", token ? "token" : "tensor"},
                      {"dynamic", !fixed}});
}

}  // namespace tersor::io::detail
