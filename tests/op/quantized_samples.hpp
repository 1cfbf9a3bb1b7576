// tersor - random codes and grids of every kind
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/affine_grid.hpp>

#include "operator_checks.hpp"

namespace tersor_test {

struct grid_kind {
  int bits = 4;
  index_t group_size = 8;
  bool same_zero = false, whole_tensor = false,
       scattered = false;  // one zero point; one row of scales; g_idx
  dtype scale_type = dtype::f16;
};

struct grid_sample {
  matrix<float> scale, zero;
  std::vector<std::int32_t> g_idx;
  op::affine_grid grid;
};

inline grid_sample random_grid(index_t rows, index_t cols, const grid_kind& k, std::uint64_t seed) {
  tersor::random_generator g(seed);
  const index_t units = k.whole_tensor ? 1 : rows, groups = (cols + k.group_size - 1) / k.group_size;
  grid_sample s{matrix<float>(units, groups), matrix<float>(units, groups), {}, {}};
  for (float& v : s.scale.values()) v = static_cast<float>(0.01 + g.uniform());
  const float shared = static_cast<float>(g.uniform_index(1u << k.bits));
  for (float& v : s.zero.values())
    v = k.same_zero ? shared : static_cast<float>(g.uniform_index(1u << k.bits));
  if (k.scattered)
    for (index_t j = 0; j < cols; ++j)
      s.g_idx.push_back(static_cast<std::int32_t>(g.uniform_index(static_cast<std::uint64_t>(groups))));
  s.grid =
      op::affine_grid(k.bits, rows, cols, k.group_size, s.scale.view(), s.zero.view(), k.scale_type, s.g_idx);
  return s;
}

/// Bytes of the grid by the formula of its documentation.
inline std::size_t grid_bytes(const grid_sample& s, const grid_kind& k) {
  const auto count = static_cast<std::size_t>(s.scale.size());
  const bool constant =
      std::ranges::all_of(s.zero.values(), [&](float z) { return z == s.zero.values()[0]; });
  return count * (k.scale_type == dtype::f32 ? 4 : 2) +
         (constant ? 0 : (count * static_cast<std::size_t>(k.bits) + 7) / 8) + 4 * s.g_idx.size();
}

inline std::vector<std::uint8_t> random_codes(index_t count, int bits, std::uint64_t seed) {
  tersor::random_generator g(seed);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(count));
  for (auto& c : codes) c = static_cast<std::uint8_t>(g.uniform_index(1u << bits));
  return codes;
}

/// The value that a code at (r, j) stands for.
inline float grid_value(const grid_sample& s, const grid_kind& k, index_t r, index_t j, std::uint8_t code) {
  const index_t u = k.whole_tensor ? 0 : r;
  const index_t g = s.g_idx.empty() ? j / k.group_size : s.g_idx[static_cast<std::size_t>(j)];
  return tersor::round_to(k.scale_type, s.scale(u, g)) * (static_cast<float>(code) - s.zero(u, g));
}

/// Calls f(kind) for every width and every kind of grid.
template <class F>
void for_each_grid_kind(F&& f) {
  for (int bits = 1; bits <= 8; ++bits)
    for (const bool same_zero : {false, true})
      for (const bool whole_tensor : {false, true})
        for (const bool scattered : {false, true})
          f(grid_kind{bits, bits % 2 == 0 ? 8 : 5, same_zero, whole_tensor, scattered,
                      bits % 3 == 0   ? dtype::f32
                      : bits % 3 == 1 ? dtype::f16
                                      : dtype::bf16});
}

}  // namespace tersor_test
