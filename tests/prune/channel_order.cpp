// tersor - tests of prune/channel_order.hpp
// SPDX-License-Identifier: MIT
#include <tersor/prune/channel_order.hpp>

#include "samples.hpp"

namespace channel_order_tests {

using namespace tersor_test;
using namespace tersor::prune;
using tersor::index_t;
using tersor::solve::nm_pattern;

matrix<float> scores(index_t rows, index_t cols, std::uint64_t seed) {
  auto s = random_matrix<float>(rows, cols, seed);
  for (float& v : s.values()) v = std::abs(v);
  return s;
}

std::vector<std::int32_t> shuffled(index_t n, std::uint64_t seed) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  tersor::random_generator(seed).shuffle(std::span(order));
  return order;
}

TEST_CASE("channel order: dealing out by hand", "[channel_order]") {
  // parts 0 1 | 2 3 | 4 5 | 6 7, the second and fourth backwards
  const std::vector<std::int32_t> rising{10, 11, 12, 13, 14, 15, 16, 17};
  CHECK(deal_out(rising, 4) == std::vector<std::int32_t>{10, 13, 14, 17, 11, 12, 15, 16});
  CHECK(deal_out(rising, 8) == rising);  // one group
  CHECK(deal_out(rising, 1) == rising);  // nothing to balance
  CHECK(deal_out({}, 4).empty());
  CHECK_THROWS_AS(deal_out(rising, 3), tersor::error);
}

TEST_CASE("channel order: kept score by hand", "[channel_order]") {
  matrix<float> s(2, 5);
  const float values[] = {1, 5, 3, 2, 7, 4, 4, 4, 4, 1};
  std::ranges::copy(values, s.data());
  CHECK(kept_score(s, {2, 4}) == 5 + 3 + 7 + 4 + 4 + 1);  // the last group has one channel
  CHECK(kept_score(s, {1, 5}) == 7 + 4);
  s(1, 3) = std::numeric_limits<float>::quiet_NaN();
  CHECK(culprit([&] { kept_score(s, {2, 4}); }) == "score[1, 3]");
}

TEST_CASE("channel order: refining keeps the channels and never lowers the score", "[channel_order]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed)
    for (const nm_pattern p : {nm_pattern{2, 4}, {1, 4}, {3, 4}, {4, 4}, {1, 2}, {1, 1}})
      for (const index_t blocks : {index_t{1}, index_t{3}, index_t{6}, index_t{1000}}) {
        const index_t in = 24;
        const auto s = scores(7, in, seed);
        const auto start = shuffled(in, seed + 1);
        auto order = start;
        refine_by_assignment(s, p, order, blocks);
        CHECK(kept_score(tersor::gather_columns(s, order), p) >=
              kept_score(tersor::gather_columns(s, start), p) * (1 - 1e-9));
        auto sorted = order;
        std::ranges::sort(sorted);
        for (index_t j = 0; j < in; ++j) CHECK(sorted[static_cast<std::size_t>(j)] == j);
        if (blocks >= in / p.m) CHECK(order == start);  // blocks of one group
        // channels stay in their slot, and in their block
        const index_t groups = in / p.m;
        for (index_t j = 0; j < in; ++j) {
          const auto at = std::ranges::find(start, order[static_cast<std::size_t>(j)]) - start.begin();
          CHECK(at % p.m == j % p.m);
          if (blocks < groups && groups % blocks == 0)
            CHECK(at / p.m / (groups / blocks) == j / p.m / (groups / blocks));
        }
      }
}

TEST_CASE("channel order: a shuffled exact pattern is found again", "[channel_order]") {
  // two groups of two, each row has its weights in channels 0 and 1 or in 2 and 3 only: with 1:2 the order
  // 0 1 2 3 keeps half, and the assignment of one slot separates them
  matrix<float> s(2, 4);
  s(0, 0) = s(0, 1) = s(1, 2) = s(1, 3) = 1;
  std::vector<std::int32_t> order{0, 1, 2, 3};
  CHECK(kept_score(s, {1, 2}) == 2);
  refine_by_assignment(s, {1, 2}, order);
  CHECK(kept_score(tersor::gather_columns(s, order), {1, 2}) == 4);
}

TEST_CASE("channel order: masks in an order are masks of the moved columns", "[channel_order]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const index_t in : {index_t{4}, index_t{10}, index_t{24}}) {
      const auto s = scores(6, in, seed);
      const auto before = random_mask(6, in, 0.8, seed + 2);
      const auto order = shuffled(in, seed + 1);
      for (const tersor::solve::selection_rule& rule :
           {tersor::solve::selection_rule{.pattern = {2, 4}}, {.sparsity = 0.4}}) {
        const auto kept = select_in_order(s, rule, order);
        CHECK(tersor::gather_columns(kept, order) ==
              tersor::solve::select(tersor::gather_columns(s, order), rule));
        const auto moved_before = tersor::gather_columns(before, order);
        CHECK(tersor::gather_columns(select_in_order(s, rule, order, {before, 0, 0}), order) ==
              tersor::solve::select(tersor::gather_columns(s, order), rule, {moved_before, 0, 0}));
      }
    }
}

}  // namespace channel_order_tests
