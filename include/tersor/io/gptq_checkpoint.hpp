// tersor - checkpoints of AutoGPTQ and GPTQModel: linears in the layout "gptq" or "gptq_v2"
// SPDX-License-Identifier: MIT
#pragma once

// NAME.qweight, NAME.qzeros, NAME.scales, NAME.g_idx (quant/gptq_layout.hpp), NAME.bias where there is one.
// Settings: "quantization_config" of config.json, or quantize_config.json: bits, group_size, desc_act, sym,
// checkpoint_format, and in GPTQModel "dynamic", patterns of names whose settings differ ("-:" not
// quantized).

#include <cmath>     // std::isfinite
#include <optional>  // std::optional

#include <tersor/io/linear_layout.hpp>
#include <tersor/io/pattern.hpp>
#include <tersor/quant/gptq_layout.hpp>

namespace tersor::io {

/// Reads such linears as `op::quantized`. A missing g_idx means groups in order, unless the settings say that
/// there is one (desc_act). In v1 a stored zero point of all ones is -1, that is 0.
class gptq_checkpoint final : public linear_layout {
 public:
  /// @param where names the settings in errors.
  gptq_checkpoint(const json& settings, std::string where) : where_(std::move(where)) {
    const char* key = settings.contains("checkpoint_format") ? "checkpoint_format" : "format";
    const auto format = get<std::string>(settings, key, where_, "gptq");
    require(format == "gptq" || format == "gptq_v2", concat(where_, ": ", key), format,
            "\"gptq\" or \"gptq_v2\"");
    variant_ = format == "gptq" ? quant::gptq_variant::v1 : quant::gptq_variant::v2;
    require(!get<bool>(settings, "is_marlin_format", where_, false), where_ + ": is_marlin_format", "true",
            "false: tiles for one kind of processor are not read");
    const auto word = get<std::string>(settings, "pack_dtype", where_, "int32");
    require(word == "int32", where_ + ": pack_dtype", word, "\"int32\"");
    all_ = linear_settings(settings, where_, std::nullopt);
    const auto dynamic = get<json>(settings, "dynamic", where_, json::object());
    for (const auto& item : dynamic.items()) {
      const std::string place = concat(where_, ": dynamic: ", item.key());
      require(item.value().is_object(), place, type_of(item.value()), "an object");
      if (item.key().starts_with("-:")) {
        left_out_.push_back(item.key().substr(2));
        continue;
      }
      const std::string pattern = item.key().starts_with("+:") ? item.key().substr(2) : item.key();
      exceptions_.push_back({pattern, linear_settings(item.value(), place, all_)});
    }
  }

  std::string_view format() const override {
    return variant_ == quant::gptq_variant::v1 ? "gptq" : "gptq_v2";
  }
  bool holds(const checkpoint& files, const std::string& name) const override {
    return parts().holds(files, name);
  }
  std::vector<std::string> linears(const checkpoint& files) const override { return parts().linears(files); }
  std::vector<std::string> tensors(const checkpoint& files, const std::string& name) const override {
    return detail::present(files, name, parts().suffixes);
  }
  op::any_operator read(const checkpoint& files, const std::string& name) const override {
    const auto s = settings_of(name);
    detail::require_elements(files, tensors(files, name));
    for (const char* part : {".qweight", ".qzeros"}) detail::require_dtype(files, name + part, dtype::i32);
    quant::gptq_tensors t{files.read_matrix<std::int32_t>(name + ".qweight"),
                          files.read_matrix<std::int32_t>(name + ".qzeros"),
                          detail::read_f16_matrix(files, name + ".scales"),
                          {}};
    if (s.desc_act || files.contains(name + ".g_idx"))
      t.g_idx = files.read_vector<std::int32_t>(name + ".g_idx");
    return detail::naming(concat(files.where(), ": ", name),
                          [&] { return quant::gptq_unpack(t, s.bits, s.group_size, variant_); });
  }

