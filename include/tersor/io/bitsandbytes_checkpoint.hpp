// tersor - checkpoints of bitsandbytes: linears in NF4 or FP4, with and without double quantization
// SPDX-License-Identifier: MIT
#pragma once

// NAME.weight [ceil(n / 2), 1], two codes a byte over the flattened matrix of n weights, the first in the
// high nibble; NAME.weight.absmax and NAME.weight.quant_map F32 [16];
// NAME.weight.quant_state.bitsandbytes__nf4 (or __fp4) U8, JSON: quant_type, blocksize, dtype, shape. absmax
// is F32, one for each block; with double quantization it is U8, codes of NAME.weight.nested_quant_map F32
// [256] times NAME.weight.nested_absmax F32, one for each nested_blocksize, plus nested_offset. Settings:
// "quantization_config" of config.json. (bitsandbytes, bitsandbytes/functional.py, QuantState)

#include <cmath>  // std::isfinite

#include <tersor/core/level_table.hpp>
#include <tersor/io/linear_layout.hpp>
#include <tersor/op/codebook.hpp>

namespace tersor::io {

namespace detail {

using nibbles_high_first = bit_packing<4, std::uint8_t, bit_order::high_first>;

}  // namespace detail

/// Reads such linears as `op::codebook`. The storage type of the nibbles may be any. Where the table of
/// double quantization is not bitsandbytes' dynamic one to the last bit, scales are decoded to F32.
class bitsandbytes_checkpoint final : public linear_layout {
 public:
  bitsandbytes_checkpoint(const json& settings, const std::string& where) {
    require(!get<bool>(settings, "load_in_8bit", where, false), where + ": load_in_8bit", "true",
            "load_in_4bit: LLM.int8 is not read");
    const auto type = get<std::string>(settings, "bnb_4bit_quant_type", where, "nf4");
    require(type == "nf4" || type == "fp4", where + ": bnb_4bit_quant_type", type, "\"nf4\" or \"fp4\"");
  }

  std::string_view format() const override { return "bnb-nf4"; }
  bool holds(const checkpoint& files, const std::string& name) const override {
    return parts().holds(files, name);
  }
  std::vector<std::string> linears(const checkpoint& files) const override { return parts().linears(files); }
  std::vector<std::string> tensors(const checkpoint& files, const std::string& name) const override {
    auto result = detail::present(files, name, parts().suffixes);
    if (files.contains(name + ".weight")) result.push_back(name + ".weight");
    return result;
  }
  op::any_operator read(const checkpoint& files, const std::string& name) const override {
    detail::require_elements(files, tensors(files, name));
    return detail::naming(concat(files.where(), ": ", name), [&] { return read_linear(files, name); });
  }

 private:
  /// SCB is the scales of LLM.int8.
  static detail::linear_parts parts() {
    static constexpr std::array<std::string_view, 7> suffixes{".weight.absmax",
                                                              ".weight.quant_map",
                                                              ".weight.nested_absmax",
                                                              ".weight.nested_quant_map",
                                                              ".weight.quant_state.bitsandbytes__nf4",
                                                              ".weight.quant_state.bitsandbytes__fp4",
                                                              ".SCB"};
    static constexpr std::array codes{dtype::u8, dtype::i8};
    return {suffixes, codes};
  }
  static op::any_operator read_linear(const checkpoint& files, const std::string& name) {
    const std::string w = name + ".weight";
    require(!files.contains(name + ".SCB"), name + ".SCB", "present", "NF4 or FP4: LLM.int8 is not read");
    const std::string nf4 = w + ".quant_state.bitsandbytes__nf4", fp4 = w + ".quant_state.bitsandbytes__fp4";
    require(files.contains(nf4) != files.contains(fp4), name, "",
            "one quant_state, bitsandbytes__nf4 or bitsandbytes__fp4");
    const std::string& tensor = files.contains(nf4) ? nf4 : fp4;
    detail::require_dtype(files, tensor, dtype::u8);
    const auto text = files.bytes(tensor);
    const std::string where = detail::place_of(files, tensor);
    const json state =
        parse_json(std::string_view(reinterpret_cast<const char*>(text.data()), text.size()), where);
    const auto type = get<std::string>(state, "quant_type", where);
    require(type == (files.contains(nf4) ? "nf4" : "fp4"), where + ": quant_type", type,
            "the type in the tensor's name");
    const auto shape = get<std::vector<index_t>>(state, "shape", where);
    constexpr index_t most = index_t{1} << 31;
    require(shape.size() == 2 && shape[0] >= 1 && shape[1] >= 1 && shape[0] <= most && shape[1] <= most,
            where + ": shape", json_text(json(shape)), "two extents from 1 to 2^31");
    const index_t n = shape[0] * shape[1], block_size = get<index_t>(state, "blocksize", where);
    require(block_size >= 1, where + ": blocksize", block_size, "at least 1");
    const auto bytes = files.bytes(w);
    require(static_cast<index_t>(bytes.size()) == n / 2 + n % 2, detail::place_of(files, w),
            concat(bytes.size(), " bytes"), n / 2 + n % 2, " for ", n, " weights");

    auto levels = files.read_vector<float>(w + ".quant_map");
    require(levels.size() == 16, w + ".quant_map", levels.size(), "16 levels");
    matrix<std::uint8_t> codes(shape[0], shape[1]);
    detail::nibbles_high_first::unpack(
        std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()), codes.values(),
        static_cast<std::size_t>(n));
    return op::codebook(codes, std::move(levels), block_size,
                        read_scales(files, w, state, where, n / block_size + (n % block_size != 0)));
  }
  static op::block_scales read_scales(const checkpoint& files, const std::string& w, const json& state,
                                      const std::string& where, index_t blocks) {
    const std::string absmax = w + ".absmax";
    detail::require_tensor_shape(files, absmax, {blocks});
    const bool nested = files.contains(w + ".nested_absmax");
    detail::require_dtype(files, absmax, nested ? dtype::u8 : dtype::f32);
    if (!nested) return op::block_scales::plain(detail::read_reals(files, absmax));
    const auto offset = get<float>(state, "nested_offset", where);
    require(std::isfinite(offset), where + ": nested_offset", offset, "a finite number");
    const auto block_size = get<index_t>(state, "nested_blocksize", where);
    detail::require_dtype(files, w + ".nested_absmax", dtype::f32);
    require(block_size >= 1, where + ": nested_blocksize", block_size, "at least 1");
    const auto codes = files.read_vector<std::uint8_t>(absmax);
    auto largest = detail::read_reals(files, w + ".nested_absmax");
    require(largest.size() == blocks / block_size + (blocks % block_size != 0),
            detail::place_of(files, w + ".nested_absmax"), largest.size(), "one value for each ", block_size,
            " of ", blocks, " blocks");
    const auto table = files.read_vector<float>(w + ".nested_quant_map");
    require(table.size() == 256, detail::place_of(files, w + ".nested_quant_map"), table.size(),
            "256 levels");
    return op::block_scales::from_table(codes, std::move(largest), offset, block_size, table);
  }
};

