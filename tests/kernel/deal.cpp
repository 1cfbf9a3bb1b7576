// tersor - tests of kernel/deal.hpp: every entry is dealt once, in few steps
// SPDX-License-Identifier: MIT
#include <tersor/kernel/deal.hpp>

#include "catch.hpp"

#include <algorithm>

#include <tersor/core/random.hpp>

namespace tersor {
namespace deal_tests {

using kernel::deal;
using lengths = std::array<std::uint32_t, 16>;

void check(const lengths& rows, const deal& d) {
  lengths dealt = d.own;
  for (std::size_t l = 0; l < 16; ++l) {
    REQUIRE(d.end[l] >= d.own[l]);
    REQUIRE(d.helped[l] < 16);
    if (d.helped[l] == l) REQUIRE(d.end[l] == d.own[l]);
    dealt[d.helped[l]] += d.end[l] - d.own[l];
  }
  REQUIRE(dealt == rows);
  REQUIRE(d.steps() <= *std::ranges::max_element(rows));
}

TEST_CASE("deal: equal rows keep to themselves, nothing takes no step") {
  lengths rows{};
  CHECK(kernel::deal_rows(rows).steps() == 0);
  rows.fill(7);
  const auto d = kernel::deal_rows(rows);
  CHECK(d.steps() == 7);
  CHECK(d.even() == 7);
  CHECK(d.own == rows);
}

TEST_CASE("deal: all help one long row") {
  lengths rows{};
  rows[5] = 1600;
  const auto d = kernel::deal_rows(rows);
  check(rows, d);
  CHECK(d.steps() == 100);
  CHECK(d.even() == 0);
}

TEST_CASE("deal: a lane helps one row, so fifteen long ones and an empty one stay uneven") {
  lengths rows{};
  rows.fill(20);
  rows[0] = 0;
  const auto d = kernel::deal_rows(rows);
  check(rows, d);
  CHECK(d.steps() == 20);
}

TEST_CASE("deal: random rows end within a tenth of each other") {
  random_generator random(1);
  for (int i = 0; i < 200; ++i) {
    lengths rows{};
    std::uint32_t sum = 0;
    for (auto& n : rows) sum += n = 60 + static_cast<std::uint32_t>(random.uniform_index(25));
    const auto d = kernel::deal_rows(rows);
    check(rows, d);
    CHECK(d.steps() <= (sum + 15) / 16 + 7);
  }
  for (int i = 0; i < 200; ++i) {
    lengths rows{};
    for (auto& n : rows) n = static_cast<std::uint32_t>(random.uniform_index(std::uint64_t{1} << (i % 20)));
    check(rows, kernel::deal_rows(rows));
  }
}

}  // namespace deal_tests
}  // namespace tersor
