// tersor - tests of kv/expected.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/expected.hpp>
#include <tersor/kv/streaming.hpp>

#include "policies.hpp"

namespace expected_tests {

using namespace tersor_test;
using kv::group_reduction;

TEST_CASE("expected: what every policy must do") {
  check_policy(kv::expected{}, 4);
  check_policy(kv::expected{.sinks = 0, .future = 3, .covariance = false, .value_norm = false});
  check_policy(kv::expected{.sinks = 2, .epsilon = 0.02, .reduce = group_reduction::max}, 2);
}

TEST_CASE("expected: the log of the mean of e^(q . k), against samples") {
  // q = mean + A z with Σ = A Aᵀ; 200000 samples, whose relative error is below 1 %
  const index_t dim = 4;
  tersor::random_generator g(5);
  const auto a = random_matrix<float>(dim, dim, 1);
  const auto keys = random_matrix<float>(6, dim, 2);
  kv::query_distribution d{{0.5, -1, 0.25, 0}, matrix<double>(dim, dim)};
  for (index_t i = 0; i < dim; ++i)
    for (index_t j = 0; j < dim; ++j)
      for (index_t c = 0; c < dim; ++c)
        d.covariance(i, j) += static_cast<double>(a(i, c)) * static_cast<double>(a(j, c));
  const auto logit = d.log_expectation(keys.view());
  std::vector<double> mean(6);
  constexpr int samples = 200000;
  for (int n = 0; n < samples; ++n) {
    std::array<double, 4> z{}, q{};
    for (double& x : z) x = g.normal();
    for (std::size_t i = 0; i < 4; ++i) {
      q[i] = d.mean[i];
      for (std::size_t c = 0; c < 4; ++c)
        q[i] += static_cast<double>(a(static_cast<index_t>(i), static_cast<index_t>(c))) * z[c];
    }
    for (index_t t = 0; t < 6; ++t) {
      double dot = 0;
      for (index_t c = 0; c < dim; ++c)
        dot += q[static_cast<std::size_t>(c)] * static_cast<double>(keys(t, c));
      mean[static_cast<std::size_t>(t)] += std::exp(dot / 2) / samples;  // √D = 2
    }
  }
  for (std::size_t t = 0; t < 6; ++t)
    CHECK(std::abs(std::log(mean[t]) - static_cast<double>(logit[t])) < 0.03);
}

TEST_CASE("expected: the mean rotation is the mean of rotated queries") {
  const index_t dim = 6;
  for (const auto pairing :
       {tersor::kernel::rotary_pairing::halves, tersor::kernel::rotary_pairing::interleaved}) {
    const tersor::kernel::rotary rotary({0.9, 0.2}, pairing);  // two of the six channels are not rotated
    const auto q = random_matrix<float>(1, dim, 4);
    kv::query_distribution d{std::vector<double>(q.values().begin(), q.values().end()),
                             matrix<double>(dim, dim)};
    for (index_t i = 0; i < dim; ++i)
      for (index_t j = 0; j < dim; ++j)
        d.covariance(i, j) = static_cast<double>(q(0, i)) * static_cast<double>(q(0, j));
    d.rotate_to(rotary, 11, 5);
    std::vector<double> mean(6);
    for (index_t p = 11; p < 16; ++p) {
      auto turned = q;
      rotary.apply(turned.view(), 1, p);
      for (index_t c = 0; c < dim; ++c)
        mean[static_cast<std::size_t>(c)] += static_cast<double>(turned(0, c)) / 5;
    }
    for (std::size_t c = 0; c < 6; ++c) CHECK(std::abs(d.mean[c] - mean[c]) < 1e-6);
    for (index_t i = 0; i < dim; ++i)
      for (index_t j = 0; j < dim; ++j)
        CHECK(std::abs(d.covariance(i, j) -
                       mean[static_cast<std::size_t>(i)] * mean[static_cast<std::size_t>(j)]) < 1e-6);
  }
}

TEST_CASE("expected: one query for all positions gives its softmax attention") {
  random_prompt x(2, 1, 50, 8, 3);
  x.layout.rotary = {};
  for (index_t h = 0; h < 2; ++h)
    for (index_t t = 0; t < 50; ++t)
      for (index_t c = 0; c < 8; ++c) x.q(h, t, c) = x.q(h, 0, c);
  for (const bool covariance : {true, false}) {  // which is zero
    const auto s = kv::expected{.sinks = 0, .covariance = covariance, .value_norm = false}.scores(x.prompt());
    for (index_t t = 0; t < 50; ++t) {
      const double attention = (causal_attention(x, 0)(49, t) + causal_attention(x, 1)(49, t)) / 2;
      CHECK(std::abs(static_cast<double>(s(0, t)) - attention) < 1e-5);
    }
  }
}

TEST_CASE("expected: times the norm of the value, after epsilon, and sinks stay") {
  const random_prompt x(4, 2, 50, 8, 3);
  const auto plain = kv::expected{.sinks = 3, .value_norm = false}.scores(x.prompt()),
             full = kv::expected{.sinks = 3, .epsilon = 0.02}.scores(x.prompt());
  for (index_t h = 0; h < 2; ++h) {
    double mass = 0;
    for (index_t t = 0; t < 50; ++t) {
      if (t < 3) {
        CHECK((plain(h, t) == kv::always_kept && full(h, t) == kv::always_kept));
        continue;
      }
      mass += static_cast<double>(plain(h, t));
      const auto v = x.v.head(h);
      CHECK(std::abs(static_cast<double>(full(h, t)) -
                     (static_cast<double>(plain(h, t)) + 0.02) * norm(v.row(t))) < 1e-5);
    }
    CHECK(std::abs(mass - 1) < 1e-5);
  }
}

TEST_CASE("expected: a prompt that holds some of its queries uses those") {
  const random_prompt x(4, 2, 50, 8, 3);
  CHECK(kv::expected{}.scores(x.with_queries(46)) == kv::expected{}.scores(x.prompt()));
  CHECK(kv::expected{}.scores(x.with_queries(20)) != kv::expected{}.scores(x.prompt()));
  CHECK(holds(error_of([&] { kv::expected{}.scores(x.with_queries(0)); }),
              {"expected: queries", "0", "4 sinks"}));
}

TEST_CASE("expected: tokens planted in a long prompt survive, which a window alone does not see") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const needle_prompt x(1500, seed);
    CHECK(x.all_kept(kv::expected{.ratio = 0.9}.select(x.prompt())));
    CHECK_FALSE(x.all_kept(kv::streaming{.sinks = 4, .window = 146}.select(x.prompt())));
  }
}

TEST_CASE("expected: errors") {
  CHECK_THROWS_AS(kv::expected{.sinks = -1}.validate(), tersor::error);
  CHECK_THROWS_AS(kv::expected{.future = 0}.validate(), tersor::error);
  CHECK_THROWS_AS(kv::expected{.epsilon = -1}.validate(), tersor::error);
  const random_prompt x(4, 2, 30, 4, 1);
  CHECK(holds(error_of([&] { kv::expected{.reduce = group_reduction::none}.select(x.prompt()); }),
              {"expected: reduce=none"}));
  CHECK_THROWS_AS((kv::query_distribution{{1, 2}, {}}.log_expectation(x.k.head(0).view())), tersor::error);
}

}  // namespace expected_tests
