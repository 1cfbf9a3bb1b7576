// tersor - tests of prune/wanda.hpp
// SPDX-License-Identifier: MIT
#include <tersor/prune/magnitude.hpp>
#include <tersor/prune/sparsegpt.hpp>
#include <tersor/prune/wanda.hpp>

#include "samples.hpp"

namespace wanda_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::prune::wanda;
constexpr auto f32 = tersor::dtype::f32;

TEST_CASE("wanda: score by hand", "[wanda]") {
  matrix<float> w(2, 2);
  w(0, 0) = -3;
  w(0, 1) = 1;
  w(1, 0) = 0.5F;
  w(1, 1) = -2;
  const auto s = wanda::score(w, std::vector<double>{4, 9});
  CHECK(std::ranges::equal(s.values(), std::vector<float>{6, 3, 1, 6}));
}

TEST_CASE("wanda: constant inputs make it magnitude pruning per row", "[wanda]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {1, 30}, {30, 1}, {7, 24}, {6, 11}})
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      const auto w = random_matrix<float>(rows, cols, seed);
      matrix<float> x(5, cols, 0.7F);
      const auto inputs = statistics_of(x, false);
      CHECK(wanda{.sparsity = 0.4}(w, inputs).op.to_dense() ==
            tersor::prune::magnitude{.sparsity = 0.4, .scope = tersor::solve::selection_scope::per_row}(w)
                .op.to_dense());
      CHECK(wanda{.pattern = {2, 4}}(w, inputs).op.to_dense() ==
            tersor::prune::magnitude{.pattern = {2, 4}}(w).op.to_dense());
    }
}

TEST_CASE("wanda: counts in every row are exact", "[wanda]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {3, 7}, {10, 64}})
    for (const double s : {0.0, 0.3, 0.5, 0.9}) {
      const auto w = random_matrix<float>(rows, cols, 1);
      const auto dense =
          wanda{.sparsity = s}(w, statistics_of(correlated_inputs(20, cols, 2), false)).op.to_dense();
      for (index_t r = 0; r < rows; ++r)
        CHECK(std::ranges::count(dense.row(r), 0.0F) == static_cast<index_t>(s * static_cast<double>(cols)));
    }
}

TEST_CASE("wanda: the order of tokens does not matter", "[wanda]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const auto w = random_matrix<float>(6, 20, seed), x = correlated_inputs(40, 20, seed + 1);
    matrix<float> reversed(40, 20);
    for (index_t t = 0; t < 40; ++t) std::ranges::copy(x.row(39 - t), reversed.row(t).begin());
    const auto a = statistics_of(x, false), b = statistics_of(reversed, false);
    for (index_t j = 0; j < 20; ++j)
      CHECK(std::abs(a.energy()[static_cast<std::size_t>(j)] - b.energy()[static_cast<std::size_t>(j)]) <=
            1e-12 * a.energy()[static_cast<std::size_t>(j)]);
    CHECK(wanda{}(w, a).op.to_dense() == wanda{}(w, b).op.to_dense());
  }
}

TEST_CASE("wanda: scaling an input up and its weights down changes no mask", "[wanda]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    auto w = random_matrix<float>(6, 20, seed), x = correlated_inputs(40, 20, seed + 1);
    const wanda options{.sparsity = 0.5};
    const auto before = options.select(wanda::score(w, statistics_of(x, false).energy())).kept;
    for (index_t j = 0; j < 20; ++j) {
      const float t = std::ldexp(1.0F, static_cast<int>(j % 7) - 3);  // powers of two: no rounding
      for (index_t i = 0; i < 6; ++i) w(i, j) /= t;
      for (index_t i = 0; i < 40; ++i) x(i, j) *= t;
    }
    CHECK(options.select(wanda::score(w, statistics_of(x, false).energy())).kept == before);
  }
}

