// tersor - tests of prune/sparsegpt.hpp
// SPDX-License-Identifier: MIT
#include <tersor/prune/sparsegpt.hpp>
#include <tersor/quant/gptq.hpp>

#include "samples.hpp"

namespace sparsegpt_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::prune::sparsegpt;
namespace solve = tersor::solve;
constexpr auto f32 = tersor::dtype::f32;

matrix<double> hessian(index_t in, std::uint64_t seed) {
  return statistics_of(correlated_inputs(4 * in, in, seed)).hessian();
}

index_t removed_in(const matrix<std::uint8_t>& kept, index_t first, index_t last) {
  index_t n = 0;
  for (index_t r = 0; r < kept.rows(); ++r)
    for (index_t j = first; j < last; ++j) n += kept(r, j) == 0;
  return n;
}

TEST_CASE("sparsegpt: diagonal H changes no weight and removes the smallest w² h", "[sparsegpt]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const index_t in = 16;
    matrix<double> h(in, in);
    const auto loud = random_matrix(1, in, seed);
    for (index_t j = 0; j < in; ++j) h(j, j) = std::exp(loud(0, j));
    const auto w = random_matrix<float>(6, in, seed + 20);
    const auto s = sparsegpt{.sparsity = 0.5}.prune(w, h);
    CHECK(s.weight == solve::masked(w, s.kept));
    const auto damped = with_damping(h, s.damping);
    matrix<float> score(6, in);
    for (index_t r = 0; r < 6; ++r)
      for (index_t j = 0; j < in; ++j)
        score(r, j) = static_cast<float>(std::pow(static_cast<double>(w(r, j)), 2) * damped(j, j));
    CHECK(s.kept == solve::select(score, {.sparsity = 0.5}));
    CHECK(sparsegpt{.pattern = {2, 4}}.prune(w, h).kept == solve::select(score, {.pattern = {2, 4}}));
  }
}

TEST_CASE("sparsegpt: identity H is magnitude pruning of each panel", "[sparsegpt]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{1, 1}, {1, 20}, {20, 1}, {6, 20}, {9, 64}})
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      matrix<double> h(in, in);
      for (index_t j = 0; j < in; ++j) h(j, j) = 1;
      const auto w = random_matrix<float>(out, in, seed);
      const auto s = sparsegpt{.sparsity = 0.4, .block_size = 8}.prune(w, h);
      CHECK(s.weight == solve::masked(w, s.kept));
      for (index_t first = 0; first < in; first += 8) {
        const index_t width = std::min<index_t>(8, in - first);
        auto panel = tersor::copy_as<float>(w.view().block(0, first, out, width));
        for (float& v : panel.values()) v = std::abs(v);
        const auto expected = solve::select(panel, {.sparsity = 0.4});
        CHECK(tersor::copy_as<std::uint8_t>(s.kept.view().block(0, first, out, width)) == expected);
      }
    }
}

TEST_CASE("sparsegpt: sparsity 0 without a quantizer leaves every bit", "[sparsegpt]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{1, 1}, {5, 30}, {8, 150}}) {
    const auto w = random_matrix<float>(out, in, 1);
    const auto s = sparsegpt{.sparsity = 0}.prune(w, hessian(in, 2));
    CHECK(s.weight == w);
    CHECK(removed(s.kept) == 0);
    CHECK(sparsegpt{.sparsity = 0, .value_type = f32}(w, statistics_of(correlated_inputs(2 * in, in, 2)))
              .op.to_dense() == w);
  }
}

