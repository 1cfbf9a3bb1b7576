// tersor - tests of kv/streaming.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/dense.hpp>
#include <tersor/kv/streaming.hpp>

#include "samples.hpp"

namespace streaming_tests {

using namespace tersor_test;
using kv::key_position;
constexpr kv::dense f32{kv::element_type::f32};

std::vector<index_t> kept_of(index_t tokens, index_t sinks, index_t window) {
  std::vector<index_t> kept;
  for (index_t t = 0; t < tokens; ++t)
    if (t < sinks || t >= tokens - window) kept.push_back(t);
  return kept;
}

TEST_CASE("streaming: the first and the last tokens, at every step", "[streaming]") {
  for (const auto& [sinks, window, prompt] :
       {std::array<index_t, 3>{4, 8, 30}, {0, 5, 20}, {4, 8, 12}, {4, 8, 3}, {3, 1, 10}, {4, 8, 0}}) {
    const auto x = random_heads(2, 50, 4, 1);
    kv::any_cache cache(layout_of(2, 2, 4), kv::streaming{.sinks = sinks, .window = window} | f32);
    cache.prefill(x.first(prompt), x.first(prompt), x.first(prompt));
    if (prompt > 0) CHECK(cache.kept(0) == kept_of(prompt, sinks, window));
    for (index_t t = prompt; t < 50; ++t) {
      matrix<float> out(2, 4);
      cache.step(x.token(t).view(), x.token(t).view(), x.token(t).view(), out.view());
      CHECK(cache.tokens(1) <= sinks + window);
      CHECK(cache.kept(1) == kept_of(t + 1, sinks, window));
      const auto k = cache.to_dense(kv::side::keys, 1);
      const auto kept = cache.kept(1);
      for (index_t i = 0; i < k.rows(); ++i)
        for (index_t c = 0; c < 4; ++c) CHECK(k(i, c) == x(1, kept[static_cast<std::size_t>(i)], c));
    }
  }
}

TEST_CASE("streaming: without rolling, decode evicts nothing", "[streaming]") {
  const auto x = random_heads(1, 30, 4, 1);
  kv::any_cache cache(layout_of(1, 1, 4), kv::streaming{.sinks = 2, .window = 4, .rolling = false} | f32);
  cache.prefill(x.first(20), x.first(20), x.first(20));
  for (index_t t = 20; t < 30; ++t) {
    matrix<float> out(1, 4);
    cache.step(x.token(t).view(), x.token(t).view(), x.token(t).view(), out.view());
  }
  CHECK(cache.kept(0) == std::vector<index_t>{0, 1, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29});
}

TEST_CASE("streaming: positions inside the cache, from plain keys or by rotating again", "[streaming]") {
  const auto layout = layout_of(2, 1, 8);
  const index_t sinks = 3, window = 6;
  const auto plain = random_heads(1, 40, 8, 1), v = random_heads(1, 40, 8, 2), q = random_heads(2, 40, 8, 3);
  auto rotated = plain;
  layout.rotary.apply({&rotated(0, 0, 0), {40, 8}}, 1, 0);
  kv::any_cache cache(layout, kv::streaming{.sinks = sinks, .window = window, .contiguous = true} | f32,
                      key_position::plain);
  cache.prefill(rotated.first(15), v.first(15), q.first(15));
  for (index_t t = 15; t < 40; ++t) {
    CHECK(cache.next_position() == sinks + window);
    matrix<float> out(2, 8);
    cache.step(q.token(t).view(), plain.token(t).view(), v.token(t).view(), out.view());
    // the same by hand: what is held after the step before, and the new token, at the ranks 0, 1, 2 ...
    auto held = kept_of(t, sinks, window);
    held.push_back(t);
    matrix<float> k(static_cast<index_t>(held.size()), 8), values(k.rows(), 8);
    std::vector<index_t> turn;
    for (index_t i = 0; i < k.rows(); ++i) {
      const index_t from = held[static_cast<std::size_t>(i)];
      turn.push_back(i - from);
      for (index_t c = 0; c < 8; ++c) {
        k(i, c) = rotated(0, from, c);
        values(i, c) = v(0, from, c);
      }
    }
    layout.rotary.apply(k.view(), 1, std::span<const index_t>(turn));
    auto query = q.token(t);
    for (index_t h = 0; h < 2; ++h) layout.rotary.apply(query.view().rows(h, 1), 1, k.rows() - 1);
    for (index_t h = 0; h < 2; ++h)
      CHECK(largest_difference(out.row(h), attention(query.row(h), k, values)) < 2e-5);
  }
}

TEST_CASE("streaming: errors", "[streaming]") {
  CHECK_THROWS_AS(kv::streaming{.sinks = -1}.validate(), tersor::error);
  CHECK_THROWS_AS(kv::streaming{.window = 0}.validate(), tersor::error);
}

}  // namespace streaming_tests
