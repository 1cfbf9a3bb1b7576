// tersor - tests of solve/importance.hpp
// SPDX-License-Identifier: MIT
#include <tersor/solve/importance.hpp>

#include "catch.hpp"

namespace importance_tests {

using tersor::solve::importance_tracker;

std::vector<double> one(double x) { return {x}; }

TEST_CASE("importance: by hand", "[importance]") {
  importance_tracker t({.beta1 = 0.5, .beta2 = 0.25});
  CHECK(t.size() == 0);
  t.add(one(4));  // mean 2, variation 0.75 · 2
  CHECK(t.mean()[0] == 2);
  CHECK(t.variation()[0] == 1.5);
  CHECK(t.score(0) == 3);
  t.add(one(0));  // mean 1, variation 0.25 · 1.5 + 0.75 · 1
  CHECK(t.mean()[0] == 1);
  CHECK(t.variation()[0] == 1.125);
}

TEST_CASE("importance: constant values tend to themselves, and their variation to zero", "[importance]") {
  importance_tracker t;
  for (int i = 0; i < 300; ++i) t.add(one(7));
  CHECK(std::abs(t.mean()[0] - 7) <= 1e-9);
  CHECK(t.variation()[0] <= 1e-9);
}

TEST_CASE("importance: windows move the smoothed values when the next one begins", "[importance]") {
  importance_tracker t({.beta1 = 0.5, .beta2 = 0.5, .window = 3});
  for (const double x : {1.0, 2.0, 6.0}) {
    t.add(one(x));
    CHECK(t.mean()[0] == 0);
  }
  t.add(one(100));
  CHECK(t.mean()[0] == 1.5);  // half of (1 + 2 + 6) / 3
  CHECK(t.variation()[0] == 0.75);
  t.add(one(0));
  CHECK(t.mean()[0] == 1.5);
  // numbered from 1, the first window has a step 0 that counts as zero
  importance_tracker late({.beta1 = 0.5, .beta2 = 0.5, .window = 3, .first_step = 1});
  late.add(one(3));
  late.add(one(6));
  late.add(one(0));
  CHECK(late.mean()[0] == 1.5);
}

TEST_CASE("importance: a tracker goes on from its state", "[importance]") {
  for (const tersor::index_t window : {1, 3}) {
    const tersor::solve::importance_options options{.window = window, .first_step = 1};
    importance_tracker whole(options), rest(options), none(options);
    none.restore(importance_tracker(options).state());
    CHECK(none.size() == 0);
    for (int i = 0; i < 11; ++i) {
      const std::vector<double> raw{std::sin(i), 2.0 + i};
      whole.add(raw);
      if (i >= 5) rest.add(raw);
      if (i == 4) rest.restore(whole.state());
    }
    CHECK(rest.state() == whole.state());
    CHECK(rest.score(1) == whole.score(1));
  }
  CHECK_THROWS_AS(importance_tracker().restore(std::vector<double>{1, 5, 2}), tersor::error);
}

TEST_CASE("importance: raw values and errors", "[importance]") {
  const std::vector<float> p{2, -3}, g{-4, 0};
  CHECK(tersor::solve::sensitivity<float>(p, g) == std::vector<double>{8, 0});
  CHECK(tersor::solve::magnitude<float>(g) == std::vector<double>{4, 0});
  CHECK_THROWS_AS(tersor::solve::sensitivity<float>(p, std::vector<float>{1}), tersor::error);
  importance_tracker t;
  t.add(one(1));
  CHECK_THROWS_AS(t.add(std::vector<double>{1, 2}), tersor::error);
  CHECK_THROWS_AS(importance_tracker({.beta1 = 1.5}), tersor::error);
  CHECK_THROWS_AS(importance_tracker({.beta2 = -1}), tersor::error);
  CHECK_THROWS_AS(importance_tracker({.window = 0}), tersor::error);
}

}  // namespace importance_tests
