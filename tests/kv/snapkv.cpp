// tersor - tests of kv/snapkv.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/dense.hpp>
#include <tersor/kv/snapkv.hpp>
#include <tersor/kv/streaming.hpp>

#include "policies.hpp"

namespace snapkv_tests {

using namespace tersor_test;
using kv::group_reduction;
using kv::vote_pooling;

TEST_CASE("snapkv: pooling, by hand") {
  const std::vector<float> x{1, 2, 6, 0, 3};
  CHECK(kv::pooled_votes(x, 1, vote_pooling::avg) == x);
  CHECK(kv::pooled_votes(x, 1, vote_pooling::max) == x);
  CHECK(kv::pooled_votes(x, 3, vote_pooling::avg) == std::vector<float>{1, 3, 8.0F / 3, 3, 1});
  CHECK(kv::pooled_votes(x, 3, vote_pooling::max) == std::vector<float>{2, 6, 6, 6, 3});
  CHECK(kv::pooled_votes(x, 9, vote_pooling::max) == std::vector<float>(5, 6.0F));
  CHECK(kv::pooled_votes({}, 3, vote_pooling::avg).empty());
}

TEST_CASE("snapkv: what every policy must do") {
  check_policy(kv::snapkv{.window = 4}, 4);
  check_policy(kv::snapkv{.window = 1, .kernel = 1, .reduce = group_reduction::max}, 1);
  check_policy(kv::snapkv{.window = 7, .kernel = 7, .pooling = vote_pooling::max}, 7);
}

TEST_CASE("snapkv: with a kernel of 1 the highest votes of the window, and the window") {
  for (const auto& [heads, kv_heads, tokens, window] :
       {std::array<index_t, 4>{4, 2, 50, 8}, {2, 2, 31, 5}, {3, 1, 20, 1}, {2, 1, 9, 8}})
    for (const auto reduce : {group_reduction::mean, group_reduction::max}) {
      const random_prompt x(heads, kv_heads, tokens, 6, 11);
      const index_t prefix = tokens - window, group = heads / kv_heads;
      const kv::snapkv policy{
          .capacity = window + prefix / 3, .window = window, .kernel = 1, .reduce = reduce};
      const auto scores = policy.scores(x.prompt());
      for (index_t h = 0; h < kv_heads; ++h) {
        std::vector<float> votes;
        for (index_t t = 0; t < prefix; ++t) {
          double joined = 0;
          for (index_t j = 0; j < group; ++j) {
            const auto a = causal_attention(x, h * group + j);
            double mean = 0;
            for (index_t i = prefix; i < tokens; ++i) mean += a(i, t) / static_cast<double>(window);
            joined = reduce == group_reduction::max ? std::max(joined, mean)
                                                    : joined + mean / static_cast<double>(group);
          }
          CHECK(std::abs(static_cast<double>(scores(h, t)) - joined) < 1e-6);
          votes.push_back(scores(h, t));
        }
        for (index_t t = prefix; t < tokens; ++t) CHECK(scores(h, t) == kv::always_kept);
        auto expected = sorted_highest(votes, prefix / 3);
        for (index_t t = prefix; t < tokens; ++t) expected.push_back(t);
        CHECK(policy.select(x.prompt()).kept[static_cast<std::size_t>(h)] == expected);
      }
    }
}

TEST_CASE("snapkv: max pooling keeps the neighbourhood of a spike, the lower tokens first") {
  // queries attend to token 20 alone: its key is long, all others are zero
  random_prompt x(1, 1, 50, 4, 1);
  for (float& k : x.k.values) k = 0;
  for (float& q : x.q.values) q = 1;
  for (index_t c = 0; c < 4; ++c) x.k(0, 20, c) = 10;
  const auto kept = [&](index_t beside_window) {
    const kv::snapkv policy{
        .capacity = 5 + beside_window, .window = 5, .kernel = 7, .pooling = vote_pooling::max};
    auto s = policy.select(x.prompt()).kept.front();
    s.resize(static_cast<std::size_t>(beside_window));
    return s;
  };
  CHECK(kept(7) == std::vector<index_t>{17, 18, 19, 20, 21, 22, 23});
  CHECK(kept(3) == std::vector<index_t>{17, 18, 19});
}

TEST_CASE("snapkv: the window's attention is unchanged where it attends to few tokens only") {
  // four tokens carry all but 1e-9 of the attention, and their neighbours do not matter
  random_prompt x(4, 2, 60, 8, 2);
  for (float& q : x.q.values) q = 0.1F * q + 2;
  for (index_t h = 0; h < 2; ++h)
    for (index_t t = 0; t < 60; ++t)
      for (index_t c = 0; c < 8; ++c) x.k(h, t, c) = t % 13 == 5 && t < 50 ? 4.0F : -1.0F;
  const kv::snapkv policy{.capacity = 10 + 4, .window = 10, .kernel = 1};
  const auto s = policy.select(x.prompt());
  for (const auto& kept : s.kept) CHECK((kept[0] == 5 && kept[1] == 18 && kept[2] == 31 && kept[3] == 44));
  for (index_t h = 0; h < 4; ++h) {
    const auto& kept = s.kept[static_cast<std::size_t>(h / 2)];
    const auto k = x.k.head(h / 2), v = x.v.head(h / 2), q = x.q.head(h);
    for (index_t i = 50; i < 60; ++i) {
      matrix<float> some_k(0, 8), some_v(0, 8);
      std::vector<index_t> visible;
      for (const index_t t : kept)
        if (t <= i) visible.push_back(t);
      some_k = matrix<float>(static_cast<index_t>(visible.size()), 8);
      some_v = some_k;
      for (index_t r = 0; r < some_k.rows(); ++r)
        for (index_t c = 0; c < 8; ++c) {
          some_k(r, c) = k(visible[static_cast<std::size_t>(r)], c);
          some_v(r, c) = v(visible[static_cast<std::size_t>(r)], c);
        }
      const auto all = attention(q.row(i), tersor::copy_as<float>(k.view().rows(0, i + 1)),
                                 tersor::copy_as<float>(v.view().rows(0, i + 1)));
      CHECK(largest_difference(attention(q.row(i), some_k, some_v), all) < 1e-5);
    }
  }
}

TEST_CASE("snapkv: a set for each query head, on repeated heads") {
  const random_prompt x(4, 2, 40, 4, 5);
  const auto k = kv::repeat_heads(x.k.view(), 2);
  const auto layout = layout_of(4, 4, 4);
  const kv::heads_view<const float> keys(k.data(), {4, 40, 4});
  const kv::prompt p{layout, keys, keys, x.q.view()};
  const kv::snapkv policy{.capacity = 12, .window = 4, .reduce = group_reduction::none};
  const auto s = policy.select(p);
  CHECK(s.kept.size() == 4);
  CHECK(s.kept[0] != s.kept[1]);
  CHECK(holds(error_of([&] { policy.select(x.prompt()); }), {"snapkv: reduce=none", "repeat_heads"}));
}

TEST_CASE("snapkv: tokens planted in a long prompt survive, which a window alone does not see") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const needle_prompt x(1500, seed);
    CHECK(x.all_kept(kv::snapkv{.capacity = 150}.select(x.prompt())));
    CHECK_FALSE(x.all_kept(kv::streaming{.sinks = 4, .window = 146}.select(x.prompt())));
  }
}

