// tersor - tests of prune/nm_mask.hpp
// SPDX-License-Identifier: MIT
#include <tersor/prune/nm_mask.hpp>

#include "samples.hpp"

namespace nm_mask_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::prune::nm_layout;
using tersor::prune::nm_mask;
namespace prune = tersor::prune;

double kept_sum(const matrix<float>& s, const matrix<std::uint8_t>& kept) {
  double sum = 0;
  for (index_t i = 0; i < s.size(); ++i)
    if (kept.data()[i]) sum += static_cast<double>(s.data()[i]);
  return sum;
}

TEST_CASE("nm_mask: 90 transposable patterns", "[nm_mask]") {
  // by definition: all 4 x 4 binary matrices with row and column sums of 2
  std::vector<std::uint16_t> all;
  for (unsigned p = 0; p < 65536; ++p) {
    bool valid = true;
    for (unsigned i = 0; i < 4; ++i)
      valid = valid && std::popcount((p >> (4 * i)) & 15U) == 2 && std::popcount((p >> i) & 0x1111U) == 2;
    if (valid) all.push_back(static_cast<std::uint16_t>(p));
  }
  REQUIRE(all.size() == 90);
  const auto patterns = prune::transposable_patterns();
  CHECK(std::ranges::equal(patterns, all));
}

TEST_CASE("nm_mask: transposable masks against each other and along rows", "[nm_mask]") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto s = prune::magnitude::score(random_matrix<float>(12, 16, seed));
    const auto rows = nm_mask{}.mask(s), exact = nm_mask{.layout = nm_layout::transposable}.mask(s),
               greedy = nm_mask{.layout = nm_layout::transposable_greedy}.mask(s);
    CHECK(kept_sum(s, exact) >= kept_sum(s, greedy));
    CHECK(kept_sum(s, exact) <= kept_sum(s, rows));
    for (index_t i = 0; i < 12; i += 4)
      for (index_t j = 0; j < 16; j += 4)
        for (index_t k = 0; k < 4; ++k) {
          index_t row = 0, column = 0, greedy_row = 0, greedy_column = 0;
          for (index_t l = 0; l < 4; ++l) {
            row += exact(i + k, j + l);
            column += exact(i + l, j + k);
            greedy_row += greedy(i + k, j + l);
            greedy_column += greedy(i + l, j + k);
          }
          CHECK((row == 2 && column == 2));
          CHECK((greedy_row <= 2 && greedy_column <= 2));
        }
    // both directions: the transposed mask is the mask of the transposed score
    const auto transposed_score = tersor::copy_as<float>(s.view().transposed());
    CHECK(kept_sum(transposed_score, nm_mask{.layout = nm_layout::transposable}.mask(transposed_score)) ==
          kept_sum(transposed_score, tersor::copy_as<std::uint8_t>(exact.view().transposed())));
    CHECK(nm_mask{.layout = nm_layout::transposable}.mask(s, threads(3)) == exact);
  }
}

TEST_CASE("nm_mask: the exact transposable mask is the best of all valid ones", "[nm_mask]") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto s = prune::magnitude::score(random_matrix<float>(4, 4, seed));
    double best = 0;
    for (unsigned p = 0; p < 65536; ++p) {
      bool valid = true;
      for (unsigned i = 0; i < 4; ++i)
        valid = valid && std::popcount((p >> (4 * i)) & 15U) == 2 && std::popcount((p >> i) & 0x1111U) == 2;
      if (!valid) continue;
      matrix<std::uint8_t> mask(4, 4);
      for (index_t i = 0; i < 16; ++i) mask.data()[i] = (p >> i) & 1U;
      best = std::max(best, kept_sum(s, mask));
    }
    CHECK(std::abs(kept_sum(s, prune::transposable_mask(s)) - best) <= 1e-12);
  }
  // equal patterns: the first of the table, 0x33CC: rows 0 and 1 keep columns 2 and 3, the others 0 and 1
  const auto constant = prune::transposable_mask(matrix<float>(4, 8, 1.0F));
  for (index_t i = 0; i < 4; ++i)
    for (index_t j = 0; j < 8; ++j) CHECK(constant(i, j) == (i / 2 != j % 4 / 2));
  CHECK(prune::transposable_mask(matrix<float>(0, 4)).empty());
  CHECK(prune::transposable_mask_greedy(matrix<float>(4, 0)).empty());
}

