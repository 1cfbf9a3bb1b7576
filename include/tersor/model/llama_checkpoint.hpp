// tersor - Llama checkpoints in the Hugging Face layout: loading, dense or compressed, and saving
// SPDX-License-Identifier: MIT
#pragma once

#include <set>  // std::set

#include <tersor/io/every_layout.hpp>
#include <tersor/io/model_files.hpp>
#include <tersor/io/output_folder.hpp>
#include <tersor/io/safetensors_writer.hpp>
#include <tersor/io/tokenizer.hpp>
#include <tersor/model/llama.hpp>

namespace tersor::model {

/// Loads config.json and the weights of `folder`, each linear as the operator that is stored: by tersor, or
/// in one of the layouts of io/every_layout.hpp, as the settings say. A tensor that is missing, is not part
/// of such a model or contradicts the config is an error that names it; so is a NaN or infinity. Dense
/// weights stay in the mapped files, which must not be changed in place while the model is used; replacing
/// them (by a rename) is fine.
inline llama load_llama(const std::filesystem::path& folder) {
  const io::checkpoint files(folder);
  const auto config_path = files.folder() / "config.json";
  llama m(llama_config::from_json(io::read_json_file(config_path), config_path.string()));
  const auto& c = m.config();
  const auto layout = io::layout_of(files);
  std::set<std::string, std::less<>> used;

  const auto place = [&](const std::string& name) { return concat(files.where(), ": ", name); };
  const auto check = [&](const auto& op, const std::string& name, index_t out, index_t in) {
    require(op.rows() == out && op.cols() == in, place(name) + ": shape", concat(op.rows(), " x ", op.cols()),
            out, " x ", in, ", as ", config_path.string(), " says");
    require_finite(op.to_dense().view(), place(name) + ".weight");
  };
  const auto read = [&](const std::string& name, index_t out, index_t in) {
    const bool held = layout->holds(files, name);
    op::any_operator op;
    if (held)
      op = layout->read(files, name);
    else
      op = io::operator_reader::read_dense(files, name + ".weight");
    check(op, name, out, in);
    for (auto& tensor : held ? layout->tensors(files, name) : std::vector<std::string>{name + ".weight"}) {
      files.release(tensor);
      used.insert(std::move(tensor));
    }
    return op;
  };
  const std::string table = "model.embed_tokens";
  m.set_embedding(io::operator_reader::read_dense(files, table + ".weight"));
  check(m.embedding(), table, c.vocab_size, c.hidden_size);
  files.release(table + ".weight");
  used.insert(table + ".weight");
  if (c.tie_word_embeddings)
    used.insert("lm_head.weight");  // some files hold the table twice
  else
    m.set_head(read("lm_head", c.vocab_size, c.hidden_size));
  for (const auto& [name, length] : m.vector_shapes()) {
    io::operator_reader::require_stored_real(files.entry(name), place(name));
    auto values = files.read_vector<float>(name);
    require(static_cast<index_t>(values.size()) == length, place(name) + ": length", values.size(), length,
            ", as ", config_path.string(), " says");
    require_finite(as_view(std::as_const(values)), place(name));
    m.set_vector(name, std::move(values));
    used.insert(name);
  }
  for (const auto& l : m.linear_shapes()) {
    m.set_linear(l.name, read(l.name, l.out, l.in));
    // AutoGPTQ writes a bias of zeros for each linear of a model that has none
    const std::string bias = l.name + ".bias";
    if (used.contains(bias) || !files.contains(bias) || !layout->holds(files, l.name)) continue;
    for (const float b : files.read_vector<float>(bias))
      require(b == 0, place(bias), b, "zeros: config.json says that the layer has no bias");
    used.insert(bias);
  }
  for (const auto name : files.names())
    require(used.contains(name) || name.ends_with(".rotary_emb.inv_freq"), concat(files.where(), ": tensor"),
            name, "a tensor of the model that config.json describes");
  return m;
}

namespace detail {

/// The smallest float type that holds every value exactly.
inline dtype exact_type(std::span<const float> values) {
  for (const dtype t : {dtype::bf16, dtype::f16}) {
    bool exact = true;
    for (const float v : values) exact = exact && (t == dtype::bf16 ? float(bf16(v)) : float(f16(v))) == v;
    if (exact) return t;
  }
  return dtype::f32;
}

inline void write_vector(const llama& m, const std::string& name, io::tensor_sink& out) {
  const auto& values = m.vector(name);
  const auto stored = store_as(exact_type(values), values);
  out.add(name, stored.type(), {stored.size()},
          std::vector<std::byte>(stored.bytes().begin(), stored.bytes().end()));
}

}  // namespace detail

/// Hands the linears and vectors of a block to a sink; those of linears go through `operators`, which writes
/// to that sink.
inline void write_llama_block(const llama& m, index_t block, io::tensor_sink& out,
                              io::operator_writer& operators) {
  const std::string prefix = concat("model.layers.", block, ".");
  for (const auto& [name, length] : m.vector_shapes())
    if (name.starts_with(prefix)) detail::write_vector(m, name, out);
  for (const auto& l : m.linear_shapes())
    if (l.name.starts_with(prefix)) operators.add(l.name, m.linear(l.name));
}
/// The same of what is in no block: the table, the head, the last norm.
inline void write_llama_ends(const llama& m, io::tensor_sink& out, io::operator_writer& operators) {
  const auto& table = m.embedding();
  out.add("model.embed_tokens.weight", table.values().type(), {table.rows(), table.cols()},
          table.values().bytes());
  if (!m.config().tie_word_embeddings) operators.add("lm_head", m.head());
  detail::write_vector(m, "model.norm.weight", out);
}

/// The weights of a model laid out for one safetensors file. Keeps what it refers to alive.
class llama_file {
 public:
  explicit llama_file(llama m) : model_(std::move(m)) {
    io::operator_writer operators(writer_);
    for (index_t b = 0; b < model_.block_count(); ++b) write_llama_block(model_, b, writer_, operators);
    write_llama_ends(model_, writer_, operators);
    writer_.metadata("format", "pt");
    operators.finish();
  }
  /// Adds an entry to the file's metadata.
  void metadata(std::string key, std::string value) { writer_.metadata(std::move(key), std::move(value)); }
  llama_file(const llama_file&) = delete;
  llama_file& operator=(const llama_file&) = delete;

  /// Bytes of the file that `write` makes, header included.
  std::uint64_t file_size() const { return writer_.file_size(); }
  void write(const std::filesystem::path& path) const { writer_.write(path); }

 private:
  llama model_;  // operators are shared, not copied
  io::safetensors_writer writer_;
};

/// Writes model.safetensors beside copies of the source folder's config and tokenizer files. The folder
/// appears under its name with `out.commit()`, which is left to the caller.
inline void save_llama(const llama_file& file, const std::filesystem::path& source,
                       const io::output_folder& out) {
  file.write(out.path() / "model.safetensors");
  io::copy_model_files(io::model_folder_of(source), out.path());
}
/// The same to a folder that appears complete or not at all; an existing one is refused unless `force`.
inline void save_llama(const llama_file& file, const std::filesystem::path& source,
                       const std::filesystem::path& destination, bool force = false) {
  io::output_folder out(destination, force);
  save_llama(file, source, out);
  out.commit();
}

}  // namespace tersor::model
