// tersor - tests of solve/update.hpp
// SPDX-License-Identifier: MIT
#include <tersor/solve/update.hpp>

#include "../prune/samples.hpp"

namespace update_tests {

using namespace tersor_test;
using namespace tersor::solve;
using tersor::index_t;

matrix<double> hessian(index_t in, std::uint64_t seed) {
  return statistics_of(correlated_inputs(4 * in, in, seed)).hessian();
}

TEST_CASE("update: nothing removed changes nothing, bit by bit", "[update]") {
  const auto w = random_matrix<float>(6, 20, 1);
  const matrix<std::uint8_t> all(6, 20, 1);
  for (const auto& u :
       {feedback_update(w, all, hessian(20, 2)), least_squares_update(w, all, hessian(20, 2))}) {
    CHECK(u.weight == w);
    for (const double loss : u.row_loss) CHECK(loss == 0.0);
  }
}

TEST_CASE("update: one removed weight, by hand", "[update]") {
  // H = [[2, 1], [1, 3]], w_0 removed: w_1 becomes w_1 + H_10 / H_11 w_0
  matrix<double> h(2, 2, 1.0);
  h(0, 0) = 2;
  h(1, 1) = 3;
  matrix<float> w(1, 2);
  w(0, 0) = 6;
  w(0, 1) = 1;
  matrix<std::uint8_t> kept(1, 2);
  kept(0, 1) = 1;
  for (const auto& u : {feedback_update(w, kept, h, 0.0), least_squares_update(w, kept, h, 0.0)}) {
    CHECK(u.weight(0, 0) == 0.0F);
    CHECK(std::abs(u.weight(0, 1) - 3.0F) <= 1e-6F);
    CHECK(std::abs(u.row_loss[0] - 0.5 * 36.0 * (2.0 - 1.0 / 3.0)) <= 1e-5);  // half the Schur complement
  }
}

TEST_CASE("update: with diagonal H kept weights stay", "[update]") {
  matrix<double> h(12, 12);
  for (index_t j = 0; j < 12; ++j) h(j, j) = 1.0 + static_cast<double>(j);
  const auto w = random_matrix<float>(5, 12, 1);
  const auto kept = random_mask(5, 12, 0.5, 2);
  CHECK(feedback_update(w, kept, h).weight == masked(w, kept));
  CHECK(least_squares_update(w, kept, h).weight == masked(w, kept));
}

TEST_CASE("update: feedback is exact least squares where a prefix is removed", "[update]") {
  for (const index_t in : {index_t{2}, index_t{9}, index_t{32}})
    for (std::uint64_t seed = 0; seed < 4; ++seed)
      for (const index_t block : {index_t{1}, index_t{4}, index_t{128}}) {
        const auto w = random_matrix<float>(6, in, seed);
        matrix<std::uint8_t> kept(6, in, 1);
        for (index_t r = 0; r < 6; ++r)
          for (index_t j = 0; j < r * in / 6; ++j) kept(r, j) = 0;
        const auto h = hessian(in, seed + 10);
        const auto a = feedback_update(w, kept, h, 0.01, block), b = least_squares_update(w, kept, h, 0.01);
        for (index_t i = 0; i < w.size(); ++i)
          CHECK(std::abs(a.weight.data()[i] - b.weight.data()[i]) <= 1e-5F);
        CHECK(std::abs(a.damping - b.damping) <= 1e-12 * b.damping);
      }
}

TEST_CASE("update: least squares is the optimum, and no update is better", "[update]") {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    const index_t in = 24;
    const auto w = random_matrix<float>(8, in, seed);
    const auto kept = random_mask(8, in, 0.5, seed + 5);
    const auto h = hessian(in, seed + 9);
    const auto u = least_squares_update(w, kept, h);
    const auto damped = with_damping(h, u.damping);
    // the gradient (Ŵ - W) H vanishes at kept entries
    for (index_t r = 0; r < 8; ++r)
      for (index_t j = 0; j < in; ++j) {
        double gradient = 0, size = 0;
        for (index_t i = 0; i < in; ++i) {
          const double term =
              (static_cast<double>(u.weight(r, i)) - static_cast<double>(w(r, i))) * damped(i, j);
          gradient += term;
          size += std::abs(term);
        }
        if (kept(r, j))
          CHECK(std::abs(gradient) <= 1e-6 * size);
        else
          CHECK(u.weight(r, j) == 0.0F);
      }
    const double best = error_of(w, u.weight, damped);
    CHECK(best <= error_of(w, feedback_update(w, kept, h).weight, damped) * (1 + 1e-6));
    CHECK(best <= error_of(w, masked(w, kept), damped) * (1 + 1e-6));
  }
}

TEST_CASE("update: row losses are the weighted error", "[update]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const index_t in = 30;
    const auto w = random_matrix<float>(7, in, seed);
    const auto kept = random_mask(7, in, 0.6, seed + 5);
    const auto h = hessian(in, seed + 9);
    for (const auto& u : {feedback_update(w, kept, h), least_squares_update(w, kept, h)}) {
      const double expected = error_of(w, u.weight, with_damping(h, u.damping));
      const double total = 2 * std::accumulate(u.row_loss.begin(), u.row_loss.end(), 0.0);
      CHECK(std::abs(total - expected) <= 1e-4 * expected);
    }
  }
}

TEST_CASE("update: dead inputs lose their weights", "[update]") {
  auto x = correlated_inputs(60, 10, 1);
  for (index_t t = 0; t < 60; ++t) x(t, 4) = 0;
  const auto h = statistics_of(x).hessian();
  const auto w = random_matrix<float>(3, 10, 2);
  const matrix<std::uint8_t> all(3, 10, 1);
  for (const auto& u : {feedback_update(w, all, h), least_squares_update(w, all, h)}) {
    CHECK(u.dead == std::vector<index_t>{4});
    for (index_t r = 0; r < 3; ++r)
      for (index_t j = 0; j < 10; ++j) CHECK(u.weight(r, j) == (j == 4 ? 0.0F : w(r, j)));
  }
}

