// tersor - tests of prune/ria.hpp
// SPDX-License-Identifier: MIT
#include <tersor/prune/magnitude.hpp>
#include <tersor/prune/ria.hpp>
#include <tersor/quant/gptq.hpp>

#include "samples.hpp"

namespace ria_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::prune::ria;
using tersor::prune::ria_importance;
using tersor::solve::nm_pattern;
namespace prune = tersor::prune;
namespace op = tersor::op;
constexpr auto f32 = tersor::dtype::f32;

matrix<float> sample_score(index_t rows, index_t cols, std::uint64_t seed) {
  return ria{}.score(random_matrix<float>(rows, cols, seed),
                     statistics_of(correlated_inputs(30, cols, seed + 1), false).energy());
}

bool is_permutation_of_columns(std::vector<std::int32_t> p) {
  std::ranges::sort(p);
  for (std::size_t j = 0; j < p.size(); ++j)
    if (p[j] != static_cast<std::int32_t>(j)) return false;
  return true;
}

TEST_CASE("ria: score by hand", "[ria]") {
  matrix<float> w(2, 2);
  w(0, 0) = -3;
  w(0, 1) = 1;
  w(1, 0) = 1;
  const auto s = ria{}.score(w, std::vector<double>{16, 1});  // (√16)^0.5 = 2
  CHECK(std::abs(s(0, 0) - 2 * (3.0F / 4 + 3.0F / 4)) <= 1e-6F);
  CHECK(std::abs(s(0, 1) - (1.0F + 1.0F / 4)) <= 1e-6F);
  CHECK(std::abs(s(1, 0) - 2 * (1.0F / 4 + 1.0F)) <= 1e-6F);
  CHECK(s(1, 1) == 0.0F);
  // shares of nothing are nothing
  CHECK(ria{}.score(matrix<float>(2, 3), std::vector<double>{1, 0, 2}) == matrix<float>(2, 3));
  // alpha 0: activations do not count
  CHECK(ria{.alpha = 0}.score(w, std::vector<double>{16, 1}) == ria{}.score(w, std::vector<double>{1, 1}));
}

TEST_CASE("ria: scaling all weights leaves the mask unchanged", "[ria]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const auto w = random_matrix<float>(12, 32, seed);
    auto scaled = w;
    for (float& v : scaled.values()) v *= 1.0F / 1024;
    const auto inputs = statistics_of(correlated_inputs(40, 32, seed + 1));
    for (const ria& o : {ria{},
                         {.scope = tersor::solve::selection_scope::per_row},
                         {.pattern = {2, 4}},
                         {.pattern = {2, 4}, .permute = true}})
      CHECK(o.compress({.weight = w, .inputs = &inputs}).sparsity.kept ==
            o.compress({.weight = scaled, .inputs = &inputs}).sparsity.kept);
  }
}

TEST_CASE("ria: a quiet row is not emptied, as magnitude pruning empties it", "[ria]") {
  // Sheet: 300 x 300 Gaussian, one row times 1e-4: RIA keeps more than 10 % of it (about 17 %), magnitude
  // nothing
  for (std::uint64_t seed = 1; seed < 4; ++seed) {
    auto w = random_matrix<float>(300, 300, seed);
    for (float& v : w.row(7)) v *= 1e-4F;
    const auto inputs = statistics_of(matrix<float>(4, 300, 1.0F), false);
    const auto share = [](const op::any_operator& o) {
      const auto dense = o.to_dense();
      return 1.0 - static_cast<double>(std::ranges::count(dense.row(7), 0.0F)) / 300.0;
    };
    const double kept = share(ria{}(w, inputs).op);
    CHECK(kept > 0.10);
    CHECK(kept < 0.25);
    CHECK(share(prune::magnitude{}(w).op) == 0.0);
  }
}

TEST_CASE("ria: counts", "[ria]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {3, 8}, {20, 36}})
    for (const double s : {0.0, 0.3, 0.5, 0.9}) {
      const auto w = random_matrix<float>(rows, cols, 1);
      const auto inputs = statistics_of(correlated_inputs(20, cols, 2), false);
      const auto whole = ria{.sparsity = s}.compress({.weight = w, .inputs = &inputs}).sparsity.kept;
      CHECK(removed(whole) == static_cast<index_t>(s * static_cast<double>(rows * cols)));
      const auto by_row = ria{.sparsity = s, .scope = tersor::solve::selection_scope::per_row}
                              .compress({.weight = w, .inputs = &inputs})
                              .sparsity.kept;
      for (index_t r = 0; r < rows; ++r)
        CHECK(std::ranges::count(by_row.row(r), std::uint8_t{0}) ==
              static_cast<index_t>(s * static_cast<double>(cols)));
    }
}

