// tersor - Llama models in GGUF files: loading in place, and saving for llama.cpp
// SPDX-License-Identifier: MIT
#pragma once

// Names and keys are those of ggml-org/llama.cpp (gguf-py/gguf/constants.py, src/llama-model.cpp). Rows of
// queries and keys are in another order there: rotations turn channels 2i and 2i + 1 of a head, here i and
// i + head_dim / 2. Loading and saving permute whole rows, which changes no value.

#include <cmath>       // std::pow
#include <functional>  // std::function
#include <map>         // std::map
#include <optional>    // std::optional
#include <set>         // std::set

#include <tersor/io/gguf_tokenizer.hpp>
#include <tersor/model/llama.hpp>
#include <tersor/op/ggml_blocks.hpp>
#include <tersor/quant/ggml_encode.hpp>

namespace tersor::model {

namespace detail {

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

/// Llama 3 stretches its long wavelengths; a file holds the factors alone, its config.json how they are made.
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
               {"bos_token_id", nullptr},
               {"eos_token_id", nullptr}};
    // Commands put this token before a text if there is one: as the file wants it.
    if (io::adds_bos(file_)) c["bos_token_id"] = file_.get<int>("tokenizer.ggml.bos_token_id");
    if (file_.has("tokenizer.ggml.eos_token_id"))
      c["eos_token_id"] = file_.get<int>("tokenizer.ggml.eos_token_id");
    if (const auto s = scaling(c); !s.is_null()) c["rope_scaling"] = s;
    return c;
  }

  /// What the file divides the frequencies by, [head_dim / 2], or nothing.
  std::vector<float> factors(index_t head_dim) const {
    if (!file_.contains("rope_freqs.weight")) return {};
    const auto& t = file_.tensor("rope_freqs.weight");
    const std::string place = where_ + ": rope_freqs.weight";
    require(t.type == ggml_type::f32, place + ": type", name(t.type), "F32");
    require(t.size == static_cast<std::uint64_t>(head_dim / 2) * 4, place, concat(t.size, " bytes"),
            head_dim / 2, " values");
    std::vector<float> factors(static_cast<std::size_t>(head_dim / 2));
    std::memcpy(factors.data(), file_.bytes(t.name).data(), static_cast<std::size_t>(t.size));
    for (const float f : factors) require(f > 0 && std::isfinite(f), place, f, "positive numbers");
    return factors;
  }

 private:
  std::string full(const char* part) const { return concat(architecture_, ".", part); }
  std::string key(const char* part) const { return concat(where_, ": ", full(part)); }
  template <class T>
  T number(const char* part, T fallback) const {
    return file_.get<T>(full(part), fallback);
  }

  /// rope_scaling of a config; null for none.
  io::json scaling(const io::json& config) const {
    const auto type = file_.get<std::string>(full("rope.scaling.type"), "none");
    require(type == "none" || type == "linear", key("rope.scaling.type"), type, "\"none\" or \"linear\"");
    const auto head_dim = config["head_dim"].get<index_t>();
    const auto divisors = factors(head_dim);
    if (divisors.empty()) {
      const auto factor = type == "linear" ? file_.get<float>(full("rope.scaling.factor"))
                                           : number<float>("rope.scale_linear", 1.0F);
      return factor == 1.0F ? io::json() : io::json{{"rope_type", "linear"}, {"factor", factor}};
    }
    require(type == "none", key("rope.scaling.type"), type, "none beside the factors of rope_freqs.weight");
    // The rule behind the factors: its constants are the same in all models that have one but these two.
    const double factor = *std::ranges::max_element(divisors);
    const auto known = number<double>("rope.scaling.original_context_length", 8192.0);
    auto scaled = config;
    scaled["rope_scaling"] = llama3_scaling(factor, known);
    const auto f = llama_config::from_json(scaled, where_).rotary_frequencies;
    const auto base = kernel::rotary::base_frequencies(head_dim, config["rope_theta"].get<double>());
    for (std::size_t i = 0; i < f.size(); ++i) {
      const double given = base[i] / static_cast<double>(divisors[i]);
      require(std::abs(f[i] - given) <= 1e-5 * given, concat(where_, ": rope_freqs.weight[", i, "]"),
              divisors[i], base[i] / f[i], ", by the rule of Llama 3 with factor ", factor);
    }
    return scaled["rope_scaling"];
  }

  const io::gguf_file& file_;
  std::string where_, architecture_;
};

