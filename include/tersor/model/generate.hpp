// tersor - text generation: greedy or from the most likely tokens
// SPDX-License-Identifier: MIT
#pragma once

#include <numeric>  // std::iota

#include <tersor/core/random.hpp>
#include <tersor/model/evaluate.hpp>

namespace tersor::model {

struct generation_options {
  index_t tokens = 64;  ///< new tokens at most; generation also ends at the model's end-of-sequence token
  double temperature = 0.0;  ///< 0: greedy
  double top_p = 1.0;        ///< sample from the smallest set of tokens whose probability reaches this

  void validate() const {
    require(tokens >= 0, "generate: tokens", tokens, "0 or more");
    require(temperature >= 0.0 && temperature <= 100.0, "generate: temperature", temperature, "0 .. 100");
    require(top_p > 0.0 && top_p <= 1.0, "generate: top_p", top_p, "more than 0, at most 1");
  }
};

/// The next token given its logits [vocab_size]. Ties go to the lowest id.
inline int sample_token(std::span<const float> logits, const generation_options& options,
                        random_generator& random) {
  if (options.temperature == 0.0) return static_cast<int>(std::ranges::max_element(logits) - logits.begin());
  std::vector<double> p(logits.size());
  const double top = static_cast<double>(*std::ranges::max_element(logits));
  double total = 0.0;
  for (std::size_t j = 0; j < p.size(); ++j)
    total += p[j] = std::exp((static_cast<double>(logits[j]) - top) / options.temperature);
  std::vector<int> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(
      order, [&](int a, int b) { return p[static_cast<std::size_t>(a)] > p[static_cast<std::size_t>(b)]; });
  std::size_t kept = 0;
  double mass = 0.0;
  while (kept < order.size() && mass < options.top_p * total)
    mass += p[static_cast<std::size_t>(order[kept++])];
  double u = random.uniform() * mass;
  for (std::size_t k = 0; k < kept; ++k)
    if ((u -= p[static_cast<std::size_t>(order[k])]) < 0.0) return order[k];
  return order[kept - 1];
}

/// Continues `ids` (not empty); returns the new tokens only. The end-of-sequence token ends the text and is
/// not returned. Error that names the place where a value is not finite.
/// @param policy of the KV caches.
inline std::vector<int> generate(const llama& m, std::span<const int> ids,
                                 const generation_options& options = {}, const context& ctx = {},
                                 const kv::cache_policy& policy = exact_cache()) {
  options.validate();
  require(!ids.empty(), "generate: prompt", "empty", "at least one token");
  const auto length = static_cast<index_t>(ids.size()) + options.tokens;
  require(length <= m.config().max_position_embeddings, "generate: prompt and new tokens", length, "at most ",
          m.config().max_position_embeddings, " (max_position_embeddings)");
  random_generator random(ctx.seed);
  layer_caches caches(m.config(), policy);
  std::vector<int> result;
  auto hidden = m.forward(ids, &caches, ctx);
  while (static_cast<index_t>(result.size()) < options.tokens) {
    const auto logits = m.logits(hidden.view().rows(hidden.rows() - 1, 1), ctx);
    if (!std::isfinite(kernel::log_sum_exp(logits.row(0).data(), logits.cols())))
      require_finite_activations(m, ids, ctx);
    const int next = sample_token(logits.row(0), options, random);
    if (next == m.config().eos_token_id) break;
    result.push_back(next);
    ctx.step("generation", static_cast<long long>(result.size()), options.tokens);
    if (static_cast<index_t>(result.size()) < options.tokens)
      hidden = m.forward(std::span(&next, 1), &caches, ctx);
  }
  return result;
}

}  // namespace tersor::model
