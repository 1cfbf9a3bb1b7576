// tersor - checkpoints of compressed-tensors (llm-compressor, vLLM): schemes and formats of linears
// SPDX-License-Identifier: MIT
#pragma once

// Settings: "quantization_config" of config.json with quant_method "compressed-tensors". A scheme (one of
// config_groups) holds for the linears that its targets name: "Linear" (all but tables of embeddings),
// "Embedding" (these), a name, or "re:" and a regular expression for the beginning of one; names in `ignore`
// are dense. The tensors of a linear are described in the header of each format. (compressed-tensors,
// src/compressed_tensors/compressors and quantization/quant_args.py)

#include <cstdlib>   // std::atoi
#include <optional>  // std::optional

#include <tersor/io/compressed_tensors_fp4.hpp>
#include <tersor/io/compressed_tensors_fp8.hpp>
#include <tersor/io/compressed_tensors_int8.hpp>
#include <tersor/io/compressed_tensors_packed.hpp>
#include <tersor/io/compressed_tensors_sparse24.hpp>
#include <tersor/io/pattern.hpp>

namespace tersor::io {

/// Reads such linears: pack-quantized as `op::quantized`; int-quantized as `op::w8a8` where the scheme
/// quantizes activations in a way that it computes, else as `op::quantized`; float-quantized as `op::scaled`
/// of a dense one of 8 bits, in blocks as `op::codebook`; nvfp4 and mxfp4 as `op::codebook`; 2:4 as
/// `op::sparse_nm`. Activations of other kinds are not rounded: products run in float. NVFP4's values are
/// level * scale * (1 / weight_global_scale), which differs from the division by at most 2^-22 of itself.
class compressed_tensors_checkpoint final : public linear_layout {
 public:
  compressed_tensors_checkpoint(const json& settings, std::string where) : where_(std::move(where)) {
    format_ = get<std::string>(settings, "format", where_, "dense");
    // "0.17.0": since then words are dense
    const auto version = get<std::string>(settings, "version", where_, "");
    if (const auto first = version.find('.'); first != std::string::npos && first > 0)
      padded_ = version.substr(0, first) == "0" && std::atoi(version.c_str() + first + 1) < 17;
    ignore_ = get<std::vector<std::string>>(settings, "ignore", where_, {});
    const auto rotations = get<json>(settings, "transform_config", where_, json());
    require(rotations.is_null() || rotations.empty(), where_ + ": transform_config", "present",
            "none: weights under a transformation are not read");
    const auto sparsity = get<json>(settings, "sparsity_config", where_, json());
    if (!sparsity.is_null()) {
      const std::string place = where_ + ": sparsity_config";
      const auto kind = get<std::string>(sparsity, "format", place, "dense");
      require(kind == "dense" || kind == "sparse-24-bitmask", place + ": format", kind,
              "\"dense\" or \"sparse-24-bitmask\"");
    }
    kv_cache_ = get<json>(settings, "kv_cache_scheme", where_, json());
    const auto groups = get<json>(settings, "config_groups", where_, json::object());
    for (const auto& item : groups.items())
      schemes_.push_back(detail::read_scheme(item.value(), concat(where_, ": ", item.key()), format_));
  }

  std::string_view format() const override { return "compressed-tensors"; }
  bool holds(const checkpoint& files, const std::string& name) const override {
    return parts().holds(files, name);
  }
  std::vector<std::string> linears(const checkpoint& files) const override { return parts().linears(files); }
  std::vector<std::string> tensors(const checkpoint& files, const std::string& name) const override {
    auto result = detail::present(files, name, parts().suffixes);
    for (auto& tensor : activation_tensors(files, name)) result.push_back(std::move(tensor));
    if (files.contains(name + ".weight") && !files.contains(name + ".weight_packed"))
      result.push_back(name + ".weight");
    return result;
  }
  op::any_operator read(const checkpoint& files, const std::string& name) const override {
    for (const auto& pattern : ignore_)
      require(!names(pattern, name), concat(where_, ": ignore"), pattern, "no pattern that matches ", name,
              ", which is compressed");
    detail::require_elements(files, tensors(files, name));
    return detail::naming(concat(files.where(), ": ", name), [&] { return read_linear(files, name); });
  }

