// tersor - rounding blocks of weights to levels scaled by the largest magnitude of each block
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/codebook.hpp>

namespace tersor::solve {

/// Levels in [-1, 1] for blocks of `block_size` weights, whose largest magnitudes are stored by `scales`.
struct codebook_rule {
  level_table levels;
  index_t block_size = 64;
  op::scale_rule scales{};
};

/// The largest magnitude of each run of `block_size` entries of w, row-major; the last run may be shorter.
inline std::vector<float> block_maxima(const matrix<float>& w, index_t block_size) {
  std::vector<float> m(static_cast<std::size_t>((w.size() + block_size - 1) / block_size));
  for (index_t i = 0; i < w.size(); ++i) {
    float& most = m[static_cast<std::size_t>(i / block_size)];
    most = std::max(most, std::abs(w.data()[i]));
  }
  return m;
}

/// Each weight of w [out, in] as the nearest level times its block's scale. Codes are chosen with the exact
/// maximum of the block where the stored one is dynamically coded, as QLoRA does, and with the stored one
/// otherwise. One pass.
inline op::codebook quantize_to_levels(const matrix<float>& w, const codebook_rule& rule,
                                       const context& ctx = {}) {
  require(rule.block_size >= 1, "quantize_to_levels: block_size", rule.block_size, "at least 1");
  auto maxima = block_maxima(w, rule.block_size);
  op::block_scales scales(maxima, rule.scales);
  if (rule.scales.coding != op::scale_coding::dynamic) scales.read(0, maxima);
  matrix<std::uint8_t> codes(w.rows(), w.cols());
  parallel_chunks(w.size(), 1 << 16, ctx, [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i) {
      const float most = std::max(maxima[static_cast<std::size_t>(i / rule.block_size)], 1e-38F);
      codes.data()[i] = rule.levels.code(w.data()[i] / most);
    }
  });
  return op::codebook(codes, rule.levels.values(), rule.block_size, std::move(scales));
}

}  // namespace tersor::solve
