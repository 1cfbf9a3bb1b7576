// tersor - checkpoints of compressed-tensors (llm-compressor, vLLM): schemes and formats of linears
// SPDX-License-Identifier: MIT
#pragma once

// Settings: "quantization_config" of config.json with quant_method "compressed-tensors". A scheme (one of
// config_groups) holds for the linears that its targets name: "Linear" (all), a name, or "re:" and a regular
// expression for the beginning of one; names in `ignore` are dense. The tensors of a linear NAME by format:
//   pack-quantized        weight_packed I32 [out, words], codes plus 2^(bits - 1), the first in the lowest
//                         bits; weight_shape I64 [2]; weight_scale [out, groups], [out, 1] or [1];
//                         weight_zero_point I32, packed along out; weight_g_idx I32 [in]
//   int-quantized         weight I8 [out, in], weight_scale, weight_zero_point I8, input_scale
//   float-quantized       weight F8_E4M3 [out, in], weight_scale
//   nvfp4-pack-quantized  weight_packed U8 [out, in / 2], low nibble first; weight_scale F8_E4M3
//                         [out, in / 16]; weight_global_scale F32 [1], which divides
//   mxfp4-pack-quantized  weight_packed as in nvfp4; weight_scale U8 [out, in / 32], exponents plus 127
//   sparse-24-bitmask     shape I64 [2], compressed [out, in / 2], bitmask U8 [out, ceil(in / 8)]
// Codes of 3, 5, 6 and 7 bits lie in one dense stream since version 0.17; before, a word held floor(32 /
// bits) codes. The extent of weight_packed tells which; a row that fits both is an error.
// (compressed-tensors, src/compressed_tensors/compressors and quantization/quant_args.py)

#include <cmath>     // std::isfinite
#include <cstdlib>   // std::atoi
#include <optional>  // std::optional

#include <tersor/io/linear_layout.hpp>
#include <tersor/io/pattern.hpp>
#include <tersor/op/codebook.hpp>
#include <tersor/op/dense.hpp>
#include <tersor/op/quantized.hpp>
#include <tersor/op/scaled.hpp>
#include <tersor/op/sparse_nm.hpp>
#include <tersor/op/w8a8.hpp>