TEST_CASE("update: a singular H without damping, H = 0, rows without removed or kept weights", "[update]") {
  const auto w = random_matrix<float>(4, 12, 1);
  auto kept = random_mask(4, 12, 0.5, 2);
  for (index_t j = 0; j < 12; ++j) {
    kept(0, j) = 1;
    kept(1, j) = 0;
  }
  const auto few = statistics_of(correlated_inputs(3, 12, 3)).hessian();  // rank 3
  for (const double damping : {0.0, 0.01})
    for (const auto& u :
         {feedback_update(w, kept, few, damping), least_squares_update(w, kept, few, damping)}) {
      if (damping == 0) CHECK(u.retries > 0);
      for (index_t i = 0; i < w.size(); ++i) {
        CHECK(std::isfinite(u.weight.data()[i]));
        if (!kept.data()[i]) CHECK(u.weight.data()[i] == 0.0F);
      }
      CHECK(std::ranges::equal(u.weight.row(0), w.row(0)));
    }
  for (const auto& u : {feedback_update(w, kept, matrix<double>(12, 12)),
                        least_squares_update(w, kept, matrix<double>(12, 12))}) {
    CHECK(u.weight == matrix<float>(4, 12));  // every input is dead
    CHECK(u.dead.size() == 12);
  }
  // one channel
  const auto one =
      feedback_update(matrix<float>(3, 1, 2.0F), matrix<std::uint8_t>(3, 1), matrix<double>(1, 1, 4.0), 0.0);
  CHECK(one.weight == matrix<float>(3, 1));
  CHECK(one.row_loss == std::vector<double>(3, 8.0));  // 2² 4 / 2
}

TEST_CASE("update: independent of threads, and of panels up to rounding", "[update]") {
  const auto w = random_matrix<float>(40, 48, 1);
  const auto kept = random_mask(40, 48, 0.5, 2);
  const auto h = hessian(48, 3);
  const auto one = feedback_update(w, kept, h, 0.01, 16, threads(1));
  CHECK(feedback_update(w, kept, h, 0.01, 16, threads(4)).weight == one.weight);
  CHECK(least_squares_update(w, kept, h, 0.01, threads(4)).weight ==
        least_squares_update(w, kept, h, 0.01, threads(1)).weight);
  for (const index_t block : {index_t{1}, index_t{7}, index_t{48}, index_t{128}}) {
    const auto other = feedback_update(w, kept, h, 0.01, block);
    for (index_t i = 0; i < w.size(); ++i)
      CHECK(std::abs(other.weight.data()[i] - one.weight.data()[i]) <= 2e-5F);
  }
}

TEST_CASE("update: errors", "[update]") {
  const auto w = random_matrix<float>(3, 10, 2);
  const matrix<std::uint8_t> all(3, 10, 1), wrong(3, 9, 1);
  CHECK_THROWS_AS(feedback_update(w, wrong, hessian(10, 1)), tersor::error);
  CHECK_THROWS_AS(feedback_update(w, all, hessian(9, 1)), tersor::error);
  CHECK_THROWS_AS(feedback_update(w, all, hessian(10, 1), 0.01, 0), tersor::error);
  CHECK_THROWS_AS(least_squares_update(w, wrong, hessian(10, 1)), tersor::error);
  CHECK_THROWS_AS(least_squares_update(w, all, hessian(9, 1)), tersor::error);
  auto h = hessian(10, 1);
  h(2, 2) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(feedback_update(w, all, h), tersor::error);
  CHECK_THROWS_AS(least_squares_update(w, all, h), tersor::error);
}

TEST_CASE(
    "update: refinement goes down to the least-squares optimum, keeps zeros and does not depend on threads",
    "[update]") {
  for (const index_t in : {index_t{1}, index_t{7}, index_t{24}})
    for (const std::uint64_t seed : {1U, 2U, 3U}) {
      INFO(in << " inputs, seed " << seed);
      const auto w = random_matrix<float>(20, in, seed);
      const auto kept = random_mask(20, in, 0.5, seed + 1);
      auto h = hessian(in, seed + 2);
      const auto best = least_squares_update(w, kept, h), first = feedback_update(w, kept, h);
      for (index_t j = 0; j < in; ++j) h(j, j) += best.damping;
      const auto loss = [&](const matrix<float>& x) {
        return tersor::linalg::weighted_error(w, x, h.view());
      };
      double before = loss(first.weight);
      const double least = loss(best.weight), size = tersor::linalg::weighted_norm(w, h.view());
      for (const int steps : {1, 2, 4, 8, 100}) {
        const auto x = refine_update(w, kept, first.weight, h, steps, threads(1));
        CHECK(x == refine_update(w, kept, first.weight, h, steps, threads(3)));
        for (index_t i = 0; i < x.size(); ++i) CHECK((kept.data()[i] || x.data()[i] == 0.0F));
        const double now = loss(x);
        CHECK(now <= before + 1e-6 * size);
        CHECK(now >= least - 1e-6 * size);
        before = now;
      }
      CHECK(before <= least + 1e-5 * size);
    }
  const auto w = random_matrix<float>(4, 12, 9);
  const matrix<std::uint8_t> all(4, 12, 1);
  CHECK(refine_update(w, all, w, hessian(12, 9), 10) == w);  // nothing to be gained
}

}  // namespace update_tests
