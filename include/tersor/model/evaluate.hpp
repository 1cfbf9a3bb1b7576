// tersor - perplexity of a decoder, and its divergence from another one
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/model/llama.hpp>

namespace tersor::model {

/// How a token stream is cut for evaluation.
struct evaluation_options {
  index_t window = 1024;    ///< tokens per window; windows do not overlap, a rest that fills none is left out
  index_t max_windows = 0;  ///< 0: all

  /// Windows in `tokens` tokens; an error if there is none.
  index_t windows(std::size_t tokens, index_t positions) const {
    require(window >= 2 && window <= positions, "window", window, "2 .. ", positions,
            " (max_position_embeddings)");
    require(max_windows >= 0, "max_windows", max_windows, "0 (all) or a positive number");
    const index_t full = static_cast<index_t>(tokens) / window;
    require(full > 0, "tokens to evaluate", tokens, "at least one window of ", window);
    return max_windows > 0 ? std::min(full, max_windows) : full;
  }
};

struct perplexity_result {
  double perplexity = 0;
  index_t tokens = 0;                  ///< predictions that were scored: windows * (window - 1)
  std::vector<double> nll_per_window;  ///< mean negative log-likelihood of each window's predictions
};

namespace detail {

/// Calls f(first row, number of rows) over the first `count` rows, a few at a time, so that logits stay
/// small.
template <class F>
void for_each_rows(index_t count, F&& f) {
  constexpr index_t step = 128;
  for (index_t t0 = 0; t0 < count; t0 += step) f(t0, std::min(step, count - t0));
}

}  // namespace detail

/// Error for the first activation that is not finite when the model reads `ids`: its layer, token and
/// channel.
inline void require_finite_activations(const llama& m, std::span<const int> ids, const context& ctx = {}) {
  block_state state{m.embed(ids), {}};
  for (index_t b = 0; b < m.block_count(); ++b) {
    m.begin_block(b, state);
    index_t stage = 0;
    for (const auto& linears : m.linear_stages(b)) {
      require_finite(state.input.view(), "input of " + linears.front());
      m.finish_stage(b, stage++, state, ctx);
    }
    require_finite(state.hidden.view(), concat("output of block ", b));
  }
  require_finite(m.logits(state.hidden.view(), ctx).view(), "logits");
}

/// exp of the mean negative log-likelihood of the next token over all windows. Windows run in parallel, each
/// on one thread, so the result is the same for any number of threads. Error that names the place where a
/// value is not finite.
inline perplexity_result perplexity(const llama& m, std::span<const int> ids,
                                    const evaluation_options& options = {}, const context& ctx = {}) {
  const index_t windows = options.windows(ids.size(), m.config().max_position_embeddings), n = options.window;
  perplexity_result r;
  r.nll_per_window.resize(static_cast<std::size_t>(windows));
  index_t done = 0;
  std::mutex lock;
  parallel_for(windows, ctx, [&](index_t w) {
    const auto window = ids.subspan(static_cast<std::size_t>(w * n), static_cast<std::size_t>(n));
    const auto hidden = m.forward(window, nullptr, {.threads = 1});
    double nll = 0.0;
    detail::for_each_rows(n - 1, [&](index_t t0, index_t rows) {
      const auto logits = m.logits(hidden.view().rows(t0, rows), {.threads = 1});
      for (index_t t = 0; t < rows; ++t) {
        const auto next = static_cast<std::size_t>(window[static_cast<std::size_t>(t0 + t + 1)]);
        nll += kernel::log_sum_exp(logits.row(t).data(), logits.cols()) -
               static_cast<double>(logits.row(t)[next]);
      }
    });
    if (!std::isfinite(nll)) require_finite_activations(m, window, {.threads = 1});
    r.nll_per_window[static_cast<std::size_t>(w)] = nll / static_cast<double>(n - 1);
    const std::lock_guard guard(lock);
    ctx.step("evaluation", ++done, windows);
  });
  double mean = 0.0;
  for (const double nll : r.nll_per_window) mean += nll / static_cast<double>(windows);
  r.perplexity = std::exp(mean);
  require(std::isfinite(r.perplexity), "perplexity", r.perplexity,
          "a finite number; the mean negative log-likelihood of a token is ", mean);
  r.tokens = windows * (n - 1);
  return r;
}

struct divergence_result {
  double kl_divergence = 0;        ///< mean over predictions of KL(reference || model), in nats
  double same_top_token_rate = 0;  ///< share of predictions with the same most likely token
  index_t tokens = 0;
};

/// How far the predictions of `m` are from those of `reference` on the same windows. Error as for perplexity.
inline divergence_result divergence(const llama& reference, const llama& m, std::span<const int> ids,
                                    const evaluation_options& options = {}, const context& ctx = {}) {
  require(reference.config().vocab_size == m.config().vocab_size, "divergence: vocab_size",
          m.config().vocab_size, reference.config().vocab_size, ", that of the reference");
  const index_t windows = options.windows(ids.size(), m.config().max_position_embeddings), n = options.window;
  std::vector<double> kl(static_cast<std::size_t>(windows));
  std::vector<index_t> same(static_cast<std::size_t>(windows));
  index_t done = 0;
  std::mutex lock;
  parallel_for(windows, ctx, [&](index_t w) {
    const auto window = ids.subspan(static_cast<std::size_t>(w * n), static_cast<std::size_t>(n));
    const auto a = reference.forward(window, nullptr, {.threads = 1}),
               b = m.forward(window, nullptr, {.threads = 1});
    detail::for_each_rows(n - 1, [&](index_t t0, index_t rows) {
      const auto expected = reference.logits(a.view().rows(t0, rows), {.threads = 1});
      const auto actual = m.logits(b.view().rows(t0, rows), {.threads = 1});
      for (index_t t = 0; t < rows; ++t) {
        const auto p = expected.row(t), q = actual.row(t);
        const double lp = kernel::log_sum_exp(p.data(), expected.cols()),
                     lq = kernel::log_sum_exp(q.data(), actual.cols());
        double sum = 0.0;
        for (std::size_t j = 0; j < p.size(); ++j) {
          const double log_p = static_cast<double>(p[j]) - lp;
          sum += std::exp(log_p) * (log_p - (static_cast<double>(q[j]) - lq));
        }
        kl[static_cast<std::size_t>(w)] += sum;
        same[static_cast<std::size_t>(w)] +=
            std::ranges::max_element(p) - p.begin() == std::ranges::max_element(q) - q.begin();
      }
    });
    if (!std::isfinite(kl[static_cast<std::size_t>(w)])) {
      require_finite_activations(reference, window, {.threads = 1});
      require_finite_activations(m, window, {.threads = 1});
    }
    const std::lock_guard guard(lock);
    ctx.step("divergence", ++done, windows);
  });
  divergence_result r;
  r.tokens = windows * (n - 1);
  for (const double x : kl) r.kl_divergence += x / static_cast<double>(r.tokens);
  for (const index_t x : same)
    r.same_top_token_rate += static_cast<double>(x) / static_cast<double>(r.tokens);
  return r;
}

}  // namespace tersor::model