TEST_CASE("sparsegpt: refinement keeps the mask and lowers the output error", "[sparsegpt]") {
  for (const std::uint64_t seed : {1U, 2U, 3U, 4U})
    for (const sparsegpt& o : {sparsegpt{.sparsity = 0.5}, {.sparsity = 0.7}, {.pattern = {2, 4}}}) {
      const index_t in = 48;
      const auto w = random_matrix<float>(16, in, seed);
      const auto inputs = statistics_of(correlated_inputs(4 * in, in, seed));
      auto released = o;
      released.refine = 0;
      const auto a = released(w, inputs), b = o(w, inputs);
      CHECK(*b.report.weighted_error < *a.report.weighted_error);
      CHECK(b.report.bytes == a.report.bytes);
      const auto x = a.op.to_dense(), y = b.op.to_dense();
      for (index_t i = 0; i < x.size(); ++i) CHECK((x.data()[i] == 0.0F) == (y.data()[i] == 0.0F));
    }
}

TEST_CASE("sparsegpt: what rounding to the stored type loses is fed back", "[sparsegpt]") {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const index_t in = 32;
    const auto w = random_matrix<float>(24, in, seed);
    const auto inputs = statistics_of(correlated_inputs(4 * in, in, seed));
    const auto fed_back = sparsegpt{.sparsity = 0}(w, inputs).op.to_dense();
    matrix<float> rounded = w;
    for (float& v : rounded.values()) v = tersor::bf16(v);
    for (const float v : fed_back.values()) CHECK(v == tersor::bf16(v));
    const auto error = [&](const matrix<float>& x) {
      return tersor::linalg::weighted_error(w, x, inputs.gram().view());
    };
    CHECK(error(fed_back) < 0.9 * error(rounded));
  }
}

TEST_CASE("sparsegpt: sparsity 0 with a quantizer is GPTQ with one grid per row", "[sparsegpt]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const index_t block : {index_t{16}, index_t{128}})
      for (const auto scheme : {solve::grid_scheme::affine0, solve::grid_scheme::sym_unsigned}) {
        auto x = correlated_inputs(100, 40, seed);
        for (index_t t = 0; t < 100; ++t) x(t, 11) = 0;  // a dead input
        const auto inputs = statistics_of(x);
        const auto w = random_matrix<float>(9, 40, seed + 9);
        const auto s =
            sparsegpt{
                .sparsity = 0, .block_size = block, .bits = 4, .scheme = scheme, .clip_search = seed == 3}
                .prune(w, inputs.hessian());
        const auto g =
            tersor::quant::gptq{
                .bits = 4, .group_size = -1, .scheme = scheme, .block_size = block, .clip_search = seed == 3}
                .quantize(w, inputs.hessian());
        CHECK(s.codes == g.codes);
        CHECK(s.grids.scale == g.grids.scale);
        CHECK(s.grids.zero == g.grids.zero);
        CHECK(std::accumulate(s.row_loss.begin(), s.row_loss.end(), 0.0) == g.loss);
        CHECK(s.dead == g.dead);
      }
}

TEST_CASE("sparsegpt: with groups, sparsity 0 is GPTQ with static groups", "[sparsegpt]") {
  for (std::uint64_t seed = 0; seed < 3; ++seed)
    for (const index_t group : {index_t{1}, index_t{8}, index_t{13}, index_t{40}, index_t{100}}) {
      const auto w = random_matrix<float>(9, 40, seed);
      const auto h = hessian(40, seed + 3);
      const auto s = sparsegpt{.sparsity = 0, .block_size = 16, .bits = 3, .group_size = group}.prune(w, h);
      const auto g =
          tersor::quant::gptq{.bits = 3, .group_size = group, .static_groups = true, .block_size = 16}
              .quantize(w, h);
      CHECK(s.codes == g.codes);
      CHECK(s.grids.scale == g.grids.scale);
      CHECK(s.grids.zero == g.grids.zero);
    }
}