TEST_CASE("ria: reallocation by hand", "[ria]") {
  // columns of rising importance 0 .. 7, cut in 4 parts of two; parts 1 and 3 run backwards:
  // group 0 gets 0, 3, 4, 7 and group 1 gets 1, 2, 5, 6
  matrix<float> s(1, 8);
  for (index_t j = 0; j < 8; ++j) s(0, j) = static_cast<float>(j + 1);
  const auto order =
      ria{.pattern = {2, 4}, .permute = true, .assignment = false, .keep_better = false}.reallocate(s);
  CHECK(order.permutation == std::vector<std::int32_t>{0, 3, 4, 7, 1, 2, 5, 6});
  CHECK(order.kept_before == 3 + 4 + 7 + 8);
  CHECK(order.kept_heuristic == 5 + 8 + 6 + 7);
}

TEST_CASE("ria: assignment never keeps less than the heuristic, keep_better never less than before",
          "[ria]") {
  for (std::uint64_t seed = 0; seed < 6; ++seed)
    for (const nm_pattern p : {nm_pattern{2, 4}, {1, 4}, {4, 8}, {3, 3}, {1, 1}})
      for (const auto importance :
           {ria_importance::sum, ria_importance::retained_degree, ria_importance::retained_degree_per_row})
        for (const index_t blocks : {index_t{1}, index_t{2}, index_t{100}}) {
          const auto s = sample_score(9, 48, seed);
          ria o{.pattern = p,
                .permute = true,
                .importance = importance,
                .blocks = blocks,
                .keep_better = false};
          const auto plain = o.reallocate(s);
          CHECK(is_permutation_of_columns(plain.permutation));
          CHECK(plain.kept_final >= plain.kept_heuristic * (1 - 1e-9));
          CHECK(plain.kept_final == prune::kept_score(tersor::gather_columns(s, plain.permutation), p));
          o.keep_better = true;
          const auto better = o.reallocate(s);
          CHECK(better.kept_final >= better.kept_before);
          CHECK(better.kept_final >= plain.kept_final);
          o.assignment = false;
          const auto dealt = o.reallocate(s);
          CHECK(dealt.kept_final >= dealt.kept_before);
        }
}

TEST_CASE("ria: one slot's assignment is the best of all (three groups, all orders)", "[ria]") {
  // three groups of two: 3! ways to place their slot-0 channels
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const auto s = sample_score(5, 6, seed);
    const nm_pattern p{1, 2};
    ria o{.pattern = p, .permute = true, .assignment = false, .keep_better = false};
    const auto start = o.reallocate(s).permutation;
    double best = 0;  // slot 0 is assigned first, then slot 1, which can only gain
    std::vector<index_t> way{0, 1, 2};
    do {
      auto q = start;
      for (std::size_t g = 0; g < 3; ++g) q[2 * g] = start[2 * static_cast<std::size_t>(way[g])];
      best = std::max(best, prune::kept_score(tersor::gather_columns(s, q), p));
    } while (std::ranges::next_permutation(way).found);
    o.assignment = true;
    CHECK(o.reallocate(s).kept_final >= best * (1 - 1e-9));
  }
}

TEST_CASE("ria: the same for any number of threads", "[ria]") {
  const auto s = sample_score(40, 64, 3);
  const ria o{.pattern = {2, 4}, .permute = true};
  const auto one = o.reallocate(s, threads(1)), four = o.reallocate(s, threads(4));
  CHECK(one.permutation == four.permutation);
  CHECK(one.kept_final == four.kept_final);
}