TEST_CASE("snapkv: in a cache, nothing is dropped at decode") {
  const random_prompt x(4, 2, 60, 8, 3);
  kv::any_cache cache(x.layout, kv::snapkv{.capacity = 20, .window = 8} | kv::dense{kv::element_type::f32});
  cache.prefill(x.k.first(50), x.v.first(50), x.q.first(50));
  for (index_t t = 50; t < 60; ++t) {
    matrix<float> out(4, 8);
    cache.step(x.q.token(t).view(), x.k.token(t).view(), x.v.token(t).view(), out.view());
    CHECK(largest_difference(out.values(), attention_of(cache, x.q.token(t)).values()) < 1e-5);
  }
  CHECK((cache.tokens(0) == 30 && cache.kept(1).back() == 59));
}

TEST_CASE("snapkv: errors") {
  CHECK(holds(error_of([] { kv::snapkv{.capacity = 31}.validate(); }),
              {"snapkv: capacity", "31", "window, 32"}));
  CHECK(holds(error_of([] { kv::snapkv{.kernel = 4}.validate(); }), {"snapkv: kernel", "4", "odd"}));
  CHECK_THROWS_AS(kv::snapkv{.window = 0}.validate(), tersor::error);
  const random_prompt x(2, 1, 80, 4, 1);
  CHECK(holds(error_of([&] { kv::snapkv{.capacity = 40}.select(x.with_queries(31)); }),
              {"snapkv: queries", "31", "32"}));
}

}  // namespace snapkv_tests
