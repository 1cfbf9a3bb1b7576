// tersor - Llama models in GGUF files, loaded in place
// SPDX-License-Identifier: MIT
#pragma once

// Keys are those of ggml-org/llama.cpp (gguf-py/gguf/constants.py, src/llama-model.cpp).

#include <cmath>  // std::isfinite
#include <set>    // std::set

#include <tersor/io/gguf_tokenizer.hpp>
#include <tersor/model/llama.hpp>
#include <tersor/model/llama_gguf_names.hpp>
#include <tersor/op/ggml_blocks.hpp>

namespace tersor::model {

namespace detail {

/// Llama 3 stretches its long wavelengths; a file holds the divisors alone, its config.json how they are
/// made.
inline io::json llama3_scaling(double factor, double original) {
  return {{"rope_type", "llama3"},
          {"factor", factor},
          {"low_freq_factor", 1.0},
          {"high_freq_factor", 4.0},
          {"original_max_position_embeddings", original}};
}

/// What a GGUF file says of a model, read as config.json.
class gguf_config {
 public:
  explicit gguf_config(const io::gguf_file& file)
      : file_(file),
        where_(file.path().string()),
        architecture_(file.get<std::string>("general.architecture")) {
    require(architecture_ == "llama" || architecture_ == "qwen2", where_ + ": general.architecture",
            architecture_, "\"llama\" or \"qwen2\", which this library computes");
  }
  /// Are rows of queries and keys in the order of interleaved rotations?
  bool interleaved() const { return architecture_ == "llama"; }

  io::json json() const {
    const auto experts = number<index_t>("expert_count", 0);
    require(experts == 0, key("expert_count"), experts, "0: this decoder has no mixture of experts");
    const auto hidden = file_.get<index_t>(full("embedding_length"));
    const auto heads = file_.get<index_t>(full("attention.head_count"));
    require(heads > 0, key("attention.head_count"), heads, "at least 1");
    const auto head_dim = number<index_t>("attention.key_length", hidden / heads);
    require(head_dim > 0 && head_dim % 2 == 0, key("attention.key_length"), head_dim, "an even number");
    const auto value_dim = number<index_t>("attention.value_length", head_dim);
    require(value_dim == head_dim, key("attention.value_length"), value_dim, head_dim,
            ", attention.key_length");
    const auto rotated = number<index_t>("rope.dimension_count", head_dim);
    require(rotated == head_dim, key("rope.dimension_count"), rotated, head_dim,
            ": all channels of a head are rotated");
    const auto& table = file_.tensor("token_embd.weight");
    require(table.shape.size() == 2, concat(where_, ": token_embd.weight: rank"), table.shape.size(), 2);
    io::json c{{"architectures", {"LlamaForCausalLM"}},
               {"model_type", "llama"},
               {"hidden_act", "silu"},
               {"hidden_size", hidden},
               {"intermediate_size", file_.get<index_t>(full("feed_forward_length"))},
               {"num_hidden_layers", file_.get<index_t>(full("block_count"))},
               {"num_attention_heads", heads},
               {"num_key_value_heads", number<index_t>("attention.head_count_kv", heads)},
               {"head_dim", head_dim},
               {"vocab_size", table.shape[0]},
               {"max_position_embeddings", file_.get<index_t>(full("context_length"))},
               {"rms_norm_eps", file_.get<float>(full("attention.layer_norm_rms_epsilon"))},
               {"rope_theta", number<float>("rope.freq_base", 10000.0F)},
               {"tie_word_embeddings", !file_.contains("output.weight")},
               {"attention_bias", file_.contains("blk.0.attn_q.bias")},
               {"mlp_bias", file_.contains("blk.0.ffn_up.bias")},
               {"bos_token_id", io::bos_token_id(file_)},
               {"eos_token_id", io::eos_token_id(file_)}};
    for (const char* token : {"bos_token_id", "eos_token_id"})
      if (c[token] == -1) c[token] = nullptr;
    if (const auto s = scaling(c); !s.is_null()) c["rope_scaling"] = s;
    return c;
  }

