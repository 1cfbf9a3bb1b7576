// tersor - schemes of compressed-tensors: what config.json says of a group of linears
// SPDX-License-Identifier: MIT
#pragma once

#include <array>   // std::array
#include <string>  // std::string
#include <vector>  // std::vector

#include <tersor/core/view.hpp>
#include <tersor/io/json.hpp>

namespace tersor::io::detail {

/// What shares one scale of the weights.
enum class scale_extent { tensor, channel, group, block };
/// How the linears of a group are stored: one of config_groups.
struct compressed_tensors_scheme {  // NOLINT(bugprone-exception-escape): moving a json does not throw
  std::string where, format;
  std::vector<std::string> targets;
  int bits = 8;
  bool is_float = false, symmetric = true;
  scale_extent unit = scale_extent::tensor;
  index_t group_size = -1;
  std::array<index_t, 2> block{};
  bool act_order = false;  // columns of a group are those that weight_g_idx gives it
  json activations, output_activations;
};

/// "weight" and "static" are orders in which a weight was quantized, and leave groups that are runs of
/// columns.
inline bool has_act_order(const json& actorder, const std::string& place) {
  if (actorder == json(true) || actorder == "group" || actorder == "dynamic") return true;
  require(actorder.is_null() || actorder == json(false) || actorder == "weight" || actorder == "static",
          place + ": actorder", json_text(actorder), "\"group\", \"weight\" or null");
  return false;
}

/// What shares a scale, of weights or activations; the package's default where they do not say it.
inline std::string strategy_of(const json& j, const std::string& place) {
  const auto group_size = get<index_t>(j, "group_size", place, 0);
  return get<std::string>(j, "strategy", place,
                          group_size > 0     ? "group"
                          : group_size == -1 ? "channel"
                                             : "tensor");
}

/// @param format of schemes that name none; @param where names the scheme in errors
inline compressed_tensors_scheme read_scheme(const json& j, const std::string& where,
                                             const std::string& format) {
  compressed_tensors_scheme s;
  s.where = where;
  s.format = get<std::string>(j, "format", where, format);
  s.targets = get<std::vector<std::string>>(j, "targets", where);
  s.activations = get<json>(j, "input_activations", where, json());
  s.output_activations = get<json>(j, "output_activations", where, json());
  const json& w = member(j, "weights", where);
  if (w.is_null()) {
    s.targets.clear();  // weights are dense, activations alone are quantized
    return s;
  }
  const std::string place = where + ": weights";
  s.bits = get<int>(w, "num_bits", place, 8);
  const auto type = get<std::string>(w, "type", place, "int");
  require(type == "int" || type == "float", place + ": type", type, "\"int\" or \"float\"");
  s.is_float = type == "float";
  require(s.is_float ? s.bits == 4 || s.bits == 8 : s.bits >= 1 && s.bits <= 8, place + ": num_bits", s.bits,
          s.is_float ? "4 or 8 for floats" : "1 .. 8");
  if (s.format == "naive-quantized") s.format = s.is_float ? "float-quantized" : "int-quantized";
  s.symmetric = get<bool>(w, "symmetric", place, true);
  const auto dynamic = get<json>(w, "dynamic", place, json(false));
  require(dynamic == json(false), place + ": dynamic", json_text(dynamic), "false");
  s.act_order = has_act_order(get<json>(w, "actorder", place, json(false)), place);
  const auto group_size = get<index_t>(w, "group_size", place, 0);
  const auto strategy = strategy_of(w, place);
  if (strategy == "group" || strategy == "tensor_group") {
    require(group_size >= 1, place + ": group_size", group_size, "at least 1");
    s.unit = scale_extent::group;
    s.group_size = group_size;
  } else if (strategy == "block") {
    s.unit = scale_extent::block;
    const auto structure = get<std::vector<index_t>>(w, "block_structure", place);
    require(structure.size() == 2 && structure[0] >= 1 && structure[1] >= 1, place + ": block_structure",
            json_text(json(structure)), "two numbers, at least 1");
    s.block = {structure[0], structure[1]};
  } else {
    require(strategy == "channel" || strategy == "tensor", place + ": strategy", strategy,
            "\"tensor\", \"channel\", \"group\", \"tensor_group\" or \"block\"");
    s.unit = strategy == "channel" ? scale_extent::channel : scale_extent::tensor;
  }
  return s;
}

/// A scheme as config.json has it, without its targets. @param group_size 0: null
inline ordered_json scheme_json(std::string_view format, int bits, std::string_view type, bool symmetric,
                                std::string_view strategy, index_t group_size,
                                ordered_json activations = nullptr) {
  return {{"format", std::string(format)},
          {"weights",
           {{"num_bits", bits},
            {"type", std::string(type)},
            {"symmetric", symmetric},
            {"strategy", std::string(strategy)},
            {"group_size", group_size == 0 ? ordered_json(nullptr) : ordered_json(group_size)},
            {"dynamic", false}}},
          {"input_activations", std::move(activations)},
          {"output_activations", nullptr}};
}

}  // namespace tersor::io::detail
