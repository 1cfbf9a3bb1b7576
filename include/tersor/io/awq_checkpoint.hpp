// tersor - checkpoints of AutoAWQ: linears in the layout "gemm"
// SPDX-License-Identifier: MIT
#pragma once

// NAME.qweight, NAME.qzeros, NAME.scales (quant/awq_layout.hpp), NAME.bias where there is one. Settings:
// "quantization_config" of config.json (bits, group_size, zero_point, version), or quant_config.json (w_bit,
// q_group_size).

#include <cmath>  // std::isfinite

#include <tersor/io/linear_layout.hpp>
#include <tersor/quant/awq_layout.hpp>

namespace tersor::io {

/// Reads such linears as `op::quantized`. The other versions (gemv, gemv_fast, exllama, marlin, ipex) order
/// codes differently under the same names: they are refused when the layout is made.
class awq_checkpoint final : public linear_layout {
 public:
  awq_checkpoint(const json& settings, const std::string& where) {
    auto version = get<std::string>(settings, "version", where, "gemm");
    for (char& c : version)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    require(version == "gemm", where + ": version", version, "\"gemm\"");
    const auto backend = get<std::string>(settings, "backend", where, "autoawq");
    require(backend == "autoawq", where + ": backend", backend, "\"autoawq\"");
    const char* bits_key = settings.contains("w_bit") ? "w_bit" : "bits";
    const auto bits = get<int>(settings, bits_key, where);
    require(bits == 4, concat(where, ": ", bits_key), bits, "4");
    const char* group_key = settings.contains("q_group_size") ? "q_group_size" : "group_size";
    group_size_ = get<index_t>(settings, group_key, where);
    require(group_size_ == -1 || group_size_ >= 1, concat(where, ": ", group_key), group_size_,
            "-1 or at least 1");
    require(get<bool>(settings, "zero_point", where, true), where + ": zero_point", "false",
            "true: without zero points the layout is not defined");
  }

  std::string_view format() const override { return "awq"; }
  bool holds(const checkpoint& files, const std::string& name) const override {
    return parts().holds(files, name);
  }
  std::vector<std::string> linears(const checkpoint& files) const override { return parts().linears(files); }
  std::vector<std::string> tensors(const checkpoint& files, const std::string& name) const override {
    return detail::present(files, name, parts().suffixes);
  }
  op::any_operator read(const checkpoint& files, const std::string& name) const override {
    detail::require_elements(files, tensors(files, name));
    for (const char* part : {".qweight", ".qzeros"}) detail::require_dtype(files, name + part, dtype::i32);
    const quant::awq_gemm_tensors t{files.read_matrix<std::int32_t>(name + ".qweight"),
                                    files.read_matrix<std::int32_t>(name + ".qzeros"),
                                    detail::read_f16_matrix(files, name + ".scales")};
    return detail::naming(concat(files.where(), ": ", name),
                          [&] { return quant::awq_gemm_unpack(t, group_size_); });
  }

 private:
  static detail::linear_parts parts() {
    static constexpr std::array<std::string_view, 3> suffixes{".qweight", ".qzeros", ".scales"};
    return {suffixes};
  }
  index_t group_size_ = 128;
};

/// Writes `op::quantized` of 4 bits without act-order whose scales F16 holds. One group size for all linears:
/// the settings have room for no other.
class awq_writer final : public linear_writer {
 public:
  std::string_view format() const override { return "awq"; }
  ordered_json write(tensor_sink& out, const std::string& name, const op::any_operator& op) const override {
    const auto* q = op.as<op::quantized>();
    if (q == nullptr) detail::refuse_operator(name, format(), op, "quantized, codes on an affine grid");
    const auto t = detail::naming(name, [&] { return quant::awq_gemm_pack(*q); });
    out.add_values(name + ".qweight", t.qweight);
    out.add_values(name + ".qzeros", t.qzeros);
    out.add_values(name + ".scales", t.scales);
    const index_t g = q->grid().group_size();
    return {{"group_size", g >= q->cols() ? -1 : g}, {"cols", q->cols()}};
  }
  ordered_json settings(const linear_notes& notes) const override {
    const std::pair<std::string, ordered_json>* first = nullptr;
    for (const auto& n : notes.compressed)
      if (first == nullptr || (first->second["group_size"] == -1 && n.second["group_size"] != -1)) first = &n;
    require(first != nullptr, "awq: linears", 0, "at least one that is quantized");
    const auto group_size = first->second["group_size"].get<index_t>();
    for (const auto& [name, note] : notes.compressed) {
      const auto g = note["group_size"].get<index_t>();
      require(g == group_size || (g == -1 && group_size == note["cols"].get<index_t>()),
              name + ": group_size", g, group_size, ", as of ", first->first,
              ": AWQ's settings have one for all; --to compressed-tensors has one for each");
    }
    ordered_json j{{"quant_method", "awq"},
                   {"bits", 4},
                   {"group_size", group_size},
                   {"zero_point", true},
                   {"version", "gemm"}};
    if (!notes.dense.empty()) j["modules_to_not_convert"] = notes.dense;
    return j;
  }
};

}  // namespace tersor::io
