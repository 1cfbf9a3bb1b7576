// tersor - tests of kv/tova.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/dense.hpp>
#include <tersor/kv/tova.hpp>

#include "policies.hpp"

namespace tova_tests {

using namespace tersor_test;
constexpr kv::dense f32{kv::element_type::f32};

TEST_CASE("tova: what every policy must do") {
  check_policy(kv::tova{}, 1);
  check_policy(kv::tova{.keep_last = false, .rolling = false});
}

TEST_CASE("tova: the last query's attention, the mean over all heads, the same in every row") {
  const random_prompt x(6, 2, 40, 4, 2);
  for (const bool keep_last : {true, false}) {
    const auto s = kv::tova{.keep_last = keep_last}.scores(x.with_queries(1));
    for (index_t t = 0; t < 40; ++t) {
      double mean = 0;
      for (index_t h = 0; h < 6; ++h) mean += causal_attention(x, h)(39, t) / 6;
      CHECK(s(0, t) == s(1, t));
      if (t == 39 && keep_last)
        CHECK(s(0, t) == kv::always_kept);
      else
        CHECK(std::abs(static_cast<double>(s(0, t)) - mean) < 1e-6);
    }
  }
}

TEST_CASE("tova: at decode the token that is attended to least leaves") {
  for (const bool keep_last : {true, false}) {
    const random_prompt x(4, 2, 60, 8, 2);
    kv::any_cache cache(x.layout, kv::tova{.capacity = 10, .keep_last = keep_last} | f32);
    cache.prefill(x.k.first(7), x.v.first(7), x.q.first(7));
    for (index_t t = 7; t < 60; ++t) {
      matrix<float> out(4, 8);
      cache.append(x.k.token(t).view(), x.v.token(t).view());
      std::vector<matrix<float>> weights;
      cache.attend(x.q.token(t).view(), out.view(), {}, &weights);
      auto expected = cache.kept(0);
      if (expected.size() > 10) {
        std::size_t least = 0;
        std::vector<double> score(expected.size());
        for (std::size_t i = 0; i < score.size(); ++i)
          for (const auto& w : weights)
            for (index_t j = 0; j < 2; ++j) score[i] += static_cast<double>(w(j, static_cast<index_t>(i)));
        for (std::size_t i = 0; i + (keep_last ? 1 : 0) < score.size(); ++i)
          if (score[i] < score[least]) least = i;
        expected.erase(expected.begin() + static_cast<index_t>(least));
      }
      cache.finish_step(weights);
      CHECK(cache.kept(0) == expected);
      CHECK(cache.kept(1) == expected);
    }
  }
}

TEST_CASE("tova: a budget by ratio follows the tokens seen, without rolling all stay") {
  const random_prompt x(2, 1, 60, 4, 5);
  kv::any_cache rolling(x.layout, kv::tova{} | f32), still(x.layout, kv::tova{.rolling = false} | f32);
  rolling.prefill(x.k.first(30), x.v.first(30), x.q.first(30));
  still.prefill(x.k.first(30), x.v.first(30), x.q.first(30));
  for (index_t t = 30; t < 60; ++t) {
    CHECK(rolling.tokens(0) == t / 2);
    CHECK(still.tokens(0) == 15 + t - 30);
    matrix<float> out(2, 4);
    for (auto* cache : {&rolling, &still})
      cache->step(x.q.token(t).view(), x.k.token(t).view(), x.v.token(t).view(), out.view());
  }
}

TEST_CASE("tova: errors") {
  const random_prompt x(2, 1, 30, 4, 1);
  CHECK(holds(error_of([&] { kv::tova{}.select(x.with_queries(0)); }), {"tova: queries", "0", "1"}));
}

}  // namespace tova_tests
