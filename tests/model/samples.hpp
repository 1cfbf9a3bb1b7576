// tersor - a tiny random decoder, and a slow one in double that decides
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/random.hpp>
#include <tersor/model/llama.hpp>

namespace tersor {

/// What config.json of a tiny model says.
inline io::json tiny_config(index_t heads = 4, index_t kv_heads = 2) {
  return {{"model_type", "llama"},           {"hidden_act", "silu"},   {"hidden_size", 24},
          {"intermediate_size", 40},         {"num_hidden_layers", 2}, {"num_attention_heads", heads},
          {"num_key_value_heads", kv_heads}, {"head_dim", 6},          {"vocab_size", 50},
          {"max_position_embeddings", 64},   {"rms_norm_eps", 1e-5},   {"rope_theta", 10000.0},
          {"tie_word_embeddings", true},     {"bos_token_id", 0},      {"eos_token_id", 1}};
}

inline model::llama tiny_llama(std::uint64_t seed = 1, const io::json& config = tiny_config()) {
  model::llama m(model::llama_config::from_json(config, "config.json"));
  random_generator random(seed);
  auto normal = [&](index_t rows, index_t cols, double scale) {
    matrix<float> w(rows, cols);
    for (float& v : w.values()) v = static_cast<float>(scale * random.normal());
    return w;
  };
  const auto& c = m.config();
  m.set_embedding(op::dense(normal(c.vocab_size, c.hidden_size, 0.5).view()));
  if (!c.tie_word_embeddings) m.set_head(op::dense(normal(c.vocab_size, c.hidden_size, 0.5).view()));
  for (const auto& l : m.linear_shapes()) m.set_linear(l.name, op::dense(normal(l.out, l.in, 0.3).view()));
  for (const auto& [name, length] : m.vector_shapes()) {
    std::vector<float> v(static_cast<std::size_t>(length));
    for (float& x : v) x = static_cast<float>((name.ends_with(".bias") ? 0.0 : 1.0) + 0.1 * random.normal());
    m.set_vector(name, std::move(v));
  }
  return m;
}

inline std::vector<int> random_ids(std::size_t n, int vocabulary, std::uint64_t seed = 7) {
  random_generator random(seed);
  std::vector<int> ids(n);
  for (int& id : ids) id = static_cast<int>(random.uniform_index(static_cast<std::uint64_t>(vocabulary)));
  return ids;
}

/// Logits [tokens, vocab] of a dense model, straight from the equations, in double.
inline matrix<double> oracle_logits(const model::llama& m, std::span<const int> ids) {
  const auto& c = m.config();
  const auto tokens = static_cast<index_t>(ids.size());
  auto times = [](const matrix<double>& x, const matrix<float>& w) {  // x Wᵀ
    matrix<double> y(x.rows(), w.rows());
    for (index_t t = 0; t < x.rows(); ++t)
      for (index_t r = 0; r < w.rows(); ++r)
        for (index_t j = 0; j < w.cols(); ++j) y(t, r) += x(t, j) * static_cast<double>(w(r, j));
    return y;
  };
  auto linear = [&](const std::string& name, const matrix<double>& x) {
    auto y = times(x, m.linear(name).to_dense());
    for (const auto& [vector, length] : m.vector_shapes())
      if (vector == name + ".bias")
        for (index_t t = 0; t < tokens; ++t)
          for (index_t j = 0; j < length; ++j)
            y(t, j) += static_cast<double>(m.vector(vector)[static_cast<std::size_t>(j)]);
    return y;
  };
  auto norm = [&](const matrix<double>& x, const std::string& name) {
    matrix<double> y(x.rows(), x.cols());
    for (index_t t = 0; t < x.rows(); ++t) {
      double squares = 0;
      for (index_t j = 0; j < x.cols(); ++j) squares += x(t, j) * x(t, j);
      const double scale =
          1 / std::sqrt(squares / static_cast<double>(x.cols()) + static_cast<double>(c.rms_norm_eps));
      for (index_t j = 0; j < x.cols(); ++j)
        y(t, j) = x(t, j) * scale * static_cast<double>(m.vector(name)[static_cast<std::size_t>(j)]);
    }
    return y;
  };
  auto rotate = [&](matrix<double> x, index_t heads) {
    const index_t half = c.head_dim / 2;
    for (index_t t = 0; t < tokens; ++t)
      for (index_t h = 0; h < heads; ++h)
        for (index_t i = 0; i < half; ++i) {
          const double angle = static_cast<double>(t) * c.rotary_frequencies[static_cast<std::size_t>(i)];
          double& a = x(t, h * c.head_dim + i);
          double& b = x(t, h * c.head_dim + half + i);
          const double u = a, v = b;
          a = u * std::cos(angle) - v * std::sin(angle);
          b = v * std::cos(angle) + u * std::sin(angle);
        }
    return x;
  };
  auto x = to_matrix<double>(m.embed(ids));
  for (index_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    const std::string p = concat("model.layers.", layer, "."), a = p + "self_attn.", f = p + "mlp.";
    const auto n = norm(x, p + "input_layernorm.weight");
    const auto q = rotate(linear(a + "q_proj", n), c.num_attention_heads);
    const auto k = rotate(linear(a + "k_proj", n), c.num_key_value_heads);
    const auto v = linear(a + "v_proj", n);
    matrix<double> mixed(tokens, c.query_features());
    for (index_t h = 0; h < c.num_attention_heads; ++h) {
      const index_t kv = h / (c.num_attention_heads / c.num_key_value_heads);
      for (index_t t = 0; t < tokens; ++t) {
        std::vector<double> weight;
        double total = 0;
        for (index_t s = 0; s <= t; ++s) {
          double score = 0;
          for (index_t i = 0; i < c.head_dim; ++i)
            score += q(t, h * c.head_dim + i) * k(s, kv * c.head_dim + i);
          weight.push_back(std::exp(score / std::sqrt(static_cast<double>(c.head_dim))));
          total += weight.back();
        }
        for (index_t s = 0; s <= t; ++s)
          for (index_t i = 0; i < c.head_dim; ++i)
            mixed(t, h * c.head_dim + i) +=
                weight[static_cast<std::size_t>(s)] / total * v(s, kv * c.head_dim + i);
      }
    }
    const auto o = linear(a + "o_proj", mixed);
    for (index_t i = 0; i < x.size(); ++i) x.data()[i] += o.data()[i];
    const auto n2 = norm(x, p + "post_attention_layernorm.weight");
    auto gate = linear(f + "gate_proj", n2);
    const auto up = linear(f + "up_proj", n2);
    for (index_t i = 0; i < gate.size(); ++i)
      gate.data()[i] *= up.data()[i] / (1 + std::exp(-gate.data()[i]));
    const auto d = linear(f + "down_proj", gate);
    for (index_t i = 0; i < x.size(); ++i) x.data()[i] += d.data()[i];
  }
  return times(norm(x, "model.norm.weight"),
               c.tie_word_embeddings ? m.embedding().to_dense() : m.head().to_dense());
}

}  // namespace tersor
