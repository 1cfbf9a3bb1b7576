// tersor - tests of prune/magnitude.hpp
// SPDX-License-Identifier: MIT
#include <tersor/prune/magnitude.hpp>
#include <tersor/prune/nm_mask.hpp>

#include "samples.hpp"

namespace magnitude_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::prune::magnitude;
using tersor::solve::selection_scope;
namespace prune = tersor::prune;
namespace solve = tersor::solve;
constexpr auto f32 = tersor::dtype::f32;

index_t zeros(const matrix<float>& w) { return std::ranges::count(w.values(), 0.0F); }

TEST_CASE("magnitude: exactly k zeros, also of a constant matrix", "[magnitude]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {3, 4}, {17, 9}, {32, 64}})
    for (const double s : {0.0, 0.25, 0.5, 0.9}) {
      const auto k = static_cast<index_t>(s * static_cast<double>(rows * cols));
      CHECK(zeros(magnitude{.sparsity = s}(random_matrix<float>(rows, cols, 1)).op.to_dense()) == k);
      CHECK(zeros(magnitude{.sparsity = s}(matrix<float>(rows, cols, 0.5F)).op.to_dense()) == k);
    }
}

TEST_CASE("magnitude: sparsity 0, and m of every m, are the identity", "[magnitude]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {1, 30}, {30, 1}, {9, 13}, {8, 16}})
    for (const magnitude& m : {magnitude{.sparsity = 0, .value_type = f32},
                               {.sparsity = 0, .scope = selection_scope::per_row, .value_type = f32},
                               {.pattern = {4, 4}, .value_type = f32},
                               {.pattern = {1, 1}, .value_type = f32}}) {
      const auto w = random_matrix<float>(rows, cols, 1);
      const auto result = m(w);
      CHECK(result.op.to_dense() == w);
      CHECK(result.report.relative_error == 0.0);
    }
}

TEST_CASE("magnitude: weights that are zero already go first and count", "[magnitude]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const auto scope : {selection_scope::per_tensor, selection_scope::per_row}) {
      const auto w = solve::masked(random_matrix<float>(10, 20, seed), random_mask(10, 20, 0.8, seed + 9));
      const auto outcome = magnitude{.sparsity = 0.5, .scope = scope}.compress({.weight = w});
      CHECK(removed(outcome.sparsity.kept) == 100);
      CHECK(zeros(outcome.op.to_dense()) == 100);
    }
}

TEST_CASE("magnitude: no other mask of the same count has a smaller error (3 x 4, all masks)",
          "[magnitude]") {
  for (std::uint64_t seed = 5; seed < 9; ++seed) {
    const auto w = random_matrix<float>(3, 4, seed);
    const auto loss = [&](const matrix<float>& a) {
      double sum = 0;
      for (index_t i = 0; i < 12; ++i)
        sum += std::pow(static_cast<double>(a.data()[i]) - static_cast<double>(w.data()[i]), 2);
      return sum;
    };
    for (index_t k = 0; k < 12; ++k) {
      double best = std::numeric_limits<double>::infinity();
      for (unsigned bits = 0; bits < 4096; ++bits) {
        if (std::popcount(bits) != k) continue;
        auto a = w;
        for (index_t i = 0; i < 12; ++i)
          if ((bits >> i) & 1U) a.data()[i] = 0;
        best = std::min(best, loss(a));
      }
      const double s = (static_cast<double>(k) + 0.5) / 12.0;
      CHECK(std::abs(loss(magnitude{.sparsity = s, .value_type = f32}(w).op.to_dense()) - best) <= 1e-12);
    }
    // k in each row, which here is one group of 4
    for (int k = 1; k < 4; ++k) {
      double best = std::numeric_limits<double>::infinity();
      for (unsigned bits = 0; bits < 4096; ++bits) {
        if (std::popcount(bits & 15U) != k || std::popcount((bits >> 4) & 15U) != k ||
            std::popcount(bits >> 8) != k)
          continue;
        auto a = w;
        for (index_t i = 0; i < 12; ++i)
          if ((bits >> i) & 1U) a.data()[i] = 0;
        best = std::min(best, loss(a));
      }
      for (const magnitude& m :
           {magnitude{.sparsity = k / 4.0, .scope = selection_scope::per_row, .value_type = f32},
            {.pattern = {4 - k, 4}, .value_type = f32}})
        CHECK(std::abs(loss(m(w).op.to_dense()) - best) <= 1e-12);
    }
  }
}

TEST_CASE("magnitude: idempotent, and per row is per tensor for one row", "[magnitude]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const auto w = random_matrix<float>(8, 24, seed);
    for (const magnitude& m : {magnitude{.value_type = f32},
                               {.scope = selection_scope::per_row, .value_type = f32},
                               {.pattern = {2, 4}, .value_type = f32}}) {
      const auto once = m(w).op.to_dense();
      CHECK(m(once).op.to_dense() == once);
    }
    const auto row = random_matrix<float>(1, 33, seed);
    CHECK(magnitude{.scope = selection_scope::per_row}(row).op.to_dense() == magnitude{}(row).op.to_dense());
  }
}

