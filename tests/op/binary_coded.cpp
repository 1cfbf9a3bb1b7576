// tersor - tests of op/binary_coded.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/binary_coded.hpp>

#include "quantized_samples.hpp"

namespace binary_coded_tests {

using namespace tersor_test;
using tersor::index_t;

struct sample {
  matrix<std::uint8_t> codes;
  std::vector<float> scales, offsets;
  op::binary_coded o;
};
sample random_binary(index_t rows, index_t cols, int planes, index_t group, bool offsets, dtype type) {
  sample s{matrix<std::uint8_t>(rows, cols), {}, {}, {}};
  std::ranges::copy(random_codes(rows * cols, planes, 4), s.codes.values().begin());
  tersor::random_generator g(5);
  const auto groups = static_cast<std::size_t>(rows * ((cols + group - 1) / group));
  const auto draw = [&](std::size_t n) {
    std::vector<float> v(n);
    for (float& x : v) x = tersor::round_to(type, static_cast<float>(g.uniform() - 0.3));
    return v;
  };
  s.scales = draw(groups * static_cast<std::size_t>(planes));
  if (offsets) s.offsets = draw(groups);
  s.o = op::binary_coded(s.codes, planes, group, store_as(type, std::span<const float>(s.scales)),
                         store_as(type, std::span<const float>(s.offsets)));
  return s;
}

TEST_CASE("binary_coded: by hand", "[binary_coded]") {
  matrix<std::uint8_t> codes(1, 5);
  const std::uint8_t q[] = {0, 1, 2, 3, 1};
  std::ranges::copy(q, codes.values().begin());
  const std::vector<float> scales{4, 1, 2, 0.5F}, offsets{10, 0};
  const op::binary_coded o(codes, 2, 3, store_as(dtype::f16, std::span<const float>(scales)),
                           store_as(dtype::f32, std::span<const float>(offsets)));
  const float w[] = {5, 13, 7, 2.5F, 1.5F};
  CHECK(std::ranges::equal(o.to_dense().values(), w));
  CHECK(o.codes() == codes);
  CHECK(o.groups() == 2);
  const auto stored = save(o);
  CHECK(stored.tensors.at("codes").bytes.size() == 2);
  CHECK(stored.tensors.at("codes").bytes[0] == std::byte{0b11'10'01'00});
  CHECK(stored.tensors.at("scales").shape == std::vector<index_t>{1, 2, 2});
}

TEST_CASE("binary_coded: every number of planes, group and type of scales", "[binary_coded]") {
  for (int planes = 1; planes <= 8; ++planes)
    for (const index_t group : {1, 5, 16, 300})
      for (const bool offsets : {false, true})
        for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {6, 1}, {5, 16}, {3, 301}}) {
          const auto type = planes % 3 == 0 ? dtype::f32 : planes % 3 == 1 ? dtype::f16 : dtype::bf16;
          const auto s = random_binary(rows, cols, planes, group, offsets, type);
          INFO(planes << " planes, groups of " << group << ", " << rows << " x " << cols);
          const auto w = s.o.to_dense();
          for (index_t r = 0; r < rows; ++r)
            for (index_t j = 0; j < cols; ++j) {
              const auto g = static_cast<std::size_t>(r * s.o.groups() + j / group);
              double sum = offsets ? static_cast<double>(s.offsets[g]) : 0;
              for (std::size_t i = 0; i < static_cast<std::size_t>(planes); ++i)
                sum += static_cast<double>(s.scales[g * static_cast<std::size_t>(planes) + i]) *
                       ((s.codes(r, j) >> i & 1) != 0 ? 1 : -1);
              REQUIRE(std::abs(static_cast<double>(w(r, j)) - sum) <= 2e-6);
            }
          REQUIRE(s.o.codes() == s.codes);
          check_storage(s.o, (static_cast<std::size_t>(rows * cols * planes) + 7) / 8 +
                                 (s.scales.size() + s.offsets.size()) * (type == dtype::f32 ? 4 : 2));
        }
  const auto s = random_binary(9, 83, 3, 16, true, dtype::f16);
  check_products(s.o, absolute(wide(s.o.to_dense())), 1);
}

TEST_CASE("binary_coded: uniform codes become planes exactly", "[binary_coded]") {
  for_each_grid_kind([&](const grid_kind& k) {
    const auto grid = random_grid(7, 43, k, 3);
    matrix<std::uint8_t> codes(7, 43);
    std::ranges::copy(random_codes(7 * 43, k.bits, 4), codes.values().begin());
    const op::quantized w(codes, grid.grid);
    if (k.scattered) {
      CHECK_THROWS_AS(op::binary_coded::from(w), tersor::error);
      return;
    }
    INFO(k.bits << " bits, groups of " << k.group_size);
    const auto b = op::binary_coded::from(w);
    CHECK(b.planes() == k.bits);
    const auto dense = w.to_dense(), same = b.to_dense();
    if (k.scale_type != dtype::f32) {
      CHECK(same == dense);
    } else {
      for (index_t i = 0; i < dense.size(); ++i)
        REQUIRE(std::abs(dense.data()[i] - same.data()[i]) <= 256 * 1.01F * 0x1p-22F);
    }
  });
  const op::quantized empty(matrix<std::uint8_t>(0, 8), random_grid(0, 8, {}, 1).grid);
  CHECK(op::binary_coded::from(empty).to_dense() == matrix<float>(0, 8));
}

TEST_CASE("binary_coded: empty matrices, damaged files, errors", "[binary_coded]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{0, 0}, {0, 5}, {5, 0}})
    CHECK(random_binary(rows, cols, 2, 8, true, dtype::f16).o.to_dense() == matrix<float>(rows, cols));
  check_every_damage(random_binary(4, 30, 3, 8, true, dtype::f16).o);
  const matrix<std::uint8_t> codes(2, 4);
  const real_array two(dtype::f32, 2), four(dtype::f32, 4);
  CHECK_THROWS_AS(op::binary_coded(codes, 1, 2, two), tersor::error);
  CHECK_THROWS_AS(op::binary_coded(codes, 0, 2, real_array()), tersor::error);
  CHECK_THROWS_AS(op::binary_coded(codes, 1, 0, two), tersor::error);
  CHECK_THROWS_AS(op::binary_coded(codes, 1, 2, four, two), tersor::error);
  CHECK_THROWS_AS(op::binary_coded(matrix<std::uint8_t>(2, 4, 2), 1, 2, four), tersor::error);
}

}  // namespace binary_coded_tests
