// tersor - tests of solve/select.hpp
// SPDX-License-Identifier: MIT
#include <tersor/solve/select.hpp>

#include "../prune/samples.hpp"

namespace select_tests {

using namespace tersor_test;
using namespace tersor::solve;
using tersor::index_t;

matrix<float> scores(index_t rows, index_t cols, std::uint64_t seed) {
  auto s = random_matrix<float>(rows, cols, seed);
  for (float& v : s.values()) v = std::abs(v);
  return s;
}

double kept_sum(const matrix<float>& s, const matrix<std::uint8_t>& kept) {
  double sum = 0;
  for (index_t i = 0; i < s.size(); ++i)
    if (kept.data()[i]) sum += static_cast<double>(s.data()[i]);
  return sum;
}

TEST_CASE("select: exactly k of a constant matrix, lowest index first", "[select]") {
  for (index_t k = 0; k <= 12; ++k) {
    const std::vector<float> constant(12, 1.0F);
    std::vector<std::uint8_t> kept(12, 1);
    remove_smallest(constant, k, kept);
    for (index_t i = 0; i < 12; ++i) CHECK(kept[static_cast<std::size_t>(i)] == (i >= k));
  }
  const std::vector<float> ties{2, 1, 2, 1, 0, 2};
  std::vector<std::uint8_t> kept(6, 1);
  remove_smallest(ties, 4, kept);  // 0, both 1, the first 2
  CHECK(kept == std::vector<std::uint8_t>{0, 0, 1, 0, 0, 1});
}

TEST_CASE("select: counts for any shape and share", "[select]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {3, 4}, {7, 33}, {40, 5}})
    for (const double s : {0.0, 0.1, 0.3, 0.5, 0.99}) {
      const auto x = scores(rows, cols, 3);
      CHECK(removed(select(x, {.sparsity = s})) ==
            static_cast<index_t>(s * static_cast<double>(rows * cols)));
      const auto by_row = select(x, {.sparsity = s, .scope = selection_scope::per_row});
      for (index_t r = 0; r < rows; ++r)
        CHECK(std::ranges::count(by_row.row(r), std::uint8_t{0}) ==
              static_cast<index_t>(s * static_cast<double>(cols)));
      if (s == 0.0) CHECK(removed(by_row) == 0);
      if (rows == 1) CHECK(by_row == select(x, {.sparsity = s}));
    }
}

TEST_CASE("select: no other mask of the same count keeps more (3 x 4, all masks)", "[select]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const auto x = scores(3, 4, seed);
    for (index_t k = 0; k < 12; ++k) {
      matrix<std::uint8_t> kept(3, 4, 1);
      remove_smallest(x.values(), k, kept.values());
      double best = 0;
      for (unsigned bits = 0; bits < 4096; ++bits) {
        if (std::popcount(bits) != 12 - k) continue;
        matrix<std::uint8_t> mask(3, 4);
        for (index_t i = 0; i < 12; ++i) mask.data()[i] = (bits >> i) & 1U;
        best = std::max(best, kept_sum(x, mask));
      }
      CHECK(std::abs(kept_sum(x, kept) - best) <= 1e-12);
    }
  }
}

TEST_CASE("select: per row, no other mask of the same counts keeps more (all masks of a row)", "[select]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed)
    for (const index_t cols : {index_t{1}, index_t{5}, index_t{9}}) {
      const auto x = scores(4, cols, seed);
      const auto kept = select(x, {.sparsity = 0.45, .scope = selection_scope::per_row});
      for (index_t r = 0; r < 4; ++r) {
        const index_t k = removed_count(0.45, cols);
        double sum = 0, best = 0;
        for (index_t j = 0; j < cols; ++j)
          if (kept(r, j)) sum += static_cast<double>(x(r, j));
        for (unsigned bits = 0; bits < (1U << cols); ++bits) {
          if (std::popcount(bits) != cols - k) continue;
          double other = 0;
          for (index_t j = 0; j < cols; ++j)
            if ((bits >> j) & 1U) other += static_cast<double>(x(r, j));
          best = std::max(best, other);
        }
        CHECK(std::abs(sum - best) <= 1e-12);
      }
    }
}

