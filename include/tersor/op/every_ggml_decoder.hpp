// tersor - rows of every GGUF block type as reals
// SPDX-License-Identifier: MIT
#pragma once

#include <span>  // std::span

#include <tersor/op/ggml_codes.hpp>
#include <tersor/op/ggml_decode_iq.hpp>

namespace tersor::op::detail {

/// What `decode_ggml` does.
inline void decode_every_ggml(ggml_type type, std::span<const std::byte> blocks, std::span<float> out) {
  const auto& t = info(type);
  const auto block = static_cast<std::size_t>(t.block), bytes = static_cast<std::size_t>(t.bytes);
  const auto* coding = find_ggml_coding(type);
  const auto decode_points = find_grid_decoder(type);
  for (std::size_t b = 0; b < out.size() / block; ++b) {
    const std::byte* from = blocks.data() + b * bytes;
    float* to = out.data() + b * block;
    if (coding != nullptr)
      decode_coded_block(*coding, t.block, from, to);
    else
      decode_points(from, to);
  }
}

}  // namespace tersor::op::detail
