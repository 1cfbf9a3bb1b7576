// tersor - tests of kv/scores.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/scores.hpp>

#include "policies.hpp"

namespace scores_tests {

using namespace tersor_test;
using kv::group_reduction;

TEST_CASE("scores: heads of a group are joined by mean or maximum, NaN stays") {
  const std::vector<float> a{1, 5, 0}, b{3, 1, std::nanf("")}, c{2, 0, 7};
  std::vector<float> joined(3, 9.0F);
  for (index_t j = 0; const auto* x : {&a, &b}) kv::join_head(group_reduction::mean, j++, 2, *x, joined);
  CHECK((joined[0] == 2 && joined[1] == 3 && std::isnan(joined[2])));
  for (index_t j = 0; const auto* x : {&a, &b, &c}) kv::join_head(group_reduction::max, j++, 3, *x, joined);
  CHECK((joined[0] == 3 && joined[1] == 5 && std::isnan(joined[2])));
  kv::join_head(group_reduction::none, 0, 1, a, joined);
  CHECK(joined == a);
}

TEST_CASE("scores: repeated heads attend as grouped ones do") {
  const random_prompt x(6, 2, 9, 4, 1);
  const auto k = kv::repeat_heads(x.k.view(), 3);
  REQUIRE((k.rows() == 6 * 9 && k.cols() == 4));
  for (index_t h = 0; h < 6; ++h)
    for (index_t t = 0; t < 9; ++t)
      for (index_t c = 0; c < 4; ++c) CHECK(k(h * 9 + t, c) == x.k(h / 3, t, c));
  const auto layout = layout_of(6, 6, 4);
  const kv::prompt repeated{layout, {k.data(), {6, 9, 4}}, {k.data(), {6, 9, 4}}, x.q.view()};
  for (index_t h = 0; h < 6; ++h)
    CHECK(kv::prompt_attention(repeated, h, 2, 5) == kv::prompt_attention(x.prompt(), h, 2, 5));
  CHECK_THROWS_AS(kv::repeat_heads(x.k.view(), 0), tersor::error);
}

TEST_CASE("scores: attention of a prompt is causal softmax, for any tile and any strides") {
  const random_prompt x(4, 2, 70, 6, 3);
  for (const index_t h : {0, 3}) {
    const auto all = causal_attention(x, h);
    for (const auto& [first, count] : {std::pair<index_t, index_t>{0, 70}, {69, 1}, {10, 33}, {5, 0}}) {
      const auto a = kv::prompt_attention(x.prompt(), h, first, count);
      REQUIRE((a.rows() == count && a.cols() == 70));
      for (index_t i = 0; i < count; ++i)
        for (index_t t = 0; t < 70; ++t) {
          CHECK(std::abs(static_cast<double>(a(i, t)) - all(first + i, t)) < 2e-6);
          if (t > first + i) CHECK(a(i, t) == 0);
        }
    }
    // a prompt that holds only its last queries
    CHECK(kv::prompt_attention(x.with_queries(12), h, 60, 10) == kv::prompt_attention(x.prompt(), h, 60, 10));
  }
  // keys and queries inside a projection [tokens, heads * head_dim]
  matrix<float> k(70, 12), q(70, 24);
  for (index_t t = 0; t < 70; ++t)
    for (index_t c = 0; c < 24; ++c) {
      q(t, c) = x.q(c / 6, t, c % 6);
      if (c < 12) k(t, c) = x.k(c / 6, t, c % 6);
    }
  const auto keys = kv::split_heads(std::as_const(k).view(), 2),
             queries = kv::split_heads(std::as_const(q).view(), 4);
  const kv::prompt strided{x.layout, keys, keys, queries};
  CHECK(largest_difference(kv::prompt_attention(strided, 3, 40, 30).values(),
                           kv::prompt_attention(x.prompt(), 3, 40, 30).values()) < 1e-6);
}

TEST_CASE("scores: sums of attention, tile by tile, joined over groups query by query") {
  for (const auto& [heads, kv_heads, tokens] :
       {std::array<index_t, 3>{2, 2, 1}, {4, 2, 63}, {4, 2, 64}, {3, 1, 65}, {4, 4, 130}}) {
    const random_prompt x(heads, kv_heads, tokens, 4, 5);
    for (const auto r : {group_reduction::none, group_reduction::mean, group_reduction::max}) {
      if (r == group_reduction::none && heads != kv_heads) continue;
      const auto sums = kv::attention_sums(x.prompt(), r, "test", threads(1));
      CHECK(sums == kv::attention_sums(x.prompt(), r, "test", threads(4)));
      const index_t group = heads / kv_heads;
      for (index_t h = 0; h < kv_heads; ++h) {
        std::vector<matrix<double>> a;
        for (index_t j = 0; j < group; ++j) a.push_back(causal_attention(x, h * group + j));
        for (index_t t = 0; t < tokens; ++t) {
          double expected = 0;
          for (index_t i = t; i < tokens; ++i) {
            double joined = 0;
            for (const auto& one : a)
              joined = r == group_reduction::max ? std::max(joined, one(i, t))
                                                 : joined + one(i, t) / static_cast<double>(group);
            expected += joined;
          }
          CHECK(std::abs(static_cast<double>(sums(h, t)) - expected) < 1e-5 * (1 + expected));
        }
      }
    }
  }
}

TEST_CASE("scores: errors name the technique") {
  const random_prompt x(4, 2, 20, 4, 1);
  CHECK(holds(error_of([&] { kv::attention_sums(x.with_queries(19), group_reduction::mean, "abc"); }),
              {"abc: queries", "19", "20"}));
  CHECK(holds(error_of([&] { kv::attention_sums(x.prompt(), group_reduction::none, "abc"); }),
              {"abc: reduce=none", "2", "repeat_heads"}));
  matrix<float> scores(2, 20);
  scores(1, 3) = std::nanf("");
  CHECK(
      holds(error_of([&] { kv::require_scores(scores, x.prompt(), "abc"); }), {"abc", "head 1", "token 3"}));
  CHECK_THROWS_AS(kv::require_scores(matrix<float>(2, 19), x.prompt(), "abc"), tersor::error);
}

/// Scores that a user brings.
struct own_score {
  static constexpr tersor::solve::technique_info info{"own", "kv", "", "", "", ""};
  float factor = 1;
  void validate() const { tersor::require(factor > 0, "own: factor", factor, "above 0"); }
  matrix<float> scores(const kv::prompt& p, const tersor::context&) const {
    return matrix<float>(p.layout.kv_heads, p.tokens(), factor);
  }
};

TEST_CASE("scores: any of them behind one type") {
  const random_prompt x(4, 2, 20, 4, 1);
  CHECK(kv::any_score().empty());
  const kv::any_score own = own_score{2};
  CHECK((!own.empty() && own.id() == "own"));
  CHECK(own.scores(x.prompt()) == matrix<float>(2, 20, 2.0F));
  CHECK(holds(error_of([] { kv::any_score(own_score{-1}); }), {"own: factor"}));
  CHECK(holds(error_of([&] { kv::any_score(own_score{std::numeric_limits<float>::quiet_NaN()}); }), {"own"}));
}

}  // namespace scores_tests
