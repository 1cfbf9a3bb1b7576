// tersor - rows of GGUF block types as reals, without including the decoders where they are precompiled
// SPDX-License-Identifier: MIT
#pragma once

#include <cassert>  // assert
#include <cstddef>  // std::byte
#include <span>     // std::span
#include <string>   // std::string

#include <tersor/core/ggml_type.hpp>

#if !defined(TERSOR_PRECOMPILED)
#include <tersor/op/every_ggml_decoder.hpp>
#endif

namespace tersor::op {

namespace detail {

#if defined(TERSOR_PRECOMPILED)
void decode_ggml_blocks(ggml_type type, std::span<const std::byte> blocks, std::span<float> out);
#else
inline void decode_ggml_blocks(ggml_type type, std::span<const std::byte> blocks, std::span<float> out) {
  decode_every_ggml(type, blocks, out);
}
#endif

}  // namespace detail

/// Can rows of this type be decoded? All that are stored in blocks can; F32, I8 and the like are not.
constexpr bool can_decode(ggml_type t) { return info(t).block > 1; }

/// Their names, as a message lists them.
inline std::string decodable_types() {
  std::string names;
  for (const auto& t : ggml_types)
    if (can_decode(t.type)) names.append(names.empty() ? "" : ", ").append(t.name);
  return names;
}

/// The values that ggml's own decoder gives, bit by bit. @param blocks whole blocks of a type that can be
/// decoded; @param out as many values as they hold.
inline void decode_ggml(ggml_type type, std::span<const std::byte> blocks, std::span<float> out) {
  [[maybe_unused]] const auto block = static_cast<std::size_t>(info(type).block);
  assert(can_decode(type) && out.size() % block == 0 &&
         blocks.size() == out.size() / block * static_cast<std::size_t>(info(type).bytes));
  detail::decode_ggml_blocks(type, blocks, out);
}

}  // namespace tersor::op