TEST_CASE("select: follows a permutation of rows and columns where there are no ties", "[select]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed)
    for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 50}, {30, 1}, {7, 16}})
      for (const auto scope : {selection_scope::per_tensor, selection_scope::per_row}) {
        const selection_rule rule{.sparsity = 0.4, .scope = scope};
        const auto x = scores(rows, cols, seed);
        std::vector<std::int32_t> order(static_cast<std::size_t>(cols));
        std::iota(order.begin(), order.end(), 0);
        tersor::random_generator(seed).shuffle(std::span(order));
        CHECK(tersor::gather_columns(select(x, rule), order) ==
              select(tersor::gather_columns(x, order), rule));
        matrix<float> reversed(rows, cols);
        for (index_t r = 0; r < rows; ++r) std::ranges::copy(x.row(r), reversed.row(rows - 1 - r).begin());
        const auto a = select(x, rule), b = select(reversed, rule);
        for (index_t r = 0; r < rows; ++r) CHECK(std::ranges::equal(a.row(r), b.row(rows - 1 - r)));
      }
}

TEST_CASE("select: n:m keeps n of every group, the largest, of equal ones as asked", "[select]") {
  for (const auto& [n, m] : {std::pair<int, int>{2, 4}, {1, 4}, {4, 8}, {3, 5}, {4, 4}, {1, 1}})
    for (const index_t cols : {index_t{1}, index_t{8}, index_t{11}, index_t{40}}) {
      const auto x = scores(6, cols, 2);
      const auto kept = select_nm(x, {n, m});
      for (index_t r = 0; r < 6; ++r)
        for (index_t j = 0; j < cols; j += m) {
          const index_t width = std::min<index_t>(m, cols - j);
          double sum = 0, best = 0;
          index_t count = 0;
          for (index_t i = 0; i < width; ++i)
            if (kept(r, j + i)) {
              ++count;
              sum += static_cast<double>(x(r, j + i));
            }
          CHECK(count == std::min<index_t>(n, width));
          for (unsigned bits = 0; bits < (1U << width); ++bits) {
            if (std::popcount(bits) != count) continue;
            double other = 0;
            for (index_t i = 0; i < width; ++i)
              if ((bits >> i) & 1U) other += static_cast<double>(x(r, j + i));
            best = std::max(best, other);
          }
          CHECK(std::abs(sum - best) <= 1e-12);
        }
    }
  const matrix<float> equal(1, 7, 1.0F);
  CHECK(
      std::ranges::equal(select_nm(equal, {2, 4}).values(), std::vector<std::uint8_t>{0, 0, 1, 1, 0, 1, 1}));
  CHECK(std::ranges::equal(select_nm(equal, {2, 4}, {}, tersor::solve::tie_rule::keep_lowest).values(),
                           std::vector<std::uint8_t>{1, 1, 0, 0, 1, 1, 0}));
}

TEST_CASE("select: the same for any number of threads", "[select]") {
  const auto x = scores(100, 64, 1);
  for (const selection_rule& rule : {selection_rule{.sparsity = 0.3},
                                     {.sparsity = 0.3, .scope = selection_scope::per_row},
                                     {.pattern = {2, 4}}})
    CHECK(select(x, rule, {}, threads(1)) == select(x, rule, {}, threads(4)));
}

TEST_CASE("select: what is removed stays removed and counts", "[select]") {
  const auto x = scores(12, 20, 4);
  const auto before = random_mask(12, 20, 0.7, 5);
  const auto kept = select(x, {.sparsity = 0.5}, {before, 0, 0});
  CHECK(removed(kept) == 120);
  for (index_t i = 0; i < x.size(); ++i) CHECK((before.data()[i] || !kept.data()[i]));
  // also where scores are negative
  auto negative = x;
  for (float& v : negative.values()) v = -v;
  const auto below = select(negative, {.sparsity = 0.5}, {before, 0, 0});
  for (index_t i = 0; i < x.size(); ++i) CHECK((before.data()[i] || !below.data()[i]));
  // more had been removed than is asked for
  const auto little = constrain(select(x, {.sparsity = 0.01}, {before, 0, 0}), {}, {before, 0, 0});
  CHECK(little.kept == before);

  // groups that were emptied cannot have the pattern any more
  const auto half = select_nm(x, {2, 4});
  const auto full = constrain(half, {2, 4}, {});
  CHECK((full.n == 2 && full.m == 4));
  matrix<std::uint8_t> holes(12, 20, 1);
  holes(3, 8) = holes(3, 9) = holes(3, 10) = 0;
  const auto broken = constrain(select(x, {.pattern = {2, 4}}, {holes, 0, 0}), {2, 4}, {holes, 0, 0});
  CHECK((broken.n == 0 && broken.m == 0));
  CHECK((broken.kept(3, 8) == 0 && broken.kept(3, 9) == 0 && broken.kept(3, 10) == 0 &&
         broken.kept(3, 11) == 1));
  holes(3, 10) = 1;  // two are left: the pattern holds
  const auto enough = constrain(select(x, {.pattern = {2, 4}}, {holes, 0, 0}), {2, 4}, {holes, 0, 0});
  CHECK(enough.m == 4);
  CHECK((enough.kept(3, 10) == 1 && enough.kept(3, 11) == 1));
}

