// tersor - H2O: the tokens that attention has hit most, and the most recent ones
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/budget.hpp>

namespace tersor::kv {

/// H2O (arXiv:2306.14048, official code FMInference/H2O; `ObservedAttentionPress` of NVIDIA/kvpress): a few
/// "heavy hitters" receive most of the attention. A token's score is the sum of the attention that all
/// queries have paid to it, prompt and decode; the share `recent` of the budget goes to the last tokens, the
/// rest to the heaviest of those before. With `rolling` the sums go on at decode and the lightest token
/// leaves once the cache is over its budget (with `ratio`: of the tokens seen so far).
///
/// The plain sum favours early tokens, which more queries can see; `normalise` divides by their number.
/// Official: the defaults, with a set for each *query* head (`reduce = none`, `repeat_heads`). kvpress:
/// {.ratio = 0.5, .recent = 0, .normalise = true, .rolling = false}. `max` takes the largest of a group for
/// each query before the sum.
///
/// Cost: heads T² head_dim per prompt, all queries of which it needs; 4 bytes a token for the sums of a
/// rolling cache, whose codec must be able to drop single tokens. Guarantee: exact counts; sums at decode
/// continue those of the prompt. Stored: capacity / T of the elements.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::h2o{.ratio = 0.8} | tersor::kv::dense{});
struct h2o {
  index_t capacity = 0;
  double ratio = 0.8;
  double recent = 0.5;
  bool normalise = false;
  group_reduction reduce = group_reduction::mean;
  bool rolling = true;

  static constexpr solve::stage_kind kind = solve::stage_kind::eviction;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr bool needs_weights = true, keeps_scores = true;
  static constexpr solve::technique_info info{.id = "h2o",
                                              .family = "kv",
                                              .title = "Heavy hitters of attention and recent tokens",
                                              .arxiv = "2306.14048",
                                              .header = "tersor/kv/h2o.hpp",
                                              .guarantee = "exact counts in every head, at decode too"};
  static constexpr auto options() {
    return std::tuple_cat(
        budget_options<h2o>(),
        std::tuple{
            option{"recent",
                   &h2o::recent,
                   {.help = "share of the kept tokens that are the last ones", .min = 0, .max = 1}},
            option{"normalise", &h2o::normalise, {.help = "divide sums by the queries that see a token"}},
            option{"reduce", &h2o::reduce, {.help = "how the query heads of a group agree"}},
            option{"rolling", &h2o::rolling, {.help = "also drop tokens at decode"}}});
  }
  void validate() const { validate_budget(*this); }
  bool drops() const { return rolling && has_budget(*this); }
  /// How many of `count` kept tokens are the last ones.
  index_t recent_tokens(index_t count) const { return std::llround(recent * static_cast<double>(count)); }

  /// Sums of attention [kv_heads, T], normalised if asked for; recent tokens are not marked.
  matrix<float> scores(const prompt& p, const context& ctx = {}) const {
    validate();
    p.validate();
    auto sums = attention_sums(p, reduce, info.id, ctx);
    if (normalise)
      for (index_t h = 0; h < sums.rows(); ++h)
        for (index_t t = 0; t < sums.cols(); ++t) sums(h, t) /= static_cast<float>(sums.cols() - t);
    return sums;
  }
  selection select(const prompt& p, const context& ctx = {}) const {
    validate();
    p.validate();
    const index_t tokens = p.tokens(), count = kept_tokens(*this, tokens);
    auto all = selection::all(p.layout.kv_heads, tokens);
    if (count == tokens && !drops()) return all;
    const auto sums = attention_sums(p, reduce, info.id, ctx);
    require_scores(sums, p, info.id);
    selection s;
    for (index_t h = 0; h < sums.rows(); ++h) {
      const auto heavy = heavy_first(sums.row(h), all.kept.front(), tokens, count);
      s.kept.push_back(highest(heavy, count));
      s.scores.emplace_back();
      for (const index_t t : s.kept.back()) s.scores.back().push_back(sums(h, t));
    }
    return s;
  }
  /// Adds the step's attention to the sums of each head and drops its lightest tokens over the budget.
  dropped_tokens after_step(const decode_step& step) const {
    const index_t group = step.layout.group(), count = kept_tokens(*this, step.seen);
    require_reduction(reduce, step.layout, info.id);
    dropped_tokens dropped(step.positions.size());
    for (std::size_t h = 0; h < dropped.size(); ++h) {
      const auto& positions = step.positions[h];
      auto& sums = step.scores[h];
      std::vector<float> paid(positions.size());
      for (index_t j = 0; j < group; ++j) join_head(reduce, j, group, step.weights[h].row(j), paid);
      for (std::size_t i = 0; i < paid.size(); ++i) sums[i] += paid[i];
      dropped[h] = worst_tokens(heavy_first(sums, positions, step.seen, count), count);
    }
    return dropped;
  }