TEST_CASE("sparsegpt: with groups, kept weights are on their group's grid and removed ones zero",
          "[sparsegpt]") {
  for (std::uint64_t seed = 0; seed < 3; ++seed)
    for (const sparsegpt& o :
         {sparsegpt{.bits = 4, .group_size = 8},
          {.pattern = {2, 4}, .bits = 3, .group_size = 5},
          {.sparsity = 0.3, .bits = 8, .group_size = 16, .scheme = solve::grid_scheme::sym_unsigned}}) {
      const auto w = random_matrix<float>(6, 42, seed);
      const auto inputs = statistics_of(correlated_inputs(170, 42, seed + 3));
      const auto s = o.prune(w, inputs.hessian());
      const auto grids = solve::fit_grids(w.view(), o.group_size, false, o.rule());
      CHECK(s.grids.scale == grids.scale);
      for (index_t r = 0; r < 6; ++r)
        for (index_t j = 0; j < 42; ++j) {
          const auto grid = grids.at(r, j / o.group_size);
          CHECK(s.weight(r, j) == grid.scale * (static_cast<float>(s.codes(r, j)) - grid.zero));
          if (!s.kept(r, j)) CHECK(s.weight(r, j) == 0.0F);
        }
      CHECK(o(w, inputs).op.to_dense() == s.weight);
    }
  const auto w = random_matrix<float>(16, 64, 1);
  const auto inputs = statistics_of(correlated_inputs(200, 64, 2));
  CHECK(sparsegpt{.pattern = {2, 4}, .bits = 4, .group_size = 16}(w, inputs).report.bits_per_weight ==
        3.0 + (16.0 + 4.0) / 16.0);
}

TEST_CASE("sparsegpt: a mask that removes a prefix gives exact least squares", "[sparsegpt]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const index_t in = 32, t = 3 + static_cast<index_t>(seed) * 5;
    const auto w = random_matrix<float>(6, in, seed);
    matrix<std::uint8_t> mask(6, in, 1);
    for (index_t r = 0; r < 6; ++r)
      for (index_t j = 0; j < t; ++j) mask(r, j) = 0;
    const auto h = hessian(in, seed + 7);
    const auto s = sparsegpt{.block_size = 8}.prune_by(mask, w, h);
    const auto exact = solve::least_squares_update(w, mask, h);
    CHECK(s.kept == mask);
    for (index_t i = 0; i < w.size(); ++i)
      CHECK(std::abs(s.weight.data()[i] - exact.weight.data()[i]) <= 1e-5F);
  }
}

TEST_CASE("sparsegpt: a given mask is kept, with and without a quantizer", "[sparsegpt]") {
  const auto w = random_matrix<float>(7, 24, 1);
  const auto mask = random_mask(7, 24, 0.5, 2);
  const auto h = hessian(24, 3);
  const auto s = sparsegpt{}.prune_by(mask, w, h);
  CHECK(s.weight == solve::feedback_update(w, mask, h).weight);
  for (const int bits : {0, 4}) {
    const auto q =
        sparsegpt{.pattern = {2, 4}, .bits = bits}.prune_by(mask, w, h);  // the pattern is not used
    CHECK(q.kept == mask);
    for (index_t i = 0; i < w.size(); ++i)
      if (!mask.data()[i]) CHECK(q.weight.data()[i] == 0.0F);
  }
}

TEST_CASE("sparsegpt: the losses are the weighted error", "[sparsegpt]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const sparsegpt& o : {sparsegpt{.sparsity = 0.6, .block_size = 16},
                               {.pattern = {2, 4}},
                               {.pattern = {4, 8}, .bits = 3},
                               {.sparsity = 0.3, .percdamp = 0.1, .bits = 4}}) {
      auto x = correlated_inputs(160, 48, seed);
      for (index_t t = 0; t < 160; ++t) x(t, 5) = 0;
      auto h = statistics_of(x).hessian();
      auto w = random_matrix<float>(10, 48, seed + 4);
      const auto s = o.prune(w, h);
      solve::repair_dead_inputs(h, w);
      const auto damped = with_damping(h, s.damping);
      const double expected = error_of(w, s.weight, damped);
      const double total = 2 * std::accumulate(s.row_loss.begin(), s.row_loss.end(), 0.0);
      CHECK(std::abs(total - expected) <= 1e-4 * expected);
      for (index_t i = 0; i < w.size(); ++i)
        if (!s.kept.data()[i]) CHECK(s.weight.data()[i] == 0.0F);
    }
}

