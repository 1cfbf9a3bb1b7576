// tersor - acceptance: compressed KV caches on the embedded model, next to an independent simulation
// SPDX-License-Identifier: MIT
//
// The first 24 windows of 1024 tokens: a prompt of 768 is read exactly and compressed, the other 256 tokens
// are decoded one by one and stay as they are. docs/reference_numbers.md has more rows, measured by the
// command.
#include <tersor/model/decode_evaluation.hpp>
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/pipeline/cache_spec.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace tersor {
namespace kv_tests {

const std::filesystem::path folder = std::filesystem::path(TERSOR_SOURCE_DIR) / "examples" / "data" / "lm";

std::vector<int> evaluation_ids() {
  std::vector<int> ids{0};
  const auto body = io::tokenizer(folder).encode(io::read_text_file(folder / "evaluation.txt"));
  ids.insert(ids.end(), body.begin(), body.end());
  return ids;
}
double perplexity_with(const std::string& spec) {
  static const auto m = model::load_llama(folder);
  static const auto ids = evaluation_ids();
  return model::decode_perplexity(m, ids, pipeline::parse_cache_spec(spec).policy(),
                                  {.max_windows = 24, .attention_error = false})
      .perplexity;
}
/// Is it within `share` of what is expected?
bool near(double x, double expected, double share) { return std::abs(x / expected - 1) < share; }

TEST_CASE("kv: codecs") {
  const double full = perplexity_with("dense(type=f32)"),
               kivi = perplexity_with("kivi(bits=2,residual=32,key_residual=32)"),
               gear = perplexity_with("gear(bits=2,group_size=32,residual=32,outlier_scope=block)");
  INFO(full << ' ' << kivi << ' ' << gear);
  CHECK(near(full, 31.891, 1e-3));
  CHECK(near(kivi, 32.070, 1e-3));
  // the simulation's number; outliers of each channel and token alone give 31.964
  CHECK(near(gear, 31.919, 1e-3));
  CHECK(full < gear);
  CHECK(gear <= kivi);
}

TEST_CASE("kv: eviction of all but 96 tokens of a prompt") {
  const double snapkv = perplexity_with("snapkv(capacity=96)|dense(type=f32)"),
               streaming = perplexity_with("streaming(window=92)|dense(type=f32)"),
               random = perplexity_with("random(ratio=0.875)|dense(type=f32)");
  INFO(snapkv << ' ' << streaming << ' ' << random);
  CHECK(near(snapkv, 32.354, 1e-3));
  CHECK(near(streaming, 32.571, 1e-3));
  CHECK(near(random, 33.379, 1e-2));  // other random numbers
  CHECK(snapkv < streaming);
  CHECK(streaming < random);
}

TEST_CASE("kv: a budget that covers everything gives the logits of the plain cache, to the bit") {
  const auto m = model::load_llama(folder);
  auto ids = evaluation_ids();
  ids.resize(160);
  const auto prompt = std::span(ids).first(128);
  // Logits of the prompt's last token and of each token after it, which are decoded one by one.
  const auto logits_of = [&](const kv::cache_policy& policy) {
    model::layer_caches caches(m.config(), policy);
    std::vector<matrix<float>> rows;
    auto hidden = m.forward(prompt, &caches);
    rows.push_back(m.logits(hidden.view().rows(hidden.rows() - 1, 1)));
    for (std::size_t t = prompt.size(); t < ids.size(); ++t) {
      hidden = m.forward(std::span(ids).subspan(t, 1), &caches);
      rows.push_back(m.logits(hidden.view()));
    }
    return rows;
  };
  const auto plain = logits_of(model::exact_cache());
  const auto whole = m.logits(m.forward(ids).view());  // without caches
  REQUIRE(plain.size() == 33);
  for (std::size_t i = 0; i < plain.size(); ++i)
    for (index_t j = 0; j < whole.cols(); ++j)
      if (const auto t = static_cast<index_t>(127 + i); std::abs(plain[i](0, j) - whole(t, j)) > 1e-3F)
        FAIL("token " << t << ", logit " << j << ": " << plain[i](0, j) << ", not " << whole(t, j));
  for (const std::string policy :
       {"snapkv(capacity=256)", "streaming(window=256)", "random(ratio=0)", "h2o(capacity=256)",
        "tova(capacity=256)", "quest(budget=256)", "pyramid(capacity=256)", "adakv(capacity=256)",
        "expected(capacity=256)", "keydiff(capacity=256)", "knorm(capacity=256)"}) {
    INFO(policy);
    CHECK(logits_of(pipeline::parse_cache_spec(policy + "|dense(type=f32)").policy()) == plain);
  }
}

}  // namespace kv_tests
}  // namespace tersor