 private:
  /// Sums of the tokens at `positions` of `seen`, normalised if asked for, the recent ones of `count` marked.
  std::vector<float> heavy_first(std::span<const float> sums, std::span<const index_t> positions,
                                 index_t seen, index_t count) const {
    std::vector<float> score(sums.begin(), sums.end());
    const auto held = static_cast<index_t>(score.size());
    for (index_t i = 0; i < held; ++i) {
      float& s = score[static_cast<std::size_t>(i)];
      if (i >= held - recent_tokens(count))
        s = always_kept;
      else if (normalise)
        s /= static_cast<float>(seen - positions[static_cast<std::size_t>(i)]);
    }
    return score;
  }
};

/// The masks of the repository's simulation (`h2o_hf/utils_hh`), for comparison with results that were
/// obtained with it; `h2o` drops tokens as the paper says. Nothing leaves the cache; a mask says what the
/// next query of one head may attend to. It differs from `h2o` in that the mask covers the next token, so of
/// the last `recent` old tokens only recent - 1 are attended to and the one before them is neither recent nor
/// a candidate, and in that tokens that are neither lose their sums, but may come back. Cost O(T) a step.
///
///     tersor::kv::h2o_masking masking(heavy, recent);       // int(ratio T) of the prompt's T tokens
///     auto mask = masking.next(column_sums);                // of the prompt's attention, [T]
///     mask = masking.next(weights);                         // of each step's query, [T + 1], [T + 2] ...
class h2o_masking {
 public:
  h2o_masking(index_t heavy, index_t recent) : heavy_(heavy), recent_(recent) {
    require(heavy >= 0, "h2o_masking: heavy", heavy, "at least 0");
    require(recent >= 0, "h2o_masking: recent", recent, "at least 0");
  }
  /// @param attention [tokens] that the new queries have paid, 0 where masked; no fewer than last time.
  /// @return [tokens + 1]: may the next query attend to a token, the last being itself?
  std::vector<bool> next(std::span<const float> attention) {
    require(attention.size() >= sums_.size(), "h2o_masking: tokens", attention.size(), "at least ",
            sums_.size());
    sums_.resize(attention.size());
    for (std::size_t t = 0; t < sums_.size(); ++t) sums_[t] += attention[t];
    const auto tokens = static_cast<index_t>(sums_.size());
    std::vector<bool> mask(sums_.size() + 1, true);
    if (tokens <= heavy_ + recent_) return mask;
    const auto candidates = static_cast<std::size_t>(tokens - recent_);
    if (recent_ > 0) std::fill(mask.begin(), mask.end() - recent_, false);
    for (const index_t t : highest(std::span<const float>(sums_).first(candidates), heavy_))
      mask[static_cast<std::size_t>(t)] = true;
    for (std::size_t t = 0; t < candidates; ++t)
      if (!mask[t]) sums_[t] = 0;
    return mask;
  }

 private:
  index_t heavy_, recent_;
  std::vector<float> sums_;  // [tokens]
};

}  // namespace tersor::kv
