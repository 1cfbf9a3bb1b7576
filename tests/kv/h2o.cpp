// tersor - tests of kv/h2o.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/dense.hpp>
#include <tersor/kv/h2o.hpp>

#include "policies.hpp"

namespace h2o_tests {

using namespace tersor_test;
using kv::group_reduction;
constexpr kv::dense f32{kv::element_type::f32};

TEST_CASE("h2o: what every policy must do") {
  check_policy(kv::h2o{});
  check_policy(kv::h2o{.recent = 0, .normalise = true, .rolling = false});
  check_policy(kv::h2o{.recent = 0.25, .reduce = group_reduction::max});
}

TEST_CASE("h2o: uniform attention, by hand") {
  random_prompt x(2, 1, 60, 4, 1);
  for (float& q : x.q.values) q = 0;
  const auto sums = kv::h2o{}.scores(x.prompt()), mean = kv::h2o{.normalise = true}.scores(x.prompt());
  for (index_t j = 0; j < 60; ++j) {
    double s = 0;  // query i pays 1 / (i + 1) to each of the tokens 0 .. i
    for (index_t i = j; i < 60; ++i) s += 1 / static_cast<double>(i + 1);
    CHECK(std::abs(static_cast<double>(sums(0, j)) - s) < 1e-5);
    CHECK(std::abs(static_cast<double>(mean(0, j)) - s / static_cast<double>(60 - j)) < 1e-6);
    if (j > 0) CHECK((sums(0, j) < sums(0, j - 1) && mean(0, j) < mean(0, j - 1)));
  }
  // the heavy ones are the first, the recent ones the last
  CHECK(kv::h2o{.capacity = 5, .recent = 0.4}.select(x.prompt()).kept.front() ==
        std::vector<index_t>{0, 1, 2, 58, 59});
}

TEST_CASE("h2o: the share of recent tokens is rounded") {
  CHECK(kv::h2o{.recent = 10.0 / 18}.recent_tokens(18) == 10);
  CHECK(kv::h2o{.recent = 0.5}.recent_tokens(7) == 4);
  CHECK(kv::h2o{.recent = 0}.recent_tokens(7) == 0);
  CHECK(kv::h2o{.recent = 1}.recent_tokens(7) == 7);
}

/// H2O that tells its scores.
struct watched : kv::h2o {
  std::shared_ptr<std::vector<std::vector<float>>> last = std::make_shared<std::vector<std::vector<float>>>();
  explicit watched(kv::h2o options) : kv::h2o(options) {}
  kv::dropped_tokens after_step(const kv::decode_step& step) const {
    auto dropped = kv::h2o::after_step(step);
    last->assign(step.scores.begin(), step.scores.end());
    return dropped;
  }
};

TEST_CASE("h2o: sums at decode are those of a prompt, where nothing is dropped") {
  for (const auto reduce : {group_reduction::mean, group_reduction::max})
    for (const index_t prompt : {0, 1, 20, 39}) {
      const random_prompt x(4, 2, 40, 8, 3);
      const watched policy(kv::h2o{.capacity = 100, .reduce = reduce});
      kv::any_cache cache(x.layout, kv::any_eviction(policy), kv::any_codec(f32));
      cache.prefill(x.k.first(prompt), x.v.first(prompt), x.q.first(prompt));
      for (index_t t = prompt; t < 40; ++t) {
        matrix<float> out(4, 8);
        cache.step(x.q.token(t).view(), x.k.token(t).view(), x.v.token(t).view(), out.view());
      }
      CHECK(cache.tokens(0) == 40);
      const auto sums = kv::attention_sums(x.prompt(), reduce, "test");
      for (index_t h = 0; h < 2; ++h)
        CHECK(largest_difference((*policy.last)[static_cast<std::size_t>(h)], sums.row(h)) < 2e-5);
    }
}

TEST_CASE("h2o: at decode the lightest token leaves, recent ones stay, the budget holds") {
  for (const bool normalise : {false, true}) {
    const random_prompt x(4, 2, 60, 8, 5);
    const kv::h2o policy{.capacity = 12, .recent = 0.25, .normalise = normalise};
    kv::any_cache cache(x.layout, policy | f32);
    cache.prefill(x.k.first(8), x.v.first(8), x.q.first(8));
    // the same by hand, a score for every token of the sequence
    std::vector<std::vector<double>> sums(2, std::vector<double>(60));
    const auto first = kv::h2o{.ratio = 0}.scores({x.layout, x.k.first(8), x.v.first(8), x.q.first(8)});
    for (index_t h = 0; h < 2; ++h)
      for (index_t t = 0; t < 8; ++t)
        sums[static_cast<std::size_t>(h)][static_cast<std::size_t>(t)] = static_cast<double>(first(h, t));
    for (index_t t = 8; t < 60; ++t) {
      std::vector<std::vector<index_t>> held;
      matrix<float> out(4, 8);
      cache.append(x.k.token(t).view(), x.v.token(t).view());
      for (index_t h = 0; h < 2; ++h) held.push_back(cache.kept(h));
      std::vector<matrix<float>> weights;
      cache.attend(x.q.token(t).view(), out.view(), {}, &weights);
      cache.finish_step(weights);
      for (std::size_t h = 0; h < 2; ++h) {
        for (std::size_t i = 0; i < held[h].size(); ++i)
          for (index_t j = 0; j < 2; ++j)
            sums[h][static_cast<std::size_t>(held[h][i])] +=
                static_cast<double>(weights[h](j, static_cast<index_t>(i))) / 2;
        auto expected = held[h];
        if (expected.size() > 12) {
          auto lightest = expected.begin();
          const auto score = [&](index_t token) {
            return sums[h][static_cast<std::size_t>(token)] /
                   (normalise ? static_cast<double>(t + 1 - token) : 1.0);
          };
          for (auto i = expected.begin(); i != expected.end() - 3; ++i)
            if (score(*i) < score(*lightest)) lightest = i;
          expected.erase(lightest);
        }
        CHECK(cache.kept(static_cast<index_t>(h)) == expected);
        CHECK(cache.tokens(static_cast<index_t>(h)) <= 12);
      }
    }
  }
}

TEST_CASE("h2o: a budget by ratio follows the tokens seen") {
  const random_prompt x(2, 1, 60, 4, 5);
  kv::any_cache cache(x.layout, kv::h2o{.ratio = 0.5} | f32);
  cache.prefill(x.k.first(30), x.v.first(30), x.q.first(30));
  for (index_t t = 30; t < 60; ++t) {
    CHECK(cache.tokens(0) == kv::kept_count(t, 0.5));
    matrix<float> out(2, 4);
    cache.step(x.q.token(t).view(), x.k.token(t).view(), x.v.token(t).view(), out.view());
  }
}

TEST_CASE("h2o: without rolling nothing is dropped and no sums are stored") {
  const random_prompt x(2, 1, 40, 4, 5);
  kv::any_cache still(x.layout, kv::h2o{.ratio = 0.5, .rolling = false} | f32);
  kv::any_cache rolling(x.layout, kv::h2o{.ratio = 0.5} | f32);
  for (auto* cache : {&still, &rolling}) {
    cache->prefill(x.k.first(30), x.v.first(30), x.q.first(30));
    for (index_t t = 30; t < 40; ++t) {
      matrix<float> out(2, 4);
      cache->step(x.q.token(t).view(), x.k.token(t).view(), x.v.token(t).view(), out.view());
    }
  }
  CHECK(still.tokens(0) == 25);
  const auto has_scores = [](const kv::any_cache& c) {
    return std::ranges::any_of(c.storage().parts, [](const auto& p) { return p.name == "scores"; });
  };
  CHECK_FALSE(has_scores(still));
  CHECK(has_scores(rolling));
}

TEST_CASE("h2o: the simulation's masks, by hand") {
  kv::h2o_masking masking(1, 2);
  CHECK(masking.next(std::vector<float>{1, 2}) == std::vector<bool>{true, true, true});
  // five tokens: 0 .. 2 are candidates, of which 1 is heaviest; token 3 may not be attended to, 4 may
  CHECK(masking.next(std::vector<float>{1, 1, 1, 1, 1}) ==
        std::vector<bool>{false, true, false, false, true, true});
  // token 3 kept its sum, those of 0 and 2 are gone: 0 + 0.1, 3, 0 + 0.5, 1 + 9
  CHECK(masking.next(std::vector<float>{0.1F, 0, 0.5F, 9, 0, 0}) ==
        std::vector<bool>{false, false, false, true, false, true, true});
  kv::h2o_masking all_heavy(2, 0);
  CHECK(all_heavy.next(std::vector<float>{1, 3, 2}) == std::vector<bool>{true, true, true, true});
  CHECK_THROWS_AS(kv::h2o_masking(-1, 2), tersor::error);
  CHECK(holds(error_of([&] { masking.next(std::vector<float>{1}); }), {"h2o_masking: tokens", "1", "6"}));
}

TEST_CASE("h2o: errors") {
  const random_prompt x(4, 2, 30, 4, 1);
  CHECK(holds(error_of([&] { kv::h2o{}.select(x.with_queries(29)); }), {"h2o: queries", "29", "30"}));
  CHECK(holds(error_of([&] { kv::h2o{.reduce = group_reduction::none}.select(x.prompt()); }),
              {"h2o: reduce=none"}));
  CHECK_THROWS_AS(kv::h2o{.recent = 1.1}.validate(), tersor::error);
}

}  // namespace h2o_tests
