// tersor - tests of lowrank/asvd_search.hpp
// SPDX-License-Identifier: MIT
#include <tersor/lowrank/asvd_search.hpp>

#include "../linalg/oracle.hpp"
#include "catch.hpp"

namespace asvd_search_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::lowrank::cut_rule;
using tersor::lowrank::ratio_selection;
using tersor::lowrank::ratio_trial;
using tersor::lowrank::select_ratios;

const std::vector<double> ratios{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};

std::vector<ratio_trial> random_trials(index_t layers, std::uint64_t seed) {
  tersor::random_generator g(seed);
  std::vector<ratio_trial> trials;
  for (index_t l = 0; l < layers; ++l) {
    const double weight = 0.1 + g.uniform();
    for (double r : ratios) trials.push_back({l, r, weight * (1 - r) + 0.01 * g.uniform()});
  }
  return trials;
}

/// By the definition: the smallest ratio of each layer among the trials that cost at most `threshold`.
double realised(const std::vector<ratio_trial>& trials, const std::vector<index_t>& sizes, double threshold) {
  double kept = 0, total = 0;
  for (std::size_t l = 0; l < sizes.size(); ++l) {
    double ratio = 1;
    for (const auto& t : trials)
      if (t.layer == static_cast<index_t>(l) && t.sensitivity <= threshold) ratio = std::min(ratio, t.ratio);
    kept += ratio * static_cast<double>(sizes[l]);
    total += static_cast<double>(sizes[l]);
  }
  return kept / total;
}

TEST_CASE("stable rank: by hand", "[asvd_search]") {
  matrix<float> w(2, 3);
  w(0, 0) = 3, w(1, 2) = 4;  // ‖W‖_F = 5, ‖W‖₂ = 4
  const auto s = tersor::lowrank::stable_rank_sensitivity(w, std::vector<double>{0.5, 1.0});
  CHECK(std::abs(s[0] + 1.25 * std::pow(0.5, 0.1)) < 1e-12);
  CHECK(std::abs(s[1] + 1.25) < 1e-12);
  CHECK(tersor::lowrank::stable_rank_sensitivity(matrix<float>(2, 3), ratios)[0] == 0);
  CHECK_THROWS_AS(tersor::lowrank::stable_rank_sensitivity(w, std::vector<double>{-0.5}), tersor::error);
  w(1, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(tersor::lowrank::stable_rank_sensitivity(w, ratios), tersor::error);
}

TEST_CASE("stable rank: between 1 and the root of the rank, whatever the scale", "[asvd_search]") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    auto w = random_matrix<float>(7, 12, seed);
    const auto s = tersor::lowrank::stable_rank_sensitivity(w, ratios);
    CHECK(s[0] <= -std::pow(0.1, 0.1));
    CHECK(s[0] >= -std::sqrt(7.0) * std::pow(0.1, 0.1));
    for (std::size_t i = 1; i < s.size(); ++i) CHECK(s[i] < s[i - 1]);  // a larger ratio costs less
    for (float& v : w.values()) v *= 64;
    CHECK(std::abs(tersor::lowrank::stable_rank_sensitivity(w, ratios)[4] - s[4]) < 1e-12);
  }
}

TEST_CASE("select_ratios: by hand", "[asvd_search]") {
  // Falling sensitivity: (0, 0.5), (1, 0.2), (0, 0.8), (1, 0.6)
  const std::vector<ratio_trial> trials{{0, 0.5, 9}, {0, 0.8, 3}, {1, 0.2, 5}, {1, 0.6, 1}};
  const std::vector<index_t> sizes{100, 300};
  const auto at = [&](double target) { return select_ratios(trials, sizes, target); };
  CHECK(at(0.275).ratio == std::vector<double>{0.5, 0.2});
  CHECK(at(0.30).cut == 0);
  CHECK(at(0.35).ratio == std::vector<double>{0.8, 0.2});
  CHECK(at(0.65).ratio == std::vector<double>{0.8, 0.6});
  CHECK(std::abs(at(0.7).realised - 0.7) < 1e-12);
  CHECK(at(0.7).ratio == std::vector<double>{1, 0.6});
  CHECK(at(1.0).ratio == std::vector<double>{1, 1});
  CHECK(at(1.0).cut == 4);
  CHECK_THROWS_AS(at(0.27), tersor::error);
}

TEST_CASE("select_ratios: the largest size within the target, and the threshold rule", "[asvd_search]") {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    const auto layers = static_cast<index_t>(1 + seed % 7);
    const auto trials = random_trials(layers, seed);
    std::vector<index_t> sizes;
    for (index_t l = 0; l < layers; ++l) sizes.push_back(50 + 37 * l);
    for (const double target : {0.1, 0.25, 0.5, 0.7, 0.9, 1.0}) {
      const auto s = select_ratios(trials, sizes, target);
      INFO("seed " << seed << ", target " << target);
      REQUIRE(s.realised <= target * (1 + 1e-12));
      // Sensitivities differ, so a cut is a threshold: that of the first trial that stays.
      std::vector<double> thresholds;
      for (const auto& t : trials) thresholds.push_back(t.sensitivity);
      std::sort(thresholds.begin(), thresholds.end(), std::greater<>());
      thresholds.push_back(thresholds.back() - 1);
      const auto cut = static_cast<std::size_t>(s.cut);
      REQUIRE(std::abs(realised(trials, sizes, thresholds[cut]) - s.realised) < 1e-12);
      if (cut + 1 < thresholds.size()) REQUIRE(realised(trials, sizes, thresholds[cut + 1]) > target);
      if (target == 1.0) continue;
      // The official bisection, which never drops all trials, ends there or one trial further on either side.
      const auto official = select_ratios(trials, sizes, target, cut_rule::last_midpoint);
      REQUIRE(std::abs(official.cut - s.cut) <= 1);
    }
  }
}

