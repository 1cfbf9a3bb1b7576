// tersor - tests of kv/bfp.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/bfp.hpp>
#include <tersor/kv/full.hpp>

#include "samples.hpp"

namespace bfp_tests {

using namespace tersor_test;
using kv::side;

struct errors {
  double total;        ///< of all elements, relative
  double of_channels;  ///< mean over channels of each one's relative squared error
};
errors errors_of(const kv::bfp& codec, const heads_array& x) {
  const auto body = codec.open(side::keys, 1, x.dim);
  body->append(x.view(), true, {});
  const auto d = body->to_dense(0);
  errors e{};
  for (index_t c = 0; c < x.dim; ++c) {
    double squares = 0, energy = 0;
    for (index_t t = 0; t < x.tokens; ++t) {
      const auto value = static_cast<double>(x(0, t, c));
      squares += std::pow(static_cast<double>(d(t, c)) - value, 2);
      energy += value * value;
    }
    e.total += squares;
    e.of_channels += squares / energy / static_cast<double>(x.dim);
  }
  e.total = std::sqrt(e.total) / norm(x.values);
  return e;
}
/// Channels in no order whose sizes are log-normal with this spread.
heads_array spread_channels(index_t dim, double spread, std::uint64_t seed) {
  tersor::random_generator g(seed);
  heads_array x(1, 64, dim);
  for (index_t c = 0; c < dim; ++c) {
    const double size = std::exp(spread * g.normal());
    for (index_t t = 0; t < 64; ++t) x(0, t, c) = static_cast<float>(size * g.normal());
  }
  return x;
}

TEST_CASE("bfp: by hand", "[bfp]") {
  std::vector<float> x{4.0F, -3.0F, 0.9F, 0.4F};
  CHECK(kv::block_exponent(x) == 2);
  CHECK(kv::block_mantissa(4.0F, 2, 4) == 4);
  CHECK(kv::block_mantissa(-3.0F, 2, 4) == -3);
  CHECK(kv::block_mantissa(0.5F, 2, 4) == 0);  // a tie, to even
  CHECK(kv::block_mantissa(1.5F, 2, 4) == 2);
  CHECK(kv::block_mantissa(7.9F, 2, 4) == 7);  // 8 would be beyond the largest code
  kv::round_to_blocks(x, 4, 4);
  CHECK(x == std::vector<float>{4, -3, 1, 0});
  CHECK(kv::block_exponent(std::vector<float>{0, 0}) == -127);
  CHECK(kv::block_exponent(std::vector<float>{std::numeric_limits<float>::denorm_min()}) == -127);
  CHECK(kv::block_exponent(std::vector<float>{std::numeric_limits<float>::max()}) == 127);
  CHECK_THROWS_AS(kv::round_to_blocks(x, 1, 4), tersor::error);
}

TEST_CASE("bfp: every element within half a step, but for those beyond the largest code", "[bfp]") {
  for (const int bits : {2, 3, 4, 8})
    for (const index_t block : {1, 5, 8, 32, 100})
      for (const bool sort : {false, true}) {
        const auto x = random_heads(2, 20, 33, 3);
        const auto body = kv::bfp{.bits = bits, .block = block, .sort = sort}.open(side::keys, 2, 33);
        body->append(x.first(12), true, {});
        body->append(kv::tokens(x.view(), 12, 8), false, {});
        check_segment(*body);
        for (index_t h = 0; h < 2; ++h) {
          const auto d = body->to_dense(h);
          for (index_t t = 0; t < 20; ++t) {
            // the error of any element is bounded by the largest entry of its token
            const int e = kv::block_exponent(x.head(h).row(t));
            for (index_t c = 0; c < 33; ++c) {
              const auto value = static_cast<double>(x(h, t, c));
              CHECK(std::abs(static_cast<double>(d(t, c)) - value) <= std::ldexp(1.0, e - bits + 2));
            }
            if (sort) continue;
            for (index_t c = 0; c < 33; ++c) {
              const auto row = x.head(h);
              const auto part =
                  row.row(t).subspan(static_cast<std::size_t>(c / block * block),
                                     static_cast<std::size_t>(std::min(block, 33 - c / block * block)));
              const int own = kv::block_exponent(part);
              const double most = std::ldexp((1 << (bits - 1)) - 1, own - bits + 2);
              const auto value = static_cast<double>(x(h, t, c));
              if (std::abs(value) <= most)
                CHECK(std::abs(static_cast<double>(d(t, c)) - value) <= std::ldexp(1.0, own - bits + 1));
              else
                CHECK(std::abs(static_cast<double>(d(t, c))) == most);
            }
          }
        }
      }
}

TEST_CASE("bfp: encoding what was decoded changes nothing", "[bfp]") {
  auto x = random_heads(1, 30, 32, 1).values;
  kv::round_to_blocks(x, 4, 16);
  auto y = x;
  kv::round_to_blocks(y, 4, 16);
  CHECK(x == y);
}

TEST_CASE("bfp: sorting channels of log-normal sizes lowers the error, except in one block", "[bfp]") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto x = spread_channels(128, 0.5, seed), wide = spread_channels(128, 1.5, seed);
    double before = 1;
    for (const index_t block : {64, 32}) {
      const auto sorted = errors_of({.block = block}, x),
                 plain = errors_of({.block = block, .sort = false}, x);
      CHECK(sorted.total < plain.total);
      CHECK(sorted.of_channels < plain.of_channels);
      CHECK(sorted.total < before);
      before = sorted.total;
      // Very different sizes: quiet channels get bits at last, though loud ones beside louder ones lose some,
      // and these make the total.
      CHECK(errors_of({.block = block}, wide).of_channels <
            0.8 * errors_of({.block = block, .sort = false}, wide).of_channels);
    }
    CHECK(errors_of({.block = 128}, x).total == errors_of({.block = 128, .sort = false}, x).total);
  }
}