/// A matrix or vector of reals in its stored type, which stays in the mapped file unless its rows are
/// permuted. @param rows as rotary_rows, or empty.
inline real_array read_reals(const io::gguf_file& file, const io::gguf_tensor& t, dtype type,
                             std::span<const std::int32_t> rows) {
  const auto bytes = file.bytes(t.name);
  if (rows.empty()) return {type, bytes, file.mapping()};
  real_array result(type, static_cast<index_t>(bytes.size()) * 8 / bits_of(type));
  const std::size_t row = bytes.size() / rows.size();
  for (std::size_t r = 0; r < rows.size(); ++r)
    std::memcpy(result.bytes().data() + r * row, bytes.data() + static_cast<std::size_t>(rows[r]) * row, row);
  return result;
}

}  // namespace detail

/// config.json of the model in a GGUF file. `bos_token_id` is there only if the file wants that token before
/// every text.
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
/// NaN or infinity.
inline llama load_llama_gguf(const io::gguf_file& file) {
  const std::string where = file.path().string();
  const detail::gguf_config description(file);
  auto config = llama_config::from_json(description.json(), where);
  // The file's own factors rather than those of the rule that they come from.
  if (const auto factors = description.factors(config.head_dim); !factors.empty()) {
    const auto theta =
        file.get<float>(file.get<std::string>("general.architecture") + ".rope.freq_base", 10000.0F);
    config.rotary_frequencies = kernel::rotary::base_frequencies(config.head_dim, static_cast<double>(theta));
    for (std::size_t i = 0; i < factors.size(); ++i)
      config.rotary_frequencies[i] /= static_cast<double>(factors[i]);
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
      op = op::ggml_blocks(t.type, out, in, file.bytes(t.name), file.mapping(), rows);
    require_finite(op.to_dense().view(), concat(where, ": ", t.name));
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

/// How `save_llama_gguf` writes.
struct gguf_options {
  /// Of the linears; blocks of this type are copied. None: linears stay as they are, reals or blocks.
  std::optional<ggml_type> type = ggml_type::q8_0;
  std::string name = "tersor";  ///< general.name
  /// By linear ("model.layers.0.mlp.up_proj"): how much each of its inputs counts, [in], where the type's
  /// encoder can use it.
  std::map<std::string, std::vector<float>> importance = {};

  void validate() const {
    require(!type || detail::real_type(*type) || quant::can_encode(*type), "save_llama_gguf: type",
            type ? tersor::name(*type) : "", "F32, F16, BF16 or a type that can be encoded");
  }
};

namespace detail {

/// general.file_type of a file whose linears are of a type (llama.cpp, include/llama.h: llama_ftype).
inline std::uint32_t gguf_file_type(ggml_type t) {
  switch (t) {
    case ggml_type::f32:
      return 0;
    case ggml_type::f16:
      return 1;
    case ggml_type::q4_0:
      return 2;
    case ggml_type::q4_1:
      return 3;
    case ggml_type::q8_0:
      return 7;
    case ggml_type::q5_0:
      return 8;
    case ggml_type::q5_1:
      return 9;
    case ggml_type::q2_k:
      return 10;
    case ggml_type::q3_k:
      return 11;  // "S": one type for all, as here
    case ggml_type::q4_k:
      return 14;
    case ggml_type::q5_k:
      return 16;
    case ggml_type::q6_k:
      return 18;
    case ggml_type::iq2_xxs:
      return 19;
    case ggml_type::iq2_xs:
      return 20;
    case ggml_type::iq3_xxs:
      return 23;
    case ggml_type::iq1_s:
      return 24;
    case ggml_type::iq4_nl:
      return 25;
    case ggml_type::iq3_s:
      return 26;
    case ggml_type::iq2_s:
      return 28;
    case ggml_type::iq4_xs:
      return 30;
    case ggml_type::iq1_m:
      return 31;
    case ggml_type::bf16:
      return 32;
    case ggml_type::tq1_0:
      return 36;
    case ggml_type::tq2_0:
      return 37;
    case ggml_type::mxfp4:
      return 38;
    default:
      return 1024;  // llama.cpp: guessed, not given by the file
  }
}

/// The type of a matrix with this many columns: F16 where no blocks of 32 fit.
inline ggml_type fitting_type(ggml_type wanted, index_t columns) {
  return quant::fitting_type(wanted, columns).value_or(ggml_type::f16);
}
/// The type of what makes the logits, which errors reach directly: 6 bits where the linears have fewer.
inline ggml_type head_type(ggml_type linears, index_t columns) {
  const bool as_linears = real_type(linears) || linears == ggml_type::q8_0;
  return fitting_type(as_linears ? linears : ggml_type::q6_k, columns);
}

/// theta, and the divisors of the frequencies theta^(-2i / head_dim) that give those of a model.
struct rotary_description {
  double theta = 10000.0;
  double linear = 1.0;         ///< one divisor of all
  std::vector<float> factors;  ///< one of each, if they differ
};
inline rotary_description describe_rotary(const llama_config& c) {
  rotary_description d;
  const auto& f = c.rotary_frequencies;
  d.linear = 1.0 / f.front();
  if (f.size() > 1) {
    // The first pairs turn fastest, and no rule of scaling touches one of them alone.
    const double theta = std::pow(f[0] / f[1], static_cast<double>(c.head_dim) / 2.0);
    d.theta = std::abs(theta - std::round(theta)) < 1e-6 * theta ? std::round(theta) : theta;
  }
  const auto base = kernel::rotary::base_frequencies(c.head_dim, d.theta);
  bool same = true;
  for (std::size_t i = 0; i < f.size(); ++i) {
    d.factors.push_back(static_cast<float>(base[i] / f[i]));
    same = same && std::abs(base[i] / f[i] - d.linear) <= 1e-6 * d.linear;
  }
  if (same)
    d.factors.clear();
  else
    d.linear = 1.0;
  return d;
}

inline std::vector<std::byte> bytes_of_reals(dtype type, std::span<const float> values) {
  const auto stored = store_as(type, values);
  return {stored.bytes().begin(), stored.bytes().end()};
}

/// Row r of the result is row rows^-1[r] of w: ours in the order of a GGUF file. Empty `rows`: w itself.
inline matrix<float> with_file_rows(matrix<float> w, std::span<const std::int32_t> rows) {
  if (rows.empty()) return w;
  matrix<float> result(w.rows(), w.cols());
  for (index_t r = 0; r < w.rows(); ++r)
    std::ranges::copy(w.row(r), result.row(rows[static_cast<std::size_t>(r)]).data());
  return result;
}

/// The type of reals of a stored type.
inline ggml_type ggml_type_of(dtype t) {
  return t == dtype::f16 ? ggml_type::f16 : t == dtype::bf16 ? ggml_type::bf16 : ggml_type::f32;
}
/// The type that an operator has in a file already, or an error that names it.
inline ggml_type stored_type(const std::string& name, const op::any_operator& w) {
  if (const auto* b = w.as<op::ggml_blocks>()) return b->type();
  const auto* d = w.as<op::dense>();
  require(d != nullptr && is_wide_real(d->values().type()), concat("save_llama_gguf: ", name), w.kind(),
          "reals or blocks of a GGUF type; others are rounded to a type that is asked for");
  return ggml_type_of(d->values().type());
}
/// Blocks in the order of rows of a GGUF file.
inline std::vector<std::byte> with_file_rows(const op::ggml_blocks& w, std::span<const std::int32_t> rows) {
  const auto bytes = w.bytes();
  std::vector<std::byte> result(bytes.begin(), bytes.end());
  const std::size_t row = rows.empty() ? 0 : bytes.size() / rows.size();
  for (std::size_t r = 0; r < rows.size(); ++r)
    std::ranges::copy(bytes.subspan(r * row, row),
                      result.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(rows[r]) * row));
  return result;
}

}  // namespace detail

/// Writes a model, dense or compressed, and its tokenizer as a GGUF file of architecture llama. Linears are
/// decoded and encoded one at a time; blocks of the type that is asked for are copied. Norms and biases are
/// F32. In a file of blocks the head (or the table, if it is the head too) has Q6_K, or Q8_0 with linears in
/// that type or rows that are not whole blocks of 256; other rows that are not whole blocks take the type
/// that llama.cpp gives them (Q4_K: Q5_0, Q5_K: Q5_1, Q6_K: Q8_0, others a type of 4 bits; F16 below 32
/// columns). Types of reals are exact where the model's values are values of that type. @param tokenizer what
/// tokenizer.json holds; @param where names it in errors.
inline void save_llama_gguf(const llama& m, const io::json& tokenizer, std::string_view where,
                            const std::filesystem::path& path, const gguf_options& options = {},
                            const context& ctx = {}) {
  options.validate();
  const auto& c = m.config();
  io::gguf_writer out;
  const auto rotary = detail::describe_rotary(c);
  const auto set = [&](const char* key, index_t value) {
    out.set(concat("llama.", key), static_cast<std::uint32_t>(value));
  };
  out.set("general.architecture", "llama");
  out.set("general.type", "model");
  out.set("general.name", options.name);
  set("vocab_size", c.vocab_size);
  set("context_length", c.max_position_embeddings);
  set("embedding_length", c.hidden_size);
  set("block_count", c.num_hidden_layers);
  set("feed_forward_length", c.intermediate_size);
  set("attention.head_count", c.num_attention_heads);
  set("attention.head_count_kv", c.num_key_value_heads);
  set("attention.key_length", c.head_dim);
  set("attention.value_length", c.head_dim);
  set("rope.dimension_count", c.head_dim);
  out.set("llama.attention.layer_norm_rms_epsilon", c.rms_norm_eps);
  out.set("llama.rope.freq_base", static_cast<float>(rotary.theta));
  if (std::abs(rotary.linear - 1.0) > 1e-6) {
    out.set("llama.rope.scaling.type", "linear");
    out.set("llama.rope.scaling.factor", static_cast<float>(rotary.linear));
  }
  const auto shapes = m.linear_shapes();
  const auto type_of = [&](const std::string& name, const op::any_operator& w) {
    return options.type ? detail::fitting_type(*options.type, w.cols()) : detail::stored_type(name, w);
  };
  out.set("general.file_type",
          detail::gguf_file_type(
              options.type ? *options.type
                           : detail::stored_type(shapes.front().name, m.linear(shapes.front().name))));

  // Each tensor with what makes its bytes when its turn comes.
  std::map<std::string, std::function<std::vector<std::byte>()>> sources;
  bool blocks = false;
  const auto matrix_tensor = [&](const std::string& name, ggml_type type, index_t rows, index_t cols,
                                 std::function<matrix<float>()> values,
                                 const op::ggml_blocks* same = nullptr) {
    const auto file_name = detail::gguf_name(name + ".weight");
    const auto real = detail::real_type(type);
    blocks = blocks || !real;
    out.add(file_name, type, {rows, cols});
    const auto importance = options.importance.find(name);
    const bool weighed = importance != options.importance.end();
    if (weighed)
      require(static_cast<index_t>(importance->second.size()) == cols, concat("importance of ", name),
              importance->second.size(), cols, " values");
    const std::span<const float> weights =
        weighed ? std::span<const float>(importance->second) : std::span<const float>();
    const auto order = detail::rotary_rows_of(name, c);
    if (same != nullptr && same->type() == type) {
      sources[file_name] = [=] { return detail::with_file_rows(*same, order); };
      return;
    }
    sources[file_name] = [=, &ctx, values = std::move(values)] {
      const auto w = detail::with_file_rows(values(), order);
      return real ? detail::bytes_of_reals(*real, w.values()) : quant::encode(type, w.view(), weights, ctx);
    };
  };
  for (const auto& [name, values] : options.importance)
    require(std::ranges::any_of(shapes, [&name = name](const auto& l) { return l.name == name; }),
            "importance", name, "a linear of the model's blocks");
  const auto table = !options.type           ? detail::ggml_type_of(m.embedding().values().type())
                     : c.tie_word_embeddings ? detail::head_type(*options.type, c.hidden_size)
                                             : detail::fitting_type(*options.type, c.hidden_size);
  matrix_tensor("model.embed_tokens", table, c.vocab_size, c.hidden_size,
                [&] { return m.embedding().to_dense(); });
  if (!c.tie_word_embeddings)
    matrix_tensor(
        "lm_head",
        options.type ? detail::head_type(*options.type, c.hidden_size)
                     : detail::stored_type("lm_head", m.head()),
        c.vocab_size, c.hidden_size, [&] { return m.head().to_dense(); }, m.head().as<op::ggml_blocks>());
  if (!rotary.factors.empty()) {
    out.add("rope_freqs.weight", ggml_type::f32, {c.head_dim / 2});
    sources["rope_freqs.weight"] = [&] { return detail::bytes_of_reals(dtype::f32, rotary.factors); };
  }
  for (const auto& [name, length] : m.vector_shapes()) {
    const auto file_name = detail::gguf_name(name);
    out.add(file_name, ggml_type::f32, {length});
    sources[file_name] = [&m, &c, name = name] {
      const auto& v = m.vector(name);
      matrix<float> column(static_cast<index_t>(v.size()), 1);
      std::ranges::copy(v, column.values().begin());
      return detail::bytes_of_reals(
          dtype::f32, detail::with_file_rows(std::move(column), detail::rotary_rows_of(name, c)).values());
    };
  }
  for (const auto& l : shapes)
    matrix_tensor(
        l.name, type_of(l.name, m.linear(l.name)), l.out, l.in,
        [&m, name = l.name] { return m.linear(name).to_dense(); }, m.linear(l.name).as<op::ggml_blocks>());
  if (blocks) out.set("general.quantization_version", std::uint32_t{2});
  io::set_tokenizer(out, tokenizer, c.vocab_size, c.bos_token_id, c.eos_token_id, where);
  long long done = 0;
  const auto total = static_cast<long long>(sources.size());
  out.write(path, [&](const io::gguf_tensor& t) {
    ctx.step(t.name, done++, total);
    return sources.at(t.name)();
  });
}

}  // namespace tersor::model
