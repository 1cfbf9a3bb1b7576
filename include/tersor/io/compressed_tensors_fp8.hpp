// tersor - float-quantized linears of compressed-tensors: E4M3 under scales
// SPDX-License-Identifier: MIT
#pragma once

// weight F8_E4M3 [out, in]; weight_scale [1], [out, 1], [out, groups] or, of blocks, [ceil(out / rows),
// groups]; weight_g_idx I32 [in]

#include <cmath>    // std::isnan
#include <cstring>  // std::memcmp
#include <numeric>  // std::gcd, std::iota

#include <tersor/io/compressed_tensors_grid.hpp>
#include <tersor/op/codebook.hpp>
#include <tersor/op/dense.hpp>
#include <tersor/op/permuted.hpp>
#include <tersor/op/scaled.hpp>

namespace tersor::io::detail {

/// E4M3 by code; the two codes of NaN, which are refused, stand for 0.
inline std::vector<float> e4m3_levels() {
  std::vector<float> levels(256);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const float x = f8_e4m3::from_bits(static_cast<std::uint8_t>(i));
    levels[i] = std::isnan(x) ? 0.0F : x;
  }
  return levels;
}

/// The columns in the order of their groups, of `run` columns each.
inline std::vector<std::int32_t> columns_by_group(const std::vector<std::int32_t>& g_idx, index_t run,
                                                  const std::string& tensor) {
  std::vector<std::int32_t> columns(g_idx.size());
  std::iota(columns.begin(), columns.end(), 0);
  const auto group = [&](std::int32_t column) { return g_idx[static_cast<std::size_t>(column)]; };
  std::ranges::stable_sort(columns, {}, group);
  for (std::size_t j = 0; j < columns.size(); ++j)
    require(group(columns[j]) == static_cast<index_t>(j) / run, tensor, group(columns[j]), run,
            " inputs in each group");
  return columns;
}

/// One scale for the tensor, or for each output.
inline op::any_operator read_float_rows(const checkpoint& files, const std::string& name,
                                        const compressed_tensors_scheme& s, index_t out, index_t in) {
  const auto g = read_grid_scales(files, name + ".weight_scale", s, out, in);
  read_g_idx(files, name + ".weight_g_idx", s, g.group_size, in);  // one group: an error if it has others
  real_array scale(g.type, out);
  for (index_t r = 0; r < out; ++r) scale.set(r, g.values(g.units == 1 ? 0 : r, 0));
  return op::scaled<>(op::dense(out, in, read_reals(files, name + ".weight")), std::move(scale), {});
}

/// One scale for each block, as a codebook of the type's numbers whose blocks are runs of one row.
inline op::any_operator read_float_blocks(const checkpoint& files, const std::string& name,
                                          const compressed_tensors_scheme& s, index_t out, index_t in) {
  const std::string scales = name + ".weight_scale", groups_of = name + ".weight_g_idx";
  const index_t rows = s.unit == scale_extent::block ? s.block[0] : 1,
                cols = s.unit == scale_extent::block ? s.block[1] : s.group_size;
  require(cols >= in || in % cols == 0, name + ": in_features", in, "a multiple of the block, ", cols);
  const index_t run = std::min(cols, in), groups = in / run;
  const auto stored = read_reals(files, scales);
  require_wide_real(stored.type(), scales);
  require_tensor_shape(files, scales, {(out - 1) / rows + 1, groups});
  real_array scale(stored.type(), out * groups);
  for (index_t r = 0; r < out; ++r)
    for (index_t k = 0; k < groups; ++k) scale.set(r * groups + k, stored[r / rows * groups + k]);
  read_reals(files, name + ".weight");  // an error where a code is none of a number
  const auto bytes = files.bytes(name + ".weight");
  const auto g_idx = read_g_idx(files, groups_of, s, run, in);
  auto columns = columns_by_group(g_idx, run, groups_of);
  matrix<std::uint8_t> codes(out, in);
  for (index_t r = 0; r < out; ++r)
    for (index_t j = 0; j < in; ++j) {
      const index_t column = columns.empty() ? j : columns[static_cast<std::size_t>(j)];
      codes(r, j) = std::to_integer<std::uint8_t>(bytes[static_cast<std::size_t>(r * in + column)]);
    }
  op::codebook op(codes, e4m3_levels(), run, op::block_scales::plain(std::move(scale)));
  if (columns.empty()) return op;
  return op::permuted<>(std::move(op), std::move(columns));
}

