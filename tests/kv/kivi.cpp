// tersor - tests of kv/kivi.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/full.hpp>
#include <tersor/kv/kivi.hpp>

#include "samples.hpp"

namespace kivi_tests {

using namespace tersor_test;
using kv::side;
constexpr auto float32 = tersor::dtype::f32;

kv::kivi exact(int bits, index_t group, index_t residual) {
  return {
      .bits = bits, .group_size = group, .residual = residual, .scale_type = float32, .tail_type = float32};
}
void run(kv::any_cache& cache, const heads_array& k, const heads_array& v, const heads_array& q,
         index_t prompt, index_t end) {
  cache.prefill(k.first(prompt), v.first(prompt), q.first(prompt));
  for (index_t t = prompt; t < end; ++t) {
    matrix<float> out(q.heads, q.dim);
    cache.step(q.token(t).view(), k.token(t).view(), v.token(t).view(), out.view());
  }
}

TEST_CASE("kivi: what is in the body and what in the tail, from a prompt and at every step", "[kivi]") {
  const index_t residual = 8;
  const auto k = random_heads(2, 60, 4, 1), v = random_heads(2, 60, 4, 2);
  for (const index_t prompt : {0, 1, 7, 8, 9, 16, 23, 30}) {
    kv::any_cache cache(layout_of(2, 2, 4), kv::full{} | exact(2, 4, residual));
    cache.prefill(k.first(prompt), v.first(prompt), k.first(prompt));
    for (index_t t = prompt; t <= 60; ++t) {
      CHECK(cache.body_tokens(side::keys, 1) == t - t % residual);
      CHECK(cache.body_tokens(side::values, 1) == std::max<index_t>(t - residual, 0));
      if (t == 60) break;
      matrix<float> out(2, 4);
      cache.step(k.token(t).view(), k.token(t).view(), v.token(t).view(), out.view());
    }
  }
}

TEST_CASE("kivi: a prompt and then appends give the cache of the longer prompt, wherever it is cut",
          "[kivi]") {
  for (const auto& [heads, kv_heads, dim] : {std::array<index_t, 3>{2, 2, 8}, {4, 2, 4}, {3, 1, 16}}) {
    const auto k = random_heads(kv_heads, 50, dim, 1), v = random_heads(kv_heads, 50, dim, 2),
               q = random_heads(heads, 50, dim, 3);
    kv::any_cache whole(layout_of(heads, kv_heads, dim),
                        kv::full{} | kv::kivi{.group_size = 4, .residual = 12});
    run(whole, k, v, q, 50, 50);
    for (const index_t prompt : {0, 5, 12, 29, 49}) {
      kv::any_cache cache(layout_of(heads, kv_heads, dim),
                          kv::full{} | kv::kivi{.group_size = 4, .residual = 12, .tail_type = float32});
      run(cache, k, v, q, prompt, 50);
      for (index_t h = 0; h < kv_heads; ++h)
        for (const auto s : {side::keys, side::values}) {
          const index_t body = cache.body_tokens(s, h);
          CHECK(body == whole.body_tokens(s, h));
          const auto a = cache.to_dense(s, h), b = whole.to_dense(s, h);
          for (index_t t = 0; t < body; ++t) CHECK(std::ranges::equal(a.row(t), b.row(t)));
        }
    }
  }
}

TEST_CASE("kivi: stored bits of body and tail", "[kivi]") {
  const auto x = random_heads(2, 256 + 128, 64, 1);
  for (const auto& [bits, group, expected] :
       {std::tuple{2, index_t{32}, 3.0}, {2, index_t{64}, 2.5}, {4, index_t{32}, 5.0}}) {
    kv::any_cache cache(layout_of(2, 2, 64), kv::full{} | kv::kivi{.bits = bits, .group_size = group});
    cache.prefill(x.view(), x.view(), x.view());
    double body = 0, tail = 0;
    for (const auto& p : cache.storage().parts)
      (p.name.ends_with("tail") ? tail : body) += static_cast<double>(8 * p.bytes);
    const double elements = 2 * 64;  // of one token
    CHECK(body == expected * elements * (384 + 256));
    CHECK(tail == 16 * elements * 128);  // values alone: 384 is a multiple of 128
    CHECK(cache.bits_per_element() == (body + tail) / (2 * elements * 384));
  }
}

TEST_CASE("kivi: with a key residual the newest tokens stay exact on both sides", "[kivi]") {
  const auto x = random_heads(2, 200, 32, 1);
  for (const index_t prompt : {10, 64, 96, 100, 128}) {
    kv::any_cache cache(layout_of(2, 2, 32), kv::full{} | kv::kivi{.residual = 32, .key_residual = 32});
    cache.prefill(x.first(prompt), x.first(prompt), x.first(prompt));
    CHECK(cache.body_tokens(kv::side::keys, 0) == std::max<index_t>(prompt - 32, 0) / 32 * 32);
    CHECK(cache.body_tokens(kv::side::values, 0) == std::max<index_t>(prompt - 32, 0));
    for (index_t n = prompt; n < 200; ++n) {
      matrix<float> out(2, 32);
      cache.step(x.token(n).view(), x.token(n).view(), x.token(n).view(), out.view());
      const index_t tail = n + 1 - cache.body_tokens(kv::side::keys, 0);
      CHECK((tail >= std::min<index_t>(n + 1, 32) && tail < 64));
    }
  }
}

TEST_CASE("kivi: with 8 bits attention is exact to a hundredth, with fewer bits errors grow", "[kivi]") {
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    const auto k = random_heads(2, 100, 32, seed), v = random_heads(2, 100, 32, seed + 1),
               q = random_heads(4, 100, 32, seed + 2);
    double before = 0;
    for (const int bits : {8, 4, 2}) {
      kv::any_cache cache(layout_of(4, 2, 32), kv::full{} | kv::kivi{.bits = bits, .residual = 32});
      run(cache, k, v, q, 90, 99);
      matrix<float> out(4, 32);
      cache.step(q.token(99).view(), k.token(99).view(), v.token(99).view(), out.view());
      double worst = 0, size = 0;
      for (index_t h = 0; h < 4; ++h) {
        const auto y = attention(q.token(99).row(h), k.head(h / 2), v.head(h / 2));
        worst = std::max(worst, largest_difference(out.row(h), y));
        size = std::max(size, norm(y));
      }
      if (bits == 8) CHECK(worst <= 1e-2 * size);
      CHECK(worst > before);
      before = worst;
    }
  }
}

TEST_CASE("kivi: a loud channel of keys costs per-token groups dearly, per-channel groups nothing",
          "[kivi]") {
  auto x = random_heads(1, 128, 32, 3);
  for (index_t t = 0; t < 128; ++t) x(0, t, 7) *= 50;
  const auto error = [&](kv::group_axis axis) {
    kv::quantized_tokens s(1, 32, 2, axis, 32);
    s.append(x.view(), true);
    auto d = s.to_dense(0);
    for (index_t t = 0; t < 128; ++t)
      for (index_t c = 0; c < 32; ++c) d(t, c) = c == 7 ? 0 : d(t, c) - x(0, t, c);  // of the other channels
    return norm(d.values());
  };
  CHECK(error(kv::group_axis::tokens) < 0.2 * error(kv::group_axis::channels));
}

TEST_CASE("kivi: errors", "[kivi]") {
  CHECK(holds(error_of([] { kv::kivi{.group_size = 24}.validate(); }), {"kivi: residual", "128", "24"}));
  CHECK_THROWS_AS(kv::kivi{.bits = 0}.validate(), tersor::error);
  CHECK_THROWS_AS(kv::kivi{}.open(side::keys, 1, 48), tersor::error);
}

}  // namespace kivi_tests
