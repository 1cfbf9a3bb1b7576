// tersor - tests of op/product.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/every_operator.hpp>

#include "operator_checks.hpp"

namespace product_tests {

using namespace tersor_test;
using tersor::index_t;

TEST_CASE("product: by hand", "[product]") {
  const float a[] = {1, 2, 0, 1}, b[] = {1, 0, 1, 3, 1, 0};
  const op::product o(op::dense(tersor::as_view(a, {2, 2})), op::dense(tersor::as_view(b, {2, 3})));
  const float expected[] = {7, 2, 1, 3, 1, 0};
  CHECK(std::ranges::equal(o.to_dense().values(), expected));
}

TEST_CASE("product: products, storage and loading", "[product]") {
  for (const auto& [rows, inner, cols] :
       {std::array<index_t, 3>{1, 1, 1}, {1, 7, 20}, {20, 7, 1}, {9, 1, 12}, {9, 40, 31}}) {
    const op::dense a(random_matrix<float>(rows, inner, 1).view(), dtype::bf16);
    const op::dense b(random_matrix<float>(inner, 5, 2).view());
    const op::dense c(random_matrix<float>(5, cols, 3).view());
    const auto wa = wide(a.to_dense()), wb = wide(b.to_dense()), wc = wide(c.to_dense());
    const auto magnitude = times(times(absolute(wa), absolute(wb)), absolute(wc)),
               exact = times(times(wa, wb), wc);
    const auto bytes = static_cast<std::size_t>(rows * inner * 2 + inner * 5 * 4 + 5 * cols * 4);
    const index_t steps = 2 * (inner + 5 + rows) + 4;
    const op::product typed(a, b, c);
    check_products(typed, magnitude, steps);
    const op::product<> erased(op::operator_parts<>({a, b, c}));
    check_operator(erased, bytes, magnitude, steps);
    CHECK(save(typed) == save(erased));
    CHECK(typed.storage().bytes() == bytes);
    const auto dense = typed.to_dense();
    for (index_t i = 0; i < dense.size(); ++i)
      REQUIRE(std::abs(static_cast<double>(dense.data()[i]) - exact.data()[i]) <=
              static_cast<double>(steps) * 0x1p-23 * magnitude.data()[i]);
  }
}

TEST_CASE("product: one part is that part, and products nest", "[product]") {
  const op::dense w(random_matrix<float>(5, 6, 1).view()), v(random_matrix<float>(6, 3, 2).view());
  check_operator(op::product<>(op::operator_parts<>({w})), 5 * 6 * 4, 6);
  const op::product<> inner(op::operator_parts<>({w, v}));
  const op::sum<> outer(op::operator_parts<>({inner, op::dense(random_matrix<float>(5, 3, 3).view())}));
  const auto stored = save(outer);
  CHECK(stored.parts.at("0").parts.at("1").tensors.contains("values"));
  CHECK(save(load<op::sum<>>(stored)) == stored);
  CHECK(op::storage_of(outer).parts[1].name == "0.1.values");
}

TEST_CASE("product: errors", "[product]") {
  const op::dense w(random_matrix<float>(5, 6, 1).view()), other(random_matrix<float>(5, 6, 1).view());
  CHECK_THROWS_AS(op::product(w, other), tersor::error);
  CHECK_THROWS_AS(op::product<>(op::operator_parts<>({w, other})), tersor::error);
  const op::product<> o(op::operator_parts<>({w, op::dense(random_matrix<float>(6, 2, 1).view())}));
  check_every_damage(o);
  auto bad = save(o);
  bad.parts.at("1").attributes.at("rows") = "5";
  check_damaged<op::product<>>(bad, "layer.1.values");
}

}  // namespace product_tests
