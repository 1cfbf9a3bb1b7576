// tersor - conformance: H2O against FMInference/H2O utils_real_drop and utils_hh
// SPDX-License-Identifier: MIT
#include <tersor/kv/cache.hpp>
#include <tersor/kv/dense.hpp>
#include <tersor/kv/h2o.hpp>

#include "vectors.hpp"

namespace kv_h2o_tests {

namespace kv = tersor::kv;
using tersor::index_t;
using tersor::matrix;

const conformance::technique h2o{"kv_h2o",
                                 {"heads", "prompt", "steps", "D", "hh_size", "recent_size", "heavy_ratio",
                                  "recent_ratio", "heavy_budget", "recent_budget"}};

/// H2O that tells what its scores are after each step.
struct watched_h2o : kv::h2o {
  std::shared_ptr<std::vector<std::vector<float>>> last = std::make_shared<std::vector<std::vector<float>>>();

  explicit watched_h2o(kv::h2o options) : kv::h2o(options) {}
  kv::selection select(const kv::prompt& p, const tersor::context& ctx) const {
    auto s = kv::h2o::select(p, ctx);
    *last = s.scores;
    return s;
  }
  kv::dropped_tokens after_step(const kv::decode_step& step) const {
    const auto dropped = kv::h2o::after_step(step);
    last->assign(step.scores.begin(), step.scores.end());
    for (std::size_t h = 0; h < dropped.size(); ++h)
      for (auto t = dropped[h].rbegin(); t != dropped[h].rend(); ++t)
        (*last)[h].erase((*last)[h].begin() + *t);
    return dropped;
  }
};

struct sequence {
  index_t heads, prompt, steps, dim;
  std::vector<float> q, k, v;