TEST_CASE("nm_mask: greedy by hand", "[nm_mask]") {
  // the two largest of each row of the upper half sit in columns 0 and 1, which then are full
  const float s[] = {9, 8, 1, 2, 7, 6, 3, 4, 5, 5, 0, 0, 5, 5, 0, 0};
  matrix<float> score(4, 4);
  std::ranges::copy(s, score.data());
  const auto kept = prune::transposable_mask_greedy(score);
  CHECK(std::ranges::equal(kept.values(),
                           std::vector<std::uint8_t>{1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1}));
}

TEST_CASE("nm_mask: a convolution is pruned along its input channels", "[nm_mask]") {
  const index_t o = 3, in = 10, kh = 2, kw = 3;
  const auto w = random_matrix<float>(1, o * in * kh * kw, 5);
  const tersor::tensor_view<const float, 4> view(w.data(), {o, in, kh, kw});
  const auto kept = prune::nm_convolution_mask(view);
  for (index_t a = 0; a < o; ++a)
    for (index_t p = 0; p < kh; ++p)
      for (index_t q = 0; q < kw; ++q) {
        matrix<float> row(1, in);
        for (index_t i = 0; i < in; ++i) row(0, i) = std::abs(view(a, i, p, q));
        const auto expected = tersor::solve::select_nm(row, {2, 4}, {}, tersor::solve::tie_rule::keep_lowest);
        for (index_t i = 0; i < in; ++i)
          CHECK(kept[static_cast<std::size_t>(((a * in + i) * kh + p) * kw + q)] == expected(0, i));
      }
  // transposable: each kernel position is a matrix [out, in]
  const auto even = random_matrix<float>(1, 8 * 12 * 2 * 3, 6);
  const tersor::tensor_view<const float, 4> conv(even.data(), {8, 12, 2, 3});
  for (const auto layout : {nm_layout::transposable, nm_layout::transposable_greedy}) {
    const auto both = prune::nm_convolution_mask(conv, {2, 4}, layout);
    for (index_t p = 0; p < 2; ++p)
      for (index_t q = 0; q < 3; ++q) {
        matrix<float> s(8, 12);
        for (index_t a = 0; a < 8; ++a)
          for (index_t i = 0; i < 12; ++i) s(a, i) = std::abs(conv(a, i, p, q));
        const auto expected = nm_mask{.layout = layout}.mask(s);
        for (index_t a = 0; a < 8; ++a)
          for (index_t i = 0; i < 12; ++i)
            CHECK(both[static_cast<std::size_t>(((a * 12 + i) * 2 + p) * 3 + q)] == expected(a, i));
      }
  }
  CHECK_THROWS_AS(prune::nm_convolution_mask(view, {2, 4}, nm_layout::transposable),
                  tersor::error);  // 3 outputs
  CHECK(prune::nm_convolution_mask(tersor::tensor_view<const float, 4>(nullptr, {3, 0, 2, 2})).empty());
  auto bad = w;
  bad(0, (1 * in + 4) * 6 + 5) = std::numeric_limits<float>::quiet_NaN();
  CHECK(culprit([&] {
          prune::nm_convolution_mask(tersor::tensor_view<const float, 4>(bad.data(), {o, in, kh, kw}));
        }) == "weight[1, 4, 1, 2]");
  // strides do not matter: [out, in] as the transpose of [in, out]
  const auto m = random_matrix<float>(8, 6, 2);
  const auto t = tersor::copy_as<float>(m.view().transposed());
  CHECK(prune::nm_convolution_mask(tersor::as_view(m)) == prune::nm_convolution_mask(t.view().transposed()));
}