TEST_CASE("sparsegpt: exact least squares with the same mask is never worse", "[sparsegpt]") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto w = random_matrix<float>(6, 24, seed);
    const auto h = hessian(24, seed + 30);
    for (const sparsegpt& o : {sparsegpt{.sparsity = 0.5, .block_size = 8}, {.pattern = {2, 4}}}) {
      const auto s = o.prune(w, h);
      const auto damped = with_damping(h, s.damping);
      CHECK(error_of(w, solve::least_squares_update(w, s.kept, h).weight, damped) <=
            error_of(w, s.weight, damped) * (1 + 1e-6));
    }
  }
}

TEST_CASE("sparsegpt: better than the same mask without an update, on average of 100 draws", "[sparsegpt]") {
  double with = 0, without = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const auto w = random_matrix<float>(4, 16, seed);
    const auto h = hessian(16, seed + 1000);
    const auto s = sparsegpt{.sparsity = 0.5, .block_size = 8}.prune(w, h);
    const auto plain = solve::masked(w, s.kept);
    const double norm = error_of(w, matrix<float>(4, 16), h);
    with += error_of(w, s.weight, h) / norm;
    without += error_of(w, plain, h) / norm;
  }
  CHECK(with < without);
}

TEST_CASE("sparsegpt: n:m does not depend on the panels", "[sparsegpt]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const auto& p : {solve::nm_pattern{2, 4}, {4, 8}, {1, 3}}) {
      const auto w = random_matrix<float>(8, 48, seed);
      const auto h = hessian(48, seed + 2);
      const auto whole = sparsegpt{.pattern = p, .block_size = 48}.prune(w, h);
      for (const index_t block : {index_t{24}, index_t{1}, index_t{5}, index_t{16}, index_t{128}}) {
        const auto s = sparsegpt{.pattern = p, .block_size = block}.prune(w, h);
        CHECK(s.kept == whole.kept);
        for (index_t i = 0; i < w.size(); ++i)
          CHECK(std::abs(s.weight.data()[i] - whole.weight.data()[i]) <= 2e-5F);
      }
    }
}

TEST_CASE("sparsegpt: exact counts in every panel and group", "[sparsegpt]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{1, 1}, {3, 10}, {12, 136}})
    for (const index_t block : {index_t{1}, index_t{32}, index_t{128}})
      for (const double share : {0.1, 0.5, 0.7}) {
        const auto h = hessian(in, 3);
        for (const auto& w : {random_matrix<float>(out, in, 1), matrix<float>(out, in, 1.0F)}) {
          const auto s = sparsegpt{.sparsity = share, .block_size = block}.prune(w, h);
          for (index_t first = 0; first < in; first += block) {
            const index_t last = std::min(in, first + block);
            CHECK(removed_in(s.kept, first, last) ==
                  static_cast<index_t>(share * static_cast<double>(out * (last - first))));
          }
          const auto nm = sparsegpt{.pattern = {2, 4}, .block_size = block}.prune(w, h);
          for (index_t r = 0; r < out; ++r)
            for (index_t j = 0; j < in; j += 4) {
              const index_t width = std::min<index_t>(4, in - j);
              index_t kept = 0;
              for (index_t i = j; i < j + width; ++i) kept += nm.kept(r, i);
              CHECK(kept == std::min<index_t>(2, width));
            }
        }
      }
}

TEST_CASE("sparsegpt: as released one entry more goes in each panel", "[sparsegpt]") {
  const auto w = random_matrix<float>(6, 48, 1);
  const auto h = hessian(48, 2);
  const auto s = sparsegpt{.sparsity = 0.5, .block_size = 16, .as_released = true}.prune(w, h);
  for (index_t first = 0; first < 48; first += 16)
    CHECK(removed_in(s.kept, first, first + 16) == 6 * 16 / 2 + 1);
}

