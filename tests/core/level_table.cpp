// tersor - tests of core/level_table.hpp
// SPDX-License-Identifier: MIT
#include <tersor/core/level_table.hpp>
#include <tersor/core/random.hpp>

#include "catch.hpp"

namespace tersor {
namespace level_table_tests {

TEST_CASE("level_table: the nearest level, halves go down") {
  const level_table t({3, -1, 0, 1});  // codes in any order
  CHECK(t.code(-7) == 1);
  CHECK(t.code(-0.5F) == 1);
  CHECK(t.code(-0.4F) == 2);
  CHECK(t.code(0) == 2);
  CHECK(t.code(0.5F) == 2);
  CHECK(t.code(std::nextafter(0.5F, 1.0F)) == 3);
  CHECK(t.code(2) == 3);
  CHECK(t.code(2.1F) == 0);
  CHECK(t.code(1e30F) == 0);
  CHECK(t.code(std::numeric_limits<float>::infinity()) == 0);
  CHECK(level_table({5}).code(-3) == 0);
  CHECK(level_table({0, 1, 0}).code(0.2F) == 0);  // of equal levels the first
  CHECK_THROWS_AS(level_table(std::vector<float>{}), error);
  CHECK_THROWS_AS(level_table(std::vector<float>(257)), error);
  CHECK_THROWS_AS(level_table({1, std::numeric_limits<float>::quiet_NaN()}), error);
}

TEST_CASE("level_table: codes agree with a search through all levels") {
  random_generator random(3);
  for (const auto& t : {normal_float(2), normal_float(3), normal_float(4), normal_float(5), normal_float(8),
                        dynamic_levels(true), dynamic_levels(false), bitsandbytes_fp4()})
    for (int i = 0; i < 2000; ++i) {
      const auto x = static_cast<float>(2.4 * random.uniform() - 1.2);
      double best = 1e9;
      for (const float v : t.values()) best = std::min(best, std::abs(static_cast<double>(v) - x));
      REQUIRE(std::abs(static_cast<double>(t[t.code(x)]) - x) <= best + 1e-8);
    }
}

TEST_CASE("level_table: quantiles of the normal distribution") {
  CHECK(normal_quantile(0.5) == 0);
  CHECK(std::abs(normal_quantile(0.975) - 1.959963984540054) <= 1e-14);
  CHECK(std::abs(normal_quantile(0.8413447460685429) - 1) <= 1e-14);
  CHECK(std::abs(normal_quantile(1 - 1e-10) - 6.361340902404) <= 1e-6);
  for (double p = 0.5; p < 0.99999; p += 0.0137)
    CHECK(std::abs(1 - std::erfc(normal_quantile(p) / std::sqrt(2.0)) / 2 - p) <= 1e-15);
  CHECK_THROWS_AS(normal_quantile(1.0), error);
  CHECK_THROWS_AS(normal_quantile(0.4), error);
}

TEST_CASE("level_table: NormalFloat of every width") {
  for (int bits = 2; bits <= 8; ++bits) {
    const auto levels = normal_float(bits).values();
    const auto half = std::size_t{1} << (bits - 1);
    REQUIRE(levels.size() == 2 * half);
    CHECK(std::ranges::is_sorted(levels));
    CHECK(levels.front() == -1);
    CHECK(levels[half - 1] == 0);
    CHECK(levels.back() == 1);
  }
  // the sheet's values
  const float nf3[] = {-1, -0.4786292F, -0.2171418F, 0, 0.1609302F, 0.3379152F, 0.562617F, 1};
  const float nf2[] = {-1, 0, 0.3379152F, 1};
  for (std::size_t i = 0; i < 8; ++i) CHECK(std::abs(normal_float(3).values()[i] - nf3[i]) <= 1e-6F);
  for (std::size_t i = 0; i < 4; ++i) CHECK(std::abs(normal_float(2).values()[i] - nf2[i]) <= 1e-6F);
  // the largest gap of NF4, and two of its thresholds
  const auto nf4 = normal_float(4);
  CHECK(nf4.code(-0.8480965F) == 0);
  CHECK(nf4.code(-0.8480963F) == 1);
  CHECK(nf4.code(0.8614784F) == 14);
  CHECK(nf4.code(0.8614786F) == 15);
  CHECK_THROWS_AS(normal_float(1), error);
  CHECK_THROWS_AS(normal_float(9), error);
}

TEST_CASE("level_table: the dynamic code") {
  const auto t = dynamic_levels(true).values();
  REQUIRE(t.size() == 256);
  CHECK(std::abs(t[0] + 0.99296875F) <= 1e-7F);
  CHECK(std::abs(t[63] + 0.10703125F) <= 1e-7F);
  CHECK(t[127] == 0);
  CHECK(std::abs(t[128] - 5.5e-7F) <= 1e-13F);
  CHECK(std::abs(t[191] - 0.10703125F) <= 1e-7F);
  CHECK(std::abs(t[254] - 0.99296875F) <= 1e-7F);
  CHECK(t[255] == 1);
  const auto u = dynamic_levels(false).values();
  REQUIRE(u.size() == 256);
  CHECK(u[0] == 0);
  CHECK(std::abs(u[1] - 3.25e-7F) <= 1e-13F);
  CHECK(std::abs(u[254] - 0.996484375F) <= 1e-6F);
  CHECK(u[255] == 1);
}

}  // namespace level_table_tests
}  // namespace tersor
