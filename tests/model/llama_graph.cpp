// tersor - tests of model/llama_graph.hpp
// SPDX-License-Identifier: MIT
#include <tersor/model/llama_graph.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace llama_graph_tests {

using model::llama_graph;
using test::error_of;
using test::holds;

/// Mean negative log-likelihood over sequences of `length`, from the oracle's logits.
double oracle_loss(const model::llama& m, std::span<const int> ids, index_t length) {
  double nll = 0;
  index_t count = 0;
  for (std::size_t first = 0; first < ids.size(); first += static_cast<std::size_t>(length)) {
    const auto window = ids.subspan(first, static_cast<std::size_t>(length));
    const auto logits = oracle_logits(m, window);
    for (index_t t = 0; t + 1 < length; ++t, ++count) {
      double total = 0;
      for (index_t j = 0; j < logits.cols(); ++j) total += std::exp(logits(t, j));
      nll += std::log(total) - logits(t, window[static_cast<std::size_t>(t + 1)]);
    }
  }
  return nll / static_cast<double>(count);
}
double loss_of(llama_graph& graph, std::span<const int> ids, index_t length, const context& ctx = {}) {
  grad::tape<float> tape(ctx);
  return static_cast<double>(graph.loss(tape, ids, length).value()(0, 0));
}
/// A parameter with the values of a linear, a vector or the embedding.
std::unique_ptr<grad::parameter<float>> parameter_of(const model::llama& m, const std::string& name) {
  matrix<float> value;
  if (name == llama_graph::embedding_name) {
    value = m.embedding().to_dense();
  } else if (m.has_vector(name)) {
    const auto& v = m.vector(name);
    value = matrix<float>(1, static_cast<index_t>(v.size()));
    std::ranges::copy(v, value.values().begin());
  } else {
    value = m.linear(name).to_dense();
  }
  return std::make_unique<grad::parameter<float>>(name, std::move(value));
}

TEST_CASE("llama_graph: the loss is that of the equations, grouped heads, biases, untied heads") {
  for (const auto& [heads, kv_heads] : {std::pair<index_t, index_t>{4, 4}, {4, 2}, {4, 1}})
    for (const bool full : {false, true}) {
      auto config = tiny_config(heads, kv_heads);
      config["tie_word_embeddings"] = !full;
      config["attention_bias"] = full;
      config["mlp_bias"] = full;
      const auto m = tiny_llama(5, config);
      const auto ids = random_ids(48, 50);
      for (const index_t length : {2, 16, 48})
        for (const bool checkpoints : {false, true}) {
          llama_graph graph(m);
          graph.checkpoint_blocks(checkpoints);
          CHECK(std::abs(loss_of(graph, ids, length) - oracle_loss(m, ids, length)) <= 1e-4);
        }
    }
}

TEST_CASE("llama_graph: the gradient is the slope of the loss, for every kind of tensor") {
  const auto m = tiny_llama();
  const auto ids = random_ids(32, 50);
  for (const std::string name :
       {"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.k_proj",
        "model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.o_proj", "model.layers.0.mlp.gate_proj",
        "model.layers.1.mlp.down_proj", "model.layers.0.input_layernorm.weight", "model.norm.weight",
        "model.embed_tokens.weight"}) {
    INFO(name);
    auto p = parameter_of(m, name);
    llama_graph graph(m);
    graph.train(name, *p);
    grad::tape<float> tape;
    tape.backward(graph.loss(tape, ids, 16));
    const auto g = p->gradient();
    double square = 0;
    for (const float v : g.values()) square += static_cast<double>(v) * static_cast<double>(v);
    REQUIRE(square > 0);
    const auto start = p->value;
    const double step = 2e-2 / std::sqrt(square);
    const auto along = [&](double t) {
      for (index_t i = 0; i < g.size(); ++i)
        p->value.data()[i] = start.data()[i] + static_cast<float>(t) * g.data()[i];
      return loss_of(graph, ids, 16);
    };
    const double slope = (along(step) - along(-step)) / (2 * step);
    CHECK(std::abs(slope - square) <= 0.02 * square);
  }
}

TEST_CASE("llama_graph: checkpoints and threads change no bit") {
  const auto m = tiny_llama();
  const auto ids = random_ids(64, 50);
  matrix<float> expected;
  for (const bool checkpoints : {false, true})
    for (const int threads : {1, 3}) {
      auto p = parameter_of(m, "model.layers.0.mlp.up_proj");
      llama_graph graph(m);
      graph.train(p->name, *p);
      graph.checkpoint_blocks(checkpoints);
      grad::tape<float> tape({.threads = threads});
      tape.backward(graph.loss(tape, ids, 16));
      if (expected.empty()) expected = p->gradient();
      CHECK(p->gradient() == expected);
    }
}

TEST_CASE("llama_graph: errors name the tensor and what is nearest") {
  const auto m = tiny_llama();
  llama_graph graph(m);
  auto p = parameter_of(m, "model.norm.weight");
  CHECK(holds(error_of([&] { graph.train("model.nrm.weight", *p); }),
              {"model.nrm.weight", "model.norm.weight"}));
  grad::tape<float> tape;
  CHECK(holds(error_of([&] { graph.loss(tape, random_ids(20, 50), 16); }), {"ids", "20", "16"}));
  CHECK(holds(error_of([&] { graph.loss(tape, random_ids(20, 50), 1); }), {"length", "1"}));
  CHECK(holds(error_of([&] { graph.loss(tape, random_ids(65, 50), 65); }), {"65", "64"}));
}

}  // namespace llama_graph_tests
}  // namespace tersor
