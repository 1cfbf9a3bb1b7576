// tersor - tests of op/sparse_bitmap.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/sparse_bitmap.hpp>

#include "operator_checks.hpp"

namespace sparse_bitmap_tests {

using namespace tersor_test;
using tersor::index_t;

matrix<std::uint8_t> random_mask(index_t rows, index_t cols, double density, std::uint64_t seed) {
  tersor::random_generator g(seed);
  matrix<std::uint8_t> kept(rows, cols);
  for (auto& k : kept.values()) k = g.uniform() < density;
  return kept;
}

op::element_store values_of(const matrix<float>& w, const matrix<std::uint8_t>& kept, dtype type) {
  return op::element_store(
      op::gather_kept(w.view(), type, [&](index_t r, index_t j) { return kept(r, j) != 0; }));
}

TEST_CASE("sparse_bitmap: by hand", "[sparse_bitmap]") {
  const float w[] = {0, 2, 0, 3, 0, 0, 0, 0, 4};
  matrix<std::uint8_t> kept(3, 3);
  for (index_t i = 0; i < 9; ++i) kept.data()[i] = w[i] != 0;
  const op::sparse_bitmap o(kept,
                            op::element_store(tersor::store_as(dtype::f32, std::vector<float>{2, 3, 4})));
  CHECK(o.kept() == 3);
  CHECK(std::ranges::equal(o.to_dense().values(), w));
  CHECK(o.columns(0) == std::vector<std::int32_t>{1});
  CHECK(o.columns(1) == std::vector<std::int32_t>{0});
  const auto stored = save(o);
  CHECK(stored.tensors.at("bitmap").bytes == std::vector<std::byte>{std::byte{0b00001010}, std::byte{1}});
}

TEST_CASE("sparse_bitmap: products, storage and loading", "[sparse_bitmap]") {
  for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16})
    for (const double density : {0.0, 0.1, 0.5, 1.0})
      for (const auto& [rows, cols] :
           {std::pair<index_t, index_t>{1, 1}, {1, 30}, {30, 1}, {6, 11}, {70, 33}}) {
        const auto kept = random_mask(rows, cols, density, 2);
        const auto w = random_matrix<float>(rows, cols, 1);
        const op::sparse_bitmap o(kept, values_of(w, kept, type));
        const auto stored = o.to_dense();
        std::size_t count = 0;
        for (index_t i = 0; i < w.size(); ++i) {
          REQUIRE(stored.data()[i] == (kept.data()[i] ? tersor::round_to(type, w.data()[i]) : 0.0F));
          count += kept.data()[i];
        }
        check_operator(o,
                       static_cast<std::size_t>(rows * cols + 7) / 8 + count * (type == dtype::f32 ? 4 : 2));
      }
}

TEST_CASE("sparse_bitmap: codes on a grid", "[sparse_bitmap]") {
  const index_t rows = 5, cols = 24;
  const auto kept = random_mask(rows, cols, 0.4, 3);
  tersor::random_generator g(4);
  matrix<float> scale(rows, 3), zero(rows, 3, 8.0F);
  for (float& s : scale.values()) s = static_cast<float>(0.01 + g.uniform());
  std::vector<std::uint8_t> codes;
  matrix<float> expected(rows, cols);
  for (index_t r = 0; r < rows; ++r)
    for (index_t j = 0; j < cols; ++j)
      if (kept(r, j)) {
        codes.push_back(static_cast<std::uint8_t>(g.uniform_index(16)));
        expected(r, j) = scale(r, j / 8) * (static_cast<float>(codes.back()) - 8.0F);
      }
  const op::sparse_bitmap o(kept, op::element_store(codes, op::affine_grid(4, rows, cols, 8, scale.view(),
                                                                           zero.view(), dtype::f32)));
  CHECK(o.to_dense() == expected);
  check_operator(o, rows * cols / 8 + (codes.size() + 1) / 2 + rows * 3 * 4);
}

TEST_CASE("sparse_bitmap: errors", "[sparse_bitmap]") {
  const auto w = random_matrix<float>(6, 8, 1);
  const auto kept = random_mask(6, 8, 0.5, 3);
  const op::sparse_bitmap o(kept, values_of(w, kept, dtype::f32));
  check_every_damage(o);
  CHECK_THROWS_AS(op::sparse_bitmap(kept, op::element_store(tersor::real_array(dtype::f32, o.kept() + 1))),
                  tersor::error);
  auto bad = save(o);  // a bit more in the map than there are values
  bad.tensors["bitmap"].bytes[0] ^= std::byte{1};
  check_damaged<op::sparse_bitmap>(bad, "layer.values");
  check_storage(op::sparse_bitmap(), 0);
}

}  // namespace sparse_bitmap_tests