TEST_CASE("ria: a permuted result computes with the weights in place", "[ria]") {
  const auto w = random_matrix<float>(16, 32, 1);
  const auto inputs = statistics_of(correlated_inputs(60, 32, 2));
  const ria o{.pattern = {2, 4}, .permute = true, .value_type = f32};
  const auto outcome = o.compress({.weight = w, .inputs = &inputs});
  REQUIRE(outcome.op.kind() == "permuted");
  const auto* permuted = outcome.op.as<op::permuted<>>();
  REQUIRE(permuted != nullptr);
  CHECK(permuted->inner().kind() == "sparse_nm");
  CHECK(outcome.op.to_dense() == tersor::solve::masked(w, outcome.sparsity.kept));
  CHECK(removed(outcome.sparsity.kept) == 16 * 32 / 2);
  CHECK((outcome.sparsity.n == 2 && outcome.sparsity.m == 4));
  CHECK(outcome.sparsity.permutation == permuted->permutation());
  const auto inner_kept = tersor::gather_columns(outcome.sparsity.kept, permuted->permutation());
  for (index_t r = 0; r < 16; ++r)
    for (index_t j = 0; j < 32; j += 4)
      CHECK(inner_kept(r, j) + inner_kept(r, j + 1) + inner_kept(r, j + 2) + inner_kept(r, j + 3) == 2);
  CHECK(op::bits_per_weight(outcome.op) == 17.0 + 32.0 / 16.0);

  const auto x = random_matrix<float>(3, 32, 4);
  matrix<float> y(3, 16);
  outcome.op.apply(x.view(), y.view());
  const auto expected = times(tersor::copy_as<double>(x.view()),
                              tersor::copy_as<double>(outcome.op.to_dense().view().transposed()));
  CHECK(difference(tersor::copy_as<double>(y.view()), expected) <= 1e-4);
}

TEST_CASE("ria: a quantizer after a permuted pattern keeps zeros, pattern and order", "[ria]") {
  const auto w = random_matrix<float>(16, 32, 1);
  const auto inputs = statistics_of(correlated_inputs(60, 32, 2));
  const ria pruner{.pattern = {2, 4}, .permute = true};
  const auto kept = pruner.compress({.weight = w, .inputs = &inputs}).sparsity.kept;
  const auto check = [&](const auto& recipe, const tersor::solve::grid_parameters& grids) {
    const auto outcome = recipe.compress({.weight = w, .inputs = &inputs}, {});
    REQUIRE(outcome.op.kind() == "permuted");
    CHECK(outcome.op.template as<op::permuted<>>()->inner().kind() == "sparse_nm");
    const auto dense = outcome.op.to_dense();
    for (index_t r = 0; r < 16; ++r)
      for (index_t j = 0; j < 32; ++j) {
        if (!kept(r, j)) CHECK(dense(r, j) == 0.0F);
        // every value is on the grid of its own column's group
        const auto g = grids.at(r, j / 8);
        const float code = dense(r, j) / g.scale + g.zero;
        CHECK(std::abs(code - std::round(code)) <= 1e-3F);
      }
  };
  const tersor::quant::rtn rtn{.bits = 4, .group_size = 8};
  const auto pruned = pruner(w, inputs).op.to_dense();
  check(pruner | rtn, tersor::solve::fit_grids(pruned.view(), 8, false, rtn.rule()));
  const tersor::quant::gptq gptq{.bits = 4, .group_size = 8, .static_groups = true, .keep_better = false};
  check(pruner | gptq, tersor::solve::fit_grids(pruned.view(), 8, false, gptq.rule()));
}

TEST_CASE("ria: a block of one group moves nothing", "[ria]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const auto s = sample_score(7, 32, seed);
    ria o{.pattern = {2, 4}, .permute = true, .assignment = false, .keep_better = false};
    const auto dealt = o.reallocate(s);
    o.assignment = true;
    double least = std::numeric_limits<double>::infinity();
    for (const index_t blocks : {index_t{1}, index_t{2}, index_t{4}, index_t{8}}) {  // fast mode: 4, 8, 16
      o.blocks = blocks;
      const auto refined = o.reallocate(s);
      CHECK(refined.kept_final >= dealt.kept_final);
      if (blocks == 8) CHECK(refined.permutation == dealt.permutation);
      least = std::min(least, refined.kept_final);
    }
    CHECK(least == dealt.kept_final);
  }
}

TEST_CASE("ria: silent inputs, zero weights, one row, one column, one group", "[ria]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 4}, {5, 4}, {1, 16}, {8, 12}})
    for (const bool no_weight : {false, true})
      for (const bool no_input : {false, true}) {
        const auto w = no_weight ? matrix<float>(rows, cols) : random_matrix<float>(rows, cols, 1);
        const auto inputs = statistics_of(no_input ? matrix<float>(2, cols) : correlated_inputs(2, cols, 3));
        for (const ria& o : {ria{},
                             {.scope = tersor::solve::selection_scope::per_row},
                             {.pattern = {2, 4}},
                             {.pattern = {2, 4}, .permute = true},
                             {.pattern = {2, 4}, .permute = true, .keep_better = false}})
          CHECK(removed(o.compress({.weight = w, .inputs = &inputs}).sparsity.kept) == rows * cols / 2);
      }
  // without a permutation any width does: the last group keeps min(n, its width)
  for (const index_t cols : {index_t{1}, index_t{6}, index_t{11}}) {
    const auto inputs = statistics_of(correlated_inputs(9, cols, 2));
    const auto kept = ria{.pattern = {2, 4}}
                          .compress({.weight = random_matrix<float>(3, cols, 1), .inputs = &inputs})
                          .sparsity;
    CHECK(removed(kept.kept) == 3 * (cols - cols / 4 * 2 - std::min<index_t>(2, cols % 4)));
    CHECK(kept.m == 4);
  }
  const auto column = statistics_of(correlated_inputs(5, 1, 1));
  CHECK(removed(ria{}.compress({.weight = random_matrix<float>(6, 1, 1), .inputs = &column}).sparsity.kept) ==
        3);
}