TEST_CASE("sparsegpt: the same bits for any number of threads", "[sparsegpt]") {
  const auto w = random_matrix<float>(50, 64, 1);
  const auto h = hessian(64, 2);
  for (const sparsegpt& o : {sparsegpt{.block_size = 16}, {.pattern = {2, 4}, .bits = 4}}) {
    const auto one = o.prune(w, h, threads(1)), four = o.prune(w, h, threads(4));
    CHECK(one.weight == four.weight);
    CHECK(one.row_loss == four.row_loss);
  }
}

TEST_CASE("sparsegpt: stored forms", "[sparsegpt]") {
  const auto w = random_matrix<float>(16, 64, 1);
  const auto inputs = statistics_of(correlated_inputs(200, 64, 2));
  const auto bitmap = sparsegpt{}(w, inputs);
  CHECK(bitmap.op.kind() == "sparse_bitmap");
  CHECK(bitmap.report.bits_per_weight == 9.0);
  CHECK(sparsegpt{.pattern = {2, 4}}(w, inputs).op.kind() == "sparse_nm");
  const sparsegpt joint{.pattern = {2, 4}, .bits = 4};
  const auto quantized = joint(w, inputs);
  CHECK(quantized.op.kind() == "sparse_nm");
  CHECK(quantized.report.bits_per_weight == 3.0 + (16.0 + 4.0) / 64.0);
  CHECK(quantized.op.to_dense() == joint.prune(w, inputs.hessian()).weight);
  CHECK(sparsegpt{.bits = 4}(w, inputs).op.kind() == "sparse_bitmap");
}

TEST_CASE("sparsegpt: earlier zeros stay, and GPTQ after it keeps the zeros", "[sparsegpt]") {
  const auto w = random_matrix<float>(10, 40, 1);
  const auto inputs = statistics_of(correlated_inputs(100, 40, 2));
  const auto before = random_mask(10, 40, 0.7, 3);
  const solve::layer l{.weight = solve::masked(w, before), .inputs = &inputs, .sparsity = {before, 0, 0}};
  for (const sparsegpt& o :
       {sparsegpt{}, {.pattern = {2, 4}}, {.sparsity = 0.1}, {.sparsity = 0.5, .bits = 4}}) {
    const auto outcome = o.compress(l);
    const auto dense = outcome.op.to_dense();
    for (index_t i = 0; i < w.size(); ++i)
      if (!before.data()[i]) CHECK((dense.data()[i] == 0.0F && outcome.sparsity.kept.data()[i] == 0));
    if (o.pattern.empty() && o.sparsity == 0.5) CHECK(removed(outcome.sparsity.kept) == 200);
  }
  // a group that was emptied has no pattern any more; the report says so, with and without a quantizer
  auto holes = l;
  holes.sparsity.kept = matrix<std::uint8_t>(10, 40, 1);
  for (index_t j = 8; j < 11; ++j) holes.sparsity.kept(2, j) = 0;
  for (const int bits : {0, 4}) {
    const auto outcome = sparsegpt{.pattern = {2, 4}, .bits = bits}.compress(holes);
    CHECK(outcome.op.kind() == "sparse_bitmap");
    REQUIRE(outcome.notes.size() == 1);
    CHECK(outcome.notes[0].starts_with("sparsegpt: stored as a bitmap"));
  }
  const auto recipe = sparsegpt{.pattern = {2, 4}} | tersor::quant::gptq{.bits = 4, .group_size = 8};
  const auto first = sparsegpt{.pattern = {2, 4}}.compress({.weight = w, .inputs = &inputs});
  const auto both = recipe.compress({.weight = w, .inputs = &inputs});
  CHECK(both.op.kind() == "sparse_nm");
  const auto dense = both.op.to_dense();
  for (index_t i = 0; i < w.size(); ++i)
    if (!first.sparsity.kept.data()[i]) CHECK(dense.data()[i] == 0.0F);
}

