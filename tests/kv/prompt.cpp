// tersor - tests of kv/prompt.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/prompt.hpp>

#include "samples.hpp"

namespace prompt_tests {

using namespace tersor_test;

TEST_CASE("prompt: heads of a projection, without a copy") {
  const auto x = random_matrix<float>(5, 3 * 4, 1);
  const auto heads = kv::split_heads(x.view(), 3);
  CHECK(heads.extents == std::array<index_t, 3>{3, 5, 4});
  for (index_t h = 0; h < 3; ++h) {
    const auto one = kv::head(heads, h);
    CHECK(one.data == x.data() + h * 4);
    for (index_t t = 0; t < 5; ++t)
      for (index_t c = 0; c < 4; ++c) CHECK(one(t, c) == x(t, h * 4 + c));
  }
  const auto some = kv::tokens(heads, 2, 3);
  CHECK(some.extents == std::array<index_t, 3>{3, 3, 4});
  CHECK(some(1, 0, 2) == x(2, 4 + 2));
  CHECK(holds(error_of([&] { kv::split_heads(x.view(), 5); }), {"12", "5 heads"}));
}

TEST_CASE("prompt: the number of tokens kept is that of kvpress, float rounding included") {
  CHECK(kv::kept_count(100, 0.0) == 100);
  CHECK(kv::kept_count(100, 0.5) == 50);
  CHECK(kv::kept_count(10, 0.9) == 0);  // int(10 * (1 - 0.9)) = int(0.9999999999999998)
  CHECK(kv::kept_count(7, 0.5) == 3);
  CHECK(kv::kept_count(7, 1.0) == 0);
  CHECK(kv::kept_count(0, 0.3) == 0);
}

TEST_CASE("prompt: the highest scores, ascending, ties to the lower index") {
  const std::vector<float> score{1, 5, 3, 5, 2, 3};
  CHECK(kv::highest(score, 0).empty());
  CHECK(kv::highest(score, 1) == std::vector<index_t>{1});
  CHECK(kv::highest(score, 3) == std::vector<index_t>{1, 2, 3});
  CHECK(kv::highest(score, 6) == std::vector<index_t>{0, 1, 2, 3, 4, 5});
  const std::vector<float> equal(9, 4.0F);
  CHECK(kv::highest(equal, 4) == std::vector<index_t>{0, 1, 2, 3});
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto x = random_matrix<float>(1, 37, seed);
    for (const index_t k : {1, 10, 36}) {
      const auto kept = kv::highest(x.row(0), k);
      CHECK(static_cast<index_t>(kept.size()) == k);
      CHECK(std::ranges::is_sorted(kept));
      float lowest = 1e9F;
      for (const index_t t : kept) lowest = std::min(lowest, x(0, t));
      CHECK(std::ranges::count_if(x.row(0), [&](float v) { return v >= lowest; }) == k);
    }
  }
  CHECK_THROWS_AS(kv::highest(score, 7), tersor::error);
  CHECK(holds(error_of([] { kv::highest(std::vector<float>{1, std::nanf("")}, 1); }), {"score[1]"}));
}

TEST_CASE("prompt: rules of a selection") {
  const auto all = kv::selection::all(2, 3);
  CHECK(all.kept == std::vector<std::vector<index_t>>{{0, 1, 2}, {0, 1, 2}});
  all.check(2, 3, "x");
  CHECK(all.is_rectangular());
  const kv::selection ragged{{{0, 2}, {1}}};
  ragged.check(2, 3, "x");
  CHECK_FALSE(ragged.is_rectangular());
  CHECK_THROWS_AS(ragged.check(3, 3, "x"), tersor::error);
  CHECK(holds(error_of([&] { ragged.check(2, 2, "snapkv"); }), {"snapkv", "head 0", "2"}));
  CHECK_THROWS_AS((kv::selection{{{1, 0}}}.check(1, 3, "x")), tersor::error);
  CHECK_THROWS_AS((kv::selection{{{1, 1}}}.check(1, 3, "x")), tersor::error);
  CHECK_THROWS_AS((kv::selection{{{0, 1}}, {{0.5F}}}.check(1, 3, "x")), tersor::error);
}

TEST_CASE("prompt: errors name what does not fit") {
  const auto layout = layout_of(4, 2, 8);
  const auto k = random_heads(2, 5, 8, 1), q = random_heads(4, 5, 8, 2);
  kv::prompt{layout, k.view(), k.view(), q.view()}.validate();
  const kv::prompt few{layout, k.view(), k.view(), q.first(2)};
  few.validate();
  CHECK(few.last_queries(3, 2, "snapkv").rows() == 2);
  CHECK(few.last_queries(3, 1, "snapkv")(0, 0) == q(3, 1, 0));
  CHECK(holds(error_of([&] { few.last_queries(0, 3, "snapkv"); }), {"snapkv", "queries", "3"}));
  CHECK_THROWS_AS((kv::prompt{layout, q.view(), q.view(), q.view()}.validate()), tersor::error);
  CHECK_THROWS_AS((kv::prompt{layout, k.view(), k.first(4), q.view()}.validate()), tersor::error);
  CHECK_THROWS_AS((kv::prompt{layout, k.view(), k.view(), k.view()}.validate()), tersor::error);
  CHECK(holds(error_of([] { layout_of(4, 3, 8).validate(); }), {"heads", "4", "3"}));
  CHECK_THROWS_AS(layout_of(4, 0, 8).validate(), tersor::error);
  auto bad = layout;
  bad.layer = 1;
  CHECK_THROWS_AS(bad.validate(), tersor::error);
  bad = layout;
  bad.head_dim = 6;
  CHECK(holds(error_of([&] { bad.validate(); }), {"rotated channels", "8"}));
}

}  // namespace prompt_tests
