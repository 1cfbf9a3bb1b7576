// tersor - tests of kv/quest.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/dense.hpp>
#include <tersor/kv/full.hpp>
#include <tersor/kv/group.hpp>
#include <tersor/kv/kivi.hpp>
#include <tersor/kv/quest.hpp>
#include <tersor/kv/streaming.hpp>

#include "policies.hpp"

namespace quest_tests {

using namespace tersor_test;
using kv::key_position;
constexpr kv::dense f32{kv::element_type::f32};

/// Prompt and decode steps; the outputs of all steps.
std::vector<float> outputs(kv::any_cache& cache, const random_prompt& x, index_t prompt, int n = 1) {
  const auto plain_keys = cache.keys() == key_position::plain;
  cache.prefill(x.k.first(prompt), x.v.first(prompt), x.q.first(prompt), threads(n));
  std::vector<float> all;
  for (index_t t = prompt; t < x.k.tokens; ++t) {
    auto q = x.q.token(t), k = x.k.token(t);
    if (plain_keys)
      for (auto* rows : {&q, &k})
        for (index_t h = 0; h < rows->rows(); ++h) x.layout.rotary.apply(rows->view().rows(h, 1), 1, -t);
    matrix<float> out(x.q.heads, x.q.dim);
    cache.step(q.view(), k.view(), x.v.token(t).view(), out.view(), threads(n));
    all.insert(all.end(), out.values().begin(), out.values().end());
  }
  return all;
}

TEST_CASE("quest: pages of the highest bounds, of all heads of a group") {
  matrix<float> bounds(2, 6);
  for (index_t p = 0; p < 6; ++p) {
    bounds(0, p) = static_cast<float>(p);
    bounds(1, p) = p == 0 ? 9.0F : 1.0F;  // ties: the lower pages
  }
  const auto one = std::as_const(bounds).view().rows(0, 1), both = std::as_const(bounds).view();
  CHECK(kv::quest{.budget = 64, .page = 16}.choose_pages(one) == std::vector<index_t>{2, 3, 4, 5});
  CHECK(kv::quest{.budget = 65, .page = 16}.choose_pages(one) == std::vector<index_t>{1, 2, 3, 4, 5});
  CHECK(kv::quest{.budget = 1, .page = 16}.choose_pages(one) == std::vector<index_t>{3, 4, 5});
  CHECK(kv::quest{.budget = 1, .page = 16}.choose_pages(both) == std::vector<index_t>{0, 1, 2, 3, 4, 5});
  CHECK(kv::quest{.budget = 1000, .page = 16}.choose_pages(one).size() == 6);
  CHECK(kv::quest{}.choose_pages(std::as_const(bounds).view().block(0, 0, 2, 0)).empty());
}

TEST_CASE("quest: a budget that covers the cache is exact attention") {
  for (const auto& [heads, kv_heads, prompt] :
       {std::array<index_t, 3>{4, 2, 50}, {2, 2, 7}, {3, 1, 0}, {4, 4, 33}})
    for (const auto position : {key_position::rotated, key_position::plain}) {
      const random_prompt x(heads, kv_heads, 60, 8, 1);
      const kv::quest policy{.budget = 60, .page = 16, .dense_layers = 0};
      kv::any_cache some(x.layout, policy | f32, position), all(x.layout, kv::full{} | f32, position);
      CHECK(outputs(some, x, prompt) == outputs(all, x, prompt));
      CHECK(some.kept(0) == all.kept(0));
    }
}

TEST_CASE("quest: attention over the chosen pages alone, behind any codec") {
  const random_prompt x(4, 2, 70, 8, 2);
  const kv::quest policy{.budget = 16, .page = 4, .dense_layers = 0};
  const std::vector<kv::any_codec> codecs{f32, kv::kivi{.bits = 4, .group_size = 8, .residual = 8},
                                          kv::group{.bits = 8, .group_size = 8}};
  for (const auto& codec : codecs)
    for (const auto position : {key_position::rotated, key_position::plain}) {
      kv::any_cache cache(x.layout, policy, codec, position);
      cache.prefill(x.k.first(50), x.v.first(50), x.q.first(50));
      for (index_t t = 50; t < 70; ++t) {
        auto q = x.q.token(t), k = x.k.token(t);
        auto plain_q = q, plain_k = k;
        for (auto* rows : {&plain_q, &plain_k})
          for (index_t h = 0; h < rows->rows(); ++h) x.layout.rotary.apply(rows->view().rows(h, 1), 1, -t);
        const bool plain = position == key_position::plain;
        cache.append((plain ? plain_k : k).view(), x.v.token(t).view());
        matrix<float> out(4, 8);
        std::vector<matrix<float>> weights;
        cache.attend((plain ? plain_q : q).view(), out.view(), {}, &weights);
        for (index_t h = 0; h < 2; ++h) {
          // pages of this head by their exact bounds
          const index_t pages = (t + 4) / 4;
          matrix<float> bounds(2, pages);
          for (index_t j = 0; j < 2; ++j)
            for (index_t p = 0; p < pages; ++p)
              for (index_t c = 0; c < 8; ++c) {
                float largest = -1e30F;
                for (index_t i = 4 * p; i < std::min(4 * p + 4, t + 1); ++i)
                  largest = std::max(largest, q(2 * h + j, c) * x.k(h, i, c));
                bounds(j, p) += largest;
              }
          std::vector<index_t> tokens;
          for (const index_t p : policy.choose_pages(std::as_const(bounds).view()))
            for (index_t i = 4 * p; i < std::min(4 * p + 4, t + 1); ++i) tokens.push_back(i);
          CHECK(tokens.size() < static_cast<std::size_t>(t + 1));
          const auto& w = weights[static_cast<std::size_t>(h)];
          REQUIRE(w.cols() == static_cast<index_t>(tokens.size()));
          auto keys = cache.to_dense(kv::side::keys, h);
          const auto values = cache.to_dense(kv::side::values, h);
          if (plain) x.layout.rotary.apply(keys.view(), 1, 0);
          matrix<float> some_k(w.cols(), 8), some_v(w.cols(), 8);
          for (index_t i = 0; i < w.cols(); ++i)
            for (index_t c = 0; c < 8; ++c) {
              some_k(i, c) = keys(tokens[static_cast<std::size_t>(i)], c);
              some_v(i, c) = values(tokens[static_cast<std::size_t>(i)], c);
            }
          for (index_t j = 0; j < 2; ++j)
            CHECK(largest_difference(out.row(2 * h + j), attention(q.row(2 * h + j), some_k, some_v)) < 1e-5);
        }
        cache.finish_step();
      }
    }
}

TEST_CASE("quest: nothing is evicted, bounds are counted, copies and threads do not matter") {
  const random_prompt x(4, 2, 64, 8, 2);
  const kv::quest policy{.budget = 16, .page = 16, .dense_layers = 0};
  kv::any_cache cache(x.layout, policy | f32), threaded(x.layout, policy | f32),
      all(x.layout, kv::full{} | f32);
  const auto out = outputs(cache, x, 50);
  CHECK(outputs(threaded, x, 50, 3) == out);
  outputs(all, x, 50);
  CHECK(cache.kept(1).size() == 64);
  // 4 full pages, 2 D bounds of 2 bytes each, for 2 heads
  CHECK(cache.storage().bytes() == all.storage().bytes() + 2 * 4 * 2 * 8 * 2);
  auto copy = cache;
  matrix<float> a(4, 8), b(4, 8);
  copy.append(x.k.token(0).view(), x.v.token(0).view());
  cache.attend(x.q.token(5).view(), a.view());
  threaded.attend(x.q.token(5).view(), b.view());
  CHECK(a == b);
}

TEST_CASE("quest: the first layers read everything") {
  random_prompt x(2, 1, 80, 8, 2);
  x.layout.layers = 4;
  kv::any_cache all(x.layout, kv::full{} | f32);
  const auto exact = outputs(all, x, 60);
  for (index_t layer = 0; layer < 4; ++layer) {
    x.layout.layer = layer;
    kv::any_cache cache(x.layout, kv::quest{.budget = 8, .page = 8} | f32);
    CHECK((outputs(cache, x, 60) == exact) == (layer < 2));
    CHECK((cache.storage().bytes() == all.storage().bytes()) == (layer < 2));
  }
}

TEST_CASE("quest: pages of planted tokens are read, which a window alone does not see") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const needle_prompt x(1500, seed);
    const auto first_channel = [&](const auto& policy) {
      kv::any_cache cache(x.layout, policy | f32);
      cache.prefill(x.k.first(1499), x.v.first(1499), x.q.first(1499));
      matrix<float> out(4, 32);
      cache.step(x.q.token(1499).view(), x.k.token(1499).view(), x.v.token(1499).view(), out.view());
      return std::array{out(0, 0), out(1, 0), out(2, 0), out(3, 0)};
    };
    const auto exact = first_channel(kv::full{}),
               paged = first_channel(kv::quest{.budget = 150, .dense_layers = 0}),
               window = first_channel(kv::streaming{.sinks = 4, .window = 146});
    for (std::size_t h = 0; h < 4; ++h) {  // planted values are 10, others normal
      CHECK(exact[h] > 9);
      CHECK(paged[h] > 9);
      CHECK(std::abs(window[h]) < 5);
    }
  }
}

TEST_CASE("quest: errors") {
  CHECK_THROWS_AS(kv::quest{.budget = 0}.validate(), tersor::error);
  CHECK_THROWS_AS(kv::quest{.page = 0}.validate(), tersor::error);
  CHECK_THROWS_AS(kv::quest{.dense_layers = -1}.validate(), tersor::error);
}

}  // namespace quest_tests
