// tersor - StreamingLLM: the first tokens and the most recent ones
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/eviction.hpp>

namespace tersor::kv {

/// StreamingLLM (arXiv:2309.17453, official code mit-han-lab/streaming-llm; `StreamingLLMPress` of
/// NVIDIA/kvpress): attention puts what it does not need on the first tokens, so a window works once these
/// "sinks" stay with it. Keeps the first `sinks` and the last `window` tokens; with `rolling`, at decode too,
/// where the oldest token behind the sinks is dropped in each step.
///
/// `contiguous` gives kept tokens the positions inside the cache, as the paper does: the prompt's keys are
/// rotated again, and a rolling cache must hold plain keys (key_position::plain). Without it tokens keep
/// their own positions, as in NVIDIA/kvpress.
///
/// Cost: nothing per prompt; a rolling cache needs a codec that can drop single tokens. Guarantee: never more
/// than sinks + window tokens (with `rolling`). Stored: at most (sinks + window) / T of the elements.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::streaming{.contiguous = true} | tersor::kv::dense{},
///                                 tersor::kv::key_position::plain);
struct streaming {
  index_t sinks = 4;
  index_t window = 1020;
  bool rolling = true;
  bool contiguous = false;

  static constexpr solve::stage_kind kind = solve::stage_kind::eviction;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "streaming",
      .family = "kv",
      .title = "Attention sinks and a window of recent tokens",
      .arxiv = "2309.17453",
      .header = "tersor/kv/streaming.hpp",
      .guarantee = "a rolling cache never holds more than sinks + window tokens"};
  static constexpr auto options() {
    return std::tuple{
        option{"sinks", &streaming::sinks, {.help = "first tokens, which always stay", .min = 0, .max = 1e9}},
        option{"window", &streaming::window, {.help = "most recent tokens that stay", .min = 1, .max = 1e9}},
        option{"rolling", &streaming::rolling, {.help = "also drop tokens at decode, one in each step"}},
        option{"contiguous",
               &streaming::contiguous,
               {.help = "positions inside the cache instead of those of the sequence"}}};
  }
  void validate() const { validate_options(*this, info.id); }
  bool drops() const { return rolling; }

  selection select(const prompt& p, const context& = {}) const {
    validate();
    std::vector<index_t> kept;
    for (index_t t = 0; t < p.tokens(); ++t)
      if (t < sinks || t >= p.tokens() - window) kept.push_back(t);
    return {std::vector(static_cast<std::size_t>(p.layout.kv_heads), kept), {}};
  }
  dropped_tokens after_step(const decode_step& step) const {
    const auto held = static_cast<index_t>(step.positions.front().size());
    if (held <= sinks + window) return {};
    std::vector<index_t> oldest(static_cast<std::size_t>(held - sinks - window));
    std::iota(oldest.begin(), oldest.end(), sinks);
    return dropped_tokens(step.positions.size(), oldest);
  }
};

}  // namespace tersor::kv
