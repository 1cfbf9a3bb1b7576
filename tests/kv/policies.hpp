// tersor - prompts, and what every policy with scores and a budget must do, for the tests of kv/
// SPDX-License-Identifier: MIT
#pragma once

#include "samples.hpp"

#include <tersor/kv/budget.hpp>

namespace tersor_test {

/// A prompt that owns its memory, queries of all tokens.
struct random_prompt {
  kv::attention_layout layout;
  heads_array k, v, q;

  random_prompt(index_t heads, index_t kv_heads, index_t tokens, index_t dim, std::uint64_t seed)
      : layout(layout_of(heads, kv_heads, dim)),
        k(random_heads(kv_heads, tokens, dim, seed)),
        v(random_heads(kv_heads, tokens, dim, seed + 1)),
        q(random_heads(heads, tokens, dim, seed + 2)) {}
  kv::prompt prompt() const { return {layout, k.view(), v.view(), q.view()}; }
  kv::prompt with_queries(index_t last) const {
    return {layout, k.view(), v.view(), kv::tokens(q.view(), q.tokens - last, last)};
  }
};

/// Causal attention weights of a query head, [T, T], in double.
inline matrix<double> causal_attention(const random_prompt& x, index_t query_head) {
  const index_t tokens = x.k.tokens, kv_head = query_head / x.layout.group();
  matrix<double> a(tokens, tokens);
  for (index_t i = 0; i < tokens; ++i) {
    double mass = 0;
    for (index_t t = 0; t <= i; ++t) {
      double logit = 0;
      for (index_t c = 0; c < x.k.dim; ++c)
        logit += static_cast<double>(x.q(query_head, i, c)) * static_cast<double>(x.k(kv_head, t, c));
      mass += a(i, t) = std::exp(logit / std::sqrt(static_cast<double>(x.k.dim)));
    }
    for (index_t t = 0; t <= i; ++t) a(i, t) /= mass;
  }
  return a;
}

/// The k highest, by sorting everything.
inline std::vector<index_t> sorted_highest(std::span<const float> score, index_t k) {
  std::vector<index_t> order(score.size());
  std::iota(order.begin(), order.end(), index_t{0});
  std::stable_sort(order.begin(), order.end(), [&](index_t a, index_t b) {
    return score[static_cast<std::size_t>(a)] > score[static_cast<std::size_t>(b)];
  });
  order.resize(static_cast<std::size_t>(k));
  std::sort(order.begin(), order.end());
  return order;
}

/// x with its heads, in groups of `width`, in reverse order.
inline heads_array reversed_heads(const heads_array& x, index_t width) {
  heads_array y(x.heads, x.tokens, x.dim);
  for (index_t h = 0; h < x.heads; ++h)
    for (index_t t = 0; t < x.tokens; ++t)
      for (index_t c = 0; c < x.dim; ++c)
        y((x.heads / width - 1 - h / width) * width + h % width, t, c) = x(h, t, c);
  return y;
}

/// A policy that scores tokens and keeps the best of each head: counts, identity, ties, heads, threads,
/// errors. `least`: tokens that must stay.
template <class Policy>
void check_policy(Policy policy, index_t least = 0) {
  const std::string id(Policy::info.id);
  policy.capacity = 0;
  for (const auto& [heads, kv_heads, tokens, dim] :
       {std::array<index_t, 4>{4, 4, 33, 6}, {4, 2, 90, 8}, {6, 2, 57, 4}, {3, 1, 40, 4}, {2, 2, 1, 4}}) {
    const random_prompt x(heads, kv_heads, tokens, dim, static_cast<std::uint64_t>(tokens));
    const auto p = x.prompt();
    INFO(id << ": " << heads << " heads, " << kv_heads << " kv heads, " << tokens << " tokens");
    policy.ratio = 0;
    CHECK(policy.select(p).kept == kv::selection::all(kv_heads, tokens).kept);
    policy.capacity = std::max(tokens, least);
    CHECK(policy.select(p).kept == kv::selection::all(kv_heads, tokens).kept);
    for (const index_t count : {least, tokens / 2, tokens - 1}) {
      if (count < std::max<index_t>(least, 1) || count > tokens) continue;
      policy.capacity = count;
      const auto s = kv::any_eviction(policy).select(p);
      for (const auto& kept : s.kept) CHECK(static_cast<index_t>(kept.size()) == count);
      // the same bits of scores with more threads
      CHECK(policy.scores(p, threads(1)) == policy.scores(p, threads(3)));
      // reversed heads keep the same in reversed order
      const random_prompt y = [&] {
        auto r = x;
        r.k = reversed_heads(x.k, 1);
        r.v = reversed_heads(x.v, 1);
        r.q = reversed_heads(x.q, x.layout.group());
        return r;
      }();
      auto reversed = policy.select(y.prompt()).kept;
      std::reverse(reversed.begin(), reversed.end());
      CHECK(reversed == s.kept);
    }
    policy.capacity = 0;
    for (const double ratio : {0.1, 0.3, 0.5}) {
      const index_t count = kv::kept_count(tokens, ratio);
      if (count < least || tokens == 1) continue;
      policy.ratio = ratio;
      for (const auto& kept : policy.select(p).kept) CHECK(static_cast<index_t>(kept.size()) == count);
    }
    if (least > 0 && least < tokens) {
      policy.ratio = 1;
      CHECK(holds(error_of([&] { policy.select(p); }), {id, "tokens kept", "must stay"}));
    }
  }
  const random_prompt none(2, 1, 0, 4, 1);
  policy.ratio = 0.37;
  CHECK(policy.select(none.prompt()).kept == kv::selection::all(1, 0).kept);
  policy.capacity = 40;
  CHECK(
      holds(error_of([&] { policy.validate(); }), {tersor::concat(id, ": ratio"), "0.37", "capacity is 40"}));
  policy.ratio = Policy{}.ratio;
  CHECK_NOTHROW(policy.validate());
  policy.capacity = -1;
  CHECK(holds(error_of([&] { policy.validate(); }), {tersor::concat(id, ": capacity"), "-1"}));
  policy.capacity = 0;
  policy.ratio = 1.5;
  CHECK(holds(error_of([&] { policy.validate(); }), {tersor::concat(id, ": ratio"), "1.5"}));
  // what is not a number is named
  policy.ratio = 0.4;
  random_prompt x(4, 2, 80, 4, 1);
  for (index_t c = 0; c < 4; ++c) x.k(1, 17, c) = x.q(2, 79, c) = std::nanf("");
  CHECK(holds(error_of([&] { policy.select(x.prompt()); }), {id, "score of head", "nan"}));
}

/// Random tokens with a few in the middle to which the queries, those of the end included, attend. The
/// direction is of the slowest rotation, so that distance does not matter.
struct needle_prompt : random_prompt {
  std::vector<index_t> needles;

  explicit needle_prompt(index_t tokens, std::uint64_t seed) : random_prompt(4, 2, tokens, 32, seed) {
    tersor::random_generator g(seed);
    for (auto* x : {&k, &v, &q})
      for (float& value : x->values) value = static_cast<float>(g.normal());
    for (const index_t t : {tokens / 3, tokens / 2, tokens / 2 + 1, 2 * tokens / 3}) needles.push_back(t);
    for (index_t h = 0; h < q.heads; ++h)
      for (index_t t = 0; t < tokens; ++t) q(h, t, 15) += 6;
    for (index_t h = 0; h < k.heads; ++h)
      for (const index_t t : needles) {
        k(h, t, 15) = 12;
        v(h, t, 0) = 10;
      }
  }
  bool all_kept(const kv::selection& s) const {
    return std::ranges::all_of(s.kept, [&](const auto& kept) {
      return std::ranges::all_of(needles, [&](index_t t) { return std::ranges::count(kept, t) == 1; });
    });
  }
};

}  // namespace tersor_test
