// tersor - tests of kv/adakv.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/adakv.hpp>
#include <tersor/kv/dense.hpp>
#include <tersor/kv/expected.hpp>

#include "policies.hpp"

namespace adakv_tests {

using namespace tersor_test;

matrix<float> scores_of(std::vector<std::vector<float>> rows) {
  matrix<float> s(static_cast<index_t>(rows.size()), static_cast<index_t>(rows.front().size()));
  for (index_t h = 0; h < s.rows(); ++h)
    std::ranges::copy(rows[static_cast<std::size_t>(h)], s.row(h).begin());
  return s;
}

TEST_CASE("adakv: budgets, by hand") {
  const auto s = scores_of({{9, 8, 7, 6}, {5, 1, 1, 1}});
  CHECK(kv::adaptive_budgets(s, 2, 0) == std::vector<index_t>{4, 0});
  CHECK(kv::adaptive_budgets(s, 2, 0.5) == std::vector<index_t>{3, 1});
  CHECK(kv::adaptive_budgets(s, 2, 1) == std::vector<index_t>{2, 2});
  CHECK(kv::adaptive_budgets(s, 0, 0.5) == std::vector<index_t>{0, 0});
  CHECK(kv::adaptive_budgets(s, 4, 0.2) == std::vector<index_t>{4, 4});
  const auto fixed = scores_of({{9, 8, 7, 6}, {kv::always_kept, 1, 1, kv::always_kept}});
  CHECK(kv::adaptive_budgets(fixed, 2, 0) == std::vector<index_t>{2, 2});
  CHECK(holds(error_of([&] { kv::adaptive_budgets(fixed, 1, 0, "abc"); }), {"abc", "1", "the 2"}));
}

TEST_CASE("adakv: heads with the same scores in any order get the same") {
  tersor::random_generator g(3);
  for (const index_t heads : {1, 2, 3, 5})
    for (const index_t levels : {2, 4, 100}) {  // few levels: many ties
      std::vector<float> row(37);
      for (float& x : row) x = static_cast<float>(g.uniform_index(static_cast<std::uint64_t>(levels)));
      std::vector<std::vector<float>> rows;
      for (index_t h = 0; h < heads; ++h) {
        rows.push_back(row);
        std::rotate(row.begin(), row.begin() + 5, row.end());
      }
      for (const index_t count : {1, 10, 36})
        for (const double alpha : {0.0, 0.2})
          CHECK(kv::adaptive_budgets(scores_of(rows), count, alpha) ==
                std::vector<index_t>(static_cast<std::size_t>(heads), count));
    }
}

TEST_CASE("adakv: exact counts in the layer, a sure share in each head") {
  for (const auto& [heads, kv_heads, tokens] :
       {std::array<index_t, 3>{4, 4, 60}, {4, 2, 91}, {3, 1, 40}, {8, 8, 33}})
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      const random_prompt x(heads, kv_heads, tokens, 6, seed);
      for (const double ratio : {0.1, 0.5, 0.7})
        for (const double alpha : {0.0, 0.2, 0.5, 1.0}) {
          const kv::adakv policy{.ratio = ratio, .alpha = alpha, .window = 5};
          const auto s = kv::any_eviction(policy).select(x.prompt());
          const index_t count = kv::kept_count(tokens, ratio);
          index_t total = 0;
          for (const auto& kept : s.kept) {
            total += static_cast<index_t>(kept.size());
            CHECK(static_cast<index_t>(kept.size()) >=
                  static_cast<index_t>(alpha * static_cast<double>(count)));
            for (index_t t = tokens - 5; t < tokens; ++t) CHECK(std::ranges::count(kept, t) == 1);
          }
          CHECK(total == kv_heads * count);
          if (alpha == 1)
            CHECK(s.kept == kv::snapkv{.capacity = 0, .ratio = ratio, .window = 5}.select(x.prompt()).kept);
        }
    }
}

TEST_CASE("adakv: any score") {
  const random_prompt x(4, 2, 60, 6, 4);
  const kv::adakv policy{.ratio = 0.5, .alpha = 0, .score = kv::expected{.sinks = 3}};
  const auto scores = kv::expected{.sinks = 3}.scores(x.prompt());
  const auto s = policy.select(x.prompt());
  // what stays is at least as good as what goes, over both heads
  float lowest = kv::always_kept, highest = -1;
  for (index_t h = 0; h < 2; ++h)
    for (index_t t = 0; t < 60; ++t)
      if (std::ranges::count(s.kept[static_cast<std::size_t>(h)], t) == 1)
        lowest = std::min(lowest, scores(h, t));
      else
        highest = std::max(highest, scores(h, t));
  CHECK(lowest >= highest);
  CHECK(s.kept[0].size() + s.kept[1].size() == 60);
  CHECK(kv::adakv{.ratio = 0}.select(x.prompt()).kept == kv::selection::all(2, 60).kept);
}

TEST_CASE("adakv: a cache of heads with different lengths") {
  const random_prompt x(4, 2, 70, 8, 4);
  kv::any_cache cache(x.layout, kv::adakv{.ratio = 0.6, .window = 6} | kv::dense{kv::element_type::f32});
  cache.prefill(x.k.first(65), x.v.first(65), x.q.first(65));
  CHECK(cache.tokens(0) + cache.tokens(1) == 2 * 26);
  CHECK(cache.tokens(0) != cache.tokens(1));
  for (index_t t = 65; t < 70; ++t) {
    matrix<float> out(4, 8);
    cache.step(x.q.token(t).view(), x.k.token(t).view(), x.v.token(t).view(), out.view());
    CHECK(largest_difference(out.values(), attention_of(cache, x.q.token(t)).values()) < 1e-5);
  }
}

TEST_CASE("adakv: errors") {
  CHECK_THROWS_AS(kv::adakv{.alpha = 1.5}.validate(), tersor::error);
  CHECK(holds(error_of([] { kv::adakv{.kernel = 2}.validate(); }), {"adakv: kernel", "2", "odd"}));
  CHECK(holds(error_of([] { kv::adakv{.capacity = 63}.validate(); }), {"adakv: capacity", "64"}));
  CHECK_NOTHROW(kv::adakv{.capacity = 63, .score = kv::expected{}}.validate());
  const random_prompt x(2, 1, 90, 4, 7);
  CHECK(holds(error_of([&] { kv::adakv{}.select(x.prompt()); }), {"adakv", "45", "64"}));
  const auto nan = scores_of({{1, std::nanf("")}});
  CHECK(holds(error_of([&] { kv::adaptive_budgets(nan, 1, 0); }), {"head 0", "NaN"}));
}

}  // namespace adakv_tests