inline op::any_operator read_float_quantized(const checkpoint& files, const std::string& name,
                                             const compressed_tensors_scheme& s) {
  require(s.is_float && s.bits == 8 && s.symmetric, s.where + ": weights", "other weights",
          "symmetric floats of 8 bits for float-quantized");
  const std::string tensor = name + ".weight";
  require_dtype(files, tensor, dtype::f8_e4m3);
  const auto& shape = files.entry(tensor).shape;
  require(shape.size() == 2, place_of(files, tensor), shape_text(shape), "rank 2");
  const bool rows = s.unit == scale_extent::tensor || s.unit == scale_extent::channel;
  return rows ? read_float_rows(files, name, s, shape[0], shape[1])
              : read_float_blocks(files, name, s, shape[0], shape[1]);
}

inline ordered_json write_float_quantized(tensor_sink& out, const std::string& name, const op::scaled<>& s,
                                          const op::dense& d) {
  add_reals(out, name + ".weight", {d.rows(), d.cols()}, d.values());
  add_reals(out, name + ".weight_scale", {d.rows(), 1}, s.output_scale());
  return scheme_json("float-quantized", 8, "float", true, "channel", 0);
}

/// The height of blocks that scales [rows, groups] can be those of: `preferred` if that is one, else the
/// largest; 1: none.
inline index_t block_height(const real_array& scale, index_t rows, index_t groups, index_t preferred) {
  const auto row = static_cast<std::size_t>(groups * bits_of(scale.type()) / 8);
  const auto* bytes = scale.bytes().data();
  index_t height = 0;  // divides every row where the scales change
  for (index_t r = 1; r < rows; ++r, bytes += row)
    if (std::memcmp(bytes, bytes + row, row) != 0) height = std::gcd(height, r);
  return height % preferred == 0 ? preferred : height;
}

/// A codebook of E4M3 under scales of runs of its rows, which may be those of blocks.
inline ordered_json write_float_quantized(tensor_sink& out, const std::string& name, const op::codebook& c) {
  const index_t rows = c.rows(), cols = c.cols(), run = c.block_size(), groups = cols / run;
  const auto& rule = c.scales().rule();
  require(rule.coding == op::scale_coding::plain && is_wide_real(rule.type), name + ": scales",
          tersor::name(rule.type), "F32, F16 or BF16 for each block, for FP8");
  require(cols % run == 0, name + ": in_features", cols, "a multiple of the block, ", run);
  const auto codes = c.codes();
  for (const std::uint8_t code : codes.values())
    require((code & 0x7fU) != 0x7fU, name + ": code", static_cast<int>(code), "one of a number, not NaN");
  out.add(name + ".weight", dtype::f8_e4m3, {rows, cols},
          std::vector<std::byte>(std::as_bytes(codes.values()).begin(), std::as_bytes(codes.values()).end()));
  const auto& scale = c.scales().reals();
  const index_t height = block_height(scale, rows, groups, run);
  if (height == 1) {
    add_reals(out, name + ".weight_scale", {rows, groups}, scale);
    return scheme_json("float-quantized", 8, "float", true, "group", run);
  }
  const index_t lines = (rows + height - 1) / height;
  real_array of_blocks(scale.type(), lines * groups);
  for (index_t i = 0; i < lines * groups; ++i)
    of_blocks.set(i, scale[i / groups * height * groups + i % groups]);
  add_reals(out, name + ".weight_scale", {lines, groups}, of_blocks);
  auto note = scheme_json("float-quantized", 8, "float", true, "block", 0);
  note["weights"]["block_structure"] = {height, run};
  return note;
}

}  // namespace tersor::io::detail