TEST_CASE("sparsegpt: fewer tokens than channels, dead inputs, zero weights", "[sparsegpt]") {
  auto x = correlated_inputs(5, 24, 1);
  for (index_t t = 0; t < 5; ++t) x(t, 3) = x(t, 9) = 0;
  const auto inputs = statistics_of(x);
  const auto w = random_matrix<float>(4, 24, 2);
  const auto result = sparsegpt{.pattern = {2, 4}}(w, inputs);
  CHECK(result.report.notes == std::vector<std::string>{"sparsegpt: 2 inputs were always zero"});
  const auto dense = result.op.to_dense();
  for (index_t r = 0; r < 4; ++r) CHECK((dense(r, 3) == 0.0F && dense(r, 9) == 0.0F));
  CHECK(sparsegpt{.bits = 4}(matrix<float>(4, 24), inputs).op.to_dense() == matrix<float>(4, 24));
  // without damping XᵀX of 5 tokens has no factor: damping is raised, and the report says so
  const auto raised = sparsegpt{.percdamp = 0}(w, statistics_of(correlated_inputs(5, 24, 1)));
  REQUIRE(raised.report.notes.size() == 1);
  CHECK(raised.report.notes[0].starts_with("sparsegpt: damping raised "));
  // one row, one column, one of each
  for (const auto& [out, in] : {std::pair<index_t, index_t>{1, 1}, {1, 9}, {9, 1}})
    for (const sparsegpt& o : {sparsegpt{}, {.pattern = {1, 2}}, {.bits = 4}})
      CHECK(std::isfinite(*o(random_matrix<float>(out, in, 4), statistics_of(correlated_inputs(2, in, 5)))
                               .report.weighted_error));
  // no activations at all: every input is dead
  CHECK(sparsegpt{}(w, statistics_of(matrix<float>(4, 24))).op.to_dense() == matrix<float>(4, 24));
}

TEST_CASE("sparsegpt: errors", "[sparsegpt]") {
  const auto w = random_matrix<float>(4, 12, 1);
  const auto inputs = statistics_of(correlated_inputs(20, 12, 2));
  CHECK_THROWS_AS(sparsegpt{}(w, statistics_of(correlated_inputs(20, 12, 2), false)), tersor::error);
  CHECK_THROWS_AS(sparsegpt{}(w, statistics_of(correlated_inputs(20, 13, 2))), tersor::error);
  CHECK_THROWS_AS(sparsegpt{}.compress({.weight = w}), tersor::error);
  CHECK_THROWS_AS(sparsegpt{.sparsity = 1}(w, inputs), tersor::error);
  CHECK_THROWS_AS(sparsegpt{.bits = 1}(w, inputs), tersor::error);
  CHECK_THROWS_AS(sparsegpt{.bits = 9}(w, inputs), tersor::error);
  CHECK_THROWS_AS(sparsegpt{.block_size = 0}(w, inputs), tersor::error);
  CHECK_THROWS_AS((sparsegpt{.pattern = {0, 4}}(w, inputs)), tersor::error);
  CHECK_THROWS_AS((sparsegpt{.bits = 4, .group_size = 0}(w, inputs)), tersor::error);
  CHECK_THROWS_AS(sparsegpt{}(w, tersor::calib::statistics(12)), tersor::error);
  for (const float v : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto bad = w;
    bad(1, 7) = v;
    CHECK(culprit([&] { sparsegpt{}(bad, inputs); }) == "weight[1, 7]");
    CHECK(culprit([&] { sparsegpt{}.prune(bad, inputs.hessian()); }) == "sparsegpt: w[1, 7]");
    auto h = inputs.hessian();
    h(3, 2) = static_cast<double>(v);
    CHECK(culprit([&] { sparsegpt{}.prune(w, h); }) == "h[3, 2]");
  }
  CHECK_THROWS_AS(sparsegpt{}.prune_by(matrix<std::uint8_t>(4, 11), w, inputs.hessian()), tersor::error);
  CHECK_THROWS_AS(sparsegpt{}.prune(w, hessian(11, 1)), tersor::error);
}

}  // namespace sparsegpt_tests
