// tersor - tests of op/block_scales.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/block_scales.hpp>

#include "operator_checks.hpp"

namespace block_scales_tests {

using namespace tersor_test;
using op::block_scales;
using op::scale_coding;
using op::scale_rule;
using tersor::index_t;

std::vector<float> random_scales(std::size_t n, std::uint64_t seed) {
  tersor::random_generator g(seed);
  std::vector<float> s(n);
  for (float& v : s) v = static_cast<float>(0.05 + g.uniform());
  return s;
}
std::vector<float> all_of(const block_scales& s) {
  std::vector<float> v(static_cast<std::size_t>(s.size()));
  s.read(0, v);
  return v;
}

TEST_CASE("block_scales: plain scales are what was given, rounded to the type") {
  const auto given = random_scales(37, 1);
  CHECK(all_of(block_scales(given, {})) == given);
  const auto half = all_of(block_scales(given, {.type = dtype::f16}));
  for (std::size_t i = 0; i < given.size(); ++i) CHECK(half[i] == static_cast<float>(tersor::f16(given[i])));
}

TEST_CASE("block_scales: linear codes by hand") {
  // offset 1; distances 0 1 3 | 0.5, largest 3 and 0.5, 2-bit codes 0 1 3 | 3
  const std::vector<float> given{1, 2, 4, 1.5F};
  const block_scales s(given, {.coding = scale_coding::linear, .bits = 2, .block_size = 3});
  CHECK(s.offset() == 1);
  CHECK(s.codes() == std::vector<std::uint8_t>{0, 1, 3, 3});
  CHECK((s.reals()[0] == 3 && s.reals()[1] == 0.5F));
  CHECK(all_of(s) == given);
}

TEST_CASE("block_scales: coded scales are within half a step, the smallest is exact") {
  for (const std::size_t n : {1U, 2U, 255U, 256U, 257U, 1000U})
    for (const index_t block : {1, 16, 256})
      for (const int bits : {2, 3, 4, 8}) {
        const auto given = random_scales(n, n);
        const block_scales s(given, {.coding = scale_coding::linear, .bits = bits, .block_size = block});
        const auto back = all_of(s);
        const float least = *std::ranges::min_element(given);
        for (std::size_t i = 0; i < n; ++i) {
          const float most = s.reals()[static_cast<index_t>(i) / block];
          CHECK(std::abs(back[i] - given[i]) <=
                0.50001F * most / static_cast<float>((1 << bits) - 1) + 1e-7F);
          if (given[i] == least) CHECK(back[i] == least);
        }
      }
}

TEST_CASE("block_scales: codes of a table of their own") {
  std::vector<float> levels(256);
  for (std::size_t i = 0; i < 256; ++i) levels[i] = static_cast<float>(i) / 128 - 1;
  const std::vector<std::uint8_t> codes{0, 128, 255};
  const std::vector<float> most{2, 4};
  const auto largest = tersor::store_as(dtype::f32, std::span(most));
  const auto s = block_scales::from_table(codes, largest, 3.0F, 2, levels);
  CHECK(s.rule().coding == scale_coding::table);
  CHECK(s.levels() == levels);
  CHECK(all_of(s) == std::vector<float>{1.0F, 3.0F, 4 * 127.0F / 128 + 3});
  const auto known = block_scales::from_table(codes, largest, 3.0F, 2, tersor::dynamic_levels(true).values());
  CHECK(known.rule().coding == scale_coding::dynamic);
  levels[7] = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(block_scales::from_table(codes, largest, 3.0F, 2, levels), tersor::error);
  levels.pop_back();
  CHECK_THROWS_AS(block_scales::from_table(codes, largest, 3.0F, 2, levels), tersor::error);
  CHECK_THROWS_AS(block_scales(most, {.coding = scale_coding::table}), tersor::error);
}

TEST_CASE("block_scales: dynamic codes, and scales that are all equal") {
  for (const std::size_t n : {1U, 255U, 256U, 257U, 1000U}) {
    const auto given = random_scales(n, n);
    const block_scales s(given, {.coding = scale_coding::dynamic});
    const auto back = all_of(s);
    for (std::size_t i = 0; i < n; ++i) {
      const float most = s.reals()[static_cast<index_t>(i) / 256], distance = std::abs(given[i] - s.offset());
      // half the widest gap relative to the decade of the distance
      CHECK(std::abs(back[i] - given[i]) <= 0.11F * std::max(distance, 0.01F * most) + 1e-6F);
    }
    const std::vector<float> same(n, 0.7F);
    for (const auto coding : {scale_coding::dynamic, scale_coding::linear})
      for (const float v : all_of(block_scales(same, {.coding = coding}))) CHECK(std::abs(v - 0.7F) <= 1e-6F);
    for (const auto coding : {scale_coding::plain, scale_coding::dynamic, scale_coding::linear})
      for (const float v : all_of(block_scales(std::vector<float>(n), {.coding = coding}))) CHECK(v == 0);
  }
  // a mean above tiny scales may make them slightly negative, as in bitsandbytes
  std::vector<float> given(300, 1.0F);
  for (std::size_t i = 0; i < 250; ++i) given[i] = 0.0F;
  for (const float v : all_of(block_scales(given, {.coding = scale_coding::dynamic}))) CHECK(v > -0.01F);
}

TEST_CASE("block_scales: a part is what the whole says there") {
  const auto given = random_scales(700, 3);
  for (const auto coding : {scale_coding::plain, scale_coding::dynamic, scale_coding::linear}) {
    const block_scales s(given, {.coding = coding, .block_size = 64});
    const auto whole = all_of(s);
    for (const index_t first : {0, 1, 63, 64, 500}) {
      std::vector<float> part(130);
      s.read(first, part);
      CHECK(std::ranges::equal(part, std::span(whole).subspan(static_cast<std::size_t>(first), 130)));
    }
  }
}

TEST_CASE("block_scales: factored scales are a factor times the whole range of their type") {
  // the largest is the type's largest, 448: the factor is 0.5
  const std::vector<float> given{224, 112, 0.5F, 0};
  const block_scales s(given, {.coding = scale_coding::factored, .type = dtype::f8_e4m3});
  CHECK(s.factor() == 0.5F);
  CHECK(s.reals()[0] == 448);
  CHECK(s.reals()[2] == 1);
  CHECK(all_of(s) == given);
  CHECK(s.codes().empty());
  for (const dtype type : {dtype::f8_e4m3, dtype::f8_e5m2, dtype::f16}) {
    const auto random = random_scales(300, 5);
    const auto back = all_of(block_scales(random, {.coding = scale_coding::factored, .type = type}));
    for (std::size_t i = 0; i < random.size(); ++i)
      CHECK(std::abs(back[i] - random[i]) <= random[i] / (type == dtype::f8_e5m2 ? 7.99F : 15.99F));
  }
  CHECK(all_of(block_scales(std::vector<float>(3), {.coding = scale_coding::factored,
                                                    .type = dtype::f8_e4m3})) == std::vector<float>(3));
  const auto stored = tersor::store_as(dtype::f8_e4m3, std::span<const float>(std::vector<float>{1, 2}));
  CHECK(all_of(block_scales::factored(stored, 3)) == std::vector<float>{3, 6});
  CHECK(all_of(block_scales::plain(stored)) == std::vector<float>{1, 2});
}

TEST_CASE("block_scales: powers of two have a type of their own, which rounds nothing") {
  const std::vector<float> given{0x1p-127F, 1, 0x1p127F};
  const block_scales s(given, {.type = dtype::f8_e8m0});
  CHECK(s.reals().bytes().size() == 3);
  CHECK(all_of(s) == given);
  CHECK_THROWS_AS(block_scales(std::vector<float>{3}, {.type = dtype::f8_e8m0}), tersor::error);
}

TEST_CASE("block_scales: errors") {
  const std::vector<float> one{1};
  CHECK_THROWS_AS(block_scales(one, {.bits = 9}), tersor::error);
  CHECK_THROWS_AS(block_scales(one, {.coding = scale_coding::dynamic, .bits = 4}), tersor::error);
  CHECK_THROWS_AS(block_scales(one, {.block_size = 0}), tersor::error);
  CHECK_THROWS_AS(block_scales(one, {.coding = scale_coding::factored}), tersor::error);
  CHECK_THROWS_AS(block_scales(one, {.coding = scale_coding::linear, .type = dtype::f8_e8m0}), tersor::error);
  CHECK_THROWS_AS(block_scales::factored(tersor::store_as(dtype::f16, std::span(one)), INFINITY),
                  tersor::error);
}

}  // namespace block_scales_tests
