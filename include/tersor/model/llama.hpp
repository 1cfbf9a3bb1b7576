// tersor - Llama-family decoder whose linear layers are operator slots
// SPDX-License-Identifier: MIT
#pragma once

#include <map>  // std::map

#include <tersor/model/block_model.hpp>
#include <tersor/model/layer_caches.hpp>
#include <tersor/op/dense.hpp>
#include <tersor/solve/equivalent.hpp>

namespace tersor::model {

/// RMSNorm, rotary positions, grouped-query attention, SwiGLU, optional tied embeddings. Linear layers are
/// named as in checkpoints, without ".weight": "model.layers.0.self_attn.q_proj". Computes in float.
class llama final : public block_model {
 public:
  /// Empty slots, to be filled by `set_linear`, `set_vector` and `set_embedding` (a reader of checkpoints
  /// does so).
  explicit llama(llama_config config) : config_(std::move(config)), rotary_(config_.rotary_frequencies) {}

  const llama_config& config() const { return config_; }

  /// Every linear of the blocks with its shape [out, in], in order.
  struct linear_shape {
    std::string name;
    index_t out, in;
  };
  std::vector<linear_shape> linear_shapes() const {
    const auto& c = config_;
    std::vector<linear_shape> shapes;
    for (index_t b = 0; b < c.num_hidden_layers; ++b) {
      const std::string a = prefix(b) + "self_attn.", m = prefix(b) + "mlp.";
      shapes.push_back({a + "q_proj", c.query_features(), c.hidden_size});
      shapes.push_back({a + "k_proj", c.key_features(), c.hidden_size});
      shapes.push_back({a + "v_proj", c.key_features(), c.hidden_size});
      shapes.push_back({a + "o_proj", c.hidden_size, c.query_features()});
      shapes.push_back({m + "gate_proj", c.intermediate_size, c.hidden_size});
      shapes.push_back({m + "up_proj", c.intermediate_size, c.hidden_size});
      shapes.push_back({m + "down_proj", c.hidden_size, c.intermediate_size});
    }
    return shapes;
  }
  /// Norm weights and biases with their lengths, by checkpoint name.
  std::vector<std::pair<std::string, index_t>> vector_shapes() const {
    const auto& c = config_;
    std::vector<std::pair<std::string, index_t>> shapes;
    for (index_t b = 0; b < c.num_hidden_layers; ++b) {
      shapes.emplace_back(prefix(b) + "input_layernorm.weight", c.hidden_size);
      shapes.emplace_back(prefix(b) + "post_attention_layernorm.weight", c.hidden_size);
    }
    for (const auto& l : linear_shapes())
      if (l.name.find(".self_attn.") != std::string::npos ? c.attention_bias : c.mlp_bias)
        shapes.emplace_back(l.name + ".bias", l.out);
    shapes.emplace_back("model.norm.weight", c.hidden_size);
    return shapes;
  }

  void set_embedding(op::dense table) { embedding_ = std::move(table); }
  const op::dense& embedding() const { return embedding_; }
  /// The head of a model with tied embeddings is the table itself; one that is set takes its place, in
  /// another layout, and is not written to files.
  void set_head(op::any_operator head) { head_ = std::move(head); }
  const op::any_operator& head() const { return head_; }
  void set_vector(const std::string& name, std::vector<float> values) { vectors_[name] = std::move(values); }
  const std::vector<float>& vector(const std::string& name) const { return at(vectors_, name); }
  bool has_vector(const std::string& name) const { return vectors_.contains(name); }

