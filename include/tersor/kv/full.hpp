// tersor - the eviction policy that keeps every token
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/eviction.hpp>

namespace tersor::kv {

/// Keeps all tokens (no paper): a cache that is only compressed. Guarantee: the identity.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::full{} | tersor::kv::kivi{});
struct full {
  static constexpr solve::stage_kind kind = solve::stage_kind::eviction;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "full",
                                              .family = "kv",
                                              .title = "Keeps every token of the cache",
                                              .arxiv = "",
                                              .header = "tersor/kv/full.hpp",
                                              .guarantee = "no token is evicted"};
  static constexpr auto options() { return std::tuple{}; }
  void validate() const {}

  selection select(const prompt& p, const context& = {}) const {
    return selection::all(p.layout.kv_heads, p.tokens());
  }
};

}  // namespace tersor::kv