TEST_CASE("bfp: attention, stored bits, removal", "[bfp]") {
  const auto k = random_heads(2, 40, 64, 1), v = random_heads(2, 40, 64, 2), q = random_heads(4, 40, 64, 3);
  for (const auto& [block, expected] : {std::pair{index_t{32}, 4.25}, {64, 4.125}}) {
    kv::any_cache cache(layout_of(4, 2, 64), kv::full{} | kv::bfp{.block = block, .sort = false});
    cache.prefill(k.first(30), v.first(30), q.first(30));
    for (index_t t = 30; t < 40; ++t) {
      matrix<float> out(4, 64);
      cache.append(k.token(t).view(), v.token(t).view());
      cache.attend(q.token(t).view(), out.view());
      CHECK(largest_difference(out.values(), attention_of(cache, q.token(t)).values()) < 2e-5);
      cache.finish_step();
    }
    CHECK(cache.bits_per_element() == expected);
  }
  // an order is stored once for each head: two bytes a channel
  kv::any_cache sorted(layout_of(4, 2, 64), kv::full{} | kv::bfp{.value_bits = 8});
  sorted.prefill(k.view(), v.view(), q.view());
  CHECK(sorted.storage().bytes() == 2 * 40 * (32 + 2) + 2 * 40 * (64 + 2) + 2 * 64 * 2);
  const auto body = kv::bfp{}.open(side::keys, 2, 64);
  body->append(k.view(), true, {});
  const auto before = body->to_dense(1);
  body->drop(7);
  const auto after = body->to_dense(1);
  for (index_t t = 0; t < 39; ++t) CHECK(std::ranges::equal(after.row(t), before.row(t < 7 ? t : t + 1)));
}

TEST_CASE("bfp: errors", "[bfp]") {
  CHECK_THROWS_AS(kv::bfp{.bits = 1}.validate(), tersor::error);
  CHECK_THROWS_AS(kv::bfp{.value_bits = 1}.validate(), tersor::error);
  CHECK_THROWS_AS(kv::bfp{.block = 0}.validate(), tersor::error);
}

}  // namespace bfp_tests
