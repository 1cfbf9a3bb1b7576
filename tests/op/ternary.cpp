// tersor - tests of op/ternary.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/ternary.hpp>

#include "quantized_samples.hpp"

namespace ternary_tests {

using namespace tersor_test;
using tersor::index_t;

struct sample {
  matrix<std::uint8_t> digits;
  matrix<float> scales;
  op::ternary o;
};
sample random_ternary(index_t rows, index_t cols, index_t group, bool tensor, dtype type = dtype::f32) {
  tersor::random_generator g(5);
  sample s{
      matrix<std::uint8_t>(rows, cols), matrix<float>(tensor ? 1 : rows, (cols + group - 1) / group), {}};
  for (auto& d : s.digits.values()) d = static_cast<std::uint8_t>(g.uniform_index(3));
  for (float& v : s.scales.values()) v = tersor::round_to(type, static_cast<float>(0.1 + g.uniform()));
  s.o = op::ternary(s.digits, group, s.scales.view(), type);
  return s;
}

TEST_CASE("ternary: by hand", "[ternary]") {
  matrix<std::uint8_t> digits(2, 3);
  const std::uint8_t d[] = {0, 1, 2, 2, 2, 0};
  std::ranges::copy(d, digits.values().begin());
  const op::ternary o(digits, 3, matrix<float>(1, 1, 0.5F).view(), dtype::f16);
  const float w[] = {-0.5F, 0, 0.5F, 0.5F, 0.5F, -0.5F};
  CHECK(std::ranges::equal(o.to_dense().values(), w));
  check_storage(o, 2 + 2);  // six weights in two bytes, one scale
}

TEST_CASE("ternary: scales of groups, of rows and of the tensor", "[ternary]") {
  for (const index_t group : {1, 4, 5, 20, 300})
    for (const bool tensor : {false, true})
      for (const auto type : {dtype::f32, dtype::f16, dtype::bf16})
        for (const auto& [rows, cols] :
             {std::pair<index_t, index_t>{1, 1}, {1, 21}, {6, 1}, {5, 16}, {9, 123}}) {
          const auto s = random_ternary(rows, cols, group, tensor, type);
          INFO("groups of " << group << ", " << rows << " x " << cols);
          const auto w = s.o.to_dense();
          for (index_t r = 0; r < rows; ++r)
            for (index_t j = 0; j < cols; ++j)
              REQUIRE(w(r, j) ==
                      s.scales(tensor ? 0 : r, j / group) * (static_cast<float>(s.digits(r, j)) - 1));
          REQUIRE(s.o.digits() == s.digits);
          check_storage(s.o, (static_cast<std::size_t>(rows * cols) + 4) / 5 +
                                 static_cast<std::size_t>(s.scales.size()) * (type == dtype::f32 ? 4 : 2));
        }
  const auto s = random_ternary(9, 123, 16, false);
  check_products(s.o, absolute(wide(s.o.to_dense())), 1);
}

TEST_CASE("ternary: empty matrices, damaged files, errors", "[ternary]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{0, 0}, {0, 5}, {5, 0}})
    for (const bool tensor : {false, true})
      CHECK(random_ternary(rows, cols, 8, tensor).o.to_dense() == matrix<float>(rows, cols));
  check_every_damage(random_ternary(4, 33, 8, false).o);
  const matrix<std::uint8_t> digits(2, 4);
  CHECK_THROWS_AS(op::ternary(digits, 4, matrix<float>(3, 1).view()), tersor::error);
  CHECK_THROWS_AS(op::ternary(digits, 4, matrix<float>(2, 2).view()), tersor::error);
  CHECK_THROWS_AS(op::ternary(digits, 0, matrix<float>(2, 1).view()), tersor::error);
  CHECK_THROWS_AS(op::ternary(matrix<std::uint8_t>(2, 4, 3), 4, matrix<float>(2, 1).view()), tersor::error);
}

}  // namespace ternary_tests
