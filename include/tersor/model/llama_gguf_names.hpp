// tersor - names and row orders of Llama models in GGUF files
// SPDX-License-Identifier: MIT
#pragma once

// Names are those of ggml-org/llama.cpp (gguf-py/gguf/constants.py). Rows of queries and keys are in another
// order there: rotations turn channels 2i and 2i + 1 of a head, here i and i + head_dim / 2. Loading and
// saving permute whole rows, which changes no value.

#include <map>       // std::map
#include <optional>  // std::optional

#include <tersor/core/dtype.hpp>
#include <tersor/core/ggml_type.hpp>
#include <tersor/model/llama_config.hpp>

namespace tersor::model::detail {

/// The name in GGUF files of a tensor of `llama`: "model.layers.3.self_attn.q_proj.weight" is
/// "blk.3.attn_q.weight".
inline std::string gguf_name(const std::string& name) {
  static const std::map<std::string, std::string, std::less<>> parts{{"self_attn.q_proj", "attn_q"},
                                                                     {"self_attn.k_proj", "attn_k"},
                                                                     {"self_attn.v_proj", "attn_v"},
                                                                     {"self_attn.o_proj", "attn_output"},
                                                                     {"mlp.gate_proj", "ffn_gate"},
                                                                     {"mlp.up_proj", "ffn_up"},
                                                                     {"mlp.down_proj", "ffn_down"},
                                                                     {"input_layernorm", "attn_norm"},
                                                                     {"post_attention_layernorm", "ffn_norm"},
                                                                     {"model.embed_tokens", "token_embd"},
                                                                     {"model.norm", "output_norm"},
                                                                     {"lm_head", "output"}};
  const std::size_t dot = name.rfind('.');
  std::string body = name.substr(0, dot), block;
  constexpr std::string_view layers = "model.layers.";
  if (body.starts_with(layers)) {
    const std::size_t end = body.find('.', layers.size());
    block = concat("blk.", body.substr(layers.size(), end - layers.size()), ".");
    body.erase(0, end + 1);
  }
  return concat(block, parts.at(body), name.substr(dot));
}

/// For each row of a query or key weight as `llama` has it, its row in a GGUF file.
inline std::vector<std::int32_t> rotary_rows(index_t heads, index_t head_dim) {
  std::vector<std::int32_t> rows;
  for (index_t h = 0; h < heads; ++h)
    for (index_t half = 0; half < 2; ++half)
      for (index_t i = 0; i < head_dim / 2; ++i)
        rows.push_back(static_cast<std::int32_t>(h * head_dim + 2 * i + half));
  return rows;
}
/// Those of the rows of a linear (or its bias) if it is one of queries or keys, else none.
inline std::vector<std::int32_t> rotary_rows_of(const std::string& name, const llama_config& c) {
  if (name.find(".q_proj") != name.npos) return rotary_rows(c.num_attention_heads, c.head_dim);
  if (name.find(".k_proj") != name.npos) return rotary_rows(c.num_key_value_heads, c.head_dim);
  return {};
}

/// The type in which this library stores reals of a ggml type, if there is one.
inline std::optional<dtype> real_type(ggml_type t) {
  if (t == ggml_type::f32) return dtype::f32;
  if (t == ggml_type::f16) return dtype::f16;
  if (t == ggml_type::bf16) return dtype::bf16;
  return std::nullopt;
}

}  // namespace tersor::model::detail
