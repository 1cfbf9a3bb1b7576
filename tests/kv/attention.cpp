// tersor - tests of kv/attention.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/attention.hpp>
#include <tersor/kv/quantized_tokens.hpp>

#include "samples.hpp"

namespace attention_tests {

using namespace tersor_test;
using tersor::dtype;

/// Keys or values in three segments of different kinds, cut at `a` and `b`.
struct three_segments {
  kv::quantized_tokens codes;
  kv::dense_tokens half, full;
  three_segments(const heads_array& x, index_t a, index_t b)
      : codes(x.heads, x.dim, 4, kv::group_axis::channels, 4, dtype::f16),
        half(x.heads, x.dim, dtype::f16),
        full(x.heads, x.dim, dtype::f32) {
    codes.append(kv::tokens(x.view(), 0, a), true);
    half.append(kv::tokens(x.view(), a, b - a), true);
    full.append(kv::tokens(x.view(), b, x.tokens - b), true);
  }
  std::vector<const kv::segment*> list() const { return {&codes, &half, &full}; }
  matrix<float> to_dense(index_t head) const {
    matrix<float> x(codes.tokens() + half.tokens() + full.tokens(), codes.head_dim());
    index_t first = 0;
    for (const auto* s : list()) {
      s->read(head, 0, x.view().rows(first, s->tokens()));
      first += s->tokens();
    }
    return x;
  }
};

TEST_CASE("attention: over mixed segments it is attention over the concatenation") {
  for (std::uint64_t seed = 0; seed < 5; ++seed)
    for (const index_t tokens : {3, 70, 200}) {
      const auto k = random_heads(2, tokens, 12, seed), v = random_heads(2, tokens, 12, seed + 50);
      // keys and values cut at different tokens; empty segments too
      const three_segments keys(k, tokens / 2, tokens - 1), values(v, 0, tokens / 3);
      const kv::segment_lists lists{keys.list(), values.list()};
      for (index_t h = 0; h < 2; ++h) {
        const auto q = random_matrix<float>(3, 12, seed + 9);
        matrix<float> out(3, 12, 7.0F), weights;
        kv::attend(lists, h, q.view(), out.view(), &weights);
        CHECK((weights.rows() == 3 && weights.cols() == tokens));
        for (index_t j = 0; j < 3; ++j) {
          CHECK(largest_difference(out.row(j), attention(q.row(j), keys.to_dense(h), values.to_dense(h))) <
                1e-5);
          double total = 0;
          for (const float w : weights.row(j)) total += static_cast<double>(w);
          CHECK(std::abs(total - 1) < 1e-5);
        }
        matrix<float> again(3, 12);
        kv::attend(lists, h, q.view(), again.view());
        CHECK(again == out);
      }
    }
}

TEST_CASE("attention: parts merged by log-sum-exp are attention over the concatenation") {
  for (std::uint64_t seed = 0; seed < 5; ++seed)
    for (const double size : {1.0, 300.0}) {  // large logits: without the maxima, e^x would overflow
      const auto k = random_heads(1, 100, 8, seed), v = random_heads(1, 100, 8, seed + 50);
      const three_segments keys(k, 40, 90), values(v, 40, 90);
      auto q = random_matrix<float>(4, 8, seed + 9);
      for (float& x : q.values()) x *= static_cast<float>(size);
      auto merged = kv::attend_part(keys.codes, values.codes, 0, q.view());
      merged = kv::merge(merged, kv::attend_part(keys.half, values.half, 0, q.view()));
      merged = kv::merge(merged, kv::attend_part(keys.full, values.full, 0, q.view()));
      for (index_t j = 0; j < 4; ++j)
        CHECK(
            largest_difference(merged.out.row(j), attention(q.row(j), keys.to_dense(0), values.to_dense(0))) <
            (size > 1 ? 1e-3 : 1e-5));  // at size 300 the logits themselves are known to 1e-4
      // a part without tokens changes nothing, on either side
      const kv::dense_tokens none(1, 8, dtype::f32);
      const auto empty = kv::attend_part(none, none, 0, q.view());
      CHECK(kv::merge(merged, empty).out == merged.out);
      CHECK(largest_difference(kv::merge(empty, merged).out.values(), merged.out.values()) < 1e-6);
    }
}

TEST_CASE("attention: several pieces of tokens are attention over all of them, with their weights") {
  // long enough for three pieces; segments that end inside one
  const index_t tokens = 2 * kv::piecewise_attention::piece_tokens + 77;
  const auto k = random_heads(1, tokens, 32, 3), v = random_heads(1, tokens, 32, 4);
  const three_segments keys(k, 2040, tokens - 9), values(v, 2100, tokens - 50);
  const auto q = random_matrix<float>(2, 32, 9);
  matrix<float> out(2, 32), weights;
  kv::attend({keys.list(), values.list()}, 0, q.view(), out.view(), &weights);
  for (index_t j = 0; j < 2; ++j) {
    CHECK(largest_difference(out.row(j), attention(q.row(j), keys.to_dense(0), values.to_dense(0))) < 1e-5);
    double total = 0;
    for (const float w : weights.row(j)) total += static_cast<double>(w);
    CHECK(std::abs(total - 1) < 1e-5);
  }
  // a query that is no number gives what is none, as for the other query it did not
  auto bad = q;
  bad(0, 3) = std::numeric_limits<float>::quiet_NaN();
  matrix<float> again(2, 32);
  kv::attend({keys.list(), values.list()}, 0, bad.view(), again.view());
  CHECK(std::isnan(again(0, 0)));
  CHECK(std::ranges::equal(again.row(1), out.row(1)));
}

TEST_CASE("attention: by hand") {
  // one token: its value; equal keys: the mean of the values
  heads_array k(1, 2, 2), v(1, 2, 2);
  v(0, 0, 0) = 1;
  v(0, 1, 0) = 3;
  kv::dense_tokens keys(1, 2, dtype::f32), values(1, 2, dtype::f32);
  keys.append(k.first(1), true);
  values.append(v.first(1), true);
  matrix<float> q(1, 2, 1.0F), out(1, 2);
  kv::attend({{&keys}, {&values}}, 0, q.view(), out.view());
  CHECK((out(0, 0) == 1.0F && out(0, 1) == 0.0F));
  keys.append(kv::tokens(k.view(), 1, 1), true);
  CHECK(holds(error_of([&] {
                kv::attend({{&keys}, {&values}}, 0, q.view(), out.view());
              }),
              {"values", "1", "2"}));
  values.append(kv::tokens(v.view(), 1, 1), true);
  kv::attend({{&keys}, {&values}}, 0, q.view(), out.view());
  CHECK(out(0, 0) == 2.0F);
  const kv::dense_tokens none(1, 2, dtype::f32);
  CHECK_THROWS_AS(kv::attend({{&none}, {&none}}, 0, q.view(), out.view()), tersor::error);
}

}  // namespace attention_tests