 private:
  static detail::linear_parts parts() {
    static constexpr std::array<std::string_view, 4> suffixes{".qweight", ".qzeros", ".scales", ".g_idx"};
    return {suffixes};
  }
  struct per_linear {
    int bits = 4;
    index_t group_size = -1;
    bool desc_act = false;
    friend bool operator==(const per_linear&, const per_linear&) = default;
  };
  struct exception {
    std::string pattern;
    per_linear settings;
  };
  static per_linear linear_settings(const json& j, const std::string& where,
                                    const std::optional<per_linear>& otherwise) {
    per_linear s;
    s.bits = otherwise ? get<int>(j, "bits", where, otherwise->bits) : get<int>(j, "bits", where);
    require(s.bits == 2 || s.bits == 3 || s.bits == 4 || s.bits == 8, concat(where, ": bits"), s.bits,
            "2, 3, 4 or 8");
    s.group_size = otherwise ? get<index_t>(j, "group_size", where, otherwise->group_size)
                             : get<index_t>(j, "group_size", where);
    require(s.group_size == -1 || s.group_size >= 1, concat(where, ": group_size"), s.group_size,
            "-1 or at least 1");
    s.desc_act = get<bool>(j, "desc_act", where, otherwise && otherwise->desc_act);
    return s;
  }
  /// GPTQModel takes the first pattern that matches the beginning of a name; objects have no order here, so
  /// two that say different things are an error.
  per_linear settings_of(const std::string& name) const {
    for (const auto& pattern : left_out_)
      require(!begins_with(name, pattern), where_ + ": dynamic", "-:" + pattern, "no pattern that matches ",
              name, ", which is quantized");
    const exception* found = nullptr;
    for (const auto& e : exceptions_) {
      if (!begins_with(name, e.pattern)) continue;
      require(found == nullptr || found->settings == e.settings, where_ + ": dynamic",
              found ? found->pattern : "", "one pattern for ", name, ", which ", e.pattern, " matches too");
      found = &e;
    }
    return found ? found->settings : all_;
  }
  bool begins_with(const std::string& name, const std::string& pattern) const {
    return matches(name, concat("(?:", pattern, ").*"), where_ + ": dynamic");
  }

  std::string where_;
  quant::gptq_variant variant_;
  per_linear all_;
  std::vector<exception> exceptions_;
  std::vector<std::string> left_out_;  // patterns of linears that are dense
};

/// Writes `op::quantized` of 2, 3, 4 or 8 bits whose scales F16 holds. Linears that differ from the first one
/// in bits or group size become patterns in "dynamic", which GPTQModel reads.
class gptq_writer final : public linear_writer {
 public:
  explicit gptq_writer(quant::gptq_variant variant) : variant_(variant) {}

  std::string_view format() const override {
    return variant_ == quant::gptq_variant::v1 ? "gptq" : "gptq_v2";
  }
  ordered_json write(tensor_sink& out, const std::string& name, const op::any_operator& op) const override {
    const auto* q = op.as<op::quantized>();
    if (q == nullptr) detail::refuse_operator(name, format(), op, "quantized, codes on an affine grid");
    const auto t = detail::naming(name, [&] { return quant::gptq_pack(*q, variant_); });
    out.add_values(name + ".qweight", t.qweight);
    out.add_values(name + ".qzeros", t.qzeros);
    out.add_values(name + ".scales", t.scales);
    out.add_values<std::int32_t>(name + ".g_idx", {q->cols()}, t.g_idx);
    const auto& grid = q->grid();
    const bool whole_row = grid.group_size() >= q->cols() && grid.g_idx().empty();
    return {{"bits", grid.bits()},
            {"group_size", whole_row ? -1 : grid.group_size()},
            {"desc_act", !grid.g_idx().empty()},
            {"sym", !grid.has_zero_points() && grid.zero_point(0, 0) == 1 << (grid.bits() - 1)},
            {"cols", q->cols()}};
  }
  ordered_json settings(const linear_notes& notes) const override {
    const ordered_json* first = nullptr;
    bool desc_act = false, symmetric = true;
    for (const auto& [name, note] : notes.compressed) {
      if (first == nullptr || ((*first)["group_size"] == -1 && note["group_size"] != -1)) first = &note;
      desc_act = desc_act || note["desc_act"].get<bool>();
      symmetric = symmetric && note["sym"].get<bool>();
    }
    require(first != nullptr, concat(format(), ": linears"), 0, "at least one that is quantized");
    const auto bits = (*first)["bits"].get<int>();
    const auto group_size = (*first)["group_size"].get<index_t>();
    ordered_json dynamic = ordered_json::object();
    for (const auto& [name, note] : notes.compressed) {
      ordered_json other = ordered_json::object();
      if (note["bits"] != bits) other["bits"] = note["bits"];
      const auto g = note["group_size"].get<index_t>();
      const bool fits = g == group_size || (g == -1 && group_size >= note["cols"].get<index_t>());
      if (!fits) other["group_size"] = g;
      if (!other.empty()) dynamic["+:" + detail::literal_pattern(name)] = std::move(other);
    }
    for (const auto& name : notes.dense)
      if (name != "lm_head") dynamic["-:" + detail::literal_pattern(name)] = ordered_json::object();
    ordered_json j{{"quant_method", "gptq"}, {"bits", bits},     {"group_size", group_size},
                   {"desc_act", desc_act},   {"sym", symmetric}, {"checkpoint_format", std::string(format())},
                   {"pack_dtype", "int32"},  {"lm_head", false}, {"true_sequential", true}};
    for (const auto& [name, note] : notes.compressed)
      if (name == "lm_head") j["lm_head"] = true;
    if (!dynamic.empty()) j["dynamic"] = std::move(dynamic);
    return j;
  }
  std::string settings_file() const override { return "quantize_config.json"; }

 private:
  quant::gptq_variant variant_;
};

}  // namespace tersor::io
