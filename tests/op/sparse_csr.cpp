// tersor - tests of op/sparse_csr.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/sparse_csr.hpp>

#include "operator_checks.hpp"

namespace sparse_csr_tests {

using namespace tersor_test;
using tersor::index_t;

matrix<std::uint8_t> random_mask(index_t rows, index_t cols, double density, std::uint64_t seed) {
  tersor::random_generator g(seed);
  matrix<std::uint8_t> kept(rows, cols);
  for (auto& k : kept.values()) k = g.uniform() < density;
  return kept;
}

TEST_CASE("sparse_csr: by hand", "[sparse_csr]") {
  const float w[] = {0, 2, 0, 3, 0, 0, 0, 0, 4};
  matrix<std::uint8_t> kept(3, 3);
  for (index_t i = 0; i < 9; ++i) kept.data()[i] = w[i] != 0;
  const op::sparse_csr o(tersor::as_view(w, {3, 3}), kept, dtype::f32);
  CHECK(o.kept() == 3);
  CHECK(std::ranges::equal(o.to_dense().values(), w));
  const auto stored = save(o);
  CHECK(stored.tensors.at("offsets").shape == std::vector<index_t>{4});
  CHECK(stored.tensors.at("columns").type == dtype::u16);
}

TEST_CASE("sparse_csr: products, storage and loading", "[sparse_csr]") {
  for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16})
    for (const double density : {0.0, 0.03, 0.5, 1.0})
      for (const auto& [rows, cols] :
           {std::pair<index_t, index_t>{1, 1}, {1, 30}, {30, 1}, {6, 11}, {200, 33}}) {
        const auto kept = random_mask(rows, cols, density, 2);
        const auto w = random_matrix<float>(rows, cols, 1);
        const op::sparse_csr o(w.view(), kept, type);
        const auto stored = o.to_dense();
        std::size_t count = 0;
        for (index_t i = 0; i < w.size(); ++i) {
          REQUIRE(stored.data()[i] == (kept.data()[i] ? tersor::round_to(type, w.data()[i]) : 0.0F));
          count += kept.data()[i];
        }
        check_operator(o, 4 * static_cast<std::size_t>(rows + 1) + count * (type == dtype::f32 ? 6 : 4));
      }
}

TEST_CASE("sparse_csr: 32-bit columns above 65536", "[sparse_csr]") {
  for (const auto& [cols, bytes] : {std::pair<index_t, std::size_t>{65536, 2}, {65537, 4}, {70000, 4}}) {
    matrix<float> w(2, cols);
    matrix<std::uint8_t> kept(2, cols);
    for (index_t j : {index_t{0}, index_t{40000}, cols - 1}) {
      w(1, j) = static_cast<float>(j + 1);
      kept(1, j) = 1;
    }
    const op::sparse_csr o(w.view(), kept, dtype::f32);
    check_storage(o, 3 * 4 + 3 * (bytes + 4));
    CHECK(o.to_dense() == w);
  }
}

TEST_CASE("sparse_csr: errors", "[sparse_csr]") {
  const auto w = random_matrix<float>(6, 8, 1);
  CHECK_THROWS_AS(op::sparse_csr(w.view(), matrix<std::uint8_t>(8, 6), dtype::f32), tersor::error);
  const op::sparse_csr o(w.view(), random_mask(6, 8, 0.5, 3), dtype::f32);
  check_every_damage(o);
  auto bad = save(o);
  bad.tensors["columns"].bytes[0] = std::byte{8};
  bad.tensors["columns"].bytes[1] = std::byte{0};
  check_damaged<op::sparse_csr>(bad, "layer.columns[0]");
  bad = save(o);
  bad.tensors["offsets"].bytes[0] = std::byte{1};
  check_damaged<op::sparse_csr>(bad, "layer.offsets[0]");
  bad = save(o);
  bad.tensors["offsets"].bytes[4] = std::byte{200};
  check_damaged<op::sparse_csr>(bad, "layer.offsets[2]");
  bad = save(o);
  bad.attributes["rows"] = "-1";
  bad.tensors["offsets"] = {dtype::i32, {0}, {}};
  check_damaged<op::sparse_csr>(bad, "layer: shape");
  // a default operator is the empty one
  check_storage(op::sparse_csr(), 4);
}

}  // namespace sparse_csr_tests
