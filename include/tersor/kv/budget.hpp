// tersor - budgets of KV caches: how many tokens stay, and the selection of the best of each head
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/eviction.hpp>
#include <tersor/kv/scores.hpp>

namespace tersor::kv {

// No paper: the budget that score policies share, as fields `capacity` (tokens that a head keeps) or `ratio`
// (share that is removed, as in NVIDIA/kvpress). A capacity above 0 counts, and to set a ratio beside it is
// an error.

/// The rows of a policy's option list for its fields `capacity` and `ratio`.
template <class T>
constexpr auto budget_options() {
  return std::tuple{
      option{"capacity",
             &T::capacity,
             {.help = "tokens that a head keeps; 0: by ratio", .symbol = "C", .min = 0, .max = 1e9}},
      option{"ratio",
             &T::ratio,
             {.help = "share of the tokens that is removed, without a capacity",
              .symbol = "ρ",
              .min = 0,
              .max = 1}}};
}
/// Ranges of all options, and one budget: beside a capacity the ratio is 0 or its default.
template <class T>
void validate_budget(const T& policy) {
  validate_options(policy, T::info.id);
  require(policy.capacity == 0 || policy.ratio == 0 || policy.ratio == T{}.ratio,
          concat(T::info.id, ": ratio"), policy.ratio, "no ratio, because capacity is ", policy.capacity,
          " (capacity = 0 makes it count)");
}
/// Tokens that the budget leaves of `tokens`, for a head: the capacity, or int(tokens (1 - ratio)); all if
/// neither is set.
template <class T>
index_t kept_tokens(const T& policy, index_t tokens) {
  return policy.capacity > 0 ? std::min(policy.capacity, tokens) : kept_count(tokens, policy.ratio);
}
template <class T>
bool has_budget(const T& policy) {
  return policy.capacity > 0 || policy.ratio > 0;
}

/// The `count` best tokens of a head, ascending; of equal scores the lower index. Error that names the
/// technique if more tokens than that must stay.
inline std::vector<index_t> best_tokens(std::span<const float> score, index_t count,
                                        std::string_view technique) {
  const auto fixed = static_cast<index_t>(std::ranges::count(score, always_kept));
  require(fixed <= count, concat(technique, ": tokens kept of ", score.size()), count, "at least the ", fixed,
          " that must stay (window, sinks)");
  return highest(score, count);
}
/// The others, ascending: what leaves a cache that may hold `count` tokens. Empty if it has no more.
inline std::vector<index_t> worst_tokens(std::span<const float> score, index_t count) {
  std::vector<index_t> worst;
  if (static_cast<index_t>(score.size()) <= count) return worst;
  const auto best = highest(score, count);
  auto next = best.begin();
  for (index_t t = 0; t < static_cast<index_t>(score.size()); ++t)
    if (next != best.end() && *next == t)
      ++next;
    else
      worst.push_back(t);
  return worst;
}

/// The uniform budget: every head keeps its `count` best tokens.
inline selection best_of_each_head(const matrix<float>& scores, index_t count, std::string_view technique) {
  selection s;
  for (index_t h = 0; h < scores.rows(); ++h) s.kept.push_back(best_tokens(scores.row(h), count, technique));
  return s;
}

/// `select` of a policy that has `scores` and a budget, uniform over heads. A budget that covers the prompt
/// keeps all of it, without a look at it.
template <token_score T>
selection select_by_score(const T& policy, const prompt& p, const context& ctx) {
  policy.validate();
  const index_t count = kept_tokens(policy, p.tokens());
  if (count == p.tokens()) return selection::all(p.layout.kv_heads, p.tokens());
  const auto scores = policy.scores(p, ctx);
  require_scores(scores, p, T::info.id);
  return best_of_each_head(scores, count, T::info.id);
}

}  // namespace tersor::kv