  /// Activations that no operator quantizes; in another format they would have another meaning.
  beside_operator beside(const checkpoint& files, const std::string& name,
                         const ordered_json& note) const override {
    const auto& s = scheme_of(name);
    if (s.format != note["format"].get<std::string>() || !note["input_activations"].is_null()) return {};
    return {{{"input_activations", ordered_json::parse(s.activations.dump())},
             {"output_activations", ordered_json::parse(s.output_activations.dump())}},
            activation_tensors(files, name)};
  }
  ordered_json beside_operators() const override {
    return {{"kv_cache_scheme", ordered_json::parse(kv_cache_.dump())}};
  }

 private:
  using scheme = detail::compressed_tensors_scheme;

  static detail::linear_parts parts() {
    static constexpr std::array<std::string_view, 12> suffixes{
        ".weight_packed", ".weight_scale",        ".weight_shape",      ".weight_zero_point",
        ".weight_g_idx",  ".weight_global_scale", ".weight.compressed", ".weight.bitmask",
        ".weight.shape",  ".compressed",          ".bitmask",           ".shape"};
    static constexpr std::array codes{dtype::i8, dtype::f8_e4m3, dtype::f8_e5m2};
    return {suffixes, codes};
  }
  /// Scales of inputs alone make no linear: its weights may be dense.
  static std::vector<std::string> activation_tensors(const checkpoint& files, const std::string& name) {
    static constexpr std::array<std::string_view, 3> suffixes{".input_scale", ".input_zero_point",
                                                              ".input_global_scale"};
    return detail::present(files, name, suffixes);
  }

  /// Does a target other than a class name `name`?
  bool names(const std::string& target, const std::string& name) const {
    if (!target.starts_with("re:")) return target == name;
    return matches(name, concat("(?:", target.substr(3), ").*"), where_);
  }
  bool has_target(std::string_view target) const {
    return std::ranges::any_of(
        schemes_, [&](const scheme& s) { return std::ranges::find(s.targets, target) != s.targets.end(); });
  }
  /// torch's class of a module, which files do not say.
  std::string_view class_of(const std::string& name) const {
    if (detail::is_table(name)) return "Embedding";
    const bool unclear = name.find("embed", name.rfind('.') + 1) != std::string::npos;
    require(!unclear || !has_target("Embedding") || !has_target("Linear"), where_ + ": config_groups",
            "\"Linear\" and \"Embedding\"", "a target that names ", name, ", which may be either");
    return "Linear";
  }
  /// The most special scheme of a linear: its name, then a pattern, then its class.
  const scheme& scheme_of(const std::string& name) const {
    for (const int level : {0, 1, 2}) {
      const scheme* found = nullptr;
      for (const auto& s : schemes_)
        for (const auto& target : s.targets) {
          const bool pattern = target.starts_with("re:");
          const bool fits = level == 0   ? target == name
                            : level == 1 ? pattern && names(target, name)
                                         : target == class_of(name);
          if (!fits || found == &s) continue;
          require(found == nullptr, s.where + ": targets", target, "targets of one group for ", name,
                  ", but ", found ? found->where : "", " has it too");
          found = &s;
        }
      if (found) return *found;
    }
    fail(where_ + ": config_groups", "", concat("a group whose targets match ", name));
  }