TEST_CASE("select_ratios: only equal sensitivities see the order of the trials", "[asvd_search]") {
  const std::vector<index_t> sizes{10, 10};
  const std::vector<ratio_trial> equal{{0, 0.5, 1}, {1, 0.5, 1}};
  CHECK(select_ratios(equal, sizes, 0.8).ratio == std::vector<double>{1, 0.5});
  auto trials = random_trials(4, 3);
  const std::vector<index_t> four{10, 20, 30, 40};
  const auto expected = select_ratios(trials, four, 0.6).ratio;
  tersor::random_generator(5).shuffle(std::span(trials));
  CHECK(select_ratios(trials, four, 0.6).ratio == expected);
}

TEST_CASE("select_ratios: errors", "[asvd_search]") {
  const std::vector<index_t> sizes{10, 10};
  const auto select = [&](ratio_trial t, double target = 0.9) {
    return select_ratios(std::vector<ratio_trial>{t}, sizes, target);
  };
  CHECK_NOTHROW(select({1, 0.5, 1}));
  CHECK_THROWS_AS(select({2, 0.5, 1}), tersor::error);
  CHECK_THROWS_AS(select({-1, 0.5, 1}), tersor::error);
  CHECK_THROWS_AS(select({1, 0, 1}), tersor::error);
  CHECK_THROWS_AS(select({1, 1, 1}), tersor::error);
  CHECK_THROWS_AS(select({1, 0.5, std::numeric_limits<double>::quiet_NaN()}), tersor::error);
  CHECK_THROWS_AS(select({1, 0.5, 1}, 0), tersor::error);
  CHECK_THROWS_AS(select({1, 0.5, 1}, 1.5), tersor::error);
  CHECK_THROWS_AS(select({1, 0.5, 1}, 0.7), tersor::error);  // 0.75 at least
  CHECK_THROWS_AS(select_ratios({}, std::vector<index_t>{0}, 1), tersor::error);
  CHECK(select_ratios({}, sizes, 1).ratio == std::vector<double>{1, 1});
  CHECK(select_ratios({}, {}, 1).ratio.empty());
}

TEST_CASE("search_ratios: every layer alone at every ratio, once", "[asvd_search]") {
  const std::vector<index_t> sizes{100, 50, 70};
  std::vector<std::pair<index_t, double>> asked;
  std::vector<ratio_trial> trials;
  const auto perplexity = [&](index_t layer, double ratio) {
    asked.emplace_back(layer, ratio);
    trials.push_back({layer, ratio, 5.0 + static_cast<double>(layer + 1) * (1 - ratio) * (1 - ratio)});
    return trials.back().sensitivity;
  };
  long long steps = 0;
  tersor::context ctx;
  ctx.on_progress = [&](const tersor::progress_event& e) {
    CHECK((e.done == steps && e.total == 27));
    ++steps;
  };
  const auto s = tersor::lowrank::search_ratios(sizes, ratios, 0.6, perplexity, ctx);
  CHECK(asked.size() == 27);
  CHECK(steps == 27);
  CHECK(s.ratio == select_ratios(trials, sizes, 0.6).ratio);
  CHECK((s.ratio[0] < s.ratio[1] && s.ratio[1] < s.ratio[2]));  // the most sensitive layer keeps most

  // a ratio out of range is an error before anything is evaluated
  asked.clear();
  CHECK_THROWS_AS(tersor::lowrank::search_ratios(sizes, std::vector<double>{0.5, 1.0}, 0.6, perplexity),
                  tersor::error);
  CHECK(asked.empty());

  // a model that breaks down counts as the most sensitive; NaN is an error
  const auto breaks = [](index_t layer, double ratio) {
    return layer == 1 && ratio < 0.55 ? std::numeric_limits<double>::infinity() : 1 - ratio;
  };
  CHECK(tersor::lowrank::search_ratios(sizes, ratios, 0.3, breaks).ratio[1] > 0.55);
  CHECK_THROWS_AS(
      tersor::lowrank::search_ratios(
          sizes, ratios, 0.5, [](index_t, double) { return std::numeric_limits<double>::quiet_NaN(); }),
      tersor::error);
  ctx.on_progress = nullptr;
  ctx.is_cancelled = [&] { return true; };
  CHECK_THROWS_AS(tersor::lowrank::search_ratios(sizes, ratios, 0.6, perplexity, ctx), tersor::cancelled);
}

}  // namespace asvd_search_tests