TEST_CASE("wanda: for diagonal H the best mask of the row count (all masks)", "[wanda]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const auto w = random_matrix<float>(1, 8, seed);
    std::vector<double> energy;
    for (index_t j = 0; j < 8; ++j) energy.push_back(std::exp(random_matrix(1, 8, seed + 9)(0, j)));
    const auto loss = [&](const auto& keeps) {
      double sum = 0;
      for (index_t j = 0; j < 8; ++j)
        if (!keeps(j)) sum += energy[static_cast<std::size_t>(j)] * std::pow(static_cast<double>(w(0, j)), 2);
      return sum;
    };
    for (index_t k = 0; k < 8; ++k) {
      double best = std::numeric_limits<double>::infinity();
      for (unsigned bits = 0; bits < 256; ++bits)
        if (std::popcount(bits) == 8 - k)
          best = std::min(best, loss([&](index_t j) { return ((bits >> j) & 1U) != 0; }));
      const auto kept =
          wanda{.sparsity = (static_cast<double>(k) + 0.5) / 8}.select(wanda::score(w, energy)).kept;
      CHECK(std::abs(loss([&](index_t j) { return kept(0, j) != 0; }) - best) <= 1e-12);
    }
  }
}

TEST_CASE("wanda: the variant removes an equal share of each row's score", "[wanda]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed)
    for (const double s : {0.3, 0.5, 0.6}) {
      const auto w = random_matrix<float>(40, 100, seed);
      const auto score = wanda::score(w, statistics_of(correlated_inputs(50, 100, seed + 1), false).energy());
      const auto chosen = wanda{.sparsity = s, .use_variant = true}.select(score);
      CHECK((chosen.alpha > 0 && chosen.alpha < 0.8));
      for (index_t r = 0; r < 40; ++r) {
        double all = 0, gone = 0, next = std::numeric_limits<double>::infinity();
        for (index_t j = 0; j < 100; ++j) {
          const double v = score(r, j);
          all += v;
          if (chosen.kept(r, j))
            next = std::min(next, v);
          else
            gone += v;
        }
        CHECK(gone <= chosen.alpha * all * (1 + 1e-12));
        CHECK(gone + next > chosen.alpha * all * (1 - 1e-12));  // one more would be too many
      }
      // alpha is known to 0.001, so the share removed is close to the one asked for
      CHECK(std::abs(static_cast<double>(removed(chosen.kept)) / 4000 - s) <= 0.01);
    }
}

TEST_CASE("wanda: rows and layers without score", "[wanda]") {
  auto w = random_matrix<float>(3, 8, 1);
  for (float& v : w.row(1)) v = 0;
  const auto inputs = statistics_of(correlated_inputs(20, 8, 2), false),
             silent = statistics_of(matrix<float>(4, 8), false);
  // by count: of equal scores the lowest index first, so exactly half of every row
  for (const auto* s : {&inputs, &silent}) {
    const auto kept = wanda{}.compress({.weight = w, .inputs = s}).sparsity.kept;
    for (index_t r = 0; r < 3; ++r) CHECK(std::ranges::count(kept.row(r), std::uint8_t{0}) == 4);
  }
  // by share: all of a row whose share of the layer's output is nothing
  const wanda variant{.use_variant = true};
  CHECK(removed(variant.compress({.weight = w, .inputs = &silent}).sparsity.kept) == 24);
  const auto kept = variant.compress({.weight = w, .inputs = &inputs}).sparsity.kept;
  CHECK(std::ranges::count(kept.row(1), std::uint8_t{0}) == 8);
  // more channels than tokens, one channel, one token
  CHECK(
      removed(wanda{}
                  .compress({.weight = random_matrix<float>(3, 40, 1),
                             .inputs = std::array{statistics_of(correlated_inputs(2, 40, 2), false)}.data()})
                  .sparsity.kept) == 60);
  CHECK(removed(wanda{.sparsity = 0.9}
                    .compress({.weight = random_matrix<float>(3, 1, 1),
                               .inputs = std::array{statistics_of(correlated_inputs(1, 1, 2), false)}.data()})
                    .sparsity.kept) == 0);
}