TEST_CASE("select: global, against a walk over all entries in order", "[select]") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    tersor::random_generator g(seed);
    std::vector<std::vector<float>> values(1 + g.uniform_index(5));
    std::vector<float> weights;
    std::vector<scored_tensor> tensors;
    index_t entries = 0;
    for (auto& v : values) {
      v.resize(1 + g.uniform_index(40));
      weights.push_back(static_cast<float>(g.uniform() < 0.3 ? 0.01 : 1.0));
      for (float& x : v) x = static_cast<float>(g.uniform_index(12));  // many ties
      entries += static_cast<index_t>(v.size());
    }
    for (std::size_t t = 0; t < values.size(); ++t) tensors.push_back({values[t], weights[t]});
    const double max_prune = 0.8;
    std::vector<index_t> left;
    index_t removable = 0;
    for (const auto& v : values) {
      const auto n = static_cast<index_t>(v.size());
      left.push_back(std::min(n - 1, static_cast<index_t>(0.8 * static_cast<double>(n))));
      removable += left.back();
    }
    for (const double s : {0.0, 0.2, 0.5, 0.7}) {
      const index_t wanted = static_cast<index_t>(s * static_cast<double>(entries));
      if (wanted > removable) {
        CHECK_THROWS_AS(select_global(tensors, s, max_prune), tersor::error);
        continue;
      }
      struct entry {
        float score;
        std::size_t tensor, place;
      };
      std::vector<entry> all;
      for (std::size_t t = 0; t < values.size(); ++t)
        for (std::size_t i = 0; i < values[t].size(); ++i) all.push_back({values[t][i] * weights[t], t, i});
      std::ranges::stable_sort(all, {}, &entry::score);
      std::vector<std::vector<std::uint8_t>> expected;
      for (const auto& v : values) expected.emplace_back(v.size(), std::uint8_t{1});
      auto room = left;
      index_t k = wanted;
      for (const auto& e : all)
        if (k > 0 && room[e.tensor] > 0) {
          --room[e.tensor];
          --k;
          expected[e.tensor][e.place] = 0;
        }
      CHECK(select_global(tensors, s, max_prune) == expected);
    }
  }
}

TEST_CASE("select: errors", "[select]") {
  auto x = scores(3, 8, 1);
  const auto sound = x;
  x(1, 2) = std::numeric_limits<float>::quiet_NaN();
  for (const selection_rule& rule : {selection_rule{.sparsity = 0.5},
                                     {.sparsity = 0.5, .scope = selection_scope::per_row},
                                     {.sparsity = 0, .scope = selection_scope::per_row},
                                     {.pattern = {2, 4}}})
    CHECK(culprit([&] { select(x, rule); }) == "score[1, 2]");
  std::vector<std::uint8_t> flat(24, 1);
  CHECK(culprit([&] { remove_smallest(x.values(), 3, flat); }) == "score[10]");
  const scored_tensor bad[] = {{sound.values()}, {x.values()}};
  CHECK(culprit([&] { select_global(bad, 0.5); }) == "tensors[1].score[10]");
  const std::vector<float> infinite{1, std::numeric_limits<float>::infinity()};
  const scored_tensor weightless[] = {{infinite, 0.0F}}, infinite_one[] = {{infinite, 2.0F}};
  CHECK(culprit([&] { select_global(weightless, 0.5); }) == "tensors[0].score[1]");
  CHECK(select_global(infinite_one, 0.5)[0] == std::vector<std::uint8_t>{0, 1});
  const scored_tensor negative[] = {{infinite, -1.0F}};
  CHECK(culprit([&] { select_global(negative, 0.5); }) == "tensors[0].weight");
  CHECK_THROWS_AS(select_nm(scores(1, 4, 1), {5, 4}), tersor::error);
  CHECK_THROWS_AS(select_nm(scores(1, 4, 1), {}), tersor::error);
  CHECK_THROWS_AS(select(scores(1, 4, 1), {.sparsity = 0.5}, {matrix<std::uint8_t>(4, 1), 0, 0}),
                  tersor::error);
  CHECK_THROWS_AS((selection_rule{.sparsity = 1.0}.validate("x")), tersor::error);
  CHECK_THROWS_AS((selection_rule{.sparsity = std::nan("")}.validate("x")), tersor::error);
}