  op::any_operator read_linear(const checkpoint& files, const std::string& name) const {
    for (const char* stem : {"", ".weight"})
      if (files.contains(concat(name, stem, ".compressed")) ||
          files.contains(concat(name, stem, ".bitmask"))) {
        require(!files.contains(name + ".weight_scale"), concat(name, stem, ".compressed"),
                "beside weight_scale", "reals: 2:4 positions with quantized values are not read");
        return detail::read_sparse24(files, name + stem);
      }
    const auto& s = scheme_of(name);
    if (s.format == "pack-quantized") return detail::read_pack_quantized(files, name, s, padded_);
    if (s.format == "int-quantized") return detail::read_int_quantized(files, name, s, padded_);
    if (s.format == "float-quantized") return detail::read_float_quantized(files, name, s);
    if (s.format == "nvfp4-pack-quantized" || s.format == "mxfp4-pack-quantized")
      return detail::read_fp4(files, name, s, s.format == "nvfp4-pack-quantized");
    fail(s.where + ": format", s.format,
         "pack-quantized, int-quantized, float-quantized, nvfp4-pack-quantized or mxfp4-pack-quantized");
  }

  std::string where_, format_;
  std::optional<bool> padded_;  // where the settings have a version
  std::vector<std::string> ignore_;
  json kv_cache_;
  std::vector<scheme> schemes_;
};

/// Writes `op::quantized` as pack-quantized, `op::w8a8` as int-quantized, a dense operator of F8_E4M3 under
/// scales of its outputs and codebooks of E4M3 as float-quantized, the latter in blocks where rows that
/// follow each other have the same scales; codebooks of E2M1 in blocks of 16 or 32 as NVFP4 or MXFP4.
/// Linears with the same scheme share a group. Not written: act-order (readers since August 2026 take no
/// notice of it), groups that do not divide the inputs.
class compressed_tensors_writer final : public linear_writer {
 public:
  std::string_view format() const override { return "compressed-tensors"; }
  ordered_json write(tensor_sink& out, const std::string& name, const op::any_operator& op) const override {
    if (const auto* q = op.as<op::quantized>()) return detail::write_pack_quantized(out, name, *q);
    if (const auto* q = op.as<op::w8a8>()) return detail::write_int_quantized(out, name, *q);
    if (const auto* s = op.as<op::scaled<>>())
      if (const auto* d = s->inner().as<op::dense>();
          d && d->values().type() == dtype::f8_e4m3 && !s->output_scale().empty() && s->input_scale().empty())
        return detail::write_float_quantized(out, name, *s, *d);
    if (const auto* c = op.as<op::codebook>())
      return c->levels() == detail::e4m3_levels() ? detail::write_float_quantized(out, name, *c)
                                                  : detail::write_fp4(out, name, *c, op, format());
    detail::refuse_operator(name, format(), op,
                            "quantized, w8a8, F8_E4M3 with scales of outputs, or MXFP4 or NVFP4 blocks");
  }
  ordered_json settings(const linear_notes& notes) const override {
    require(!notes.compressed.empty(), "compressed-tensors: linears", 0, "at least one that is quantized");
    std::vector<std::pair<ordered_json, std::vector<std::string>>> schemes;
    for (const auto& [name, note] : notes.compressed) {
      auto found = schemes.begin();
      while (found != schemes.end() && found->first != note) ++found;
      if (found == schemes.end()) found = schemes.emplace(found, note, std::vector<std::string>{});
      found->second.push_back(name);
    }
    ordered_json groups = ordered_json::object();
    bool one_format = true;
    for (std::size_t k = 0; k < schemes.size(); ++k) {
      const auto& [note, names] = schemes[k];
      const bool all = schemes.size() == 1 && std::ranges::none_of(names, detail::is_table);
      ordered_json group{{"targets", all ? std::vector<std::string>{"Linear"} : names}};
      group.update(note);
      groups[concat("group_", k)] = std::move(group);
      one_format = one_format && note["format"] == schemes.front().first["format"];
    }
    return {{"quant_method", "compressed-tensors"},
            {"format", one_format ? schemes.front().first["format"] : ordered_json("mixed-precision")},
            {"quantization_status", "compressed"},
            {"version", "0.17.0"},
            {"global_compression_ratio", nullptr},
            {"config_groups", std::move(groups)},
            {"ignore", notes.dense},
            {"kv_cache_scheme", nullptr}};
  }
};

}  // namespace tersor::io