  // block_model
  index_t block_count() const override;
  std::vector<std::vector<std::string>> linear_stages(index_t b) const override {
    const std::string a = prefix(b) + "self_attn.", m = prefix(b) + "mlp.";
    return {{a + "k_proj", a + "v_proj", a + "q_proj"},
            {a + "o_proj"},
            {m + "up_proj", m + "gate_proj"},
            {m + "down_proj"}};
  }
  std::vector<scale_group> scale_groups(index_t b) const override {
    const std::string p = prefix(b), a = p + "self_attn.", m = p + "mlp.";
    std::vector<scale_group> groups;
    groups.push_back({p + "input_layernorm",
                      true,
                      {a + "q_proj", a + "k_proj", a + "v_proj"},
                      [this, b, a](matrix_view<const float> x, std::span<const op::any_operator> w) {
                        const auto mixed = attention(b, x, w[0], w[1], w[2], nullptr, {});
                        return apply_linear(a + "o_proj", linear(a + "o_proj"), mixed.view(), {});
                      }});
    auto itself = [this](const std::string& name) {
      return [this, name](matrix_view<const float> x, std::span<const op::any_operator> w) {
        return apply_linear(name, w[0], x, {});
      };
    };
    // values flow into o_proj channel by channel only without grouped queries
    if (config_.num_attention_heads == config_.num_key_value_heads)
      groups.push_back({a + "v_proj", false, {a + "o_proj"}, itself(a + "o_proj")});
    groups.push_back({p + "post_attention_layernorm",
                      true,
                      {m + "gate_proj", m + "up_proj"},
                      [this, b, m](matrix_view<const float> x, std::span<const op::any_operator> w) {
                        const auto gated = gate(b, x, w[0], w[1], {});
                        return apply_linear(m + "down_proj", linear(m + "down_proj"), gated.view(), {});
                      }});
    groups.push_back({m + "up_proj", false, {m + "down_proj"}, itself(m + "down_proj")});
    return groups;
  }
  matrix<float> embed(std::span<const int> ids) const override {
    matrix<float> x(static_cast<index_t>(ids.size()), config_.hidden_size);
    for (index_t t = 0; t < x.rows(); ++t) {
      const int id = ids[static_cast<std::size_t>(t)];
      require(id >= 0 && id < config_.vocab_size, concat("token ", t), id, "0 .. ", config_.vocab_size - 1);
      embedding_.values().read(id * config_.hidden_size, x.row(t));
    }
    return x;
  }
  void begin_block(index_t b, block_state& state) const override {
    normalize(prefix(b) + "input_layernorm.weight", state);
  }
  void finish_stage(index_t b, index_t stage, block_state& state, const context& ctx) const override {
    finish_stage(b, stage, state, nullptr, ctx);
  }
  bool clips_weights(const std::string& name) const override {
    return !name.ends_with(".q_proj") && !name.ends_with(".k_proj");
  }
  const op::any_operator& linear(const std::string& name) const override { return at(linears_, name); }
  void set_linear(const std::string& name, op::any_operator op) override { linears_[name] = std::move(op); }
  void divide_producer(const scale_group& group, std::span<const float> s) override {
    if (group.producer_is_norm) return solve::divide_channels(vectors_.at(group.producer + ".weight"), s);
    auto w = linear(group.producer).to_dense();
    const auto bias = vectors_.find(group.producer + ".bias");
    solve::divide_rows(w, bias == vectors_.end() ? std::span<float>() : std::span<float>(bias->second), s);
    set_linear(group.producer, op::dense(w.view()));
  }

  /// Final hidden states [tokens, hidden] (before the last norm) of ids that follow what the caches hold; the
  /// caches, if there are any, are extended.
  matrix<float> forward(std::span<const int> ids, layer_caches* caches = nullptr,
                        const context& ctx = {}) const {
    block_state state{embed(ids), {}};
    for (index_t b = 0; b < block_count(); ++b) {
      begin_block(b, state);
      for (index_t stage = 0; stage < 4; ++stage) finish_stage(b, stage, state, caches, ctx);
    }
    return std::move(state.hidden);
  }
  /// Logits [rows, vocab_size] of final hidden states.
  matrix<float> logits(matrix_view<const float> hidden, const context& ctx = {}) const {
    matrix<float> normed(hidden.rows(), hidden.cols()), y(hidden.rows(), config_.vocab_size);
    rms_norm(hidden, vector("model.norm.weight"), config_.rms_norm_eps, normed.view());
    if (head_)
      head_.apply(normed.view(), y.view(), ctx);
    else
      embedding_.apply(normed.view(), y.view(), ctx);
    return y;
  }

 private:
  static std::string prefix(index_t block) { return concat("model.layers.", block, "."); }
  template <class T>
  static const T& at(const std::map<std::string, T>& map, const std::string& name) {
    const auto found = map.find(name);
    if (found == map.end()) fail("llama: layer", name, "the name of a layer of this model");
    return found->second;
  }

