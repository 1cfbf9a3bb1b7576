// tersor - tests of model/evaluate.hpp
// SPDX-License-Identifier: MIT
#include <tersor/model/evaluate.hpp>

#include "catch.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace evaluate_tests {

TEST_CASE("evaluate: perplexity equals the oracle's") {
  const auto m = tiny_llama();
  const auto ids = random_ids(70, 50);
  const auto r = model::perplexity(m, ids, {.window = 32});
  REQUIRE(r.nll_per_window.size() == 2);
  CHECK(r.tokens == 62);
  double mean = 0;
  for (std::size_t w = 0; w < 2; ++w) {
    const auto window = std::span<const int>(ids).subspan(w * 32, 32);
    const auto logits = oracle_logits(m, window);
    double nll = 0;
    for (index_t t = 0; t < 31; ++t) {
      double total = 0;
      for (index_t j = 0; j < 50; ++j) total += std::exp(logits(t, j));
      nll += std::log(total) - logits(t, window[static_cast<std::size_t>(t + 1)]);
    }
    CHECK(std::abs(r.nll_per_window[w] - nll / 31) < 1e-4);
    mean += nll / 62;
  }
  CHECK(std::abs(r.perplexity - std::exp(mean)) < 1e-3);
}

TEST_CASE("evaluate: a model that knows nothing has the perplexity of its vocabulary") {
  auto m = tiny_llama();
  m.set_embedding(op::dense(matrix<float>(50, 24).view()));
  CHECK(std::abs(model::perplexity(m, random_ids(64, 50), {.window = 64}).perplexity - 50.0) < 1e-3);
}

TEST_CASE("evaluate: threads, windows and their limits") {
  const auto m = tiny_llama();
  const auto ids = random_ids(200, 50);
  const auto all = model::perplexity(m, ids, {.window = 48}, {.threads = 1});
  CHECK(all.nll_per_window.size() == 4);
  CHECK(model::perplexity(m, ids, {.window = 48}, {.threads = 3}).nll_per_window == all.nll_per_window);
  CHECK(model::perplexity(m, ids, {.window = 48, .max_windows = 2}).nll_per_window.size() == 2);
  CHECK_THROWS_AS(model::perplexity(m, ids, {.window = 1}), error);
  CHECK_THROWS_AS(model::perplexity(m, ids, {.window = 65}), error);
  CHECK_THROWS_AS(model::perplexity(m, std::span(ids).subspan(0, 10), {.window = 48}), error);
}

TEST_CASE("evaluate: a value that is not finite is named") {
  auto m = tiny_llama();
  m.set_vector("model.layers.1.post_attention_layernorm.weight",
               std::vector<float>(24, std::numeric_limits<float>::infinity()));
  const auto ids = random_ids(64, 50);
  const auto place = [](auto&& f) {
    try {
      f();
    } catch (const error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const std::string named = "input of model.layers.1.mlp.up_proj[0, 0]";
  CHECK(place([&] { model::perplexity(m, ids, {.window = 32}); }).find(named) == 0);
  CHECK(place([&] { model::divergence(tiny_llama(), m, ids, {.window = 32}); }).find(named) == 0);
}

TEST_CASE("evaluate: divergence from itself is zero, from another model positive") {
  const auto a = tiny_llama(1), b = tiny_llama(2);
  const auto ids = random_ids(64, 50);
  const auto same = model::divergence(a, a, ids, {.window = 32});
  CHECK(same.kl_divergence == 0.0);
  CHECK(same.same_top_token_rate == 1.0);
  const auto other = model::divergence(a, b, ids, {.window = 32});
  CHECK(other.kl_divergence > 0.1);
  CHECK(other.same_top_token_rate < 1.0);
}

}  // namespace evaluate_tests
}  // namespace tersor
