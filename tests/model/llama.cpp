// tersor - tests of model/llama.hpp: against the equations in double
// SPDX-License-Identifier: MIT
#include <tersor/model/llama.hpp>

#include "catch.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace llama_tests {

double worst_difference(const matrix<float>& a, const matrix<double>& b) {
  REQUIRE(a.rows() == b.rows());
  REQUIRE(a.cols() == b.cols());
  double worst = 0;
  for (index_t i = 0; i < a.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(a.data()[i]) - b.data()[i]));
  return worst;
}

TEST_CASE("llama: logits equal the oracle for every ratio of query to key heads") {
  const auto [heads, kv_heads] = GENERATE(table<index_t, index_t>({{4, 4}, {4, 2}, {4, 1}, {6, 2}, {1, 1}}));
  auto config = tiny_config(heads, kv_heads);
  config["attention_bias"] = config["mlp_bias"] = heads == 6;
  config["tie_word_embeddings"] = heads != 1;
  const auto m = tiny_llama(static_cast<std::uint64_t>(heads * 10 + kv_heads), config);
  for (const std::size_t tokens : {1U, 2U, 17U, 64U}) {
    const auto ids = random_ids(tokens, 50);
    const auto logits = m.logits(m.forward(ids).view());
    CHECK(worst_difference(logits, oracle_logits(m, ids)) < 1e-4);
  }
}

TEST_CASE("llama: a cache gives the same logits, token by token and in pieces") {
  const auto m = tiny_llama();
  const auto ids = random_ids(40, 50);
  const auto whole = m.logits(m.forward(ids).view());
  for (const std::size_t piece : {1U, 3U, 16U}) {
    model::layer_caches caches(m.config());
    for (std::size_t first = 0; first < ids.size(); first += piece) {
      const auto count = std::min(piece, ids.size() - first);
      const auto hidden = m.forward(std::span(ids).subspan(first, count), &caches);
      const auto logits = m.logits(hidden.view());
      for (index_t t = 0; t < logits.rows(); ++t)
        for (index_t j = 0; j < logits.cols(); ++j)
          REQUIRE(std::abs(logits(t, j) - whole(static_cast<index_t>(first) + t, j)) < 1e-4F);
    }
    CHECK(caches.seen() == 40);
  }
}

TEST_CASE("llama: the same bits for any number of threads") {
  const auto m = tiny_llama();
  const auto ids = random_ids(64, 50);
  const auto one = m.logits(m.forward(ids, nullptr, {.threads = 1}).view(), {.threads = 1});
  for (const int threads : {2, 3})
    CHECK(m.logits(m.forward(ids, nullptr, {.threads = threads}).view()) == one);
}

TEST_CASE("llama: the input of a stage is what its linears read, and a change of it changes what follows") {
  const auto m = tiny_llama();
  model::block_state state{m.embed(random_ids(9, 50)), {}};
  m.begin_block(0, state);
  const auto stages = m.linear_stages(0);
  CHECK(stages.size() == 4);
  for (std::size_t s = 0; s < stages.size(); ++s) {
    for (const auto& name : stages[s]) CHECK(state.input.cols() == m.linear(name).cols());
    CHECK(state.input.rows() == 9);
    m.finish_stage(0, static_cast<index_t>(s), state, {});
  }
  // without an o_proj and a down_proj, a block returns what it was given
  auto nothing = tiny_llama();
  for (const char* name : {"self_attn.o_proj", "mlp.down_proj"}) {
    const auto full = concat("model.layers.0.", name);
    nothing.set_linear(full, op::dense(matrix<float>(24, nothing.linear(full).cols()).view()));
  }
  model::block_state unchanged{nothing.embed(random_ids(9, 50)), {}};
  nothing.begin_block(0, unchanged);
  for (index_t s = 0; s < 4; ++s) nothing.finish_stage(0, s, unchanged, {});
  CHECK(unchanged.hidden == nothing.embed(random_ids(9, 50)));
}

TEST_CASE("llama: dividing the producer and multiplying the consumers leaves the function") {
  auto m = tiny_llama(3, tiny_config(4, 4));
  const auto ids = random_ids(20, 50);
  const auto before = m.logits(m.forward(ids).view());
  for (index_t b = 0; b < m.block_count(); ++b) {
    const auto groups = m.scale_groups(b);
    CHECK(groups.size() == 4);
    for (const auto& group : groups) {
      std::vector<float> s;
      random_generator random(static_cast<std::uint64_t>(b + 5));
      for (index_t j = 0; j < m.linear(group.consumers.front()).cols(); ++j)
        s.push_back(static_cast<float>(std::exp(random.normal())));
      m.divide_producer(group, s);
      for (const auto& consumer : group.consumers) {
        auto w = m.linear(consumer).to_dense();
        for (index_t r = 0; r < w.rows(); ++r)
          for (index_t j = 0; j < w.cols(); ++j) w(r, j) *= s[static_cast<std::size_t>(j)];
        m.set_linear(consumer, op::dense(w.view()));
      }
    }
  }
  const auto after = m.logits(m.forward(ids).view());
  double error = 0, norm = 0;
  for (index_t i = 0; i < before.size(); ++i) {
    error += std::pow(static_cast<double>(after.data()[i] - before.data()[i]), 2);
    norm += std::pow(static_cast<double>(before.data()[i]), 2);
  }
  CHECK(std::sqrt(error / norm) < 1e-5);
}

TEST_CASE("llama: grouped queries have no group between values and output") {
  CHECK(tiny_llama(1, tiny_config(4, 2)).scale_groups(0).size() == 3);
}

TEST_CASE("llama: what is wrong is named") {
  const auto m = tiny_llama();
  CHECK_THROWS_AS(m.embed(std::vector<int>{50}), error);
  CHECK_THROWS_AS(m.embed(std::vector<int>{-1}), error);
  CHECK_THROWS_AS(m.linear("model.layers.0.mlp.side_proj"), error);
}

}  // namespace llama_tests
}  // namespace tersor
