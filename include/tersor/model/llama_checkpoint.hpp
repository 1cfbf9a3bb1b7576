// tersor - Llama checkpoints in the Hugging Face layout: loading, dense or compressed, and saving
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/io/model_files.hpp>
#include <tersor/io/operator_archive.hpp>
#include <tersor/io/output_folder.hpp>
#include <tersor/io/safetensors_writer.hpp>
#include <tersor/io/tokenizer.hpp>
#include <tersor/model/llama.hpp>
#if !defined(TERSOR_PRECOMPILED)
#include <tersor/model/llama_reader.hpp>
#endif

namespace tersor::model {

/// Loads config.json and the weights of `folder`, each linear as the operator that is stored: by tersor, or
/// in one of the layouts of io/every_layout.hpp, as the settings say. A tensor that is missing, is not part
/// of such a model or contradicts the config is an error that names it; so is a NaN or infinity. Dense
/// weights stay in the mapped files, which must not be changed in place while the model is used; replacing
/// them (by a rename) is fine.
#if defined(TERSOR_PRECOMPILED)
llama load_llama(const std::filesystem::path& folder);
#else
inline llama load_llama(const std::filesystem::path& folder) { return read_llama_folder(folder); }
#endif

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
