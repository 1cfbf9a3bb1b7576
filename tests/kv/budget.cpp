// tersor - tests of kv/budget.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/budget.hpp>
#include <tersor/kv/dense.hpp>

#include "policies.hpp"

namespace budget_tests {

using namespace tersor_test;

/// Scores are what the first channel of the keys says.
struct by_key {
  index_t capacity = 0;
  double ratio = 0;
  static constexpr auto kind = tersor::solve::stage_kind::eviction;
  static constexpr tersor::solve::technique_info info{"by_key", "kv", "", "", "", ""};
  static constexpr auto options() { return kv::budget_options<by_key>(); }
  void validate() const { kv::validate_budget(*this); }
  matrix<float> scores(const kv::prompt& p, const tersor::context& = {}) const {
    matrix<float> s(p.layout.kv_heads, p.tokens());
    for (index_t h = 0; h < s.rows(); ++h)
      for (index_t t = 0; t < s.cols(); ++t) s(h, t) = p.keys(h, t, index_t{0});
    return s;
  }
  kv::selection select(const kv::prompt& p, const tersor::context& ctx = {}) const {
    return kv::select_by_score(*this, p, ctx);
  }
};

TEST_CASE("budget: tokens by capacity or by ratio") {
  CHECK(kv::kept_tokens(by_key{.capacity = 10}, 25) == 10);
  CHECK(kv::kept_tokens(by_key{.capacity = 10}, 7) == 7);
  CHECK(kv::kept_tokens(by_key{.ratio = 0.3}, 90) == 62);  // kvpress: int(90 * 0.7) = int(62.99...)
  CHECK(kv::kept_tokens(by_key{}, 25) == 25);
  CHECK(kv::kept_tokens(by_key{.ratio = 1}, 25) == 0);
  CHECK((kv::has_budget(by_key{.ratio = 0.1}) && kv::has_budget(by_key{.capacity = 1})));
  CHECK_FALSE(kv::has_budget(by_key{}));
}

TEST_CASE("budget: a policy keeps the best of each head") { check_policy(by_key{}); }

TEST_CASE("budget: of equal scores the lower index stays") {
  random_prompt x(2, 2, 12, 4, 1);
  for (index_t h = 0; h < 2; ++h)
    for (index_t t = 0; t < 12; ++t) x.k(h, t, 0) = t == 7 && h == 1 ? 2.0F : 1.0F;
  const auto s = by_key{.capacity = 3}.select(x.prompt());
  CHECK(s.kept == std::vector<std::vector<index_t>>{{0, 1, 2}, {0, 1, 7}});
}

TEST_CASE("budget: best and worst are every token once") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto x = random_matrix<float>(1, 23, seed);
    for (const index_t count : {0, 1, 11, 23}) {
      auto all = kv::best_tokens(x.row(0), count, "test");
      CHECK(all == sorted_highest(x.row(0), count));
      const auto worst = kv::worst_tokens(x.row(0), count);
      CHECK(std::ranges::is_sorted(worst));
      all.insert(all.end(), worst.begin(), worst.end());
      std::sort(all.begin(), all.end());
      CHECK(all == kv::selection::all(1, 23).kept.front());
    }
  }
  CHECK(kv::worst_tokens(std::vector<float>{1, 2}, 5).empty());
}

TEST_CASE("budget: tokens that must stay do, or the error says how many they are") {
  const std::vector<float> score{kv::always_kept, 3, 9, kv::always_kept};
  CHECK(kv::best_tokens(score, 3, "test") == std::vector<index_t>{0, 2, 3});
  CHECK(holds(error_of([&] { kv::best_tokens(score, 1, "abc"); }), {"abc: tokens kept of 4", "1", "the 2"}));
}

TEST_CASE("budget: nothing removed is the identity, whatever the scores") {
  random_prompt x(2, 1, 9, 4, 1);
  const auto layout = layout_of(2, 1, 4);
  kv::any_cache cache(layout, kv::any_eviction(by_key{}),
                      kv::any_codec(kv::dense{.type = kv::element_type::f32}));
  cache.prefill(x.k.view(), x.v.view(), x.q.view());
  CHECK(cache.to_dense(kv::side::keys, 0) == x.k.head(0));
  CHECK(cache.to_dense(kv::side::values, 0) == x.v.head(0));
  CHECK(cache.bits_per_element() == 32);
}

}  // namespace budget_tests