namespace tersor::io {

namespace detail {

/// E2M1 by code: the levels of NVFP4 and MXFP4.
inline std::vector<float> e2m1_levels() {
  return {0.0F,  0.5F,  1.0F,  1.5F,  2.0F,  3.0F,  4.0F,  6.0F,
          -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};
}

/// The words of a row of n codes: dense, and with floor(32 / bits) codes in each.
inline index_t dense_words(int bits, index_t n) { return n / 32 * bits + (n % 32 * bits + 31) / 32; }
inline index_t padded_words(int bits, index_t n) { return (n + 32 / bits - 1) / (32 / bits); }

/// Does a row of n codes in `words` words leave room between words? Where the width does not tell, `known`
/// does; without it that is an error that names `where`.
inline bool words_are_padded(int bits, index_t n, index_t words, std::optional<bool> known,
                             const std::string& where) {
  const index_t dense = dense_words(bits, n), padded = padded_words(bits, n);
  require(words == dense || words == padded, where, words, dense, " words for ", n, " codes of ", bits,
          " bits, or ", padded, " as before version 0.17");
  if (dense != padded) return words == padded;
  if (32 % bits == 0 || dense <= 1) return false;
  require(known.has_value(), where, words, "a width that tells its packing: ", n, " codes of ", bits,
          " bits have as many words dense as padded, and the settings give no version");
  return *known;
}

/// Unpacks n codes from `words`.
inline void unpack_int32(int bits, bool padded, std::span<const std::uint32_t> words,
                         std::span<std::uint8_t> codes) {
  with_width(bits, [&](auto w) {
    if (padded)
      bit_packing<w(), std::uint32_t, bit_order::low_first, straddle::no>::unpack(words, codes, codes.size());
    else
      bit_packing<w(), std::uint32_t>::unpack(words, codes, codes.size());
  });
}
inline void pack_int32(int bits, std::span<const std::uint8_t> codes, std::span<std::uint32_t> words) {
  with_width(bits, [&](auto w) { bit_packing<w(), std::uint32_t>::pack(codes, words); });
}

}  // namespace detail

/// Reads such linears: pack-quantized as `op::quantized`; int-quantized as `op::w8a8` where the scheme
/// quantizes activations in a way that it computes, else as `op::quantized`; float-quantized as `op::scaled`
/// of a dense one of 8 bits, in blocks as `op::codebook`; nvfp4 and mxfp4 as `op::codebook`; 2:4 as
/// `op::sparse_nm`. Activations of other kinds are not rounded: products run in float. NVFP4's values are
/// level * scale * (1 / weight_global_scale), which differs from the division by at most 2^-23 of itself.
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
    const auto groups = get<json>(settings, "config_groups", where_, json::object());
    for (const auto& item : groups.items())
      schemes_.push_back(scheme_of(item.value(), concat(where_, ": ", item.key()), format_));
  }

  std::string_view format() const override { return "compressed-tensors"; }
  bool holds(const checkpoint& files, const std::string& name) const override {
    return files.contains(name + ".weight_packed") || files.contains(name + ".weight_scale") ||
           files.contains(name + ".compressed") || files.contains(name + ".weight.compressed");
  }
  std::vector<std::string> linears(const checkpoint& files) const override {
    std::vector<std::string> result;
    for (auto& name : detail::stems(files, ".weight_scale")) result.push_back(std::move(name));
    for (auto& name : detail::stems(files, ".compressed")) {
      if (name.ends_with(".weight")) name.resize(name.size() - 7);
      if (!files.contains(name + ".weight_scale")) result.push_back(std::move(name));
    }
    return result;
  }
  std::vector<std::string> tensors(const checkpoint& files, const std::string& name) const override {
    auto result = detail::present(
        files, name,
        {".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point", ".weight_g_idx",
         ".weight_global_scale", ".input_scale", ".input_zero_point", ".input_global_scale", ".shape",
         ".compressed", ".bitmask", ".weight.shape", ".weight.compressed", ".weight.bitmask"});
    if (files.contains(name + ".weight_scale") && !files.contains(name + ".weight_packed"))
      result.push_back(name + ".weight");
    return result;
  }
  op::any_operator read(const checkpoint& files, const std::string& name) const override {
    for (const auto& pattern : ignore_)
      require(!names(pattern, name), concat(where_, ": ignore"), pattern, "no pattern that matches ", name,
              ", which is compressed");
    return detail::naming(concat(files.where(), ": ", name), [&] { return read_linear(files, name); });
  }

 private:
  enum class extent { tensor, channel, group, block };
  struct scheme {  // NOLINT(bugprone-exception-escape): moving a json does not throw
    std::string where, format;
    std::vector<std::string> targets;
    int bits = 8;
    bool is_float = false, symmetric = true;
    extent unit = extent::tensor;
    index_t group_size = -1;
    std::array<index_t, 2> block{};
    json activations;
  };

  static scheme scheme_of(const json& j, const std::string& where, const std::string& format) {
    scheme s;
    s.where = where;
    s.format = get<std::string>(j, "format", where, format);
    s.targets = get<std::vector<std::string>>(j, "targets", where);
    s.activations = get<json>(j, "input_activations", where, json());
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
    require(s.is_float ? s.bits == 4 || s.bits == 8 : s.bits >= 1 && s.bits <= 8, place + ": num_bits",
            s.bits, s.is_float ? "4 or 8 for floats" : "1 .. 8");
    s.symmetric = get<bool>(w, "symmetric", place, true);
    const auto dynamic = get<json>(w, "dynamic", place, json(false));
    require(dynamic == json(false), place + ": dynamic", json_text(dynamic), "false");
    const auto group_size = get<index_t>(w, "group_size", place, 0);
    const auto strategy = get<std::string>(w, "strategy", place,
                                           group_size > 0     ? "group"
                                           : group_size == -1 ? "channel"
                                                              : "tensor");
    if (strategy == "group" || strategy == "tensor_group") {
      require(group_size >= 1, place + ": group_size", group_size, "at least 1");
      s.unit = extent::group;
      s.group_size = group_size;
    } else if (strategy == "block") {
      s.unit = extent::block;
      const auto structure = get<std::vector<index_t>>(w, "block_structure", place);
      require(structure.size() == 2 && structure[0] >= 1 && structure[1] >= 1, place + ": block_structure",
              json_text(json(structure)), "two numbers, at least 1");
      s.block = {structure[0], structure[1]};
    } else {
      require(strategy == "channel" || strategy == "tensor", place + ": strategy", strategy,
              "\"tensor\", \"channel\", \"group\", \"tensor_group\" or \"block\"");
      s.unit = strategy == "channel" ? extent::channel : extent::tensor;
    }
    return s;
  }

  /// Does a target other than a class name `name`?
  bool names(const std::string& target, const std::string& name) const {
    if (!target.starts_with("re:")) return target == name;
    return matches(name, concat("(?:", target.substr(3), ").*"), where_);
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
                                         : target == "Linear";
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
      if (files.contains(concat(name, stem, ".compressed"))) {
        require(!files.contains(name + ".weight_scale"), name + ".compressed", "beside weight_scale",
                "reals: 2:4 positions with quantized values are not read");
        return read_sparse(files, name + stem);
      }
    const auto& s = scheme_of(name);
    if (s.format == "pack-quantized") return read_packed(files, name, s);
    if (s.format == "int-quantized" || (s.format == "naive-quantized" && !s.is_float))
      return read_int(files, name, s);
    if (s.format == "float-quantized" || (s.format == "naive-quantized" && s.is_float))
      return read_float(files, name, s);
    if (s.format == "nvfp4-pack-quantized" || s.format == "mxfp4-pack-quantized")
      return read_fp4(files, name, s, s.format == "nvfp4-pack-quantized");
    fail(s.where + ": format", s.format,
         "pack-quantized, int-quantized, float-quantized, nvfp4-pack-quantized or mxfp4-pack-quantized");
  }

  /// Groups of a linear, and their scales in the type of the file.
  struct grid_scales {
    index_t group_size, groups, units;
    dtype type;
    matrix<float> values;  ///< [units, groups]
  };
  static grid_scales read_scales(const checkpoint& files, const std::string& tensor, const scheme& s,
                                 index_t out, index_t in) {
    grid_scales g{};
    g.group_size = s.unit == extent::group ? s.group_size : std::max<index_t>(in, 1);
    g.groups = in / g.group_size + (in % g.group_size != 0);
    g.units = s.unit == extent::tensor ? 1 : out;
    const auto reals = detail::read_reals(files, tensor);
    g.type = reals.type();
    require_wide_real(g.type, detail::place_of(files, tensor));
    const auto& shape = files.entry(tensor).shape;
    const bool fits = s.unit == extent::tensor ? reals.size() == 1
                                               : shape == std::vector<index_t>{out, g.groups} ||
                                                     (g.groups == 1 && shape == std::vector<index_t>{out});
    require(fits, detail::place_of(files, tensor), detail::shape_text(shape),
            s.unit == extent::tensor ? std::string("one value")
                                     : detail::shape_text(std::vector<index_t>{out, g.groups}));
    g.values = matrix<float>(g.units, g.groups);
    reals.read(0, g.values.values());
    return g;
  }
  /// The stored zero points plus `offset`: packed along out, or plain. @param known are words padded?
  matrix<float> read_zeros(const checkpoint& files, const std::string& tensor, const scheme& s,
                           const grid_scales& g, int offset, std::optional<bool> known) const {
    matrix<float> zero(g.units, g.groups);
    for (float& z : zero.values()) z = static_cast<float>(offset);
    if (s.symmetric) return zero;
    const auto& e = files.entry(tensor);
    if (e.dtype == dtype::i32 && s.unit != extent::tensor) {
      require(e.shape.size() == 2 && e.shape[1] == g.groups, detail::place_of(files, tensor),
              detail::shape_text(e.shape), g.groups, " columns");
      const bool padded =
          detail::words_are_padded(s.bits, g.units, e.shape[0], known, detail::place_of(files, tensor));
      const auto words = files.read_matrix<std::int32_t>(tensor);
      std::vector<std::uint32_t> column(static_cast<std::size_t>(words.rows()));
      std::vector<std::uint8_t> codes(static_cast<std::size_t>(g.units));
      for (index_t k = 0; k < g.groups; ++k) {
        for (index_t w = 0; w < words.rows(); ++w)
          column[static_cast<std::size_t>(w)] = static_cast<std::uint32_t>(words(w, k));
        detail::unpack_int32(s.bits, padded, column, codes);
        for (index_t r = 0; r < g.units; ++r)
          zero(r, k) = static_cast<float>(codes[static_cast<std::size_t>(r)] + offset - (1 << (s.bits - 1)));
      }
      return zero;
    }
    const auto values = files.read_tensor<std::int32_t>(tensor);
    require(static_cast<index_t>(values.size()) == zero.size(), detail::place_of(files, tensor),
            detail::shape_text(e.shape), zero.size(), " zero points");
    for (std::size_t i = 0; i < values.size(); ++i) zero.values()[i] = static_cast<float>(values[i] + offset);
    return zero;
  }
  static std::array<index_t, 2> read_shape(const checkpoint& files, const std::string& tensor) {
    const auto shape = files.read_tensor<index_t>(tensor);
    constexpr index_t most = index_t{1} << 31;
    require(shape.size() == 2 && shape[0] >= 1 && shape[1] >= 1 && shape[0] <= most && shape[1] <= most,
            detail::place_of(files, tensor), json_text(json(shape)), "two extents from 1 to 2^31");
    return {shape[0], shape[1]};
  }

  op::any_operator read_packed(const checkpoint& files, const std::string& name, const scheme& s) const {
    require(!s.is_float, s.where + ": weights: type", "float", "\"int\" for pack-quantized");
    require(s.unit != extent::block, s.where + ": weights: strategy", "block", "tensor, channel or group");
    const auto [out, in] = read_shape(files, name + ".weight_shape");
    const std::string tensor = name + ".weight_packed";
    detail::require_dtype(files, tensor, dtype::i32);
    const auto& e = files.entry(tensor);
    require(e.shape.size() == 2 && e.shape[0] == out, detail::place_of(files, tensor),
            detail::shape_text(e.shape), out, " rows, as weight_shape says");
    const bool padded =
        detail::words_are_padded(s.bits, in, e.shape[1], padded_, detail::place_of(files, tensor));
    // what the codes tell holds for the zero points too
    const bool told = detail::dense_words(s.bits, in) != detail::padded_words(s.bits, in);
    const auto known = told ? std::optional<bool>(padded) : padded_;
    const auto g = read_scales(files, name + ".weight_scale", s, out, in);
    const auto zero = read_zeros(files, name + ".weight_zero_point", s, g, 1 << (s.bits - 1), known);
    matrix<std::uint8_t> codes(out, in);
    std::vector<std::uint32_t> words(static_cast<std::size_t>(e.shape[1]));
    const auto* bytes = files.bytes(tensor).data();
    for (index_t r = 0; r < out; ++r) {
      std::memcpy(words.data(), bytes + static_cast<std::size_t>(r) * words.size() * 4, words.size() * 4);
      detail::unpack_int32(s.bits, padded, words, codes.row(r));
    }
    std::vector<std::int32_t> g_idx;
    if (files.contains(name + ".weight_g_idx")) {
      g_idx = files.read_vector<std::int32_t>(name + ".weight_g_idx");
      // -1 in all places stands for groups in order
      bool in_order = true, unset = true;
      for (std::size_t j = 0; j < g_idx.size(); ++j) {
        in_order = in_order && g_idx[j] == static_cast<index_t>(j) / g.group_size;
        unset = unset && g_idx[j] == -1;
      }
      require(static_cast<index_t>(g_idx.size()) == in, name + ".weight_g_idx", g_idx.size(), in, " values");
      if (in_order || unset) g_idx.clear();
    }
    return op::quantized(codes, op::affine_grid(s.bits, out, in, g.group_size, g.values.view(), zero.view(),
                                                g.type, std::move(g_idx)));
  }

  op::any_operator read_int(const checkpoint& files, const std::string& name, const scheme& s) const {
    require(!s.is_float && s.unit != extent::block, s.where + ": weights", "floats or blocks",
            "integers per tensor, channel or group for int-quantized");
    const std::string tensor = name + ".weight";
    detail::require_dtype(files, tensor, dtype::i8);
    const auto values = files.read_matrix<std::int8_t>(tensor);
    const index_t out = values.rows(), in = values.cols();
    const auto g = read_scales(files, name + ".weight_scale", s, out, in);
    if (const auto unit = activation_unit(s); unit && s.symmetric && s.unit != extent::group) {
      float fixed = 0.0F;
      if (*unit == op::activation_unit::fixed_tensor) {
        const auto scale = detail::read_reals(files, name + ".input_scale");
        require(scale.size() == 1, name + ".input_scale", scale.size(), "one value");
        fixed = scale[0];
      }
      return op::w8a8(out, in, {values.values().begin(), values.values().end()},
                      {g.values.values().begin(), g.values.values().end()}, *unit, fixed);
    }
    const auto zero = read_zeros(files, name + ".weight_zero_point", s, g, 128, padded_);
    matrix<std::uint8_t> codes(out, in);
    for (index_t i = 0; i < values.size(); ++i)
      codes.data()[i] = static_cast<std::uint8_t>(values.data()[i] + 128);
    return op::quantized(codes,
                         op::affine_grid(8, out, in, g.group_size, g.values.view(), zero.view(), g.type));
  }
  /// How op::w8a8 quantizes the scheme's activations, if it does.
  static std::optional<op::activation_unit> activation_unit(const scheme& s) {
    const json& a = s.activations;
    if (a.is_null()) return std::nullopt;
    const std::string place = s.where + ": input_activations";
    const auto dynamic = get<json>(a, "dynamic", place, json(false));
    if (get<int>(a, "num_bits", place, 8) != 8 || get<std::string>(a, "type", place, "int") != "int" ||
        !get<bool>(a, "symmetric", place, true) || !dynamic.is_boolean())
      return std::nullopt;
    const auto strategy = get<std::string>(a, "strategy", place, dynamic.get<bool>() ? "token" : "tensor");
    if (strategy == "tensor")
      return dynamic.get<bool>() ? op::activation_unit::per_tensor : op::activation_unit::fixed_tensor;
    if (strategy == "token" && dynamic.get<bool>()) return op::activation_unit::per_token;
    return std::nullopt;
  }

  static op::any_operator read_float(const checkpoint& files, const std::string& name, const scheme& s) {
    require(s.is_float && s.bits == 8 && s.symmetric, s.where + ": weights", "other weights",
            "symmetric floats of 8 bits for float-quantized");
    const std::string tensor = name + ".weight";
    detail::require_dtype(files, tensor, dtype::f8_e4m3);
    const auto& e = files.entry(tensor);
    require(e.shape.size() == 2, detail::place_of(files, tensor), detail::shape_text(e.shape), "rank 2");
    const index_t out = e.shape[0], in = e.shape[1];
    if (s.unit == extent::tensor || s.unit == extent::channel) {
      const auto g = read_scales(files, name + ".weight_scale", s, out, in);
      real_array scale(g.type, out);
      for (index_t r = 0; r < out; ++r) scale.set(r, g.values(g.units == 1 ? 0 : r, 0));
      return op::scaled<>(op::dense(out, in, detail::read_reals(files, tensor)), std::move(scale), {});
    }
    // a codebook of the type's numbers; its blocks are runs of one row
    const index_t rows = s.unit == extent::block ? s.block[0] : 1,
                  cols = s.unit == extent::block ? s.block[1] : s.group_size;
    require(cols >= in || in % cols == 0, name + ": in_features", in, "a multiple of the block, ", cols);
    const index_t run = std::min(cols, in), groups = in / run;
    const auto stored = detail::read_reals(files, name + ".weight_scale");
    require_wide_real(stored.type(), name + ".weight_scale");
    detail::require_tensor_shape(files, name + ".weight_scale", {(out + rows - 1) / rows, groups});
    real_array scale(stored.type(), out * groups);
    for (index_t r = 0; r < out; ++r)
      for (index_t k = 0; k < groups; ++k) scale.set(r * groups + k, stored[r / rows * groups + k]);
    std::vector<float> levels(256);
    for (std::size_t i = 0; i < levels.size(); ++i) {
      const float x = f8_e4m3::from_bits(static_cast<std::uint8_t>(i));
      levels[i] = std::isnan(x) ? 0.0F : x;
    }
    detail::read_reals(files, tensor);  // an error where a code is none of a number
    const auto bytes = files.bytes(tensor);
    matrix<std::uint8_t> codes(out, in);
    std::memcpy(codes.data(), bytes.data(), bytes.size());
    return op::codebook(codes, std::move(levels), run, op::block_scales::plain(std::move(scale)));
  }

  static op::any_operator read_fp4(const checkpoint& files, const std::string& name, const scheme& s,
                                   bool nvidia) {
    const index_t block = nvidia ? 16 : 32;
    require(s.is_float && s.bits == 4 && s.symmetric && s.group_size == block, s.where + ": weights",
            "other weights", "symmetric floats of 4 bits in groups of ", block, " for ", s.format);
    const std::string tensor = name + ".weight_packed", scales = name + ".weight_scale";
    detail::require_dtype(files, tensor, dtype::u8);
    const auto packed = files.read_matrix<std::uint8_t>(tensor);
    const index_t out = packed.rows(), in = packed.cols() * 2;
    require(in % block == 0, detail::place_of(files, tensor), detail::shape_text(files.entry(tensor).shape),
            "rows of whole blocks of ", block);
    detail::require_tensor_shape(files, scales, {out, in / block});
    op::block_scales stored;
    if (nvidia) {
      detail::require_dtype(files, scales, dtype::f8_e4m3);
      const auto global = detail::read_reals(files, name + ".weight_global_scale");
      require(global.size() == 1 && global[0] > 0 && std::isfinite(1.0F / global[0]),
              name + ".weight_global_scale", global.size() == 1 ? global[0] : 0.0F, "one number > 0");
      stored = op::block_scales::factored(detail::read_reals(files, scales), 1.0F / global[0]);
    } else {
      const auto found = files.entry(scales).dtype;
      require(found == dtype::u8 || found == dtype::f8_e8m0, detail::place_of(files, scales),
              tersor::name(found), "U8 or F8_E8M0");
      real_array exponents(dtype::f8_e8m0, files.bytes(scales), nullptr);
      for (index_t i = 0; i < exponents.size(); ++i)
        require(std::isfinite(exponents[i]), concat(scales, "[", i, "]"), exponents[i], "a finite number");
      stored = op::block_scales::plain(std::move(exponents));
    }
    matrix<std::uint8_t> codes(out, in);
    for (index_t i = 0; i < packed.size(); ++i) {
      codes.data()[2 * i] = packed.data()[i] & 15U;
      codes.data()[2 * i + 1] = static_cast<std::uint8_t>(packed.data()[i] >> 4);
    }
    return op::codebook(codes, detail::e2m1_levels(), block, std::move(stored));
  }

  static op::any_operator read_sparse(const checkpoint& files, const std::string& name) {
    const auto [out, in] = read_shape(files, name + ".shape");
    require(in % 4 == 0, name + ".shape", in, "a multiple of 4 inputs");
    const std::string mask = name + ".bitmask", tensor = name + ".compressed";
    detail::require_dtype(files, mask, dtype::u8);
    detail::require_tensor_shape(files, mask, {out, (in + 7) / 8});
    detail::require_tensor_shape(files, tensor, {out, in / 2});
    const auto bits = files.read_matrix<std::uint8_t>(mask);
    auto values = detail::read_reals(files, tensor);
    matrix<std::uint8_t> kept(out, in);
    for (index_t r = 0; r < out; ++r)
      for (index_t j = 0; j < in; ++j) kept(r, j) = static_cast<std::uint8_t>(bits(r, j / 8) >> (j % 8) & 1);
    return op::sparse_nm(2, 4, kept, op::element_store(std::move(values)));
  }

  std::string where_, format_;
  std::optional<bool> padded_;  // where the settings have a version
  std::vector<std::string> ignore_;
  std::vector<scheme> schemes_;
};

