// tersor - tests of op/prepared_sum.hpp: one pass is the sum of its parts, in every mixture
// SPDX-License-Identifier: MIT
#include <tersor/op/prepared_sum.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "kernel/targets.hpp"
#include "op/prepared_checks.hpp"

#include <tersor/op/dense.hpp>
#include <tersor/op/prepared.hpp>

namespace tersor {
namespace prepared_sum_tests {

using kernel::target;
using op::activation_type;
using op::any_operator;
using test::error_of;
using test::error_of_product;
using test::holds;
using test::random_mask;
using test::random_matrix;
using test::targets;

constexpr index_t rows = 53, cols = 160;

any_operator coded(std::uint64_t seed) {
  random_generator random(seed);
  matrix<std::uint8_t> codes(rows, cols);
  for (auto& q : codes.values()) q = static_cast<std::uint8_t>(random.uniform_index(16));
  const matrix<float> scale(rows, 5, 0.1F), zero(rows, 5, 8.0F);
  return op::quantized(codes, op::affine_grid(4, rows, cols, 32, scale.view(), zero.view(), dtype::f16));
}
any_operator thin(std::uint64_t seed) {
  return op::low_rank(random_matrix(rows, 9, seed).view(), random_matrix(9, cols, seed + 1).view(),
                      dtype::f16);
}
any_operator scattered(std::uint64_t seed) {
  return op::sparse_csr(random_matrix(rows, cols, seed).view(), random_mask(rows, cols, 0.05, seed + 1),
                        dtype::f16);
}
any_operator masked(std::uint64_t seed) {
  const auto kept = random_mask(rows, cols, 0.3, seed);
  const auto w = random_matrix(rows, cols, seed + 1);
  return op::sparse_bitmap(
      kept, op::element_store(op::gather_kept(w.view(), dtype::bf16,
                                              [&](index_t r, index_t j) { return kept(r, j) != 0; })));
}
any_operator paired(std::uint64_t seed) {
  matrix<std::uint8_t> kept(rows, cols);
  random_generator random(seed);
  for (index_t r = 0; r < rows; ++r)
    for (index_t j = 0; j < cols; j += 4) {
      const auto first = static_cast<index_t>(random.uniform_index(4));
      kept(r, j + first) = kept(r, j + (first + 1) % 4) = 1;
    }
  const auto w = random_matrix(rows, cols, seed + 1);
  return op::sparse_nm(2, 4, kept,
                       op::element_store(op::gather_kept(
                           w.view(), dtype::f16, [&](index_t r, index_t j) { return kept(r, j) != 0; })));
}
any_operator plain(std::uint64_t seed) { return op::dense(random_matrix(rows, cols, seed).view()); }

std::vector<std::vector<any_operator>> mixtures() {
  return {{coded(1)},
          {coded(1), thin(2), scattered(3)},
          {thin(2), coded(1)},
          {scattered(4), masked(5), paired(6), thin(7), coded(8)},
          {coded(1), coded(9), thin(2)},
          {plain(10), coded(1), plain(11)},
          {plain(10)}};
}

TEST_CASE(
    "prepared sum: products are those of the sum, and come in the same bits from any number of threads") {
  for (const auto& parts : mixtures()) {
    const any_operator w = op::sum<>(op::operator_parts<>(parts));
    const auto dense = w.to_dense();
    for (const target t : targets())
      for (const index_t tokens : {0, 1, 5, 20}) {
        INFO(parts.size() << " parts, " << tokens << " tokens, target " << option_text<target>::format(t));
        const auto p = op::prepare(w, {.target = t});
        REQUIRE(p.as<op::prepared_sum>() != nullptr);
        const auto x = random_matrix(tokens, cols, 12);
        matrix<float> y(tokens, rows), z(tokens, rows);
        p.apply(x.view(), y.view(), {.threads = 1});
        p.apply(x.view(), z.view(), {.threads = 3});
        REQUIRE(y == z);
        REQUIRE(error_of_product(dense, x, y) <= 3e-6);
      }
  }
}

TEST_CASE("prepared sum: with 8-bit activations the grid is the one part that rounds them") {
  const auto q = coded(1), l = thin(2), s = scattered(3);
  const auto x = random_matrix(2, cols, 13);
  matrix<float> y(2, rows), part(2, rows), rest(2, rows);
  const op::prepare_options options{.activations = activation_type::int8};
  op::prepare(q, options).apply(x.view(), y.view());
  for (const auto& other : {l, s}) {
    op::prepare(other, options).apply(x.view(), part.view());
    for (index_t t = 0; t < 2; ++t)
      for (index_t r = 0; r < rows; ++r) y(t, r) += part(t, r);
  }
  op::prepare(op::sum<>(op::operator_parts<>({q, l, s})), options).apply(x.view(), rest.view());
  CHECK(rest == y);
}

TEST_CASE("prepared sum: what it was made of comes back, in its order") {
  for (const auto& parts : mixtures()) {
    const op::sum<> w{op::operator_parts<>(parts)};
    const auto p = op::prepare(w);
    const auto back = p.as<op::prepared_sum>()->restore();
    REQUIRE(back.parts().size() == parts.size());
    for (std::size_t i = 0; i < parts.size(); ++i) {
      CHECK(back.parts()[i].kind() == parts[i].kind());
      CHECK(back.parts()[i].to_dense() == parts[i].to_dense());
      CHECK(storage_of(back.parts()[i]).bytes() == storage_of(parts[i]).bytes());
    }
    CHECK(p.kind() == "sum");
    CHECK(p.to_dense() == w.to_dense());
    CHECK(storage_of(p).bytes() == storage_of(w).bytes());
  }
}

TEST_CASE("prepared sum: strided operands, and wrong ones") {
  const auto p = op::prepare(op::sum<>(op::operator_parts<>({coded(1), thin(2), scattered(3)})));
  const auto x = random_matrix(3, cols, 14);
  matrix<float> expected(3, rows), x_columns(cols, 3), y_columns(rows, 3);
  p.apply(x.view(), expected.view());
  copy(x.view(), x_columns.view().transposed());
  p.apply(x_columns.view().transposed(), y_columns.view().transposed());
  CHECK(copy_as<float>(y_columns.view().transposed()) == expected);
  matrix<float> narrow(3, rows - 1);
  CHECK(holds(error_of([&] { p.apply(x.view(), narrow.view()); }), {"sum", "shape of y"}));
  CHECK(holds(error_of([] { op::prepared_sum{{}}; }), {"at least 1"}));
}

}  // namespace prepared_sum_tests
}  // namespace tersor
