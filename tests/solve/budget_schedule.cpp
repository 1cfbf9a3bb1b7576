// tersor - tests of solve/budget_schedule.hpp
// SPDX-License-Identifier: MIT
#include <tersor/solve/budget_schedule.hpp>

#include "catch.hpp"

namespace budget_schedule_tests {

using tersor::index_t;
using tersor::solve::budget_schedule;
using tersor::solve::schedule_shape;

constexpr schedule_shape shapes[] = {schedule_shape::cubic, schedule_shape::linear, schedule_shape::cosine,
                                     schedule_shape::step};

TEST_CASE("budget schedule: by hand", "[budget_schedule]") {
  budget_schedule s{.start = 8, .end = 0, .total = 14, .warmup = 2, .cooldown = 2};
  CHECK(s.at(0) == 8);
  CHECK(s.at(2) == 8);
  CHECK(s.at(7) == 1);  // half way: 8 / 2³
  CHECK(s.at(12) == 0);
  CHECK(s.at(13) == 0);
  CHECK(s.at(100) == 0);
  s.shape = schedule_shape::linear;
  CHECK(s.at(7) == 4);
  s.shape = schedule_shape::cosine;
  CHECK(std::abs(s.at(7) - 4) <= 1e-12);
  s.shape = schedule_shape::step;
  s.stairs = 2;
  CHECK(s.at(6) == 8);
  CHECK(s.at(7) == 4);
  CHECK(s.at(11) == 4);
  CHECK(s.at(12) == 0);
}

TEST_CASE("budget schedule: monotone, within its ends", "[budget_schedule]") {
  for (const auto shape : shapes)
    for (const double start : {0.0, 3.0})
      for (const double end : {1.0, 5.0})
        for (const index_t total : {1, 2, 37})
          for (index_t warmup = 0; warmup <= total; warmup += 3) {
            const budget_schedule s{.start = start,
                                    .end = end,
                                    .total = total,
                                    .warmup = warmup,
                                    .cooldown = (total - warmup) / 2,
                                    .shape = shape};
            s.validate();
            double before = start;
            for (index_t t = 0; t <= total + 1; ++t) {
              const double now = s.at(t);
              REQUIRE(now >= std::min(start, end) - 1e-12);
              REQUIRE(now <= std::max(start, end) + 1e-12);
              if (start < end)
                REQUIRE(now >= before - 1e-12);
              else
                REQUIRE(now <= before + 1e-12);
              before = now;
            }
            CHECK(before == end);
          }
}

TEST_CASE("budget schedule: errors", "[budget_schedule]") {
  CHECK_THROWS_AS(budget_schedule{.total = 0}.validate(), tersor::error);
  CHECK_THROWS_AS((budget_schedule{.total = 5, .warmup = -1}.validate()), tersor::error);
  CHECK_THROWS_AS((budget_schedule{.total = 5, .warmup = 3, .cooldown = 3}.validate()), tersor::error);
  CHECK_THROWS_AS((budget_schedule{.total = 5, .stairs = 0}.validate()), tersor::error);
}

}  // namespace budget_schedule_tests