TEST_CASE("wanda: SparseGPT's update and the optimum, with Wanda's mask", "[wanda]") {
  namespace solve = tersor::solve;
  for (std::uint64_t seed = 0; seed < 3; ++seed)
    for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 8}, {9, 30}, {16, 64}}) {
      const auto w = random_matrix<float>(rows, cols, seed);
      const auto inputs = statistics_of(correlated_inputs(4 * cols, cols, seed + 1));
      for (wanda o : {wanda{.block_size = 16, .value_type = f32},
                      {.pattern = {2, 4}, .value_type = f32},
                      {.use_variant = true, .value_type = f32}}) {
        const auto plain = o.compress({.weight = w, .inputs = &inputs});
        o.update = solve::weight_update::feedback;
        const auto feedback = o.compress({.weight = w, .inputs = &inputs});
        o.update = solve::weight_update::least_squares;
        const auto exact = o.compress({.weight = w, .inputs = &inputs});
        CHECK(feedback.sparsity.kept == plain.sparsity.kept);
        CHECK(exact.sparsity.kept == plain.sparsity.kept);
        const auto h = inputs.hessian();
        CHECK(feedback.op.to_dense() ==
              solve::feedback_update(w, plain.sparsity.kept, h, 0.01, o.block_size).weight);
        CHECK(
            feedback.op.to_dense() ==
            tersor::prune::sparsegpt{.block_size = o.block_size}.prune_by(plain.sparsity.kept, w, h).weight);
        CHECK(exact.op.to_dense() == solve::least_squares_update(w, plain.sparsity.kept, h).weight);
      }
    }
  CHECK(wanda{}.needed() == solve::calibration_need::sums);
  CHECK(wanda{.update = solve::weight_update::feedback}.needed() == solve::calibration_need::gram);
}

TEST_CASE("wanda: stored form, union of zeros", "[wanda]") {
  const auto w = random_matrix<float>(8, 32, 1);
  const auto inputs = statistics_of(correlated_inputs(30, 32, 2), false);
  CHECK(wanda{}(w, inputs).op.kind() == "sparse_bitmap");
  CHECK(wanda{.pattern = {2, 4}}(w, inputs).op.kind() == "sparse_nm");
  const auto before = random_mask(8, 32, 0.7, 3);
  const tersor::solve::layer l{
      .weight = tersor::solve::masked(w, before), .inputs = &inputs, .sparsity = {before, 0, 0}};
  for (const wanda& o : {wanda{.sparsity = 0.5, .value_type = f32},
                         {.pattern = {2, 4}, .value_type = f32},
                         {.use_variant = true, .value_type = f32}}) {
    const auto outcome = o.compress(l);
    CHECK(removed(outcome.sparsity.kept) >= 128);
    for (index_t i = 0; i < w.size(); ++i) CHECK((before.data()[i] || !outcome.sparsity.kept.data()[i]));
    CHECK(outcome.op.to_dense() == tersor::solve::masked(w, outcome.sparsity.kept));
  }
}

TEST_CASE("wanda: errors", "[wanda]") {
  const auto w = random_matrix<float>(4, 8, 1);
  const auto inputs = statistics_of(correlated_inputs(10, 9, 2), false);
  CHECK_THROWS_AS(wanda{}(w, inputs), tersor::error);
  CHECK_THROWS_AS(wanda{}(w, tersor::calib::statistics(8)), tersor::error);
  CHECK_THROWS_AS((wanda{.pattern = {2, 4}, .use_variant = true}.validate()), tersor::error);
  CHECK_THROWS_AS(wanda{.sparsity = 1}.validate(), tersor::error);
  CHECK_THROWS_AS(wanda{}.compress({.weight = w}), tersor::error);
  const auto sums = statistics_of(correlated_inputs(10, 8, 2), false);
  CHECK_THROWS_AS(wanda{.update = tersor::solve::weight_update::feedback}(w, sums), tersor::error);
  CHECK_THROWS_AS(wanda{.block_size = 0}.validate(), tersor::error);
  auto bad = w;
  bad(3, 5) = std::numeric_limits<float>::quiet_NaN();
  CHECK(culprit([&] { wanda{}(bad, sums); }) == "weight[3, 5]");
  CHECK(culprit([&] { wanda{.use_variant = true}.select(bad); }) == "score[3, 5]");
}

}  // namespace wanda_tests
