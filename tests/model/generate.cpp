// tersor - tests of model/generate.hpp
// SPDX-License-Identifier: MIT
#include <tersor/model/generate.hpp>

#include "catch.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace generate_tests {

TEST_CASE("generate: greedy follows the most likely token of the whole sequence") {
  const auto m = tiny_llama(5);
  std::vector<int> ids{0, 7, 9};
  const auto text = model::generate(m, ids, {.tokens = 12});
  REQUIRE_FALSE(text.empty());
  for (const int next : text) {
    const auto logits = m.logits(m.forward(ids).view());
    const auto last = logits.row(logits.rows() - 1);
    CHECK(next == std::ranges::max_element(last) - last.begin());
    ids.push_back(next);
  }
}

TEST_CASE("generate: sampling follows the probabilities and the seed") {
  const std::vector<float> logits{std::log(0.5F), std::log(0.3F), std::log(0.2F)};
  random_generator random(1);
  std::vector<int> count(3);
  for (int i = 0; i < 20000; ++i)
    ++count[static_cast<std::size_t>(model::sample_token(logits, {.temperature = 1.0}, random))];
  CHECK(std::abs(count[0] - 10000) < 300);
  CHECK(std::abs(count[2] - 4000) < 300);
  // the smallest set with probability 0.75 leaves the last one out
  for (int i = 0; i < 1000; ++i)
    CHECK(model::sample_token(logits, {.temperature = 1.0, .top_p = 0.75}, random) != 2);
  // the top token alone
  for (int i = 0; i < 100; ++i)
    CHECK(model::sample_token(logits, {.temperature = 1.0, .top_p = 0.4}, random) == 0);
  const auto m = tiny_llama();
  const std::vector<int> prompt{0, 3};
  const model::generation_options o{.tokens = 20, .temperature = 2.0};
  CHECK(model::generate(m, prompt, o, {.seed = 1}) == model::generate(m, prompt, o, {.seed = 1}));
  CHECK(model::generate(m, prompt, o, {.seed = 1}) != model::generate(m, prompt, o, {.seed = 2}));
}

TEST_CASE("generate: ends and limits") {
  auto config = tiny_config();
  const auto m = tiny_llama(5, config);
  const std::vector<int> prompt{0, 7, 9};
  const auto text = model::generate(m, prompt, {.tokens = 6});
  config["eos_token_id"] = text[0];
  CHECK(model::generate(tiny_llama(5, config), prompt, {.tokens = 6}).empty());
  CHECK(model::generate(m, prompt, {.tokens = 0}).empty());
  CHECK_THROWS_AS(model::generate(m, {}, {.tokens = 6}), error);
  CHECK_THROWS_AS(model::generate(m, prompt, {.tokens = 100}), error);
  CHECK_THROWS_AS(model::generate(m, prompt, {.tokens = 6, .top_p = 0.0}), error);
}

}  // namespace generate_tests
}  // namespace tersor
