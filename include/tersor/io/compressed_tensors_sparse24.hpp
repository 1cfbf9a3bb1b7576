// tersor - sparse-24-bitmask linears of compressed-tensors: two of four reals kept
// SPDX-License-Identifier: MIT
#pragma once

// shape I64 [2]; compressed [out, in / 2], a row's kept values in order; bitmask U8 [out, ceil(in / 8)], the
// first column in the lowest bit

#include <tersor/io/compressed_tensors_grid.hpp>
#include <tersor/op/sparse_nm.hpp>

namespace tersor::io::detail {

inline op::any_operator read_sparse24(const checkpoint& files, const std::string& name) {
  const auto [out, in] = read_stored_shape(files, name + ".shape");
  require(in % 4 == 0, name + ".shape", in, "a multiple of 4 inputs");
  const std::string mask = name + ".bitmask", tensor = name + ".compressed";
  require_dtype(files, mask, dtype::u8);
  require_tensor_shape(files, mask, {out, (in + 7) / 8});
  require_tensor_shape(files, tensor, {out, in / 2});
  const auto bits = files.read_matrix<std::uint8_t>(mask);
  auto values = read_reals(files, tensor);
  matrix<std::uint8_t> kept(out, in);
  for (index_t r = 0; r < out; ++r)
    for (index_t j = 0; j < in; ++j) kept(r, j) = static_cast<std::uint8_t>(bits(r, j / 8) >> (j % 8) & 1);
  return op::sparse_nm(2, 4, kept, op::element_store(std::move(values)));
}

}  // namespace tersor::io::detail
