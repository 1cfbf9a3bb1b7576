// tersor - the decoder on a training tape: its loss as a function of whatever is trained
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>  // std::function

#include <tersor/grad/attention.hpp>
#include <tersor/grad/checkpoint.hpp>
#include <tersor/grad/cross_entropy.hpp>
#include <tersor/grad/elementwise.hpp>
#include <tersor/grad/normalization.hpp>
#include <tersor/grad/product.hpp>
#include <tersor/grad/shape.hpp>
#include <tersor/model/llama.hpp>

namespace tersor::model {

/// The loss of a `llama` on a tape. Tensors are frozen unless they are named: `train` puts a parameter in the
/// place of a weight, norm or embedding; `adapt` puts a node in the place of a linear layer. What is named
/// must outlive the graph's use.
///
///     tersor::model::llama_graph graph(model);
///     graph.adapt("model.layers.0.self_attn.q_proj", [&](const auto& x) { return my_node(x); });
///     tersor::grad::tape<float> tape;
///     auto loss = graph.loss(tape, ids, 512);   // ids: sequences of 512 tokens, one after the other
///     tape.backward(loss);
class llama_graph {
 public:
  using variable = grad::variable<float>;
  using tape = grad::tape<float>;
  using linear_node = std::function<variable(const variable& x)>;

  explicit llama_graph(const llama& m) : model_(&m) {
    for (const auto& l : m.linear_shapes()) names_.push_back(l.name);
    for (const auto& [name, length] : m.vector_shapes()) names_.push_back(name);
    names_.emplace_back(embedding_name);
    if (!m.config().tie_word_embeddings) names_.emplace_back(head_name);
  }

  /// What `train` takes: linears, vectors, embedding, and the head if it is not tied to it.
  std::vector<std::string> tensor_names() const { return names_; }
  /// A tensor's values as `train` wants them.
  matrix<float> value(const std::string& name) const {
    check_name(name);
    if (name == embedding_name) return model_->embedding().to_dense();
    if (name == head_name) return model_->head().to_dense();
    if (!model_->has_vector(name)) return model_->linear(name).to_dense();
    const auto& v = model_->vector(name);
    matrix<float> row(1, static_cast<index_t>(v.size()));
    std::ranges::copy(v, row.values().begin());
    return row;
  }
  /// Puts such values into a model.
  static void store(llama& m, const std::string& name, const matrix<float>& value) {
    if (name == embedding_name)
      m.set_embedding(op::dense(value.view()));
    else if (name == head_name)
      m.set_head(op::dense(value.view()));
    else if (m.has_vector(name))
      m.set_vector(name, {value.values().begin(), value.values().end()});
    else
      m.set_linear(name, op::dense(value.view()));
  }

  static constexpr const char* embedding_name = "model.embed_tokens.weight";
  static constexpr const char* head_name = "lm_head.weight";

  /// @param name a linear ("model.layers.0.mlp.up_proj"), a vector ("model.norm.weight") or the embedding;
  /// the parameter has the tensor's shape, a vector is one row.
  void train(const std::string& name, grad::parameter<float>& p) {
    check_name(name);
    parameters_[name] = &p;
  }
  void adapt(const std::string& linear, linear_node node) {
    check_name(linear);
    nodes_[linear] = std::move(node);
  }
  /// Keep of each block only what goes in, and compute it again in the backward pass.
  void checkpoint_blocks(bool on) { checkpoint_ = on; }

