// tersor - TOVA: the token that the newest query attends to least goes
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/budget.hpp>

namespace tersor::kv {

/// TOVA (arXiv:2401.06104, official code schwartz-lab-NLP/TOVA; `TOVAPress` of NVIDIA/kvpress): a decoder as
/// a multi-state RNN whose state loses the token that its newest query attends to least. The score is the
/// last query's attention, the mean over *all* query heads, so every key-value head keeps the same tokens.
/// With `rolling` a token leaves in each decode step once the cache is over its budget (with `ratio`: of the
/// tokens seen so far). `keep_last` keeps the newest token in any case, as kvpress does and the paper does
/// not.
///
/// Cost: heads T head_dim per prompt; a rolling cache needs a codec that can drop single tokens. Guarantee:
/// exact counts, the same tokens in every head. Stored: capacity / T of the elements.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::tova{.ratio = 0.5} | tersor::kv::dense{});
struct tova {
  index_t capacity = 0;
  double ratio = 0.5;
  bool keep_last = true;
  bool rolling = true;

  static constexpr solve::stage_kind kind = solve::stage_kind::eviction;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr bool needs_weights = true;
  static constexpr solve::technique_info info{.id = "tova",
                                              .family = "kv",
                                              .title = "Eviction by the attention of the newest query",
                                              .arxiv = "2401.06104",
                                              .header = "tersor/kv/tova.hpp",
                                              .guarantee = "exact counts, the same tokens in every head"};
  static constexpr auto options() {
    return std::tuple_cat(
        budget_options<tova>(),
        std::tuple{option{"keep_last", &tova::keep_last, {.help = "the newest token stays"}},
                   option{"rolling", &tova::rolling, {.help = "also drop tokens at decode"}}});
  }
  void validate() const { validate_budget(*this); }
  bool drops() const { return rolling && has_budget(*this); }

  /// Attention [kv_heads, T], every row the same.
  matrix<float> scores(const prompt& p, const context& ctx = {}) const {
    validate();
    p.validate();
    const index_t tokens = p.tokens();
    matrix<float> result(p.layout.kv_heads, tokens);
    if (tokens == 0) return result;
    require(p.queries.extents[1] > 0, concat(info.id, ": queries of the prompt"), 0, "at least the last 1");
    const auto first = result.row(0);
    for (index_t h = 0; h < p.layout.heads; ++h)
      join_head(group_reduction::mean, h, p.layout.heads, prompt_attention(p, h, tokens - 1, 1, ctx).values(),
                first);
    if (keep_last) first.back() = always_kept;
    for (index_t h = 1; h < result.rows(); ++h) std::ranges::copy(first, result.row(h).begin());
    return result;
  }
  selection select(const prompt& p, const context& ctx = {}) const { return select_by_score(*this, p, ctx); }
  dropped_tokens after_step(const decode_step& step) const {
    const index_t group = step.layout.group(), count = kept_tokens(*this, step.seen);
    const auto held = static_cast<index_t>(step.positions.front().size());
    if (held <= count) return {};
    std::vector<float> score(static_cast<std::size_t>(held));
    for (index_t h = 0; h < step.layout.heads; ++h)
      join_head(group_reduction::mean, h, step.layout.heads,
                step.weights[static_cast<std::size_t>(h / group)].row(h % group), score);
    if (keep_last && count > 0) score.back() = always_kept;
    return dropped_tokens(step.positions.size(), worst_tokens(score, count));
  }
};

}  // namespace tersor::kv