/// Writes `op::quantized` as pack-quantized, `op::w8a8` as int-quantized, a dense operator of F8_E4M3 under
/// scales of its outputs as float-quantized, codebooks of E2M1 in blocks of 16 or 32 as NVFP4 or MXFP4.
/// Linears with the same scheme share a group. Not written: act-order (readers since August 2026 take no
/// notice of it), groups that do not divide the inputs.
class compressed_tensors_writer final : public linear_writer {
 public:
  std::string_view format() const override { return "compressed-tensors"; }
  ordered_json write(tensor_sink& out, const std::string& name, const op::any_operator& op) const override {
    if (const auto* q = op.as<op::quantized>()) return write_packed(out, name, *q);
    if (const auto* q = op.as<op::w8a8>()) return write_int(out, name, *q);
    if (const auto* s = op.as<op::scaled<>>())
      if (const auto* d = s->inner().as<op::dense>();
          d && d->values().type() == dtype::f8_e4m3 && !s->output_scale().empty() && s->input_scale().empty())
        return write_float(out, name, *s, *d);
    if (const auto* c = op.as<op::codebook>()) return write_fp4(out, name, *c, op);
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
      ordered_json group{{"targets", schemes.size() == 1 ? std::vector<std::string>{"Linear"} : names}};
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

 private:
  static ordered_json scheme(std::string_view format, int bits, std::string_view type, bool symmetric,
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
  static void add_reals(tensor_sink& out, std::string name, std::vector<index_t> shape, const real_array& r) {
    const auto bytes = r.bytes();
    out.add(std::move(name), r.type(), std::move(shape), std::vector<std::byte>(bytes.begin(), bytes.end()));
  }

  static ordered_json write_packed(tensor_sink& out, const std::string& name, const op::quantized& q) {
    const auto& grid = q.grid();
    const int bits = grid.bits(), half = 1 << (bits - 1);
    const index_t rows = q.rows(), cols = q.cols(), groups = grid.groups();
    require(grid.g_idx().empty(), name + ": g_idx", "present",
            "groups that are runs of inputs: readers take no notice of act-order; --to gptq keeps it");
    const bool tensor = grid.scales().size() == 1 && rows != 1, channel = !tensor && groups == 1;
    require(tensor || grid.scales().size() == rows * groups, name + ": scales", "one row for all",
            "one row of scales for each output");
    require(cols > 0 && rows > 0, name + ": shape", concat(rows, " x ", cols), "at least one weight");
    require(groups == 1 || cols % grid.group_size() == 0, name + ": in_features", cols,
            "a multiple of group_size, ", grid.group_size());
    matrix<std::int32_t> packed(rows, detail::dense_words(bits, cols));
    std::vector<std::uint32_t> words(static_cast<std::size_t>(packed.cols()));
    const auto codes = q.codes();
    for (index_t r = 0; r < rows; ++r) {
      detail::pack_int32(bits, codes.row(r), words);
      std::memcpy(packed.row(r).data(), words.data(), words.size() * 4);
    }
    out.add_values(name + ".weight_packed", packed);
    add_reals(out, name + ".weight_scale",
              tensor ? std::vector<index_t>{1} : std::vector<index_t>{rows, groups}, grid.scales());
    out.add_values<index_t>(name + ".weight_shape", {2}, std::array{rows, cols});
    const bool symmetric = !grid.has_zero_points() && grid.zero_point(0, 0) == half;
    if (!symmetric && tensor) {
      out.add_values<std::int8_t>(name + ".weight_zero_point", {1},
                                  std::array{static_cast<std::int8_t>(grid.zero_point(0, 0) - half)});
    } else if (!symmetric) {
      matrix<std::int32_t> zeros(detail::dense_words(bits, rows), groups);
      std::vector<std::uint32_t> column(static_cast<std::size_t>(zeros.rows()));
      std::vector<std::uint8_t> z(static_cast<std::size_t>(rows));
      for (index_t g = 0; g < groups; ++g) {
        for (index_t r = 0; r < rows; ++r)
          z[static_cast<std::size_t>(r)] = static_cast<std::uint8_t>(grid.zero_point(r, g));
        detail::pack_int32(bits, z, column);
        for (index_t w = 0; w < zeros.rows(); ++w)
          zeros(w, g) = static_cast<std::int32_t>(column[static_cast<std::size_t>(w)]);
      }
      out.add_values(name + ".weight_zero_point", zeros);
    }
    return scheme("pack-quantized", bits, "int", symmetric,
                  tensor    ? "tensor"
                  : channel ? "channel"
                            : "group",
                  tensor || channel ? 0 : grid.group_size());
  }

  static ordered_json write_int(tensor_sink& out, const std::string& name, const op::w8a8& q) {
    out.add_values<std::int8_t>(name + ".weight", {q.rows(), q.cols()}, q.codes());
    const bool tensor = q.scale().size() == 1 && q.rows() != 1;
    out.add_values<float>(name + ".weight_scale",
                          tensor ? std::vector<index_t>{1} : std::vector<index_t>{q.rows(), 1}, q.scale());
    const bool fixed = q.activations() == op::activation_unit::fixed_tensor,
               token = q.activations() == op::activation_unit::per_token;
    if (fixed) out.add_values<float>(name + ".input_scale", {1}, std::array{q.fixed_scale()});
    return scheme("int-quantized", 8, "int", true, tensor ? "tensor" : "channel", 0,
                  {{"num_bits", 8},
                   {"type", "int"},
                   {"symmetric", true},
                   {"strategy", token ? "token" : "tensor"},
                   {"dynamic", !fixed}});
  }

  static ordered_json write_float(tensor_sink& out, const std::string& name, const op::scaled<>& s,
                                  const op::dense& d) {
    add_reals(out, name + ".weight", {d.rows(), d.cols()}, d.values());
    add_reals(out, name + ".weight_scale", {d.rows(), 1}, s.output_scale());
    return scheme(
        "float-quantized", 8, "float", true, "channel", 0,
        {{"num_bits", 8}, {"type", "float"}, {"symmetric", true}, {"strategy", "token"}, {"dynamic", true}});
  }

  ordered_json write_fp4(tensor_sink& out, const std::string& name, const op::codebook& c,
                         const op::any_operator& op) const {
    const auto& rule = c.scales().rule();
    const bool nvidia =
        c.block_size() == 16 && rule.coding == op::scale_coding::factored && rule.type == dtype::f8_e4m3;
    const bool mx =
        c.block_size() == 32 && rule.coding == op::scale_coding::plain && rule.type == dtype::f8_e8m0;
    if (c.levels() != detail::e2m1_levels() || !(nvidia || mx) || c.cols() % c.block_size() != 0)
      detail::refuse_operator(name, format(), op,
                              "a codebook of E2M1 in blocks that divide the inputs, MXFP4 or NVFP4");
    const auto codes = c.codes();
    matrix<std::uint8_t> packed(c.rows(), c.cols() / 2);
    for (index_t i = 0; i < packed.size(); ++i)
      packed.data()[i] = static_cast<std::uint8_t>(codes.data()[2 * i] | codes.data()[2 * i + 1] << 4);
    out.add_values(name + ".weight_packed", packed);
    const std::vector<index_t> shape{c.rows(), c.cols() / c.block_size()};
    const auto bytes = c.scales().reals().bytes();
    out.add(name + ".weight_scale", nvidia ? dtype::f8_e4m3 : dtype::u8, shape,
            std::vector<std::byte>(bytes.begin(), bytes.end()));
    if (nvidia)
      out.add_values<float>(name + ".weight_global_scale", {1},
                            std::array{reciprocal(c.scales().factor(), name)});
    return scheme(nvidia ? "nvfp4-pack-quantized" : "mxfp4-pack-quantized", 4, "float", true,
                  nvidia ? "tensor_group" : "group", c.block_size());
  }
  /// The number whose reciprocal is `factor`, or comes nearest to it.
  static float reciprocal(float factor, const std::string& name) {
    const float middle = 1.0F / factor;
    require(factor > 0 && std::isfinite(middle), name + ": factor of scales", factor, "a number > 0");
    float best = middle;
    for (const float x : {std::nextafter(middle, 0.0F), std::nextafter(middle, 2 * middle)})
      if (std::fabs(1.0F / x - factor) < std::fabs(1.0F / best - factor)) best = x;
    return best;
  }
};

}  // namespace tersor::io
