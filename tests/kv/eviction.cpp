// tersor - tests of kv/eviction.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/eviction.hpp>
#include <tersor/kv/full.hpp>
#include <tersor/kv/streaming.hpp>

#include "samples.hpp"

namespace eviction_tests {

using namespace tersor_test;

/// Returns more tokens than there are.
struct wrong {
  static constexpr auto kind = tersor::solve::stage_kind::eviction;
  static constexpr tersor::solve::technique_info info{"wrong", "kv", "", "", "", ""};
  static constexpr auto options() { return std::tuple{}; }
  void validate() const {}
  kv::selection select(const kv::prompt& p, const tersor::context&) const {
    return kv::selection::all(p.layout.kv_heads, p.tokens() + 1);
  }
};

static_assert(kv::eviction<kv::full> && kv::eviction<wrong> && !kv::eviction<int>);

TEST_CASE("eviction: behind one type, with what it has and defaults for the rest") {
  const kv::any_eviction full = kv::full{}, rolling = kv::streaming{.contiguous = true},
                         still = kv::streaming{.rolling = false};
  CHECK(full.id() == "full");
  CHECK_FALSE((full.drops() || full.needs_weights() || full.keeps_scores() || full.contiguous()));
  CHECK((rolling.drops() && rolling.contiguous()));
  CHECK_FALSE((still.drops() || still.contiguous()));
  const auto layout = layout_of(2, 2, 4);
  CHECK(full.after_step({layout}).empty());
  CHECK_THROWS_AS(kv::any_eviction(kv::streaming{.window = 0}), tersor::error);
}

TEST_CASE("eviction: selections are checked") {
  const auto layout = layout_of(2, 2, 4);
  const auto x = random_heads(2, 5, 4, 1);
  const kv::prompt p{layout, x.view(), x.view(), x.view()};
  CHECK(kv::any_eviction(kv::full{}).select(p).kept == kv::selection::all(2, 5).kept);
  CHECK(holds(error_of([&] { kv::any_eviction(wrong{}).select(p); }), {"wrong", "5"}));
}

}  // namespace eviction_tests
