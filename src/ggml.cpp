// tersor - decoding of GGUF block types, compiled once
// SPDX-License-Identifier: MIT
#include <tersor/op/every_ggml_decoder.hpp>
#include <tersor/op/ggml_decode.hpp>

namespace tersor::op::detail {

void decode_ggml_blocks(ggml_type type, std::span<const std::byte> blocks, std::span<float> out) {
  decode_every_ggml(type, blocks, out);
}

}  // namespace tersor::op::detail
