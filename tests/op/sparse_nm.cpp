// tersor - tests of op/sparse_nm.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/sparse_nm.hpp>

#include "operator_checks.hpp"

namespace sparse_nm_tests {

using namespace tersor_test;
using tersor::index_t;

/// n random columns of every group of m, min(n, rest) of a last short one.
matrix<std::uint8_t> random_pattern(index_t rows, index_t cols, int n, int m, std::uint64_t seed) {
  tersor::random_generator g(seed);
  matrix<std::uint8_t> kept(rows, cols);
  for (index_t r = 0; r < rows; ++r)
    for (index_t j = 0; j < cols; j += m) {
      const index_t width = std::min<index_t>(m, cols - j);
      for (index_t left = std::min<index_t>(n, width); left > 0;) {
        auto& k = kept(r, j + static_cast<index_t>(g.uniform_index(static_cast<std::uint64_t>(width))));
        left -= k == 0;
        k = 1;
      }
    }
  return kept;
}

op::element_store values_of(const matrix<float>& w, const matrix<std::uint8_t>& kept, dtype type) {
  return op::element_store(
      op::gather_kept(w.view(), type, [&](index_t r, index_t j) { return kept(r, j) != 0; }));
}

TEST_CASE("sparse_nm: 2:4 by hand", "[sparse_nm]") {
  // columns 0 and 3: code 0 | 3 << 2 = 12; columns 1 and 2: code 1 | 2 << 2 = 9; two codes a byte
  const float w[] = {5, 0, 0, 6, 0, 7, 8, 0};
  matrix<std::uint8_t> kept(1, 8);
  for (index_t i = 0; i < 8; ++i) kept.data()[i] = w[i] != 0;
  const op::sparse_nm o(2, 4, kept,
                        op::element_store(tersor::store_as(dtype::f32, std::vector<float>{5, 6, 7, 8})));
  CHECK(std::ranges::equal(o.to_dense().values(), w));
  CHECK(o.columns(0) == std::vector<std::int32_t>{0, 3, 5, 6});
  const auto stored = save(o);
  REQUIRE(stored.tensors.at("positions").bytes.size() == 1);
  CHECK(stored.tensors.at("positions").bytes[0] == std::byte{0x9c});
}

TEST_CASE("sparse_nm: bits per weight of the usual patterns", "[sparse_nm]") {
  const auto bits = [](int n, int m, dtype type) {
    const auto kept = random_pattern(16, 64, n, m, 1);
    return op::bits_per_weight(op::sparse_nm(n, m, kept, values_of(matrix<float>(16, 64), kept, type)));
  };
  CHECK(bits(2, 4, dtype::bf16) == 9.0);   // 8 + 1
  CHECK(bits(1, 4, dtype::bf16) == 4.5);   // 4 + 2 / 4
  CHECK(bits(4, 8, dtype::f16) == 9.0);    // 8 + a mask of 8 bits, less than four indices of 3
  CHECK(bits(1, 8, dtype::f32) == 4.375);  // 4 + 3 / 8
}

TEST_CASE("sparse_nm: products, storage and loading", "[sparse_nm]") {
  for (const auto& [n, m] :
       {std::pair<int, int>{2, 4}, {1, 4}, {3, 4}, {4, 4}, {4, 8}, {1, 1}, {2, 3}, {1, 16}, {5, 7}})
    for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {1, 8}, {7, 16}, {9, 18}, {40, 33}}) {
      INFO(n << ":" << m << ", " << rows << " x " << cols);
      const auto kept = random_pattern(rows, cols, n, m, 5);
      const auto w = random_matrix<float>(rows, cols, 1);
      const dtype type = m % 2 == 0 ? dtype::bf16 : dtype::f32;
      const op::sparse_nm o(n, m, kept, values_of(w, kept, type));
      const auto dense = o.to_dense();
      for (index_t i = 0; i < w.size(); ++i)
        REQUIRE(dense.data()[i] == (kept.data()[i] ? tersor::round_to(type, w.data()[i]) : 0.0F));
      int index_bits = 0;
      while ((1 << index_bits) < m) ++index_bits;
      const index_t groups = (cols + m - 1) / m, group_bits = std::min<index_t>(m, n * index_bits);
      const index_t values = rows * (cols / m * n + std::min<index_t>(n, cols % m));
      check_operator(o, static_cast<std::size_t>((rows * groups * group_bits + 7) / 8 +
                                                 values * (type == dtype::f32 ? 4 : 2)));
    }
}

TEST_CASE("sparse_nm: codes on a grid", "[sparse_nm]") {
  const index_t rows = 6, cols = 32;
  const auto kept = random_pattern(rows, cols, 2, 4, 3);
  tersor::random_generator g(4);
  matrix<float> scale(rows, 2), zero(rows, 2);
  for (float& s : scale.values()) s = static_cast<float>(0.01 + g.uniform());
  for (float& z : zero.values()) z = static_cast<float>(g.uniform_index(16));
  std::vector<std::uint8_t> codes;
  matrix<float> expected(rows, cols);
  for (index_t r = 0; r < rows; ++r)
    for (index_t j = 0; j < cols; ++j)
      if (kept(r, j)) {
        codes.push_back(static_cast<std::uint8_t>(g.uniform_index(16)));
        expected(r, j) = scale(r, j / 16) * (static_cast<float>(codes.back()) - zero(r, j / 16));
      }
  const op::sparse_nm o(
      2, 4, kept,
      op::element_store(codes, op::affine_grid(4, rows, cols, 16, scale.view(), zero.view(), dtype::f32)));
  CHECK(o.to_dense() == expected);
  // 4-bit codes of half the entries and 4 bits per group of 4: 3 bits per weight; scales f32, zero points 4
  // bits
  check_operator(o, rows * cols * 3 / 8 + rows * 2 * 4 + rows * 2 / 2);
}

TEST_CASE("sparse_nm: errors", "[sparse_nm]") {
  auto kept = random_pattern(3, 8, 2, 4, 1);
  const auto w = random_matrix<float>(3, 8, 2);
  const op::sparse_nm o(2, 4, kept, values_of(w, kept, dtype::f32));
  check_every_damage(o);
  CHECK_THROWS_AS(op::sparse_nm(3, 4, kept, values_of(w, kept, dtype::f32)), tersor::error);
  CHECK_THROWS_AS(op::sparse_nm(5, 4, kept, values_of(w, kept, dtype::f32)), tersor::error);
  CHECK_THROWS_AS(op::sparse_nm(2, 4, kept, op::element_store(tersor::real_array(dtype::f32, 5))),
                  tersor::error);
  kept(1, 4) = kept(1, 5) = kept(1, 6) = 1;
  CHECK_THROWS_AS(op::sparse_nm(2, 4, kept, values_of(w, kept, dtype::f32)), tersor::error);

  auto bad = save(o);
  bad.tensors["positions"].bytes[1] = std::byte{0x05};  // row 1, group 0: columns 1 and 1
  check_damaged<op::sparse_nm>(bad, "layer.positions, row 1");

  // as a mask: three entries in one group and one in the next are as many, but not 2:3 ... of each
  const auto wide_kept = random_pattern(1, 6, 2, 3, 1);
  const op::sparse_nm masked(2, 3, wide_kept,
                             values_of(random_matrix<float>(1, 6, 2), wide_kept, dtype::f32));
  bad = save(masked);
  bad.tensors["positions"].bytes[0] = std::byte{0b001111};
  check_damaged<op::sparse_nm>(bad, "layer.positions, row 0");
}

}  // namespace sparse_nm_tests
