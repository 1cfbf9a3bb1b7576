// tersor - FP4 linears of compressed-tensors: NVFP4 and MXFP4 in packed nibbles
// SPDX-License-Identifier: MIT
#pragma once

//   nvfp4-pack-quantized  weight_packed U8 [out, in / 2], low nibble first; weight_scale F8_E4M3
//                         [out, in / 16]; weight_global_scale F32 [1], which divides
//   mxfp4-pack-quantized  weight_packed as in nvfp4; weight_scale U8 [out, in / 32], exponents plus 127

#include <cmath>  // std::isfinite

#include <tersor/io/compressed_tensors_grid.hpp>
#include <tersor/op/codebook.hpp>

namespace tersor::io::detail {

/// E2M1 by code: the levels of NVFP4 and MXFP4.
inline std::vector<float> e2m1_levels() {
  return {0.0F,  0.5F,  1.0F,  1.5F,  2.0F,  3.0F,  4.0F,  6.0F,
          -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};
}

inline op::any_operator read_fp4(const checkpoint& files, const std::string& name,
                                 const compressed_tensors_scheme& s, bool nvidia) {
  const index_t block = nvidia ? 16 : 32;
  require(s.is_float && s.bits == 4 && s.symmetric && s.group_size == block, s.where + ": weights",
          "other weights", "symmetric floats of 4 bits in groups of ", block, " for ", s.format);
  const std::string tensor = name + ".weight_packed", scales = name + ".weight_scale";
  require_dtype(files, tensor, dtype::u8);
  const auto packed = files.read_matrix<std::uint8_t>(tensor);
  const index_t out = packed.rows(), in = packed.cols() * 2;
  require(in % block == 0, place_of(files, tensor), shape_text(files.entry(tensor).shape),
          "rows of whole blocks of ", block);
  require_tensor_shape(files, scales, {out, in / block});
  require(read_g_idx(files, name + ".weight_g_idx", s, block, in).empty(), name + ".weight_g_idx", "present",
          "groups that are runs of inputs");
  op::block_scales stored;
  if (nvidia) {
    require_dtype(files, scales, dtype::f8_e4m3);
    const auto global = read_reals(files, name + ".weight_global_scale");
    require(global.size() == 1 && global[0] > 0 && std::isfinite(1.0F / global[0]),
            name + ".weight_global_scale", global.size() == 1 ? global[0] : 0.0F, "one number > 0");
    stored = op::block_scales::factored(read_reals(files, scales), 1.0F / global[0]);
  } else {
    const auto found = files.entry(scales).dtype;
    require(found == dtype::u8 || found == dtype::f8_e8m0, place_of(files, scales), tersor::name(found),
            "U8 or F8_E8M0");
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
  return op::codebook(codes, e2m1_levels(), block, std::move(stored));
}

/// The number whose reciprocal is `factor`, or comes nearest to it.
inline float reciprocal(float factor, const std::string& name) {
  const float middle = 1.0F / factor;
  require(factor > 0 && std::isfinite(middle), name + ": factor of scales", factor, "a number > 0");
  float best = middle;
  for (const float x : {std::nextafter(middle, 0.0F), std::nextafter(middle, 2 * middle)})
    if (std::fabs(1.0F / x - factor) < std::fabs(1.0F / best - factor)) best = x;
  return best;
}

inline ordered_json write_fp4(tensor_sink& out, const std::string& name, const op::codebook& c,
                              const op::any_operator& op, std::string_view format) {
  const auto& rule = c.scales().rule();
  const bool nvidia =
      c.block_size() == 16 && rule.coding == op::scale_coding::factored && rule.type == dtype::f8_e4m3;
  const bool mx =
      c.block_size() == 32 && rule.coding == op::scale_coding::plain && rule.type == dtype::f8_e8m0;
  if (c.levels() != e2m1_levels() || !(nvidia || mx) || c.cols() % c.block_size() != 0)
    refuse_operator(name, format, op, "a codebook of E2M1 in blocks that divide the inputs, MXFP4 or NVFP4");
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
  return scheme_json(nvidia ? "nvfp4-pack-quantized" : "mxfp4-pack-quantized", 4, "float", true,
                     nvidia ? "tensor_group" : "group", c.block_size());
}

}  // namespace tersor::io::detail
