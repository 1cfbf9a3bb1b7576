// tersor - the KV caches of all blocks of a decoder, for one sequence
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>  // std::optional

#include <tersor/core/error_statistics.hpp>
#include <tersor/kv/cache.hpp>
#include <tersor/kv/dense.hpp>
#include <tersor/kv/full.hpp>
#include <tersor/model/layers.hpp>
#include <tersor/model/llama_config.hpp>

namespace tersor::model {

/// The cache that changes nothing: every token in f32.
inline kv::cache_policy exact_cache() { return kv::full{} | kv::dense{.type = kv::element_type::f32}; }

/// What becomes of the tokens after the prompt.
enum class decoded_tokens {
  compress,  ///< flushed and dropped by the policy's rules, as in a long generation
  keep       ///< kept as they are: what is measured is the compressed prompt alone
};

/// One cache for each block. What a sequence brings first is its prompt, which is attended to exactly and
/// then handed to the policy; each later token is appended and attended to.
class layer_caches {
 public:
  /// @param measure also keep an exact cache beside each, to learn what the policy does to attention.
  explicit layer_caches(const llama_config& c, const kv::cache_policy& policy = exact_cache(),
                        decoded_tokens later = decoded_tokens::compress, bool measure = false)
      : rotary_(c.rotary_frequencies), later_(later) {
    const bool moves = policy.eviction.drops() && policy.eviction.contiguous();
    for (index_t b = 0; b < c.num_hidden_layers; ++b) {
      const kv::attention_layout layout{c.num_attention_heads, c.num_key_value_heads, c.head_dim, rotary_, b,
                                        c.num_hidden_layers};
      blocks_.emplace_back(layout, policy, moves ? kv::key_position::plain : kv::key_position::rotated);
      if (measure) exact_.emplace_back(layout, exact_cache());
    }
  }

  /// Tokens of the sequence so far, evicted ones included.
  index_t seen() const { return blocks_.empty() ? 0 : blocks_.front().seen(); }
  const kv::any_cache& block(index_t b) const { return blocks_[static_cast<std::size_t>(b)]; }

  /// Attention of block b: q [tokens, heads * head_dim], k, v [tokens, kv_heads * head_dim] of the tokens
  /// that follow what is cached, before rotation; out [tokens, heads * head_dim].
  void attend(index_t b, matrix<float> q, matrix<float> k, const matrix<float>& v, matrix_view<float> out,
              const context& ctx) {
    auto& cache = blocks_[static_cast<std::size_t>(b)];
    const index_t heads = cache.layout().heads, kv_heads = cache.layout().kv_heads,
                  dim = cache.layout().head_dim;
    const auto split = [](const matrix<float>& x, index_t n) { return kv::split_heads(x.view(), n); };
    if (cache.seen() == 0) {
      rotary_.apply(q.view(), heads, 0);
      rotary_.apply(k.view(), kv_heads, 0);
      causal_attention(q.view(), k.view(), v.view(), heads, kv_heads, out, ctx);
      cache.prefill(split(k, kv_heads), split(v, kv_heads), split(q, heads), ctx);
      if (!exact_.empty())
        exact_[static_cast<std::size_t>(b)].prefill(split(k, kv_heads), split(v, kv_heads), split(q, heads),
                                                    ctx);
      return;
    }
    for (index_t t = 0; t < q.rows(); ++t) {
      const matrix_view<const float> value(v.row(t).data(), {kv_heads, dim});
      const matrix_view<float> result(out.data + t * out.strides[0], {heads, dim});
      step(cache, q, k, t, value, result, ctx);
      if (exact_.empty()) continue;
      matrix<float> expected(heads, dim);
      step(exact_[static_cast<std::size_t>(b)], q, k, t, value, expected.view(), ctx);
      errors_.add(expected, result);
    }
  }

  std::size_t bytes() const {
    std::size_t n = 0;
    for (const auto& c : blocks_) n += c.storage().bytes();
    return n;
  }
  /// What caches of all tokens seen take in f16.
  std::size_t baseline_bytes() const {
    std::size_t n = 0;
    for (const auto& c : blocks_) n += c.baseline_bytes();
    return n;
  }
  /// Tokens that are held, the mean over blocks and heads.
  double kept_tokens() const {
    double sum = 0;
    index_t count = 0;
    for (const auto& c : blocks_)
      for (index_t h = 0; h < c.layout().kv_heads; ++h, ++count) sum += static_cast<double>(c.tokens(h));
    return count == 0 ? 0.0 : sum / static_cast<double>(count);
  }
  /// Attention outputs of all decode steps against those of exact caches; empty unless `measure`.
  const error_statistics& attention_errors() const { return errors_; }

 private:
  void step(kv::any_cache& cache, const matrix<float>& q, const matrix<float>& k, index_t t,
            matrix_view<const float> value, matrix_view<float> out, const context& ctx) const {
    const auto row = [&](const matrix<float>& x, index_t heads) {
      matrix<float> one(1, x.cols());
      std::ranges::copy(x.row(t), one.row(0).begin());
      if (cache.keys() == kv::key_position::rotated) rotary_.apply(one.view(), heads, cache.next_position());
      return one;
    };
    const auto& l = cache.layout();
    const auto query = row(q, l.heads), key = row(k, l.kv_heads);
    const matrix_view<const float> q_heads(query.data(), {l.heads, l.head_dim}),
        k_heads(key.data(), {l.kv_heads, l.head_dim});
    if (later_ == decoded_tokens::compress) return cache.step(q_heads, k_heads, value, out, ctx);
    cache.append(k_heads, value, ctx);
    cache.attend(q_heads, out, ctx);
  }

  kernel::rotary rotary_;
  decoded_tokens later_;
  std::vector<kv::any_cache> blocks_, exact_;
  error_statistics errors_;
};

}  // namespace tersor::model