  /// Mean negative log-likelihood of the next token over sequences of `length` tokens, which stand one after
  /// the other in `ids`; each sequence has length - 1 predictions. Cost about 3 forward passes with
  /// `backward`, 4 with checkpoints.
  variable loss(tape& t, std::span<const int> ids, index_t length) {
    const auto& c = model_->config();
    const auto tokens = static_cast<index_t>(ids.size());
    require(length >= 2 && length <= c.max_position_embeddings, "llama_graph: length", length, "2 .. ",
            c.max_position_embeddings, " (max_position_embeddings)");
    require(tokens > 0 && tokens % length == 0, "llama_graph: ids", tokens, "a positive multiple of ",
            length);
    if (!rotary_ || rotary_->positions() < length) rotary_.emplace(c.rotary_frequencies, length);
    std::vector<std::int32_t> targets(ids.begin() + 1, ids.end());
    targets.push_back(grad::ignored_target);
    for (index_t end = length; end < tokens; end += length)
      targets[static_cast<std::size_t>(end - 1)] = grad::ignored_target;

    variable h = embed(t, ids);
    for (index_t b = 0; b < model_->block_count(); ++b) {
      const auto run = [this, b, length](tape& inner, const std::vector<variable>& in) {
        return block(inner, b, in[0], length);
      };
      h = checkpoint_ ? grad::checkpoint(t, run, {h}) : run(t, {h});
    }
    h = grad::rms_norm(h, vector(t, "model.norm.weight"), static_cast<double>(c.rms_norm_eps));
    return grad::linear_cross_entropy(h, head(t), std::span<const std::int32_t>(targets));
  }

 private:
  void check_name(const std::string& name) const {
    if (std::ranges::find(names_, name) != names_.end()) return;
    fail("llama_graph: tensor", name,
         concat("a tensor of the model",
                suggestion(name, std::vector<std::string_view>(names_.begin(), names_.end()))));
  }
  grad::parameter<float>* trained(const std::string& name) const {
    const auto found = parameters_.find(name);
    return found == parameters_.end() ? nullptr : found->second;
  }
  variable embed(tape& t, std::span<const int> ids) const {
    if (auto* p = trained(embedding_name))
      return grad::embedding(t.use(*p), std::span<const std::int32_t>(ids.data(), ids.size()));
    return t.constant(model_->embed(ids));
  }
  variable head(tape& t) const {
    const bool tied = model_->config().tie_word_embeddings;
    if (auto* p = trained(tied ? embedding_name : head_name)) return t.use(*p);
    return t.constant(tied ? model_->embedding().to_dense() : model_->head().to_dense());
  }
  variable vector(tape& t, const std::string& name) const {
    if (auto* p = trained(name)) return t.use(*p);
    return t.constant(value(name));
  }
  variable linear(tape& t, const std::string& name, const variable& x) const {
    if (const auto node = nodes_.find(name); node != nodes_.end()) return node->second(x);
    auto* p = trained(name);
    variable y = p ? grad::linear(x, t.use(*p)) : grad::linear(x, model_->linear(name));
    if (model_->has_vector(name + ".bias")) y = y + vector(t, name + ".bias");
    return y;
  }
  variable block(tape& t, index_t b, const variable& h, index_t length) const {
    const auto& c = model_->config();
    const auto epsilon = static_cast<double>(c.rms_norm_eps);
    const std::string p = concat("model.layers.", b, "."), a = p + "self_attn.", m = p + "mlp.";
    variable x = grad::rms_norm(h, vector(t, p + "input_layernorm.weight"), epsilon);
    const variable q = grad::rotary(linear(t, a + "q_proj", x), *rotary_, length);
    const variable k = grad::rotary(linear(t, a + "k_proj", x), *rotary_, length);
    const variable v = linear(t, a + "v_proj", x);
    x = grad::attention(
        q, k, v,
        {.heads = c.num_attention_heads, .kv_heads = c.num_key_value_heads, .sequence_length = length});
    const variable middle = h + linear(t, a + "o_proj", x);
    x = grad::rms_norm(middle, vector(t, p + "post_attention_layernorm.weight"), epsilon);
    x = grad::swiglu(linear(t, m + "gate_proj", x), linear(t, m + "up_proj", x));
    return middle + linear(t, m + "down_proj", x);
  }

  const llama* model_;
  std::vector<std::string> names_;
  std::map<std::string, grad::parameter<float>*> parameters_;
  std::map<std::string, linear_node> nodes_;
  std::optional<grad::rotary_table> rotary_;
  bool checkpoint_ = true;
};

}  // namespace tersor::model