  explicit sequence(const conformance::test_case& c)
      : heads(c.option<index_t>("heads", 1)),
        prompt(c.option<index_t>("prompt", 0)),
        steps(c.option<index_t>("steps", 0)),
        dim(c.option<index_t>("D", 1)),
        q(c.input_vector("q")),
        k(c.input_vector("k")),
        v(c.has_input("v") ? c.input_vector("v") : k) {}
  kv::attention_layout layout() const { return {.heads = heads, .kv_heads = heads, .head_dim = dim}; }
  kv::heads_view<const float> all(const std::vector<float>& x) const {
    return {x.data(), {heads, prompt + steps, dim}};
  }
  tersor::matrix_view<const float> token(const std::vector<float>& x, index_t t) const {
    return {x.data() + t * dim, {heads, dim}, {(prompt + steps) * dim, 1}};
  }
};

void check_dropping(const conformance::test_case& c) {
  const sequence s(c);
  const auto heavy = c.option<index_t>("hh_size", 0), recent = c.option<index_t>("recent_size", 0),
             held = heavy + recent;
  const watched_h2o policy(kv::h2o{.capacity = held,
                                   .recent = static_cast<double>(recent) / static_cast<double>(held),
                                   .reduce = kv::group_reduction::none});
  kv::any_cache cache(s.layout(), kv::any_eviction(policy),
                      kv::any_codec(kv::dense{.type = kv::element_type::f32}));
  std::vector<std::int32_t> kept;
  std::vector<float> score;
  const auto note = [&] {
    for (index_t h = 0; h < s.heads; ++h) {
      const auto tokens = cache.kept(h);
      const auto& sums = (*policy.last)[static_cast<std::size_t>(h)];
      REQUIRE(sums.size() == tokens.size());
      for (index_t i = 0; i < held; ++i) {
        const auto at = static_cast<std::size_t>(i);
        kept.push_back(at < tokens.size() ? static_cast<std::int32_t>(tokens[at]) : -1);
        score.push_back(at < sums.size() ? sums[at] : 0.0F);
      }
    }
  };
  cache.prefill(kv::tokens(s.all(s.k), 0, s.prompt), kv::tokens(s.all(s.v), 0, s.prompt),
                kv::tokens(s.all(s.q), 0, s.prompt));
  note();
  for (index_t t = s.prompt; t < s.prompt + s.steps; ++t) {
    matrix<float> out(s.heads, s.dim);
    cache.step(s.token(s.q, t), s.token(s.k, t), s.token(s.v, t), out.view());
    note();
  }
  CHECK(conformance::mismatches(kept, c.output_integers("kept")) == 0);
  auto official = c.output_vector("score");
  for (std::size_t i = 0; i < kept.size(); ++i)
    if (kept[i] < 0) official.at(i) = 0;
  CHECK(conformance::max_difference(score, official, conformance::max_abs(official)) <= c.tolerance("score"));
}

void check_masking(const conformance::test_case& c) {
  const sequence s(c);
  const index_t total = s.prompt + s.steps;
  const auto of_prompt = [&](const char* ratio) {
    return static_cast<index_t>(c.option<double>(ratio, 0.1) * static_cast<double>(s.prompt));
  };
  const index_t heavy = of_prompt("heavy_ratio"), recent = of_prompt("recent_ratio");
  CHECK(heavy == c.option<index_t>("heavy_budget", heavy));
  CHECK(recent == c.option<index_t>("recent_budget", recent));
  const auto layout = s.layout();
  const auto sums =
      kv::attention_sums({layout, kv::tokens(s.all(s.k), 0, s.prompt), kv::tokens(s.all(s.v), 0, s.prompt),
                          kv::tokens(s.all(s.q), 0, s.prompt)},
                         kv::group_reduction::none, "h2o");
  std::vector<std::int32_t> masks(static_cast<std::size_t>((s.steps + 1) * s.heads * (total + 1)));
  std::vector<float> out;
  for (index_t h = 0; h < s.heads; ++h) {
    kv::h2o_masking masking(heavy, recent);
    const auto q = kv::head(s.all(s.q), h), k = kv::head(s.all(s.k), h), v = kv::head(s.all(s.v), h);
    auto mask = masking.next(sums.row(h));
    const auto note = [&](index_t step) {
      for (std::size_t t = 0; t < mask.size(); ++t)
        masks[static_cast<std::size_t>((step * s.heads + h) * (total + 1)) + t] = mask[t] ? 1 : 0;
    };
    note(0);
    for (index_t i = 0; i < s.steps; ++i) {
      const index_t now = s.prompt + i;
      std::vector<float> weights(static_cast<std::size_t>(now + 1));
      double mass = 0;
      for (index_t t = 0; t <= now; ++t) {
        if (!mask[static_cast<std::size_t>(t)]) continue;
        double logit = 0;
        for (index_t d = 0; d < s.dim; ++d)
          logit += static_cast<double>(q(now, d)) * static_cast<double>(k(t, d));
        const double weight = std::exp(logit / std::sqrt(static_cast<double>(s.dim)));
        mass += weight;
        weights[static_cast<std::size_t>(t)] = static_cast<float>(weight);
      }
      for (float& w : weights) w = static_cast<float>(static_cast<double>(w) / mass);
      for (index_t d = 0; d < s.dim; ++d) {
        double sum = 0;
        for (index_t t = 0; t <= now; ++t)
          sum += static_cast<double>(weights[static_cast<std::size_t>(t)]) * static_cast<double>(v(t, d));
        out.push_back(static_cast<float>(sum));  // [heads, steps, D]
      }
      mask = masking.next(weights);
      note(i + 1);
    }
  }
  CHECK(conformance::mismatches(masks, c.output_vector("mask_next")) == 0);
  const auto official = c.output_vector("out");  // [steps, heads * D]
  std::vector<float> ordered;
  for (index_t i = 0; i < s.steps; ++i)
    for (index_t h = 0; h < s.heads; ++h)
      for (index_t d = 0; d < s.dim; ++d)
        ordered.push_back(out[static_cast<std::size_t>((h * s.steps + i) * s.dim + d)]);
  CHECK(conformance::max_difference(ordered, official, conformance::max_abs(official)) <= c.tolerance("out"));
}

TEST_CASE("conformance: kv_h2o") {
  conformance::for_each_case(h2o, [](const conformance::test_case& c) {
    if (c.has_output("mask_next"))
      check_masking(c);
    else
      check_dropping(c);
  });
}

}  // namespace kv_h2o_tests
