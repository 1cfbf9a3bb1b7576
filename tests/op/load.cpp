// tersor - tests of op/load.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/every_operator.hpp>

#include <set>

#include "quantized_samples.hpp"

namespace load_tests {

using namespace tersor_test;
using tersor::index_t;

TEST_CASE("load: every kind comes back as its own type", "[load]") {
  const auto w = random_matrix<float>(6, 8, 1);
  matrix<std::uint8_t> half(6, 8), codes(6, 8, 3);
  for (index_t i = 0; i < half.size(); ++i) half.data()[i] = i % 4 < 2;
  const auto kept = op::gather_kept(w.view(), dtype::f32, [](index_t, index_t j) { return j % 4 < 2; });
  const op::dense dense(w.view());
  const op::any_operator all[] = {
      dense,
      op::quantized(codes, random_grid(6, 8, {}, 1).grid),
      op::binary_coded(matrix<std::uint8_t>(6, 8, 1), 1, 8, real_array(dtype::f16, 6)),
      op::ternary(matrix<std::uint8_t>(6, 8, 2), 8, matrix<float>(1, 1, 2).view()),
      op::sparse_nm(2, 4, half, op::element_store(kept)),
      op::sparse_bitmap(half, op::element_store(kept)),
      op::sparse_csr(w.view(), half, dtype::f32),
      op::low_rank(w.view(), matrix<float>(8, 8, 1.0F).view()),
      op::w8a8(2, 2, {1, 2, 3, 4}, {1.0F}, op::activation_unit::per_tensor),
      op::permuted<>(dense, {7, 6, 5, 4, 3, 2, 1, 0}),
      op::scaled<>(dense, real_array(), real_array()),
      op::sum<>(op::operator_parts<>({dense, dense})),
      op::product<>(op::operator_parts<>({dense}))};
  std::set<std::string_view> kinds;
  for (const auto& o : all) {
    INFO(o.kind());
    CHECK(kinds.insert(o.kind()).second);
    const auto stored = save(o);
    const auto again = load<op::any_operator>(stored);
    CHECK(again.kind() == o.kind());
    CHECK(save(again) == stored);
    CHECK(again.to_dense() == o.to_dense());
    matrix<float> x(2, o.cols(), 0.5F), y(2, o.rows()), z(2, o.rows());
    o.apply(x.view(), y.view());
    again.apply(x.view(), z.view());
    CHECK(y == z);
  }
  CHECK(load<op::any_operator>(save(all[7])).as<op::low_rank>());
}

TEST_CASE("load: an unknown kind is an error that lists the known ones", "[load]") {
  stored_operator stored;
  stored.kind = "denser";
  check_damaged<op::any_operator>(stored, "layer: kind = denser");
  check_damaged<op::any_operator>(stored, "sparse_csr");
  stored.kind = "";
  check_damaged<op::any_operator>(stored, "layer: kind");
}

}  // namespace load_tests