TEST_CASE("nm_mask: as a stage", "[nm_mask]") {
  const auto w = random_matrix<float>(8, 16, 3);
  const auto rows = nm_mask{}(w), both = nm_mask{.layout = nm_layout::transposable}(w);
  CHECK(rows.op.to_dense() == prune::magnitude{.pattern = {2, 4}}(w).op.to_dense());
  CHECK(rows.op.kind() == "sparse_nm");
  CHECK(both.op.kind() == "sparse_nm");
  CHECK(both.report.relative_error >= rows.report.relative_error);
  CHECK(rows.report.bits_per_weight == 9.0);
  // greedy may keep fewer than two in a row: then it is a bitmap, with a note
  matrix<float> s(4, 4);
  const float values[] = {9, 8, 1, 1, 1, 9, 8, 1,
                          8, 1, 9, 1, 1, 1, 1, 1};  // column sums fill before row 3 gets two
  std::ranges::copy(values, s.data());
  const auto greedy = nm_mask{.layout = nm_layout::transposable_greedy}(s);
  const auto kept = nm_mask{.layout = nm_layout::transposable_greedy}.mask(s);
  CHECK(std::ranges::count(kept.row(3), std::uint8_t{1}) == 1);
  CHECK(greedy.op.kind() == "sparse_bitmap");
  CHECK(greedy.report.notes.size() == 1);
}

TEST_CASE("nm_mask: any width, a last short group keeps what there is", "[nm_mask]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {1, 2}, {5, 3}, {3, 10}, {8, 16}})
    for (std::uint64_t seed = 0; seed < 3; ++seed)
      for (const tersor::solve::nm_pattern p : {tersor::solve::nm_pattern{2, 4}, {1, 4}, {4, 8}, {1, 1}}) {
        const auto w = random_matrix<float>(rows, cols, seed);
        const auto result = nm_mask{.pattern = p, .value_type = tersor::dtype::f32}(w);
        CHECK(result.op.kind() == "sparse_nm");
        const auto kept = nm_mask{.pattern = p}.mask(prune::magnitude::score(w));
        CHECK(result.op.to_dense() == tersor::solve::masked(w, kept));
        for (index_t r = 0; r < rows; ++r)
          for (index_t j = 0; j < cols; j += p.m) {
            const index_t width = std::min<index_t>(p.m, cols - j);
            index_t count = 0;
            for (index_t i = j; i < j + width; ++i) count += kept(r, i);
            CHECK(count == std::min<index_t>(p.n, width));
          }
      }
}

TEST_CASE("nm_mask: errors", "[nm_mask]") {
  const auto w = random_matrix<float>(6, 8, 1);
  CHECK_THROWS_AS(nm_mask{.layout = nm_layout::transposable}(w), tersor::error);
  CHECK_THROWS_AS(nm_mask{.layout = nm_layout::transposable_greedy}(w), tersor::error);
  CHECK_THROWS_AS((nm_mask{.pattern = {1, 4}, .layout = nm_layout::transposable}.validate()), tersor::error);
  CHECK_THROWS_AS(nm_mask{.pattern = {}}(w), tersor::error);
  matrix<float> bad(4, 4, 1.0F);
  bad(1, 1) = std::numeric_limits<float>::quiet_NaN();
  for (const auto layout : {nm_layout::rows, nm_layout::transposable, nm_layout::transposable_greedy})
    CHECK(culprit([&] { nm_mask{.layout = layout}.mask(bad); }) == "score[1, 1]");
  CHECK(culprit([&] { nm_mask{}(bad); }) == "weight[1, 1]");
  CHECK_THROWS_AS(nm_mask{}(matrix<float>(4, 0)), tersor::error);
}

}  // namespace nm_mask_tests