  matrix<float> apply_linear(const std::string& name, const op::any_operator& w, matrix_view<const float> x,
                             const context& ctx) const {
    matrix<float> y(x.rows(), w.rows());
    w.apply(x, y.view(), ctx);
    if (const auto bias = vectors_.find(name + ".bias"); bias != vectors_.end())
      for (index_t t = 0; t < y.rows(); ++t)
        for (index_t j = 0; j < y.cols(); ++j) y(t, j) += bias->second[static_cast<std::size_t>(j)];
    return y;
  }

  /// What o_proj reads: x [tokens, hidden] comes from the norm and follows what the caches hold.
  matrix<float> attention(index_t b, matrix_view<const float> x, const op::any_operator& q_proj,
                          const op::any_operator& k_proj, const op::any_operator& v_proj,
                          layer_caches* caches, const context& ctx) const {
    const std::string a = prefix(b) + "self_attn.";
    auto q = apply_linear(a + "q_proj", q_proj, x, ctx);
    auto k = apply_linear(a + "k_proj", k_proj, x, ctx);
    const auto v = apply_linear(a + "v_proj", v_proj, x, ctx);
    matrix<float> mixed(x.rows(), config_.query_features());
    if (caches) {
      caches->attend(b, std::move(q), std::move(k), v, mixed.view(), ctx);
      return mixed;
    }
    rotary_.apply(q.view(), config_.num_attention_heads, 0);
    rotary_.apply(k.view(), config_.num_key_value_heads, 0);
    causal_attention(q.view(), k.view(), v.view(), config_.num_attention_heads, config_.num_key_value_heads,
                     mixed.view(), ctx);
    return mixed;
  }
  /// What down_proj reads: x [tokens, hidden] comes from the norm.
  matrix<float> gate(index_t b, matrix_view<const float> x, const op::any_operator& gate_proj,
                     const op::any_operator& up_proj, const context& ctx) const {
    const std::string m = prefix(b) + "mlp.";
    auto gated = apply_linear(m + "gate_proj", gate_proj, x, ctx);
    swiglu(gated, apply_linear(m + "up_proj", up_proj, x, ctx));
    return gated;
  }
  void normalize(const std::string& norm, block_state& state) const {
    if (state.input.rows() != state.hidden.rows() || state.input.cols() != state.hidden.cols())
      state.input = matrix<float>(state.hidden.rows(), state.hidden.cols());
    rms_norm(state.hidden.view(), vector(norm), config_.rms_norm_eps, state.input.view());
  }
  void add_to_residual(const std::string& name, block_state& state, const context& ctx) const {
    const auto y = apply_linear(name, linear(name), state.input.view(), ctx);
    for (index_t i = 0; i < y.size(); ++i) state.hidden.data()[i] += y.data()[i];
  }
  void finish_stage(index_t b, index_t stage, block_state& state, layer_caches* caches,
                    const context& ctx) const {
    const std::string p = prefix(b), a = p + "self_attn.", m = p + "mlp.";
    switch (stage) {
      case 0:
        state.input = attention(b, state.input.view(), linear(a + "q_proj"), linear(a + "k_proj"),
                                linear(a + "v_proj"), caches, ctx);
        return;
      case 1:
        add_to_residual(a + "o_proj", state, ctx);
        return normalize(p + "post_attention_layernorm.weight", state);
      case 2:
        state.input = gate(b, state.input.view(), linear(m + "gate_proj"), linear(m + "up_proj"), ctx);
        return;
      default:
        assert(stage == 3);
        add_to_residual(m + "down_proj", state, ctx);
    }
  }

  llama_config config_;
  kernel::rotary rotary_;
  op::dense embedding_;
  op::any_operator head_;
  std::map<std::string, op::any_operator> linears_;
  std::map<std::string, std::vector<float>> vectors_;
};

// The first virtual function that is not in the class: compilers put all of them where this one is.
#if !defined(TERSOR_PRECOMPILED)
inline index_t llama::block_count() const { return config_.num_hidden_layers; }
#endif

}  // namespace tersor::model
