// tersor - Llama checkpoints in the Hugging Face layout, read from whatever layout they are in
// SPDX-License-Identifier: MIT
#pragma once

#include <set>  // std::set

#include <tersor/io/every_layout.hpp>
#include <tersor/io/model_files.hpp>
#include <tersor/model/llama.hpp>

namespace tersor::model {

namespace detail {

/// Tensors beside the weights: frequencies that follow from config.json, and scales for a quantized cache of
/// another program.
inline bool is_no_weight(std::string_view tensor) {
  return tensor.ends_with(".rotary_emb.inv_freq") || tensor.ends_with(".self_attn.k_scale") ||
         tensor.ends_with(".self_attn.v_scale");
}

}  // namespace detail

/// `load_llama` (model/llama_checkpoint.hpp), which may be compiled once.
inline llama read_llama_folder(const std::filesystem::path& folder) {
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
    require(used.contains(name) || detail::is_no_weight(name), concat(files.where(), ": tensor"), name,
            "a tensor of the model that config.json describes");
  return m;
}

}  // namespace tersor::model