TEST_CASE("ria: updates keep the mask and lower the error", "[ria]") {
  const auto w = random_matrix<float>(12, 32, 1);
  const auto inputs = statistics_of(correlated_inputs(100, 32, 2));
  for (const bool permute : {false, true}) {
    ria o{.pattern = {2, 4}, .permute = permute, .value_type = f32};
    const auto plain = o.compress({.weight = w, .inputs = &inputs});
    o.update = tersor::solve::weight_update::feedback;
    const auto feedback = o.compress({.weight = w, .inputs = &inputs});
    o.update = tersor::solve::weight_update::least_squares;
    const auto exact = o.compress({.weight = w, .inputs = &inputs});
    CHECK(feedback.sparsity.kept == plain.sparsity.kept);
    CHECK(exact.sparsity.kept == plain.sparsity.kept);
    const auto error = [&](const auto& outcome) {
      return error_of(w, outcome.op.to_dense(), inputs.hessian());
    };
    CHECK(error(feedback) < error(plain));
    CHECK(error(exact) < error(plain));
    const auto u = tersor::solve::feedback_update(w, plain.sparsity.kept, inputs.hessian());
    CHECK(feedback.op.to_dense() == u.weight);
  }
}

TEST_CASE("ria: earlier zeros stay", "[ria]") {
  const auto w = random_matrix<float>(8, 32, 1);
  const auto inputs = statistics_of(correlated_inputs(60, 32, 2));
  const auto before = random_mask(8, 32, 0.8, 3);
  const tersor::solve::layer l{
      .weight = tersor::solve::masked(w, before), .inputs = &inputs, .sparsity = {before, 0, 0}};
  for (const ria& o : {ria{},
                       {.pattern = {2, 4}},
                       {.pattern = {2, 4}, .permute = true},
                       {.pattern = {1, 4}, .permute = true},
                       {.update = tersor::solve::weight_update::feedback}}) {
    const auto outcome = o.compress(l);
    const auto dense = outcome.op.to_dense();
    for (index_t i = 0; i < w.size(); ++i)
      if (!before.data()[i]) CHECK((dense.data()[i] == 0.0F && outcome.sparsity.kept.data()[i] == 0));
  }
}

TEST_CASE("ria: errors", "[ria]") {
  const auto w = random_matrix<float>(4, 10, 1);
  const auto inputs = statistics_of(correlated_inputs(20, 10, 2)),
             sums = statistics_of(correlated_inputs(20, 10, 2), false);
  CHECK_THROWS_AS((ria{.pattern = {2, 4}, .permute = true}(w, inputs)),
                  tersor::error);  // 10 is no multiple of 4
  CHECK_THROWS_AS(ria{.permute = true}.validate(), tersor::error);
  CHECK_THROWS_AS((ria{.update = tersor::solve::weight_update::feedback}(w, sums)), tersor::error);
  CHECK(ria{}(w, sums).op.kind() == "sparse_bitmap");
  CHECK(ria{}.needed() == tersor::solve::calibration_need::sums);
  CHECK(ria{.update = tersor::solve::weight_update::feedback}.needed() ==
        tersor::solve::calibration_need::gram);
  CHECK_THROWS_AS(ria{.sparsity = 1}(w, sums), tersor::error);
  CHECK_THROWS_AS(ria{}(w, tersor::calib::statistics(10)), tersor::error);
  auto bad = w;
  bad(2, 9) = std::numeric_limits<float>::infinity();
  CHECK(culprit([&] { ria{}(bad, sums); }) == "weight[2, 9]");
  CHECK_THROWS_AS(ria{.alpha = -1}.validate(), tersor::error);
  CHECK_THROWS_AS(ria{.blocks = 0}.validate(), tersor::error);
  CHECK_THROWS_AS(ria{}.reallocate(matrix<float>(2, 4)), tersor::error);
}

}  // namespace ria_tests