  /// What the frequencies theta^(-2i / head_dim) are divided by, [head_dim / 2]; nothing if by nothing.
  std::vector<float> divisors(index_t head_dim) const {
    const float all = linear_divisor();
    const auto pairs = static_cast<std::size_t>(head_dim / 2);
    if (!file_.contains("rope_freqs.weight"))
      return all == 1.0F ? std::vector<float>() : std::vector<float>(pairs, all);
    const auto& t = file_.tensor("rope_freqs.weight");
    const std::string place = where_ + ": rope_freqs.weight";
    require(t.type == ggml_type::f32, place + ": type", name(t.type), "F32");
    require(t.shape == std::vector<index_t>{head_dim / 2}, place, concat(t.size, " bytes"), head_dim / 2,
            " values");
    std::vector<float> divisors(pairs);
    std::memcpy(divisors.data(), file_.bytes(t.name).data(), static_cast<std::size_t>(t.size));
    for (float& d : divisors) {
      require(d > 0 && std::isfinite(d), place, d, "positive numbers");
      d *= all;
    }
    return divisors;
  }

 private:
  std::string full(const char* part) const { return concat(architecture_, ".", part); }
  std::string key(const char* part) const { return concat(where_, ": ", full(part)); }
  template <class T>
  T number(const char* part, T fallback) const {
    return file_.get<T>(full(part), fallback);
  }

  /// One divisor of all frequencies. As in llama.cpp a file without a type means "linear", 0 means 1, and
  /// "rope.scale_linear" is the older name.
  float linear_divisor() const {
    const auto type = file_.get<std::string>(full("rope.scaling.type"), "linear");
    require(type == "none" || type == "linear", key("rope.scaling.type"), type, "\"none\" or \"linear\"");
    if (type == "none") return 1.0F;
    const auto factor = number<float>("rope.scaling.factor", number<float>("rope.scale_linear", 1.0F));
    require(factor >= 0 && std::isfinite(factor), key("rope.scaling.factor"), factor, "a positive number");
    return factor == 0.0F ? 1.0F : factor;
  }
  /// rope_scaling of a config; null for none.
  io::json scaling(const io::json& config) const {
    const auto head_dim = config["head_dim"].get<index_t>();
    const auto by = divisors(head_dim);
    if (by.empty()) return {};
    if (!file_.contains("rope_freqs.weight")) return {{"rope_type", "linear"}, {"factor", by.front()}};
    // The rule behind them, if it is that of Llama 3 with the constants that its models have.
    const auto original = number<index_t>("rope.scaling.original_context_length", 8192);
    auto scaled = config;
    scaled["rope_scaling"] = llama3_scaling(*std::ranges::max_element(by), static_cast<double>(original));
    const auto f = llama_config::from_json(scaled, where_).rotary_frequencies;
    const auto base = kernel::rotary::base_frequencies(head_dim, config["rope_theta"].get<double>());
    bool by_rule = true;
    for (std::size_t i = 0; i < f.size(); ++i) {
      const double given = base[i] / static_cast<double>(by[i]);
      by_rule = by_rule && std::abs(f[i] - given) <= 1e-5 * given;
    }
    if (by_rule) return scaled["rope_scaling"];
    return {{"rope_type", "longrope"}, {"short_factor", by},
            {"long_factor", by},       {"factor", 1.0},
            {"attention_factor", 1.0}, {"original_max_position_embeddings", original}};
  }