TEST_CASE("select: nothing to choose from", "[select]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{0, 0}, {0, 5}, {5, 0}})
    for (const selection_rule& rule : {selection_rule{.sparsity = 0.5},
                                       {.sparsity = 0.5, .scope = selection_scope::per_row},
                                       {.pattern = {2, 4}}}) {
      const auto kept = select(matrix<float>(rows, cols), rule);
      CHECK((kept.rows() == rows && kept.cols() == cols));
    }
  CHECK(select_global({}, 0.5).empty());
}

TEST_CASE("select: magnitudes of a tensor of any rank, in row-major order", "[select]") {
  const std::vector<float> w{1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12};
  std::vector<float> expected(12);
  std::iota(expected.begin(), expected.end(), 1.0F);
  CHECK(magnitudes(tersor::tensor_view<const float, 4>(w.data(), {2, 1, 3, 2})) == expected);
  CHECK(magnitudes(tersor::as_view(w)) == expected);
  // columns of [3, 4] stored as rows
  const tersor::matrix_view<const float> t(w.data(), {3, 4}, {1, 3});
  CHECK(magnitudes(t) == std::vector<float>{1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12});
  CHECK(magnitudes(tersor::tensor_view<const float, 3>(w.data(), {2, 0, 3})).empty());
  auto bad = w;
  for (const float v : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    bad[9] = v;
    CHECK(culprit([&] {
            magnitudes(tersor::tensor_view<const float, 4>(bad.data(), {2, 1, 3, 2}), "w");
          }) == "w[1, 0, 1, 1]");
  }
}

TEST_CASE("select: along the inputs of a convolution", "[select]") {
  // [out 2, in 3, kernel 2]: entry (o, i, k) holds 100 o + 10 i + k
  std::vector<float> s;
  for (int o = 0; o < 2; ++o)
    for (int i = 0; i < 3; ++i)
      for (int k = 0; k < 2; ++k) s.push_back(static_cast<float>(100 * o + 10 * i + k));
  const std::vector<index_t> extents{2, 3, 2};
  matrix<float> seen;
  const auto kept = select_along_inputs(s, extents, [&](const matrix<float>& rows) {
    seen = rows;
    matrix<std::uint8_t> mask(rows.rows(), rows.cols());
    mask(1, 2) = 1;  // output 1, input 2, kernel position 0
    return mask;
  });
  CHECK(std::ranges::equal(seen.values(),
                           std::vector<float>{0, 10, 20, 100, 110, 120, 1, 11, 21, 101, 111, 121}));
  for (std::size_t i = 0; i < s.size(); ++i) CHECK(kept[i] == (s[i] == 120.0F));
}

TEST_CASE("select: patterns as text", "[select]") {
  using text = tersor::option_text<nm_pattern>;
  CHECK(text::parse("2:4") == nm_pattern{2, 4});
  CHECK(text::parse("none") == nm_pattern{});
  CHECK(text::parse("") == nm_pattern{});
  for (const char* bad : {"2", "2:", ":4", "2:4:8", "a:b", "2:0", "2:-4", " 2:4"}) CHECK(!text::parse(bad));
  for (const nm_pattern p : {nm_pattern{}, {2, 4}, {4, 8}}) CHECK(text::parse(text::format(p)) == p);
  CHECK(text::in_range({2, 4}, {""}));
  CHECK_FALSE(text::in_range({5, 4}, {""}));
  CHECK_FALSE(text::in_range({0, 4}, {""}));
  CHECK_FALSE(text::in_range({2, 300}, {""}));
}

}  // namespace select_tests
