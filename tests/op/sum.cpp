// tersor - tests of op/sum.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/every_operator.hpp>

#include "quantized_samples.hpp"

namespace sum_tests {

using namespace tersor_test;
using tersor::index_t;

op::quantized random_quantized(index_t rows, index_t cols, const grid_kind& k) {
  matrix<std::uint8_t> codes(rows, cols);
  std::ranges::copy(random_codes(rows * cols, k.bits, 4), codes.values().begin());
  return {codes, random_grid(rows, cols, k, 3).grid};
}

TEST_CASE("sum: products, storage and loading", "[sum]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {1, 20}, {20, 1}, {9, 31}}) {
    const auto q = random_quantized(rows, cols, {});
    const op::low_rank l(random_matrix<float>(rows, 2, 5).view(), random_matrix<float>(2, cols, 6).view());
    matrix<std::uint8_t> kept(rows, cols);
    for (index_t i = 0; i < kept.size(); i += 7) kept.data()[i] = 1;
    const op::sparse_csr s(random_matrix<float>(rows, cols, 7).view(), kept, dtype::f16);
    const auto bytes = op::storage_of(q).bytes() + op::storage_of(l).bytes() + op::storage_of(s).bytes();

    auto magnitude = times(absolute(wide(l.a())), absolute(wide(l.b())));
    const auto wq = wide(q.to_dense()), ws = wide(s.to_dense()), wl = wide(l.to_dense());
    for (index_t i = 0; i < magnitude.size(); ++i)
      magnitude.data()[i] += std::abs(wq.data()[i]) + std::abs(ws.data()[i]);
    const op::sum typed(q, l, s);
    static_assert(
        std::is_same_v<decltype(typed), const op::sum<op::quantized, op::low_rank, op::sparse_csr>>);
    check_products(typed, magnitude, 12);
    CHECK(typed.storage().bytes() == bytes);
    const op::sum<> erased(op::operator_parts<>({q, l, s}));
    check_operator(erased, bytes, magnitude, 12);
    CHECK(save(typed) == save(erased));
    CHECK(erased.to_dense() == typed.to_dense());
    for (index_t i = 0; i < magnitude.size(); ++i)
      REQUIRE(std::abs(static_cast<double>(erased.to_dense().data()[i]) -
                       (wq.data()[i] + ws.data()[i] + wl.data()[i])) <= 0x1p-21 * magnitude.data()[i]);
    CHECK(op::storage_of(erased).parts.front().name.starts_with("0."));
  }
}

TEST_CASE("sum: one part is that part", "[sum]") {
  const op::dense w(random_matrix<float>(5, 6, 1).view());
  check_operator(op::sum<>(op::operator_parts<>({w})), 5 * 6 * 4);
}

TEST_CASE("sum: errors", "[sum]") {
  const op::dense w(random_matrix<float>(5, 6, 1).view()), other(random_matrix<float>(6, 5, 1).view());
  CHECK_THROWS_AS(op::sum(w, other), tersor::error);
  CHECK_THROWS_AS(op::sum<>(op::operator_parts<>({w, other})), tersor::error);
  const op::sum<> o(op::operator_parts<>({w, w}));
  check_every_damage(o);
  auto bad = save(o);
  bad.attributes["parts"] = "3";
  check_damaged<op::sum<>>(bad, "layer = incomplete: expected part 2");
  bad.attributes["parts"] = "0";
  check_damaged<op::sum<>>(bad, "layer: parts = 0");
  bad = save(o);
  bad.parts.at("1").tensors.at("values").shape = {6, 5};
  check_damaged<op::sum<>>(bad, "layer.1.values");
}

}  // namespace sum_tests