  const io::gguf_file& file_;
  std::string where_, architecture_;
};

/// A matrix or vector of reals in its stored type, which stays in the mapped file unless its rows are
/// permuted. @param rows as rotary_rows, or empty.
inline real_array read_reals(const io::gguf_file& file, const io::gguf_tensor& t, dtype type,
                             std::span<const std::int32_t> rows) {
  const auto bytes = file.bytes(t.name);
  if (rows.empty()) return {type, bytes, file.mapping(), io::gguf_file::release_pages};
  real_array result(type, static_cast<index_t>(bytes.size()) * 8 / bits_of(type));
  const std::size_t row = bytes.size() / rows.size();
  for (std::size_t r = 0; r < rows.size(); ++r)
    std::memcpy(result.bytes().data() + r * row, bytes.data() + static_cast<std::size_t>(rows[r]) * row, row);
  return result;
}

}  // namespace detail

/// config.json of the model in a GGUF file.
inline io::json config_json(const io::gguf_file& file) { return detail::gguf_config(file).json(); }

/// Writes config.json and tokenizer.json of a GGUF file, so that the model can be saved as a folder.
inline void write_config_files(const io::gguf_file& file, const std::filesystem::path& folder) {
  io::write_text_file(folder / "config.json", config_json(file).dump(1));
  io::write_text_file(folder / "tokenizer.json", io::tokenizer_json(file).dump());
}

/// Loads the model of a GGUF file of architecture llama, or qwen2 (the same with biases). Linears in block
/// types are `op::ggml_blocks`, others `op::dense`; both stay in the mapped file, which must not be changed
/// in place while the model is used. An embedding table in a block type is decoded to f32, which holds every
/// value exactly. A tensor that is missing, unknown or of another shape is an error that names it; so is a
/// NaN or infinity. Memory: the rows of queries and keys, which are in another order, and an embedding table
/// that is decoded; other pages leave when they were looked through.
inline llama load_llama_gguf(const io::gguf_file& file) {
  const std::string where = file.path().string();
  const detail::gguf_config description(file);
  auto config = llama_config::from_json(description.json(), where);
  // The file's own divisors rather than those of the rule that they come from.
  if (const auto by = description.divisors(config.head_dim); !by.empty()) {
    config.rotary_frequencies = kernel::rotary::base_frequencies(config.head_dim, config.rope_theta);
    for (std::size_t i = 0; i < by.size(); ++i) config.rotary_frequencies[i] /= static_cast<double>(by[i]);
  }
  llama m(std::move(config));
  const auto& c = m.config();
  std::set<std::string, std::less<>> used{"rope_freqs.weight"};

  const auto find = [&](const std::string& name,
                        const std::vector<index_t>& shape) -> const io::gguf_tensor& {
    const auto& t = file.tensor(detail::gguf_name(name));
    std::string found, wanted;
    for (const index_t n : t.shape) found += concat(found.empty() ? "" : " x ", n);
    for (const index_t n : shape) wanted += concat(wanted.empty() ? "" : " x ", n);
    require(t.shape == shape, concat(where, ": ", t.name, ": shape"), found, wanted, ", as the keys say");
    used.insert(t.name);
    return t;
  };
  const auto read = [&](const std::string& name, index_t out, index_t in) -> op::any_operator {
    const auto& t = find(name + ".weight", {out, in});
    const auto rows =
        description.interleaved() ? detail::rotary_rows_of(name, c) : std::vector<std::int32_t>();
    op::any_operator op;
    if (const auto type = detail::real_type(t.type))
      op = op::dense(out, in, detail::read_reals(file, t, *type, rows));
    else
      op = op::ggml_blocks(t.type, out, in, file.bytes(t.name), file.mapping(), rows,
                           io::gguf_file::release_pages);
    require_finite(op.to_dense().view(), concat(where, ": ", t.name));
    file.release(t.name);  // what stays in the file is read again when it is used
    return op;
  };
  const auto table = read("model.embed_tokens", c.vocab_size, c.hidden_size);
  const auto* reals = table.as<op::dense>();
  m.set_embedding(reals ? *reals : op::dense(table.to_dense().view()));
  if (!c.tie_word_embeddings) m.set_head(read("lm_head", c.vocab_size, c.hidden_size));
  for (const auto& [name, length] : m.vector_shapes()) {
    // qwen2 has no bias there
    if (name.ends_with(".o_proj.bias") && !file.contains(detail::gguf_name(name))) {
      m.set_vector(name, std::vector<float>(static_cast<std::size_t>(length)));
      continue;
    }
    const auto& t = find(name, {length});
    const auto type = detail::real_type(t.type);
    const std::string place = concat(where, ": ", t.name);
    require(type.has_value(), place + ": type", tersor::name(t.type), "F32, F16 or BF16");
    const auto rows =
        description.interleaved() ? detail::rotary_rows_of(name, c) : std::vector<std::int32_t>();
    std::vector<float> values(static_cast<std::size_t>(length));
    detail::read_reals(file, t, *type, rows).read(0, values);
    require_finite(as_view(std::as_const(values)), place);
    m.set_vector(name, std::move(values));
  }
  for (const auto& l : m.linear_shapes()) m.set_linear(l.name, read(l.name, l.out, l.in));
  for (const auto& t : file.tensors())
    require(used.contains(t.name), where + ": tensor", t.name,
            "a tensor of the model that the keys describe");
  return m;
}
inline llama load_llama_gguf(const std::filesystem::path& path) {
  return load_llama_gguf(io::gguf_file(path));
}

}  // namespace tersor::model
