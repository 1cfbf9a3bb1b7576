// tersor - tests of op/permuted.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/every_operator.hpp>

#include "operator_checks.hpp"

namespace permuted_tests {

using namespace tersor_test;
using tersor::index_t;

std::vector<std::int32_t> random_permutation(index_t n) {
  std::vector<std::int32_t> p(static_cast<std::size_t>(n));
  for (std::size_t j = 0; j < p.size(); ++j) p[j] = static_cast<std::int32_t>(j);
  tersor::random_generator(11).shuffle(std::span(p));
  return p;
}

TEST_CASE("permuted: by hand", "[permuted]") {
  const float w[] = {1, 2, 3, 4, 5, 6};
  const op::permuted o(op::dense(tersor::as_view(w, {2, 3})), {2, 0, 1});
  const float expected[] = {2, 3, 1, 5, 6, 4};  // inner column 0 is column 2 ...
  CHECK(std::ranges::equal(o.to_dense().values(), expected));
}

TEST_CASE("permuted: products, storage and loading", "[permuted]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {1, 20}, {20, 1}, {9, 31}}) {
    const auto w = random_matrix<float>(rows, cols, 1);
    const auto perm = random_permutation(cols);
    const auto bytes = static_cast<std::size_t>(rows * cols) * 2 + static_cast<std::size_t>(cols) * 4;
    const op::permuted<op::dense> typed(op::dense(w.view(), dtype::bf16), perm);
    check_operator(typed, bytes);
    check_operator(op::permuted<>(op::dense(w.view(), dtype::bf16), perm), bytes);
    for (index_t j = 0; j < cols; ++j)
      for (index_t r = 0; r < rows; ++r)
        CHECK(typed.to_dense()(r, perm[static_cast<std::size_t>(j)]) ==
              tersor::round_to(dtype::bf16, w(r, j)));
    const op::permuted<op::permuted<op::dense>> nested(typed, perm);
    check_operator(nested, bytes + static_cast<std::size_t>(cols) * 4);
  }
}

TEST_CASE("permuted: errors", "[permuted]") {
  const op::dense w(random_matrix<float>(3, 4, 1).view());
  CHECK_THROWS_AS(op::permuted(w, {0, 1, 2}), tersor::error);
  CHECK_THROWS_AS(op::permuted(w, {0, 1, 2, 2}), tersor::error);
  CHECK_THROWS_AS(op::permuted(w, {0, 1, 2, 4}), tersor::error);
  CHECK_THROWS_AS(op::permuted(w, {0, 1, 2, -1}), tersor::error);
  const op::permuted<> o(w, {3, 1, 0, 2});
  check_every_damage(o);
  auto bad = save(o);
  bad.tensors["perm"].bytes[0] = std::byte{1};
  check_damaged<op::permuted<>>(bad, "layer: perm");
  bad = save(o);
  bad.parts.clear();
  check_damaged<op::permuted<>>(bad, "layer");
  bad = save(o);
  bad.parts.at("inner").tensors.clear();
  check_damaged<op::permuted<>>(bad, "layer.inner");
}

}  // namespace permuted_tests
