// tersor - the layout of a checkpoint's linears by its settings, and the formats that can be written
// SPDX-License-Identifier: MIT
#pragma once

#include <array>       // std::array
#include <functional>  // std::function
#include <optional>    // std::optional

#include <tersor/io/awq_checkpoint.hpp>
#include <tersor/io/bitsandbytes_checkpoint.hpp>
#include <tersor/io/compressed_tensors.hpp>
#include <tersor/io/gptq_checkpoint.hpp>
#include <tersor/io/operator_archive.hpp>

namespace tersor::io {

/// Linears that tersor wrote: described in the files' metadata (io/operator_archive.hpp).
class operator_layout final : public linear_layout {
 public:
  explicit operator_layout(const checkpoint& files) : operators_(files) {}
  std::string_view format() const override { return "tersor"; }
  bool holds(const checkpoint&, const std::string& name) const override { return operators_.has(name); }
  std::vector<std::string> linears(const checkpoint&) const override {
    std::vector<std::string> result;
    for (const auto& [name, description] : operators_.descriptions()) result.push_back(name);
    return result;
  }
  std::vector<std::string> tensors(const checkpoint&, const std::string& name) const override {
    std::vector<std::string> result;
    for (const auto& part : operators_.read(name).storage().parts)
      result.push_back(concat(name, ".", part.name));
    return result;
  }
  op::any_operator read(const checkpoint&, const std::string& name) const override {
    return operators_.read(name);
  }

 private:
  operator_reader operators_;
};

/// The settings of quantization that go with a checkpoint: "quantization_config" of config.json, else
/// quantize_config.json (AutoGPTQ) or quant_config.json (AutoAWQ); null where there are none.
struct quantization_settings {
  json values;
  std::string where;
};
inline quantization_settings quantization_settings_of(const checkpoint& files) {
  const auto config = files.folder() / "config.json";
  if (std::filesystem::exists(config)) {
    const json j = read_json_file(config);
    for (const char* key : {"quantization_config", "compression_config"})
      if (auto settings = get<json>(j, key, config.string(), json()); !settings.is_null())
        return {std::move(settings), concat(config.string(), ": ", key)};
  }
  for (const auto& [file, method] : {std::pair{"quantize_config.json", "gptq"}, {"quant_config.json", "awq"}})
    if (const auto path = files.folder() / file; std::filesystem::exists(path)) {
      json settings = read_json_file(path);
      require(settings.is_object(), path.string(), type_of(settings), "an object");
      if (!settings.contains("quant_method")) settings["quant_method"] = method;
      return {std::move(settings), path.string()};
    }
  return {};
}

namespace detail {

/// How the names of tensors end that only compressed linears have, and the formats of these.
struct format_mark {
  std::string_view suffix, format;
};
inline constexpr std::array<format_mark, 9> format_marks{
    {{".qweight", "gptq or awq"},
     {".qzeros", "gptq or awq"},
     {".weight_packed", "compressed-tensors"},
     {".weight_scale", "compressed-tensors"},
     {".weight_scale_inv", "fp8"},
     {".weight.absmax", "bitsandbytes"},
     {".weight.quant_state.bitsandbytes__nf4", "bitsandbytes"},
     {".weight.quant_state.bitsandbytes__fp4", "bitsandbytes"},
     {".SCB", "bitsandbytes"}}};

/// Error where a tensor is that of a linear which `layout` does not hold: it would pass for a dense one.
inline void require_held(const checkpoint& files, const linear_layout& layout) {
  for (const auto tensor : files.names())
    for (const auto& mark : format_marks)
      if (const auto name = stem_of(tensor, std::span(&mark.suffix, 1)); !name.empty())
        require(layout.holds(files, std::string(name)), place_of(files, std::string(tensor)),
                "of a compressed linear", "\"quantization_config\" in config.json with quant_method ",
                mark.format, ", which says how it is stored");
}

inline std::unique_ptr<linear_layout> layout_by_settings(const checkpoint& files) {
  const auto [settings, where] = quantization_settings_of(files);
  for (const auto& file : files.files())
    if (file.metadata().contains(operator_metadata_key)) return std::make_unique<operator_layout>(files);
  if (settings.is_null()) return std::make_unique<operator_layout>(files);
  const auto method = get<std::string>(settings, "quant_method", where);
  if (method == "gptq") return std::make_unique<gptq_checkpoint>(settings, where);
  if (method == "awq") return std::make_unique<awq_checkpoint>(settings, where);
  if (method == "compressed-tensors") return std::make_unique<compressed_tensors_checkpoint>(settings, where);
  if (method == "bitsandbytes") return std::make_unique<bitsandbytes_checkpoint>(settings, where);
  fail(where + ": quant_method", method, "\"gptq\", \"awq\", \"compressed-tensors\" or \"bitsandbytes\"");
}

}  // namespace detail

/// How the linears of a checkpoint are stored. Operators in the files' metadata come first; without settings
/// there are none but those. Errors: a method of quantization that is not read, whatever the layout's
/// constructor refuses, and tensors of compressed linears in another format than the settings say.
inline std::unique_ptr<linear_layout> layout_of(const checkpoint& files) {
  auto layout = detail::layout_by_settings(files);
  detail::require_held(files, *layout);
  return layout;
}

/// A format of `tersor convert --to` whose linears are written by a `linear_writer`. @param make takes the
/// type that weights are decoded to, as torch calls it.
struct written_layout {
  std::string_view name, summary;
  std::unique_ptr<linear_writer> (*make)(const std::string& torch_dtype);
};
inline const std::array<written_layout, 5>& written_layouts() {
  static const std::array<written_layout, 5> table{
      {{"gptq", "GPTQ, zero points less one (AutoGPTQ, vLLM)",
        [](const std::string&) -> std::unique_ptr<linear_writer> {
          return std::make_unique<gptq_writer>(quant::gptq_variant::v1);
        }},
       {"gptq_v2", "GPTQ, zero points as they are (GPTQModel)",
        [](const std::string&) -> std::unique_ptr<linear_writer> {
          return std::make_unique<gptq_writer>(quant::gptq_variant::v2);
        }},
       {"awq", "AWQ, gemm (AutoAWQ, vLLM)",
        [](const std::string&) -> std::unique_ptr<linear_writer> { return std::make_unique<awq_writer>(); }},
       {"compressed-tensors", "packed integers, FP8, NVFP4, MXFP4 (llm-compressor, vLLM)",
        [](const std::string&) -> std::unique_ptr<linear_writer> {
          return std::make_unique<compressed_tensors_writer>();
        }},
       {"bnb-nf4", "NF4 or FP4 of bitsandbytes (transformers)",
        [](const std::string& dtype) -> std::unique_ptr<linear_writer> {
          return std::make_unique<bitsandbytes_writer>(dtype);
        }}}};
  return table;
}

}  // namespace tersor::io
