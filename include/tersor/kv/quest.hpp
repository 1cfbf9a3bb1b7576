// tersor - Quest: each query reads the pages of the cache that may matter to it
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/eviction.hpp>

namespace tersor::kv {

/// Quest (arXiv:2406.10774, official code mit-han-lab/Quest): which tokens matter depends on the query, so
/// nothing is evicted; each decode step reads some pages of `page` tokens. The largest and smallest value of
/// each key channel in a page bound q . k of its tokens from above; each query head takes the max(3, budget /
/// page) pages with the highest bounds (rounded up), and the heads of a group attend to the pages of all of
/// them, exactly. The first `dense_layers` of the layout's layers read everything, as in the paper.
///
/// Bounds are of the keys as they come, whatever the codec makes of them; codecs that decode single runs of
/// tokens read no more than the pages.
///
/// Cost: 2 head_dim products a page for each step, then attention over the pages. Guarantee: no bound is
/// below a logit of its page; a budget that covers the cache is exact attention. Stored: everything, and 2
/// head_dim f16 a page (1 / page of the elements).
///
///     tersor::kv::any_cache cache(layout, tersor::kv::quest{.budget = 1024} | tersor::kv::dense{});
struct quest {
  index_t budget = 1024;
  index_t page = 16;
  index_t dense_layers = 2;

  static constexpr index_t least_pages = 3;
  static constexpr solve::stage_kind kind = solve::stage_kind::eviction;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "quest",
      .family = "kv",
      .title = "Attention to the pages that a query may need",
      .arxiv = "2406.10774",
      .header = "tersor/kv/quest.hpp",
      .guarantee = "no page's bound is below a logit in it; exact if the budget covers the cache"};
  static constexpr auto options() {
    return std::tuple{
        option{"budget", &quest::budget, {.help = "tokens that a query head reads", .min = 1, .max = 1e9}},
        option{"page", &quest::page, {.help = "tokens of a page", .min = 1, .max = 1e6}},
        option{"dense_layers",
               &quest::dense_layers,
               {.help = "first layers, which read everything", .min = 0, .max = 1e6}}};
  }
  void validate() const { validate_options(*this, info.id); }

  selection select(const prompt& p, const context& = {}) const {
    return selection::all(p.layout.kv_heads, p.tokens());
  }
  /// Tokens of a page in that layer; 0: it reads everything.
  index_t page_tokens(const attention_layout& layout) const { return layout.layer < dense_layers ? 0 : page; }
  /// @param bounds [group, pages]. @return the pages that some of the queries want, ascending.
  std::vector<index_t> choose_pages(matrix_view<const float> bounds) const {
    const index_t pages = bounds.cols(),
                  count = std::min(pages, std::max(least_pages, (budget + page - 1) / page));
    std::vector<bool> wanted(static_cast<std::size_t>(pages));
    std::vector<float> row(wanted.size());
    for (index_t j = 0; j < bounds.rows(); ++j) {
      for (index_t p = 0; p < pages; ++p) row[static_cast<std::size_t>(p)] = bounds(j, p);
      for (const index_t p : highest(row, count)) wanted[static_cast<std::size_t>(p)] = true;
    }
    std::vector<index_t> chosen;
    for (index_t p = 0; p < pages; ++p)
      if (wanted[static_cast<std::size_t>(p)]) chosen.push_back(p);
    return chosen;
  }
};

}  // namespace tersor::kv
