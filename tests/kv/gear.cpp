// tersor - tests of kv/gear.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/full.hpp>
#include <tersor/kv/gear.hpp>
#include <tersor/kv/kivi.hpp>

#include "samples.hpp"

namespace gear_tests {

using namespace tersor_test;
using kv::gear_backbone;
using kv::side;
using tersor::dtype;

/// Everything in float, so that only what is left out is an error.
kv::gear exact(gear_backbone backbone = gear_backbone::kivi) {
  return {.backbone = backbone,
          .group_size = 8,
          .buffer = 8,
          .scale_type = dtype::f32,
          .value_type = dtype::f32,
          .tail_type = dtype::f32};
}
std::unique_ptr<kv::body> compressed(const kv::gear& g, side s, const heads_array& x, bool is_prompt = true) {
  auto body = g.open(s, x.heads, x.dim);
  body->append(x.view(), is_prompt, {});
  return body;
}
double error_of_all(const kv::segment& s, const heads_array& x) {
  double squares = 0;
  for (index_t h = 0; h < x.heads; ++h) {
    const auto d = s.to_dense(h);
    for (index_t t = 0; t < x.tokens; ++t)
      for (index_t c = 0; c < x.dim; ++c)
        squares += std::pow(static_cast<double>(d(t, c)) - static_cast<double>(x(h, t, c)), 2);
  }
  return std::sqrt(squares);
}
constexpr std::array<gear_backbone, 3> backbones{gear_backbone::kivi, gear_backbone::kcvt,
                                                 gear_backbone::per_token};

/// Keeps all tokens of head 0 and every other one of head 1.
struct uneven {
  static constexpr auto kind = tersor::solve::stage_kind::eviction;
  static constexpr tersor::solve::technique_info info{"uneven", "kv", "", "", "", ""};
  static constexpr auto options() { return std::tuple{}; }
  void validate() const {}
  kv::selection select(const kv::prompt& p, const tersor::context&) const {
    auto s = kv::selection::all(2, p.tokens());
    std::erase_if(s.kept[1], [](index_t t) { return t % 2 == 1; });
    return s;
  }
};

TEST_CASE("gear: outliers by hand", "[gear]") {
  // one channel, ten tokens: 9 and -9 are exact, 0.5 is the mean of all
  heads_array x(1, 10, 1);
  const std::vector<float> values{1, 2, 9, 1, 2, 1, -9, 2, 1, -5};
  x.values = values;
  kv::gear g = exact();
  g.bits = 8;
  g.outliers = 0.2;
  g.rank = 0;
  g.backbone = gear_backbone::kcvt;
  const auto body = compressed(g, side::keys, x);
  const auto& block = dynamic_cast<const kv::gear_tokens&>(*body).blocks().front();
  CHECK(block.outliers_of_vector() == 2);
  const auto d = body->to_dense(0);
  CHECK((d(2, 0) == 9.0F && d(6, 0) == -9.0F));
  CHECK(block.backbone().grid(0, 0, 0).minimum == -5.0F);
  CHECK(std::abs(block.backbone().grid(0, 0, 0).scale - 7.0F / 255) < 1e-7F);
  // the mean of 0.5 widens no group, and what is stored in its place is code 0
  matrix<float> filled(1, 1);
  block.backbone().read(0, 2, filled.view());
  CHECK(filled(0, 0) == -5.0F);
}

TEST_CASE("gear: outliers of a block are those of its widest vectors", "[gear]") {
  // two channels far from zero, the second a hundred times as wide: all four exact entries are the second's
  heads_array x(1, 8, 2);
  for (index_t t = 0; t < 8; ++t) {
    x.values[static_cast<std::size_t>(2 * t)] = 50.0F + 0.01F * static_cast<float>(t);
    x.values[static_cast<std::size_t>(2 * t + 1)] = -40.0F + static_cast<float>(t);
  }
  kv::gear g = exact();
  g.bits = 1;
  g.outliers = 0.25;
  g.outlier_scope = kv::outlier_scope::block;
  g.rank = 0;
  g.backbone = gear_backbone::kcvt;
  const auto body = compressed(g, side::keys, x);
  const auto& block = dynamic_cast<const kv::gear_tokens&>(*body).blocks().front();
  CHECK(block.outliers_of_vector() == 4);
  const auto d = body->to_dense(0);
  for (const index_t t : {0, 1, 6, 7}) CHECK(d(t, 1) == -40.0F + static_cast<float>(t));
  // the other channel has one bit for all, its own ends; what is left of the second has its ends
  CHECK(block.backbone().grid(0, 0, 0).minimum == 50.0F);
  CHECK(block.backbone().grid(0, 0, 1).minimum == -38.0F);
  for (const auto s : {side::keys, side::values}) {
    g.outliers = 1;
    CHECK(error_of_all(*compressed(g, s, x), x) < 1e-6);
  }
}

TEST_CASE("gear: where one channel is wide, a block's outliers are worth more than each channel's",
          "[gear]") {
  tersor::random_generator random(8);
  heads_array x(2, 64, 16);
  for (std::size_t i = 0; i < x.values.size(); ++i)
    x.values[i] = static_cast<float>(random.normal() * (i % 16 == 3 ? 30.0 : 1.0));
  kv::gear g = exact();
  g.bits = 2;
  g.group_size = g.buffer = 32;
  g.outliers = 0.04;
  g.rank = 0;
  const double each = error_of_all(*compressed(g, side::keys, x), x);
  g.outlier_scope = kv::outlier_scope::block;
  CHECK(error_of_all(*compressed(g, side::keys, x), x) < each / 4);
}

TEST_CASE("gear: equal entries keep the count of outliers, all of a vector where they are as many",
          "[gear]") {
  heads_array x(2, 6, 4);
  for (float& v : x.values) v = 1.5F;
  for (const auto s : {side::keys, side::values})
    for (const double share : {0.5, 1.0}) {
      kv::gear g = exact();
      g.group_size = 3;
      g.buffer = 3;
      g.outliers = share;
      const auto body = compressed(g, s, x);
      const index_t length = s == side::keys ? 6 : 8;
      CHECK(dynamic_cast<const kv::gear_tokens&>(*body).blocks().front().outliers_of_vector() ==
            (share == 1.0 ? length : 2 * static_cast<index_t>(share * static_cast<double>(length) / 2)));
      CHECK(error_of_all(*body, x) < 1e-6);
    }
}

TEST_CASE("gear: all outliers, or full rank, give the input back for any width", "[gear]") {
  for (const auto backbone : backbones)
    for (const int bits : {1, 2, 4, 8})
      for (const auto& [heads, tokens, dim] : {std::array<index_t, 3>{1, 8, 4}, {2, 16, 10}, {3, 24, 7}})
        for (const auto s : {side::keys, side::values}) {
          const auto x = random_heads(heads, tokens, dim, 3);
          kv::gear g = exact(backbone);
          g.bits = bits;
          g.outliers = 1;
          g.rank = 0;
          CHECK(error_of_all(*compressed(g, s, x), x) == 0.0);
          g.outliers = 0.1;
          g.rank = 1000;  // at most min(tokens, head_dim)
          CHECK(error_of_all(*compressed(g, s, x), x) < 1e-5 * norm(x.values));
        }
}

TEST_CASE("gear: the low-rank part never adds error, a larger rank never either (nearly)", "[gear]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const auto backbone : backbones)
      for (const auto s : {side::keys, side::values})
        for (const auto type : {dtype::f32, dtype::f16}) {
          const auto x = random_heads(2, 64, 16, seed);
          kv::gear g = exact(backbone);
          g.value_type = type;
          g.loops = 20;  // converged: the rank-r part is the best one
          double before = std::numeric_limits<double>::infinity();
          for (const index_t rank : {0, 1, 2, 4, 8, 16}) {
            g.rank = rank;
            const auto body = compressed(g, s, x);
            const auto& block = dynamic_cast<const kv::gear_tokens&>(*body).blocks().front();
            double plain = 0;
            for (index_t h = 0; h < 2; ++h) {
              matrix<float> d(64, 16);
              block.read_without_factors(h, 0, d.view());
              for (index_t t = 0; t < 64; ++t)
                for (index_t c = 0; c < 16; ++c)
                  plain += std::pow(static_cast<double>(d(t, c)) - static_cast<double>(x(h, t, c)), 2);
            }
            const double now = error_of_all(*body, x);
            CHECK(now <= std::sqrt(plain) * (1 + 1e-6));
            CHECK(now < before);
            before = now;
            check_segment(*body);
          }
        }
}

TEST_CASE("gear: a residual of rank r is recovered by rank r", "[gear]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed)
    for (const index_t rank : {1, 2, 5}) {
      const auto a = random_matrix<float>(40, rank, seed), b = random_matrix<float>(rank, 12, seed + 1);
      const auto e = tersor::linalg::multiply(a, b);
      const auto f = kv::power_iteration(e.view(), random_matrix<float>(12, rank, seed + 2), 2);
      const auto product = tersor::linalg::multiply(f.q, f.p.view().transposed());
      CHECK(largest_difference(product.values(), e.values()) <= 1e-4);
    }
  // nothing to fit, and weak directions beside strong ones
  matrix<float> zero(5, 4);
  const auto f = kv::power_iteration(std::as_const(zero).view(), random_matrix<float>(4, 2, 1), 3);
  CHECK(norm(f.p.values()) == 0.0);
  CHECK_THROWS_AS(kv::power_iteration(std::as_const(zero).view(), random_matrix<float>(4, 5, 1), 3),
                  tersor::error);
  CHECK_THROWS_AS(kv::power_iteration(std::as_const(zero).view(), random_matrix<float>(4, 2, 1), 0),
                  tersor::error);
}

TEST_CASE("gear: without rank and outliers the codes of its body are KIVI's", "[gear]") {
  const auto x = random_heads(2, 64, 16, 5);
  for (const auto s : {side::keys, side::values}) {
    const kv::gear g{.group_size = 8, .outliers = 0, .rank = 0};
    const auto body = compressed(g, s, x);
    const auto& backbone = dynamic_cast<const kv::gear_tokens&>(*body).blocks().front().backbone();
    const kv::kivi k{.group_size = 8, .residual = 8};
    const auto other = k.open(s, 2, 16);
    other->append(x.view(), true, {});
    for (index_t h = 0; h < 2; ++h) {
      CHECK(backbone.codes(h) == dynamic_cast<const kv::quantized_tokens&>(*other).codes(h));
      CHECK(body->to_dense(h) == other->to_dense(h));
    }
  }
}

TEST_CASE("gear: prompt, buffer, blocks", "[gear]") {
  const auto k = random_heads(2, 60, 8, 1), v = random_heads(2, 60, 8, 2), q = random_heads(4, 60, 8, 3);
  for (const auto& [backbone, prompt, in_body] : {std::tuple{gear_backbone::kivi, index_t{21}, index_t{16}},
                                                  {gear_backbone::kcvt, 21, 21},
                                                  {gear_backbone::per_token, 21, 21},
                                                  {gear_backbone::kivi, 3, 0},
                                                  {gear_backbone::kcvt, 0, 0}}) {
    kv::gear g = exact(backbone);
    g.buffer = 16;
    kv::any_cache cache(layout_of(4, 2, 8), kv::full{} | g);
    cache.prefill(k.first(prompt), v.first(prompt), q.first(prompt));
    index_t body = in_body;
    for (index_t t = prompt; t < 60; ++t) {
      CHECK(cache.body_tokens(side::keys, 1) == body);
      CHECK(cache.body_tokens(side::values, 1) == body);
      matrix<float> out(4, 8);
      const auto query = q.token(t);
      cache.append(k.token(t).view(), v.token(t).view());
      cache.attend(query.view(), out.view());
      // fused products are those of the decoded cache
      CHECK(largest_difference(out.values(), attention_of(cache, query).values()) < 1e-4);
      const auto before = cache.to_dense(side::keys, 0);
      cache.finish_step();
      if (t + 1 - body == 16) {  // the whole buffer, once; older blocks stay as they are
        const auto after = cache.to_dense(side::keys, 0);
        for (index_t i = 0; i < body; ++i) CHECK(std::ranges::equal(after.row(i), before.row(i)));
        body += 16;
      }
    }
  }
}

TEST_CASE("gear: groups of values run through all heads, unless heads keep different numbers", "[gear]") {
  const auto x = random_heads(2, 4, 6, 1);
  kv::gear g = exact(gear_backbone::per_token);
  g.group_size = 8;
  const auto body = compressed(g, side::values, x);
  const auto& b = dynamic_cast<const kv::gear_tokens&>(*body).blocks().front().backbone();
  CHECK(b.grid(0, 1, 5).minimum == b.grid(1, 1, 1).minimum);  // entries 5 and 7 of the token
  CHECK(b.groups_of_token() == 2);
}

TEST_CASE("gear: heads that keep different numbers of tokens are compressed one by one", "[gear]") {
  const auto k = random_heads(2, 50, 8, 1), v = random_heads(2, 50, 8, 2), q = random_heads(4, 50, 8, 3);
  for (const auto backbone : backbones) {
    kv::any_cache cache(layout_of(4, 2, 8), uneven{} | exact(backbone));
    cache.prefill(k.first(40), v.first(40), q.first(40));
    CHECK((cache.tokens(0) == 40 && cache.tokens(1) == 20));
    for (index_t t = 40; t < 50; ++t) {
      matrix<float> out(4, 8);
      cache.append(k.token(t).view(), v.token(t).view());
      cache.attend(q.token(t).view(), out.view());
      CHECK(largest_difference(out.values(), attention_of(cache, q.token(t)).values()) < 1e-4);
      cache.finish_step();
    }
    CHECK((cache.tokens(0) == 50 && cache.tokens(1) == 30));
  }
}

TEST_CASE("gear: stored bits", "[gear]") {
  const auto x = random_heads(1, 1024, 128, 1);
  kv::gear g;  // 2 bits, groups of 64, 2 % outliers, rank 4
  auto bits = [&] {
    return 8.0 * static_cast<double>(compressed(g, side::values, x)->storage().bytes()) / (1024.0 * 128.0);
  };
  // 1 exact entry at each end of 128: index and value; factors of 1024 + 128 rows
  CHECK(bits() == 2 + 0.5 + 2.0 / 128 * 32 + 16.0 * 4 * (1024 + 128) / (1024 * 128));
  g.outliers = 0;
  CHECK(bits() == 2 + 0.5 + 16.0 * 4 * (1024 + 128) / (1024 * 128));
  g.rank = 0;
  CHECK(bits() == 2.5);
  const auto block = random_heads(1, 64, 128, 1);
  g.decode_rank = 2;
  CHECK(8.0 * static_cast<double>(compressed(g, side::keys, block, false)->storage().bytes()) / (64 * 128) ==
        2.5 + 0.75);
}

TEST_CASE("gear: the same seed gives the same cache, for any number of threads", "[gear]") {
  const auto x = random_heads(2, 64, 16, 1);
  const auto run = [&](std::uint64_t seed, int n) {
    auto ctx = tersor_test::threads(n);
    ctx.seed = seed;
    kv::any_cache cache(layout_of(2, 2, 16), kv::full{} | kv::gear{.group_size = 16, .loops = 1});
    cache.prefill(x.view(), x.view(), x.view(), ctx);
    return cache.to_dense(side::keys, 1);
  };
  const auto reference = run(1, 1);
  CHECK(run(1, 4) == reference);
  CHECK_FALSE(run(2, 1) == reference);
}

TEST_CASE("gear: errors", "[gear]") {
  CHECK(holds(error_of([] { kv::gear{.buffer = 20}.validate(); }), {"gear: buffer", "20", "64"}));
  kv::gear{.bits = 4, .backbone = gear_backbone::kcvt, .buffer = 20}.validate();
  CHECK_THROWS_AS(kv::gear{.outliers = 1.5}.validate(), tersor::error);
  CHECK_THROWS_AS(kv::gear{.loops = 0}.validate(), tersor::error);
}

}  // namespace gear_tests