TEST_CASE("magnitude: stored size and kind", "[magnitude]") {
  const auto w = random_matrix<float>(16, 64, 1);
  const auto half = magnitude{}(w);
  CHECK(half.op.kind() == "sparse_bitmap");
  CHECK(half.report.bits_per_weight == 9.0);  // 1 + 16 / 2
  const auto nm = magnitude{.pattern = {1, 4}, .value_type = f32}(w);
  CHECK(nm.op.kind() == "sparse_nm");
  CHECK(nm.report.bits_per_weight == 8.5);  // 32 / 4 + 2 / 4
  CHECK(nm.report.bytes == 16 * 64 * 17 / 16);
}

TEST_CASE("magnitude: in a chain the zeros of both pruners hold", "[magnitude]") {
  const auto w = random_matrix<float>(12, 32, 3);
  tersor::solve::layer l{.weight = w};
  const auto first = magnitude{.sparsity = 0.3, .scope = selection_scope::per_row}.compress(l);
  l.weight = first.op.to_dense();
  l.sparsity = first.sparsity;
  for (const magnitude& m : {magnitude{.sparsity = 0.5}, {.pattern = {2, 4}}, {.sparsity = 0.1}}) {
    const auto second = m.compress(l);
    const auto dense = second.op.to_dense();
    for (index_t i = 0; i < w.size(); ++i) {
      if (first.sparsity.kept.data()[i] == 0)
        CHECK((dense.data()[i] == 0 && second.sparsity.kept.data()[i] == 0));
      if (second.sparsity.kept.data()[i] != 0) CHECK(dense.data()[i] == l.weight.data()[i]);
    }
  }
  // 2:4 and then half of everything: 2:4 had that already
  l.sparsity = magnitude{.pattern = {2, 4}}.compress({.weight = w}).sparsity;
  CHECK(magnitude{.sparsity = 0.5}.compress(l).sparsity.kept == l.sparsity.kept);
}

TEST_CASE("magnitude: several tensors with one threshold", "[magnitude]") {
  const auto a = random_matrix<float>(6, 10, 1), b = random_matrix<float>(20, 3, 2);
  matrix<float> tiny(5, 8, 1e-6F);
  const prune::weighted_tensor tensors[] = {{a.view()}, {b.view(), 2.0F}, {tiny.view()}};
  const auto masks = prune::magnitude_global(tensors, 0.5);
  REQUIRE(masks.size() == 3);
  CHECK(removed(masks[0]) + removed(masks[1]) + removed(masks[2]) == 80);
  CHECK(removed(masks[2]) == 39);  // all but the one that must stay
  float largest_gone = 0, smallest_kept = 1e9F;
  const auto visit = [&](const matrix<float>& w, const matrix<std::uint8_t>& kept, float weight) {
    for (index_t i = 0; i < w.size(); ++i) {
      const float s = weight * std::abs(w.data()[i]);
      if (kept.data()[i])
        smallest_kept = std::min(smallest_kept, s);
      else
        largest_gone = std::max(largest_gone, s);
    }
  };
  visit(a, masks[0], 1);
  visit(b, masks[1], 2);
  CHECK(largest_gone <= smallest_kept);
  CHECK_THROWS_AS(prune::magnitude_global(tensors, 0.999), tersor::error);
}

TEST_CASE("magnitude: masks of tensors of any rank", "[magnitude]") {
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    const auto data = random_matrix<float>(1, 6 * 10 * 2 * 3, seed);
    const tersor::tensor_view<const float, 4> conv(data.data(), {6, 10, 2, 3});
    const auto as_rows = [&](index_t rows) {
      matrix<float> m(rows, data.size() / rows);
      std::ranges::copy(data.values(), m.data());
      return m;
    };
    const auto of = [](const magnitude& m, const matrix<float>& w) {
      const auto kept = m.compress({.weight = w}).sparsity.kept;
      return std::vector<std::uint8_t>(kept.values().begin(), kept.values().end());
    };
    const magnitude tensor{.sparsity = 0.3}, row{.sparsity = 0.3, .scope = selection_scope::per_row};
    CHECK(tensor.mask(conv) == of(tensor, as_rows(1)));
    CHECK(row.mask(conv) == of(row, as_rows(6)));
    CHECK(magnitude{.pattern = {2, 4}}.mask(conv) == prune::nm_convolution_mask(conv));
    const auto w = as_rows(12);
    for (const magnitude& m : {tensor, row, magnitude{.pattern = {2, 4}}}) {
      CHECK(m.mask(tersor::as_view(w)) == of(m, w));
      CHECK(m.mask(tersor::as_view(data.values())) == of(m, data));  // a vector is one row
      const auto t = tersor::copy_as<float>(w.view().transposed());
      CHECK(m.mask(t.view().transposed()) == of(m, w));
    }
  }
  CHECK(magnitude{}.mask(tersor::tensor_view<const float, 3>(nullptr, {2, 0, 3})).empty());
  CHECK(magnitude{}.mask(tersor::tensor_view<const float, 3>(nullptr, {0, 2, 3})).empty());
}

