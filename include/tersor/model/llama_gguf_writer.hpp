// tersor - saving Llama models as GGUF files for llama.cpp
// SPDX-License-Identifier: MIT
#pragma once

// Keys are those of ggml-org/llama.cpp (gguf-py/gguf/constants.py, src/llama-model.cpp).

#include <cmath>       // std::abs
#include <functional>  // std::function

#include <tersor/io/gguf_tokenizer.hpp>
#include <tersor/model/llama.hpp>
#include <tersor/model/llama_gguf_names.hpp>
#include <tersor/op/ggml_blocks.hpp>
#include <tersor/op/release_pages.hpp>
#include <tersor/quant/ggml_encode.hpp>

namespace tersor::model {

/// How `save_llama_gguf` writes.
struct gguf_options {
  /// Of the linears; blocks of this type are copied. None: linears stay as they are, reals or blocks.
  std::optional<ggml_type> type = ggml_type::q8_0;
  std::string name = "tersor";  ///< general.name, where `source` has none
  /// By linear ("model.layers.0.mlp.up_proj"): how much each of its inputs counts, [in], where the type's
  /// encoder can use it.
  std::map<std::string, std::vector<float>> importance = {};
  /// Is the beginning-of-text token put before a text? None: if the tokenizer's post-processor says so, or
  /// has nothing to say and there is such a token.
  std::optional<bool> add_bos_token = {};
  /// The file that the model and the tokenizer came from, if it was one: keys that the model does not decide
  /// are copied (a chat template, a licence), and so is a table in blocks, which is decoded in a model.
  const io::gguf_file* source = nullptr;

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
/// The type of a table that does not make the logits: ternary linears have one of 4 bits, as in llama.cpp.
inline ggml_type table_type(ggml_type linears, index_t columns) {
  const bool ternary = linears == ggml_type::tq1_0 || linears == ggml_type::tq2_0;
  return fitting_type(ternary ? ggml_type::q4_k : linears, columns);
}
/// The type of what makes the logits, which errors reach directly: 6 bits where the linears have fewer.
inline ggml_type head_type(ggml_type linears, index_t columns) {
  const bool as_linears = real_type(linears) || linears == ggml_type::q8_0;
  return fitting_type(as_linears ? linears : ggml_type::q6_k, columns);
}

/// The divisors of the frequencies theta^(-2i / head_dim) that give those of a model.
struct rotary_divisors {
  double all = 1.0;
  std::vector<float> each;  ///< [head_dim / 2], if they differ
};
inline rotary_divisors divisors_of(const llama_config& c) {
  const auto base = kernel::rotary::base_frequencies(c.head_dim, c.rope_theta);
  const auto& f = c.rotary_frequencies;
  rotary_divisors d{.all = base.front() / f.front(), .each = {}};
  bool same = true;
  for (std::size_t i = 0; i < f.size(); ++i) {
    d.each.push_back(static_cast<float>(base[i] / f[i]));
    same = same && std::abs(base[i] / f[i] - d.all) <= 1e-6 * d.all;
  }
  if (same)
    d.each.clear();
  else
    d.all = 1.0;
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

/// The values of a linear, whose pages may leave memory.
inline matrix<float> worked_through(const op::any_operator& w) {
  auto values = w.to_dense();
  op::release_pages(w);
  return values;
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

/// The table of the file that a model came from, if it is in blocks and still of the model's shape.
inline const io::gguf_tensor* blocks_of_table(const io::gguf_file* source, const llama_config& c) {
  if (source == nullptr) return nullptr;
  const auto& t = source->tensor("token_embd.weight");
  return real_type(t.type) || t.shape != std::vector<index_t>{c.vocab_size, c.hidden_size} ? nullptr : &t;
}
/// Copies the keys of a file that are not set, but for those of its own types, parts and architecture.
inline void copy_other_keys(io::gguf_writer& out, const io::gguf_file& source) {
  const auto architecture = source.get<std::string>("general.architecture");
  for (const auto& e : source.keys()) {
    const std::string_view key = e.key;
    const bool of_file = key == "general.file_type" || key == "general.quantization_version" ||
                         key == "general.alignment" || key.starts_with("split.");
    const bool of_another = architecture != "llama" && key.starts_with(architecture + ".");
    // the model's frequencies have it already
    const bool of_rotations = key == "llama.rope.scaling.type" || key == "llama.rope.scaling.factor" ||
                              key == "llama.rope.scale_linear";
    if (!of_file && !of_another && !of_rotations && !out.has(e.key)) out.copy(e);
  }
}
/// Does the beginning-of-text token stand before a text?
inline bool adds_bos(const gguf_options& options, const io::json& tokenizer, std::string_view where,
                     int bos) {
  if (options.add_bos_token) {
    require(!*options.add_bos_token || bos >= 0, "save_llama_gguf: add_bos_token", true,
            "false: the model has no such token");
    return *options.add_bos_token;
  }
  const auto start = io::text_start(tokenizer, std::string(where));
  if (!start) return bos >= 0;
  require(start->empty() || *start == std::vector<int>{bos}, concat(where, ": post_processor"), start->size(),
          "no special token before a text, or bos_token_id, ", bos);
  return !start->empty();
}

}  // namespace detail

/// Writes a model, dense or compressed, and its tokenizer as a GGUF file of architecture llama. Linears are
/// decoded and encoded one at a time; blocks of the type that is asked for are copied. Norms and biases are
/// F32. A table that is not the head has the type that is asked for, Q4_K with ternary ones. In a file of
/// blocks the head (or the table, if it is the head too) has Q6_K, or Q8_0 with linears in
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
  const auto divisors = detail::divisors_of(c);
  const auto set = [&](const char* key, index_t value) {
    out.set(concat("llama.", key), static_cast<std::uint32_t>(value));
  };
  out.set("general.architecture", "llama");
  out.set("general.type", "model");
  if (!options.source || !options.source->has("general.name")) out.set("general.name", options.name);
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
  out.set("llama.rope.freq_base", static_cast<float>(c.rope_theta));
  if (std::abs(divisors.all - 1.0) > 1e-6) {
    out.set("llama.rope.scaling.type", "linear");
    out.set("llama.rope.scaling.factor", static_cast<float>(divisors.all));
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
      sources[file_name] = [=] {
        auto bytes = detail::with_file_rows(*same, order);
        same->release();
        return bytes;
      };
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
  const auto* file_table = detail::blocks_of_table(options.source, c);
  const auto table = options.type ? (c.tie_word_embeddings ? detail::head_type(*options.type, c.hidden_size)
                                                           : detail::table_type(*options.type, c.hidden_size))
                     : file_table ? file_table->type
                                  : detail::ggml_type_of(m.embedding().values().type());
  if (file_table && file_table->type == table) {
    out.add(file_table->name, table, file_table->shape);
    sources[file_table->name] = [&options, file_table] {
      const auto bytes = options.source->bytes(file_table->name);
      return std::vector<std::byte>(bytes.begin(), bytes.end());
    };
    blocks = true;
  } else {
    matrix_tensor("model.embed_tokens", table, c.vocab_size, c.hidden_size, [&] {
      auto w = m.embedding().to_dense();
      m.embedding().values().release();
      return w;
    });
  }
  if (!c.tie_word_embeddings)
    matrix_tensor(
        "lm_head",
        options.type ? detail::head_type(*options.type, c.hidden_size)
                     : detail::stored_type("lm_head", m.head()),
        c.vocab_size, c.hidden_size, [&] { return detail::worked_through(m.head()); },
        m.head().as<op::ggml_blocks>());
  if (!divisors.each.empty()) {
    out.add("rope_freqs.weight", ggml_type::f32, {c.head_dim / 2});
    sources["rope_freqs.weight"] = [&] { return detail::bytes_of_reals(dtype::f32, divisors.each); };
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
        [&m, name = l.name] { return detail::worked_through(m.linear(name)); },
        m.linear(l.name).as<op::ggml_blocks>());
  if (blocks) out.set("general.quantization_version", std::uint32_t{2});
  if (options.source)
    detail::copy_other_keys(out, *options.source);
  else
    io::set_tokenizer(out, tokenizer, c.vocab_size, c.bos_token_id, c.eos_token_id,
                      detail::adds_bos(options, tokenizer, where, c.bos_token_id), where);
  long long done = 0;
  const auto total = static_cast<long long>(sources.size());
  out.write(path, [&](const io::gguf_tensor& t) {
    ctx.step(t.name, done++, total);
    return sources.at(t.name)();
  });
}

}  // namespace tersor::model
