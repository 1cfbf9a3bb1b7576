// tersor - pack-quantized linears of compressed-tensors: integers of 1 to 8 bits in words
// SPDX-License-Identifier: MIT
#pragma once

// weight_packed I32 [out, words], codes plus 2^(bits - 1), the first in the lowest bits; weight_shape I64
// [2]; weight_scale [out, groups], [out, 1] or [1]; weight_zero_point I32, packed along out; weight_g_idx I32
// [in]. Codes of 3, 5, 6 and 7 bits lie in one dense stream since version 0.17; before, a word held floor(32
// / bits) codes. The extent of weight_packed tells which; a row that fits both is an error.

#include <tersor/io/compressed_tensors_grid.hpp>
#include <tersor/op/quantized.hpp>

namespace tersor::io::detail {

/// @param version_says are words padded, where the shapes do not tell?
inline op::any_operator read_pack_quantized(const checkpoint& files, const std::string& name,
                                            const compressed_tensors_scheme& s,
                                            std::optional<bool> version_says) {
  require(!s.is_float, s.where + ": weights: type", "float", "\"int\" for pack-quantized");
  require(s.unit != scale_extent::block, s.where + ": weights: strategy", "block",
          "tensor, channel or group");
  const auto [out, in] = read_stored_shape(files, name + ".weight_shape");
  const std::string tensor = name + ".weight_packed";
  require_dtype(files, tensor, dtype::i32);
  const auto& e = files.entry(tensor);
  require(e.shape.size() == 2 && e.shape[0] == out, place_of(files, tensor), shape_text(e.shape), out,
          " rows, as weight_shape says");
  const bool padded = words_are_padded(s.bits, in, e.shape[1], version_says, place_of(files, tensor));
  // what the codes tell holds for the zero points too
  const bool told = dense_words(s.bits, in) != padded_words(s.bits, in);
  const auto known = told ? std::optional<bool>(padded) : version_says;
  const auto g = read_grid_scales(files, name + ".weight_scale", s, out, in);
  const auto zero = read_zero_points(files, name + ".weight_zero_point", s, g, 1 << (s.bits - 1), known);
  matrix<std::uint8_t> codes(out, in);
  std::vector<std::uint32_t> words(static_cast<std::size_t>(e.shape[1]));
  const auto* bytes = files.bytes(tensor).data();
  for (index_t r = 0; r < out; ++r) {
    std::memcpy(words.data(), bytes + static_cast<std::size_t>(r) * words.size() * 4, words.size() * 4);
    unpack_int32(s.bits, padded, words, codes.row(r));
  }
  auto g_idx = read_g_idx(files, name + ".weight_g_idx", s, g.group_size, in);
  return op::quantized(codes, op::affine_grid(s.bits, out, in, g.group_size, g.values.view(), zero.view(),
                                              g.type, std::move(g_idx)));
}

inline ordered_json write_pack_quantized(tensor_sink& out, const std::string& name, const op::quantized& q) {
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
  matrix<std::int32_t> packed(rows, dense_words(bits, cols));
  std::vector<std::uint32_t> words(static_cast<std::size_t>(packed.cols()));
  const auto codes = q.codes();
  for (index_t r = 0; r < rows; ++r) {
    pack_int32(bits, codes.row(r), words);
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
    matrix<std::int32_t> zeros(dense_words(bits, rows), groups);
    std::vector<std::uint32_t> column(static_cast<std::size_t>(zeros.rows()));
    std::vector<std::uint8_t> z(static_cast<std::size_t>(rows));
    for (index_t g = 0; g < groups; ++g) {
      for (index_t r = 0; r < rows; ++r)
        z[static_cast<std::size_t>(r)] = static_cast<std::uint8_t>(grid.zero_point(r, g));
      pack_int32(bits, z, column);
      for (index_t w = 0; w < zeros.rows(); ++w)
        zeros(w, g) = static_cast<std::int32_t>(column[static_cast<std::size_t>(w)]);
    }
    out.add_values(name + ".weight_zero_point", zeros);
  }
  return scheme_json("pack-quantized", bits, "int", symmetric,
                     tensor    ? "tensor"
                     : channel ? "channel"
                               : "group",
                     tensor || channel ? 0 : grid.group_size());
}

}  // namespace tersor::io::detail