TEST_CASE("magnitude: structured scores", "[magnitude]") {
  // filters of a convolution [2, 3, 1, 2]: 1 .. 6 and -1, 0, 0, 0, 0, -5
  const std::vector<float> w{1, 2, 3, 4, 5, 6, -1, 0, 0, 0, 0, -5};
  const tersor::tensor_view<const float, 4> view(w.data(), {2, 3, 1, 2});
  CHECK(prune::unit_scores(view, 0) == std::vector<float>{3.5F, 1.0F});
  CHECK(prune::unit_scores(view, 1) == std::vector<float>{1.0F, 1.75F, 4.0F});
  const auto l2 = prune::unit_scores(view, 0, prune::unit_norm::l2);
  CHECK(std::abs(l2[0] - std::sqrt(91.0F)) <= 1e-6F);
  CHECK(std::abs(l2[1] - std::sqrt(26.0F)) <= 1e-6F);
  const tersor::matrix_view<const float> matrix_of(w.data(), {3, 4});
  CHECK(prune::unit_scores(matrix_of, 1) == prune::unit_scores(matrix_of.transposed(), 0));
  CHECK_THROWS_AS(prune::unit_scores(view, 4), tersor::error);
  // units without entries, and no units
  CHECK(prune::unit_scores(tersor::tensor_view<const float, 3>(nullptr, {2, 0, 3}), 0) ==
        std::vector<float>{0, 0});
  CHECK(prune::unit_scores(tersor::tensor_view<const float, 3>(nullptr, {2, 0, 3}), 1).empty());
  // the weaker half of the filters
  std::vector<std::uint8_t> kept(2, 1);
  solve::remove_smallest(prune::unit_scores(view, 0), solve::removed_count(0.5, 2), kept);
  CHECK(kept == std::vector<std::uint8_t>{1, 0});
}

TEST_CASE("magnitude: gradual schedule", "[magnitude]") {
  CHECK(prune::gradual_sparsity(0, 10, 0.8) == 0.0);
  CHECK(std::abs(prune::gradual_sparsity(5, 10, 0.8) - 0.7) <= 1e-15);  // 0.8 (1 - 1 / 8)
  CHECK(prune::gradual_sparsity(10, 10, 0.8, 0.2) == 0.8);
  CHECK(prune::gradual_sparsity(99, 10, 0.8, 0.2) == 0.8);
  CHECK(std::abs(prune::gradual_sparsity(0, 10, 0.8, 0.2) - 0.2) <= 1e-15);
  CHECK_THROWS_AS(prune::gradual_sparsity(-1, 10, 0.8), tersor::error);
  CHECK_THROWS_AS(prune::gradual_sparsity(0, 0, 0.8), tersor::error);
  CHECK_THROWS_AS(prune::gradual_sparsity(0, 10, 1.0), tersor::error);
  CHECK_THROWS_AS(prune::gradual_sparsity(0, 10, 0.8, -0.1), tersor::error);
  for (index_t t = 1; t <= 20; ++t)  // never falls on the way up
    CHECK(prune::gradual_sparsity(t, 20, 0.9, 0.1) > prune::gradual_sparsity(t - 1, 20, 0.9, 0.1));
}

TEST_CASE("magnitude: errors", "[magnitude]") {
  auto w = random_matrix<float>(4, 8, 1);
  CHECK_THROWS_AS(magnitude{.sparsity = 1.0}(w), tersor::error);
  CHECK_THROWS_AS(magnitude{.sparsity = -0.1}(w), tersor::error);
  CHECK_THROWS_AS((magnitude{.pattern = {5, 4}}(w)), tersor::error);
  CHECK_THROWS_AS(magnitude{}(matrix<float>(0, 4)), tersor::error);
  CHECK_THROWS_AS(magnitude{.sparsity = 1.0}.mask(tersor::as_view(w)), tersor::error);
  for (const float v : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    w(2, 3) = v;
    CHECK(culprit([&] { magnitude{}(w); }) == "weight[2, 3]");
    CHECK(culprit([&] { magnitude{}.mask(tersor::as_view(w)); }) == "weight[2, 3]");
    CHECK(culprit([&] { prune::unit_scores(tersor::as_view(w), 0); }) == "unit_scores: w[2, 3]");
    const matrix<float> sound(2, 2, 1.0F);
    const prune::weighted_tensor tensors[] = {{sound.view()}, {w.view()}};
    CHECK(culprit([&] { prune::magnitude_global(tensors, 0.5); }) == "tensors[1][2, 3]");
  }
  w(2, 3) = 1e30F;
  CHECK_THROWS_AS(magnitude{.value_type = tersor::dtype::f16}(w), tersor::error);
  magnitude m;
  tersor::set_option(m, "magnitude", "pattern", "4:8");
  CHECK(m.pattern == tersor::solve::nm_pattern{4, 8});
  CHECK_THROWS_AS(tersor::set_option(m, "magnitude", "pattern", "8:4"), tersor::error);
}

}  // namespace magnitude_tests
