// tersor - tests of kv/cache.hpp: every policy and codec behind the same steps
// SPDX-License-Identifier: MIT
#include <tersor/kv/cache.hpp>
#include <tersor/kv/dense.hpp>
#include <tersor/kv/full.hpp>
#include <tersor/kv/gear.hpp>
#include <tersor/kv/kivi.hpp>
#include <tersor/kv/random.hpp>
#include <tersor/kv/streaming.hpp>

#include "samples.hpp"

namespace cache_tests {

using namespace tersor_test;
using kv::key_position;
using kv::side;
constexpr kv::dense f32{kv::element_type::f32};

/// A sequence of `tokens`, queries of all of them.
struct sequence {
  heads_array k, v, q;
  sequence(index_t heads, index_t kv_heads, index_t tokens, index_t dim, std::uint64_t seed)
      : k(random_heads(kv_heads, tokens, dim, seed)),
        v(random_heads(kv_heads, tokens, dim, seed + 1)),
        q(random_heads(heads, tokens, dim, seed + 2)) {}
  void prefill(kv::any_cache& cache, index_t prompt, int threads = 1) const {
    cache.prefill(k.first(prompt), v.first(prompt), q.first(prompt), tersor_test::threads(threads));
  }
  matrix<float> step(kv::any_cache& cache, index_t t, int threads = 1) const {
    matrix<float> out(q.heads, q.dim);
    cache.step(q.token(t).view(), k.token(t).view(), v.token(t).view(), out.view(),
               tersor_test::threads(threads));
    return out;
  }
};

/// A policy for tests: keeps the listed tokens, head by head, and then drops what it is told.
struct listed {
  bool contiguous = false;
  static inline std::vector<std::vector<index_t>> kept, dropped;
  static inline std::vector<std::vector<float>> scores;
  static inline std::vector<matrix<float>> weights;
  static inline std::vector<std::vector<index_t>> positions;
  static constexpr bool needs_weights = true;
  static constexpr bool keeps_scores = true;
  static constexpr auto kind = tersor::solve::stage_kind::eviction;
  static constexpr tersor::solve::technique_info info{"listed", "kv", "", "", "", ""};
  static constexpr auto options() { return std::tuple{}; }
  void validate() const {}
  kv::selection select(const kv::prompt&, const tersor::context&) const { return {kept, scores}; }
  kv::dropped_tokens after_step(const kv::decode_step& step) const {
    weights.assign(step.weights.begin(), step.weights.end());
    positions.assign(step.positions.begin(), step.positions.end());
    scores.assign(step.scores.begin(), step.scores.end());
    for (auto& s : step.scores) s.back() = 9;
    return dropped;
  }
};

TEST_CASE("cache: nothing evicted, nothing rounded: the inputs bit by bit, attention exact", "[cache]") {
  for (const auto& [heads, kv_heads, dim] :
       {std::array<index_t, 3>{1, 1, 2}, {4, 4, 6}, {6, 2, 16}, {8, 1, 10}}) {
    const sequence x(heads, kv_heads, 40, dim, 3);
    kv::any_cache cache(layout_of(heads, kv_heads, dim), kv::full{} | f32);
    x.prefill(cache, 30);
    for (index_t t = 30; t < 40; ++t) {
      CHECK(cache.next_position() == t);
      const auto out = x.step(cache, t);
      for (index_t h = 0; h < heads; ++h) {
        // repeated heads are looped heads: query head h reads kv head h / group
        const index_t kv_head = h / (heads / kv_heads);
        const auto k = tersor::copy_as<float>(kv::head(x.k.first(t + 1), kv_head)),
                   v = tersor::copy_as<float>(kv::head(x.v.first(t + 1), kv_head));
        CHECK(largest_difference(out.row(h), attention(x.q.token(t).row(h), k, v)) < 1e-5);
      }
    }
    for (index_t h = 0; h < kv_heads; ++h) {
      CHECK(cache.to_dense(side::keys, h) == x.k.head(h));
      CHECK(cache.to_dense(side::values, h) == x.v.head(h));
    }
    CHECK(cache.seen() == 40);
    CHECK(cache.storage().bytes() == static_cast<std::size_t>(2 * kv_heads * 40 * dim) * 4);
    CHECK(cache.baseline_bytes() == static_cast<std::size_t>(2 * kv_heads * 40 * dim) * 2);
    CHECK(cache.bits_per_element() == 32.0);
  }
}

TEST_CASE("cache: any layout of the caller's tensors, any number of threads, the same bits", "[cache]") {
  const sequence x(6, 3, 50, 8, 1);
  const auto run = [&](int threads, bool by_projection) {
    kv::any_cache cache(layout_of(6, 3, 8),
                        kv::random{.ratio = 0.3} | kv::kivi{.group_size = 4, .residual = 8});
    if (by_projection) {  // [tokens, heads * dim], as a model computes them
      const auto projection = [](const heads_array& a) {
        matrix<float> y(45, a.heads * a.dim);
        for (index_t t = 0; t < 45; ++t)
          for (index_t h = 0; h < a.heads; ++h)
            for (index_t c = 0; c < a.dim; ++c) y(t, h * a.dim + c) = a(h, t, c);
        return y;
      };
      const auto k = projection(x.k), v = projection(x.v), q = projection(x.q);
      cache.prefill(kv::split_heads(k.view(), 3), kv::split_heads(v.view(), 3), kv::split_heads(q.view(), 6),
                    tersor_test::threads(threads));
    } else {
      x.prefill(cache, 45, threads);
    }
    std::vector<float> all;
    for (index_t t = 45; t < 50; ++t) {
      const auto out = x.step(cache, t, threads);
      all.insert(all.end(), out.values().begin(), out.values().end());
    }
    return all;
  };
  const auto reference = run(1, false);
  CHECK(run(4, false) == reference);
  CHECK(run(1, true) == reference);
  CHECK(run(4, true) == reference);
}

TEST_CASE("cache: attention is attention over what is held, for every policy and codec", "[cache]") {
  const std::vector<kv::any_eviction> evictions{kv::full{},
                                                kv::random{.ratio = 0.4},
                                                listed{},
                                                kv::streaming{.sinks = 2, .window = 9, .rolling = false},
                                                kv::streaming{.sinks = 2, .window = 9},
                                                kv::streaming{.sinks = 2, .window = 9, .contiguous = true}};
  const std::vector<kv::any_codec> codecs{f32, kv::dense{}, kv::dense{kv::element_type::f8_e5m2},
                                          kv::kivi{.bits = 3, .group_size = 4, .residual = 8}};
  for (const auto keys : {key_position::rotated, key_position::plain})
    for (const auto& e : evictions)
      for (const auto& c : codecs) {
        if (e.drops() && (!c.drops() || (e.contiguous() && keys == key_position::rotated))) continue;
        INFO(e.id() << " | " << c.id() << (keys == key_position::plain ? ", plain keys" : ""));
        const sequence x(4, 2, 40, 8, 5);
        listed::kept = {{0, 3, 4, 20}, {1, 2, 19, 20}};
        listed::scores = {};
        listed::dropped = {{1}, {2}};
        kv::any_cache cache(layout_of(4, 2, 8), e, c, keys);
        x.prefill(cache, 21);
        for (index_t t = 21; t < 40; ++t) {
          auto k = x.k.token(t), q = x.q.token(t), out = q;
          cache.append(k.view(), x.v.token(t).view());
          std::vector<matrix<float>> weights;
          cache.attend(q.view(), out.view(), {}, &weights);
          CHECK(largest_difference(out.values(), attention_of(cache, q).values()) < 2e-5);
          for (index_t h = 0; h < 2; ++h) {
            CHECK(weights[static_cast<std::size_t>(h)].cols() == cache.tokens(h));
            const auto kept = cache.kept(h);
            CHECK(static_cast<index_t>(kept.size()) == cache.tokens(h));
            CHECK(std::ranges::is_sorted(kept));
            CHECK(kept.back() == t);
          }
          cache.finish_step(weights);
        }
        CHECK(cache.seen() == 40);
      }
}

TEST_CASE("cache: kept and evicted tokens are all tokens, and rows are those of the prompt", "[cache]") {
  const sequence x(4, 2, 33, 6, 2);
  kv::any_cache cache(layout_of(4, 2, 6), kv::random{.ratio = 0.5} | f32);
  x.prefill(cache, 33);
  for (index_t h = 0; h < 2; ++h) {
    const auto kept = cache.kept(h);
    CHECK(kept.size() == 16);
    const auto k = cache.to_dense(side::keys, h);
    for (index_t i = 0; i < 16; ++i)
      for (index_t c = 0; c < 6; ++c) CHECK(k(i, c) == x.k(h, kept[static_cast<std::size_t>(i)], c));
  }
  CHECK(cache.kept(0) != cache.kept(1));
  CHECK(cache.next_position() == 33);  // positions go on from the whole sequence
  // positions are counted: 16 tokens in each of 2 heads
  CHECK(cache.storage().bytes() == 2 * 2 * 16 * 6 * 4 + 2 * 16 * 4);
}

TEST_CASE("cache: contiguous positions are rotation at the rank of the plain keys", "[cache]") {
  const auto layout = layout_of(2, 2, 8);
  const auto plain = random_heads(2, 30, 8, 7), v = random_heads(2, 30, 8, 8);
  auto rotated = plain;
  for (index_t h = 0; h < 2; ++h) layout.rotary.apply({&rotated(h, 0, 0), {30, 8}}, 1, 0);
  listed::kept = {{0, 5, 6, 29}, {2, 3, 11, 12}};
  listed::scores = {};
  listed::dropped = {};
  const kv::streaming moved{.sinks = 3, .window = 5, .rolling = false, .contiguous = true};
  kv::any_cache cache(layout, moved | f32);
  cache.prefill(rotated.view(), v.view(), kv::tokens(v.view(), 0, 0));
  CHECK(cache.next_position() == 8);
  const auto kept = cache.kept(1);
  matrix<float> expected(8, 8);
  for (index_t i = 0; i < 8; ++i)
    for (index_t c = 0; c < 8; ++c) expected(i, c) = plain(1, kept[static_cast<std::size_t>(i)], c);
  layout.rotary.apply(expected.view(), 1, 0);
  CHECK(largest_difference(cache.to_dense(side::keys, 1).values(), expected.values()) < 1e-5);
  // ragged selections have no common next position
  listed::kept = {{0, 5}, {2, 3, 11}};
  kv::any_cache ragged(layout, kv::any_eviction(listed{.contiguous = true}), f32, key_position::plain);
  CHECK(
      holds(error_of([&] { ragged.prefill(rotated.view(), v.view(), v.view()); }), {"listed", "contiguous"}));
}

TEST_CASE("cache: plain keys give the attention of rotated keys", "[cache]") {
  const auto layout = layout_of(4, 2, 8);
  for (const bool evicting : {false, true}) {
    const sequence x(4, 2, 40, 8, 3);  // plain
    auto rk = x.k;
    for (index_t h = 0; h < 2; ++h) layout.rotary.apply({&rk(h, 0, 0), {40, 8}}, 1, 0);
    const auto policy = evicting ? kv::any_eviction(kv::random{.ratio = 0.4}) : kv::any_eviction(kv::full{});
    kv::any_cache rotated(layout, policy, f32), plain(layout, policy, f32, key_position::plain);
    rotated.prefill(rk.first(30), x.v.first(30), x.q.first(30));
    plain.prefill(rk.first(30), x.v.first(30), x.q.first(30));
    CHECK(plain.kept(1) == rotated.kept(1));
    for (index_t t = 30; t < 40; ++t) {
      auto q = x.q.token(t);
      matrix<float> a(4, 8), b(4, 8);
      plain.step(q.view(), x.k.token(t).view(), x.v.token(t).view(), a.view());
      for (index_t h = 0; h < 4; ++h) layout.rotary.apply(q.view().rows(h, 1), 1, t);
      rotated.step(q.view(), rk.token(t).view(), x.v.token(t).view(), b.view());
      CHECK(largest_difference(a.values(), b.values()) < 2e-5);
    }
  }
}

TEST_CASE("cache: heads may keep different numbers of tokens", "[cache]") {
  const sequence x(4, 2, 25, 8, 4);
  listed::kept = {{0, 19}, {1, 2, 3, 7, 9, 10, 18}};
  listed::scores = {{1, 2}, {1, 2, 3, 4, 5, 6, 7}};
  listed::dropped = {{}, {0, 2}};
  kv::any_cache cache(layout_of(4, 2, 8), listed{} | f32);
  x.prefill(cache, 20);
  CHECK((cache.tokens(0) == 2 && cache.tokens(1) == 7));
  const auto out = x.step(cache, 20);
  CHECK((cache.tokens(0) == 3 && cache.tokens(1) == 6));
  CHECK(cache.kept(1) == std::vector<index_t>{2, 7, 9, 10, 18, 20});
  // the hook saw the newest token and the attention of the step
  CHECK(listed::positions[1] == std::vector<index_t>{1, 2, 3, 7, 9, 10, 18, 20});
  CHECK((listed::weights[0].rows() == 2 && listed::weights[0].cols() == 3));
  CHECK(listed::scores[1] == std::vector<float>{1, 2, 3, 4, 5, 6, 7, 0});
  x.step(cache, 21);
  CHECK(listed::scores[1] == std::vector<float>{2, 4, 5, 6, 7, 9, 0});  // what it wrote stays with its token
  // scores are part of what is stored
  CHECK(cache.storage().bytes() == (4 + 5) * 2 * 8 * 4 + (4 + 5) * (4 + 4));
  listed::dropped = {{2, 1}, {0}};
  CHECK(holds(error_of([&] { x.step(cache, 22); }), {"listed", "head 0", "ascending"}));
  listed::dropped = {{7}, {0}};
  CHECK_THROWS_AS(x.step(cache, 23), tersor::error);
  listed::dropped = {{0}};
  CHECK_THROWS_AS(x.step(cache, 24), tersor::error);
}

TEST_CASE("cache: without a prompt, an empty prompt, one token", "[cache]") {
  const sequence x(2, 1, 12, 4, 4);
  for (const auto keys : {key_position::rotated, key_position::plain})
    for (const bool empty_prompt : {false, true}) {
      kv::any_cache cache(layout_of(2, 1, 4), kv::streaming{.sinks = 1, .window = 4} | f32, keys);
      CHECK((cache.seen() == 0 && cache.tokens(0) == 0 && cache.bits_per_element() == 0));
      CHECK(cache.kept(0).empty());
      CHECK(cache.to_dense(side::keys, 0).rows() == 0);
      if (empty_prompt) x.prefill(cache, 0);
      const auto first = x.step(cache, 0);
      CHECK(largest_difference(first.row(0), x.v.token(0).row(0)) == 0.0);
      for (index_t t = 1; t < 12; ++t) x.step(cache, t);
      CHECK(cache.kept(0) == std::vector<index_t>{0, 8, 9, 10, 11});
    }
}

TEST_CASE("cache: a policy may evict the whole prompt", "[cache]") {
  const sequence x(4, 2, 12, 8, 4);
  for (const auto& codec : {kv::any_codec(f32), kv::any_codec(kv::kivi{.group_size = 4, .residual = 4})}) {
    kv::any_cache cache(layout_of(4, 2, 8), kv::random{.ratio = 1.0}, codec);
    x.prefill(cache, 10);
    CHECK((cache.seen() == 10 && cache.tokens(1) == 0 && cache.next_position() == 10));
    matrix<float> out(4, 8);
    CHECK_THROWS_AS(cache.attend(x.q.token(0).view(), out.view()), tersor::error);
    const auto y = x.step(cache, 10);
    for (index_t h = 0; h < 4; ++h)
      CHECK(largest_difference(y.row(h), x.v.token(10).row(h / 2)) < 4e-3);  // f16
    CHECK(cache.kept(1) == std::vector<index_t>{10});
  }
}

TEST_CASE("cache: permuting heads permutes what is kept and what comes out", "[cache]") {
  const sequence x(6, 3, 40, 8, 4);
  auto y = x;  // kv head h of y is kv head 2 - h of x
  for (index_t h = 0; h < 6; ++h)
    for (index_t t = 0; t < 40; ++t)
      for (index_t c = 0; c < 8; ++c) {
        y.q(h, t, c) = x.q(2 * (2 - h / 2) + h % 2, t, c);
        if (h >= 3) continue;
        y.k(h, t, c) = x.k(2 - h, t, c);
        y.v(h, t, c) = x.v(2 - h, t, c);
      }
  for (const auto& codec : {kv::any_codec(f32), kv::any_codec(kv::kivi{.group_size = 4, .residual = 8})}) {
    kv::any_cache a(layout_of(6, 3, 8), kv::streaming{.sinks = 2, .window = 20, .rolling = false}, codec),
        b = a;
    x.prefill(a, 35);
    y.prefill(b, 35);
    for (index_t t = 35; t < 40; ++t) {
      const auto left = x.step(a, t), right = y.step(b, t);
      for (index_t h = 0; h < 6; ++h)
        CHECK(std::ranges::equal(right.row(h), left.row(2 * (2 - h / 2) + h % 2)));
    }
  }
}

TEST_CASE("cache: a copy is independent", "[cache]") {
  const sequence x(4, 2, 30, 8, 4);
  kv::any_cache a(layout_of(4, 2, 8), kv::full{} | kv::kivi{.group_size = 4, .residual = 4});
  x.prefill(a, 20);
  auto b = a;
  const auto before = b.to_dense(side::keys, 1);
  for (index_t t = 20; t < 30; ++t) x.step(a, t);
  CHECK(b.to_dense(side::keys, 1) == before);
  CHECK(b.seen() == 20);
  for (index_t t = 20; t < 30; ++t) x.step(b, t);
  CHECK(a.to_dense(side::values, 0) == b.to_dense(side::values, 0));
  b = kv::any_cache(layout_of(4, 2, 8), kv::full{} | f32);
  CHECK((b.seen() == 0 && a.seen() == 30));
}

TEST_CASE("cache: with types fixed at compile time", "[cache]") {
  const sequence x(4, 2, 30, 8, 4);
  kv::cache<kv::full, kv::dense> typed(layout_of(4, 2, 8), {}, f32);
  kv::any_cache erased(layout_of(4, 2, 8), kv::full{} | f32);
  x.prefill(typed, 29);
  x.prefill(erased, 29);
  CHECK(x.step(typed, 29) == x.step(erased, 29));
  using plain = kv::cache<kv::full, kv::dense, key_position::plain>;
  STATIC_REQUIRE(plain::stored_keys == key_position::plain);
  CHECK(plain(layout_of(4, 2, 8)).keys() == key_position::plain);
}

TEST_CASE("cache: errors", "[cache]") {
  const auto layout = layout_of(4, 2, 8);
  CHECK(holds(error_of([&] { kv::any_cache(layout, kv::streaming{} | kv::kivi{.group_size = 8}); }),
              {"streaming", "kivi", "dense"}));
  CHECK(holds(error_of([&] { kv::any_cache(layout, kv::streaming{.contiguous = true} | f32); }),
              {"streaming", "rotated", "plain"}));
  CHECK(holds(error_of([&] { kv::any_cache(layout, kv::full{} | kv::kivi{}); }),
              {"kivi: group_size", "32", "8"}));
  CHECK_THROWS_AS(kv::any_cache(layout, kv::full{} | kv::kivi{.bits = 0}), tersor::error);
  kv::any_cache cache(layout, kv::full{} | f32);
  sequence x(4, 2, 10, 8, 1);
  matrix<float> q(4, 8), k(2, 8), out(4, 8);
  CHECK_THROWS_AS(cache.attend(q.view(), out.view()), tersor::error);
  CHECK_THROWS_AS(cache.append(q.view(), k.view()), tersor::error);
  x.prefill(cache, 5);
  CHECK(holds(error_of([&] { x.prefill(cache, 5); }), {"prefill", "empty cache"}));
  k(1, 3) = std::nanf("");
  CHECK(holds(error_of([&] { cache.append(k.view(), k.view()); }), {"k[1, 3]", "nan"}));
  CHECK(cache.seen() == 5);
  x.v(1, 4, 2) = std::numeric_limits<float>::infinity();
  kv::any_cache other(layout, kv::full{} | f32);
  CHECK(holds(error_of([&] { x.prefill(other, 5); }), {"values[1][4, 2]"}));
  // weights that the policy needs
  listed::kept = {{0}, {0}};
  listed::scores = {};
  listed::dropped = {};
  kv::any_cache needy(layout, listed{} | f32);
  needy.prefill(x.k.first(3), x.v.first(3), x.q.first(3));
  CHECK(holds(error_of([&] { needy.finish_step(); }), {"listed", "weights"}));
}

/// Dense types, KIVI and GEAR with groups that fit heads of `dim` channels.
std::vector<kv::any_codec> codecs_of(index_t dim) {
  const index_t group = dim % 16 == 0 ? 16 : dim;
  return {kv::dense{kv::element_type::f32},
          kv::dense{kv::element_type::f16},
          kv::dense{kv::element_type::f8_e4m3},
          kv::kivi{.bits = 2, .group_size = group, .residual = 4 * group},
          kv::kivi{.bits = 4, .group_size = group, .residual = 4 * group},
          kv::kivi{.bits = 3, .group_size = group, .residual = 4 * group},
          kv::gear{.bits = 2},
          kv::gear{.bits = 4, .backbone = kv::gear_backbone::kcvt, .outliers = 0.1},
          kv::gear{.backbone = kv::gear_backbone::per_token}};
}

TEST_CASE("cache: attention over stored forms is attention over what they decode to, for any threads") {
  for (const index_t dim : {3, 64, 80, 96, 128})
    for (const auto& codec : codecs_of(dim)) {
      const index_t tokens = dim == 64 ? 2500 : 150;
      const auto k = random_heads(2, tokens, dim, 1), v = random_heads(2, tokens, dim, 2);
      kv::any_cache cache({.heads = 8, .kv_heads = 2, .head_dim = dim, .rotary = {}}, kv::full{}, codec);
      cache.prefill(k.view(), v.view(), {k.values.data(), {8, 0, dim}});
      const auto q = random_matrix<float>(8, dim, 7);
      matrix<float> one(8, dim), other(8, dim);
      tersor::context ctx;
      ctx.threads = 1;
      cache.attend(q.view(), one.view(), ctx);
      CHECK(largest_difference(one.values(), attention_of(cache, q).values()) <
            2e-5 * (1 + norm(one.values())));
      for (const int threads : {2, 3}) {
        ctx.threads = threads;
        cache.attend(q.view(), other.view(), ctx);
        CHECK(other == one);
      }
    }
}

}  // namespace cache_tests
