// tersor - what a compressed KV cache does to a decoder: perplexity token by token after a prompt
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/model/evaluate.hpp>
#include <tersor/model/layer_caches.hpp>

namespace tersor::model {

/// How a token stream is cut: each window begins with a prompt, which is read exactly and then compressed.
struct decode_options {
  index_t window = 1024;    ///< tokens per window; windows do not overlap
  index_t prompt = 768;     ///< tokens of a window that are the prompt; the others are decoded one by one
  index_t max_windows = 0;  ///< 0: all
  decoded_tokens later = decoded_tokens::keep;
  bool attention_error = true;  ///< compare with exact caches at every step, for about the same time again

  index_t windows(std::size_t tokens, index_t positions) const {
    const index_t n = evaluation_options{window, max_windows}.windows(tokens, positions);
    require(prompt >= 1 && prompt < window, "decode: prompt", prompt, "1 .. ", window - 1,
            ", the window less one token");
    return n;
  }
};

struct decode_result {
  double perplexity = 0;
  index_t tokens = 0;                  ///< predictions that were scored: windows * (window - prompt)
  std::vector<double> nll_per_window;  ///< mean negative log-likelihood of each window's predictions
  // of the compressed prompt, the mean over windows
  double kv_bytes = 0;      ///< of all caches
  double kv_bytes_f16 = 0;  ///< of caches that hold every token in f16
  double kept_tokens = 0;   ///< mean over layers and heads
  double attention_output_error =
      0;  ///< ‖o - o_exact‖ / ‖o_exact‖ over all layers and decode steps; 0 if not measured

  /// Stored bits for each key and value element of the prompt; 16 without compression.
  double kv_bits_per_element() const { return kv_bytes_f16 > 0 ? 16 * kv_bytes / kv_bytes_f16 : 0; }
};

/// Reads the prompt of each window exactly, compresses the caches by `policy`, then feeds the true tokens one
/// by one. Scored are the predictions of every token after the prompt: the first comes from the prompt, the
/// others from the compressed caches. Windows run in parallel, each on one thread. Error that names the place
/// where a value is not finite.
inline decode_result decode_perplexity(const llama& m, std::span<const int> ids,
                                       const kv::cache_policy& policy, const decode_options& options = {},
                                       const context& ctx = {}) {
  const index_t windows = options.windows(ids.size(), m.config().max_position_embeddings), n = options.window;
  decode_result r;
  r.nll_per_window.resize(static_cast<std::size_t>(windows));
  struct measured {
    double bytes = 0, baseline = 0, kept = 0;
    error_statistics attention;
  };
  std::vector<measured> of_window(static_cast<std::size_t>(windows));
  index_t done = 0;
  std::mutex lock;
  parallel_for(windows, ctx, [&](index_t w) {
    const context single{.threads = 1, .seed = ctx.seed, .is_cancelled = ctx.is_cancelled};
    const auto window = ids.subspan(static_cast<std::size_t>(w * n), static_cast<std::size_t>(n));
    layer_caches caches(m.config(), policy, options.later, options.attention_error);
    auto hidden = m.forward(window.first(static_cast<std::size_t>(options.prompt)), &caches, single);
    auto& measures = of_window[static_cast<std::size_t>(w)];
    measures = {static_cast<double>(caches.bytes()),
                static_cast<double>(caches.baseline_bytes()),
                caches.kept_tokens(),
                {}};
    double nll = 0.0;
    for (index_t t = options.prompt;; ++t) {
      const auto logits = m.logits(hidden.view().rows(hidden.rows() - 1, 1), single);
      const auto next = static_cast<std::size_t>(window[static_cast<std::size_t>(t)]);
      nll +=
          kernel::log_sum_exp(logits.row(0).data(), logits.cols()) - static_cast<double>(logits.row(0)[next]);
      if (t + 1 == n) break;
      hidden = m.forward(window.subspan(static_cast<std::size_t>(t), 1), &caches, single);
    }
    if (!std::isfinite(nll)) require_finite_activations(m, window, single);
    require(std::isfinite(nll), concat("decode: negative log-likelihood of window ", w), nll,
            "a finite number; the exact model has one");
    r.nll_per_window[static_cast<std::size_t>(w)] = nll / static_cast<double>(n - options.prompt);
    measures.attention = caches.attention_errors();
    const std::lock_guard guard(lock);
    ctx.step("decoding", ++done, windows);
  });
  double mean = 0.0;
  error_statistics attention;
  const auto share = 1.0 / static_cast<double>(windows);
  for (std::size_t w = 0; w < of_window.size(); ++w) {
    mean += r.nll_per_window[w] * share;
    r.kv_bytes += of_window[w].bytes * share;
    r.kv_bytes_f16 += of_window[w].baseline * share;
    r.kept_tokens += of_window[w].kept * share;
    attention.merge(of_window[w].attention);
  }
  r.perplexity = std::exp(mean);
  require(std::isfinite(r.perplexity), "perplexity", r.perplexity,
          "a finite number; the mean negative log-likelihood of a token is ", mean);
  r.tokens = windows * (n - options.prompt);
  r.attention_output_error = attention.relative_frobenius();
  return r;
}

}  // namespace tersor::model
