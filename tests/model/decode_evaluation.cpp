// tersor - tests of model/decode_evaluation.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/kivi.hpp>
#include <tersor/model/decode_evaluation.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace decode_evaluation_tests {

using test::error_of;
using test::holds;

TEST_CASE("decode_evaluation: an exact cache scores the end of each window as one pass does") {
  const auto m = tiny_llama();
  const auto ids = random_ids(3 * 32 + 7, 50);
  const auto r = model::decode_perplexity(m, ids, model::exact_cache(), {.window = 32, .prompt = 20});
  CHECK(r.tokens == 3 * 12);
  REQUIRE(r.nll_per_window.size() == 3);
  double mean = 0;
  for (index_t w = 0; w < 3; ++w) {
    const auto window = std::span(ids).subspan(static_cast<std::size_t>(32 * w), 32);
    const auto logits = m.logits(m.forward(window).view());
    double nll = 0;
    for (index_t t = 20; t < 32; ++t)
      nll += kernel::log_sum_exp(logits.row(t - 1).data(), logits.cols()) -
             static_cast<double>(logits(t - 1, window[static_cast<std::size_t>(t)]));
    CHECK(std::abs(r.nll_per_window[static_cast<std::size_t>(w)] - nll / 12) <= 1e-5);
    mean += nll / 36;
  }
  CHECK(std::abs(r.perplexity - std::exp(mean)) <= 1e-4 * r.perplexity);
  CHECK(r.kept_tokens == 20);
  CHECK(r.kv_bits_per_element() == 32);
  CHECK(r.attention_output_error == 0);
}

TEST_CASE("decode_evaluation: compression is measured, the same for any number of threads") {
  const auto m = tiny_llama();
  const auto ids = random_ids(4 * 32, 50);
  const auto policy = kv::full{} | kv::kivi{.bits = 4, .group_size = 6, .residual = 6};
  const auto exact = model::decode_perplexity(m, ids, model::exact_cache(), {.window = 32, .prompt = 24});
  for (const auto later : {model::decoded_tokens::keep, model::decoded_tokens::compress}) {
    const model::decode_options options{.window = 32, .prompt = 24, .later = later};
    const auto r = model::decode_perplexity(m, ids, policy, options, {.threads = 1});
    CHECK(r.perplexity != exact.perplexity);
    CHECK(r.attention_output_error > 0);
    // 24 tokens: keys all in the body, values 18 there and 6 in the tail; f16 scale and minimum a group
    const double body = 4 + 32.0 / 6;
    CHECK(std::abs(r.kv_bits_per_element() - (24 * body + 18 * body + 6 * 16) / 48) <= 1e-9);
    const auto again = model::decode_perplexity(m, ids, policy, options, {.threads = 3});
    CHECK(again.perplexity == r.perplexity);
    CHECK(again.attention_output_error == r.attention_output_error);
  }
}

TEST_CASE("decode_evaluation: errors") {
  const auto m = tiny_llama();
  const auto ids = random_ids(64, 50);
  const auto text = [&](const model::decode_options& o) {
    return error_of([&] { model::decode_perplexity(m, ids, model::exact_cache(), o); });
  };
  CHECK(holds(text({.window = 32, .prompt = 32}), {"prompt", "32"}));
  CHECK(holds(text({.window = 32, .prompt = 0}), {"prompt", "0"}));
  CHECK(holds(text({.window = 4096, .prompt = 8}), {"window", "4096"}));
  CHECK(holds(text({.window = 64, .prompt = 8, .max_windows = -1}), {"max_windows"}));
}

}  // namespace decode_evaluation_tests
}  // namespace tersor