/// Writes codebooks of NF4's or FP4's levels whose scales are reals or dynamic codes. All linears have one
/// type of level, one block size and one kind of scale: the settings have room for no other.
class bitsandbytes_writer final : public linear_writer {
 public:
  /// @param dtype what the weights are decoded to, as torch calls it: "bfloat16"
  explicit bitsandbytes_writer(std::string dtype = "bfloat16") : dtype_(std::move(dtype)) {}

  std::string_view format() const override { return "bnb-nf4"; }
  ordered_json write(tensor_sink& out, const std::string& name, const op::any_operator& op) const override {
    const auto* c = op.as<op::codebook>();
    const bool nf4 = c != nullptr && c->levels() == normal_float(4).values();
    const bool fp4 = c != nullptr && c->levels() == bitsandbytes_fp4().values();
    if (!nf4 && !fp4) detail::refuse_operator(name, format(), op, "a codebook of NF4 or FP4");
    const auto& rule = c->scales().rule();
    const bool nested = rule.by_table();
    require(nested || (rule.coding == op::scale_coding::plain && is_wide_real(rule.type)),
            name + ": scale_coding", option_text<op::scale_coding>::format(rule.coding),
            "plain, dynamic or table: bitsandbytes stores no other");
    const index_t block = c->block_size();
    require(block >= 32 && block <= 4096 && (block & (block - 1)) == 0, name + ": block_size", block,
            "a power of two from 32 to 4096, as bitsandbytes has");
    const std::string w = name + ".weight", type = nf4 ? "nf4" : "fp4";
    const auto codes = c->codes();
    std::vector<std::uint8_t> packed(detail::nibbles_high_first::words(codes.values().size()));
    detail::nibbles_high_first::pack(codes.values(), packed);
    out.add_values<std::uint8_t>(w, {static_cast<index_t>(packed.size()), 1}, packed);
    out.add_values<float>(w + ".quant_map", {16}, c->levels());
    ordered_json state{
        {"quant_type", type}, {"blocksize", block}, {"dtype", dtype_}, {"shape", {c->rows(), c->cols()}}};
    std::vector<float> reals(static_cast<std::size_t>(c->scales().reals().size()));
    c->scales().reals().read(0, reals);
    if (nested) {
      out.add_values<std::uint8_t>(w + ".absmax", {c->scales().size()}, c->scales().codes());
      out.add_values<float>(w + ".nested_absmax", {static_cast<index_t>(reals.size())}, reals);
      out.add_values<float>(w + ".nested_quant_map", {256}, c->scales().levels());
      state["nested_blocksize"] = rule.block_size;
      state["nested_dtype"] = "float32";
      state["nested_offset"] = c->scales().offset();
    } else {
      out.add_values<float>(w + ".absmax", {c->scales().size()}, reals);
    }
    const std::string text = state.dump();
    out.add_values<std::uint8_t>(w + ".quant_state.bitsandbytes__" + type,
                                 {static_cast<index_t>(text.size())},
                                 std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
    return {{"quant_type", type}, {"double", nested}, {"block_size", block}};
  }
  ordered_json settings(const linear_notes& notes) const override {
    require(!notes.compressed.empty(), "bnb-nf4: linears", 0, "at least one that is quantized");
    const auto& [first, settings] = notes.compressed.front();
    for (const auto& [name, note] : notes.compressed)
      require(note == settings, name + ": form", note.dump(), settings.dump(), ", as of ", first,
              ": bitsandbytes' settings have one for all");
    const bool nested = settings["double"].get<bool>();
    return {
        {"quant_method", "bitsandbytes"},
        {"_load_in_4bit", true},
        {"_load_in_8bit", false},
        {"load_in_4bit", true},
        {"load_in_8bit", false},
        {"bnb_4bit_quant_type", settings["quant_type"]},
        {"bnb_4bit_use_double_quant", nested},
        {"bnb_4bit_compute_dtype", dtype_},
        {"bnb_4bit_quant_storage", "uint8"},
        {"llm_int8_enable_fp32_cpu_offload", false},
        {"llm_int8_has_fp16_weight", false},
        {"llm_int8_skip_modules", notes.dense.empty() ? ordered_json(nullptr) : ordered_json(notes.dense)},
        {"llm_int8_threshold", 6.0}};
  }

 private:
  std::string dtype_;
};

}  // namespace tersor::io
