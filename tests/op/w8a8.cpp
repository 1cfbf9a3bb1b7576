// tersor - tests of op/w8a8.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/w8a8.hpp>

#include "operator_checks.hpp"

namespace w8a8_tests {

using namespace tersor_test;
using tersor::index_t;

constexpr float fixed_scale = 0.02F;  // of random activations, of which it clips some

struct sample {
  std::vector<std::int8_t> codes;
  std::vector<float> scale;  // [rows] or one
  op::w8a8 o;
};
sample random_w8a8(index_t rows, index_t cols, bool one_scale, op::activation_unit unit) {
  tersor::random_generator g(9);
  sample s;
  s.codes.resize(static_cast<std::size_t>(rows * cols));
  for (auto& c : s.codes) c = static_cast<std::int8_t>(static_cast<int>(g.uniform_index(256)) - 128);
  s.scale.resize(one_scale ? 1 : static_cast<std::size_t>(rows));
  for (float& v : s.scale) v = static_cast<float>(0.001 + g.uniform());
  s.o = op::w8a8(rows, cols, s.codes, s.scale, unit, fixed_scale);
  return s;
}

TEST_CASE("w8a8: activations by hand", "[w8a8]") {
  const float x[] = {127, -63.5F, 0.5F, 1.5F, 0, 0, 0, 0};
  const auto q = op::quantize_activations(tersor::as_view(x, {2, 4}), op::activation_unit::per_token);
  CHECK(q.scale == std::vector<float>{1.0F, 1e-5F / 127});
  const float codes[] = {127, -64, 0, 2, 0, 0, 0, 0};  // halves go to the even code
  CHECK(std::ranges::equal(q.codes.values(), codes));
  CHECK(op::quantize_activations(tersor::as_view(x, {2, 4}), op::activation_unit::per_tensor).scale.size() ==
        1);
}

TEST_CASE("w8a8: a fixed scale clips what lies beyond it", "[w8a8]") {
  const float x[] = {1, -0.24F, 1000, -1000};
  const auto q =
      op::quantize_activations(tersor::as_view(x, {1, 4}), op::activation_unit::fixed_tensor, 0.5F);
  const float codes[] = {2, 0, 127, -127};
  CHECK(std::ranges::equal(q.codes.values(), codes));
  CHECK(q.scale == std::vector<float>{0.5F});
}

TEST_CASE("w8a8: apply is the integer product, in any layout and with any threads", "[w8a8]") {
  for (const auto unit :
       {op::activation_unit::per_token, op::activation_unit::per_tensor, op::activation_unit::fixed_tensor})
    for (const bool one_scale : {false, true})
      for (const auto& [rows, cols] :
           {std::pair<index_t, index_t>{1, 1}, {1, 40}, {40, 1}, {13, 31}, {40, 2100}}) {
        const sample s = random_w8a8(rows, cols, one_scale, unit);
        const auto& codes = s.codes;
        const auto& scale = s.scale;
        const op::w8a8& o = s.o;
        const auto weight = o.to_dense();
        for (index_t tokens : {0, 1, 4}) {
          const auto x = random_matrix<float>(tokens, cols, 3);
          const auto q = op::quantize_activations(x.view(), unit, fixed_scale);
          matrix<float> y(tokens, rows);
          o.apply(x.view(), y.view(), threads(1));
          for (index_t t = 0; t < tokens; ++t)
            for (index_t r = 0; r < rows; ++r) {
              long long sum = 0;
              for (index_t j = 0; j < cols; ++j)
                sum += static_cast<long long>(q.codes(t, j)) * codes[static_cast<std::size_t>(r * cols + j)];
              const double x_scale = q.scale[q.scale.size() == 1 ? 0 : static_cast<std::size_t>(t)];
              const double w_scale = scale[one_scale ? 0 : static_cast<std::size_t>(r)];
              REQUIRE(y(t, r) == static_cast<float>(static_cast<double>(sum) * x_scale * w_scale));
            }
          for (const bool x_columns : {false, true})
            for (const bool y_columns : {false, true}) {
              strided sx(x, x_columns), sy(matrix<float>(tokens, rows), y_columns);
              o.apply(sx.view, sy.view, threads(3));
              REQUIRE(tersor::copy_as<float>(sy.view) == y);
            }
        }
        check_product(rows, cols, wide(weight), absolute(wide(weight)), 1,
                      [&](auto x, auto y, const auto& ctx) { o.apply_transposed(x, y, ctx); });
        check_storage(o,
                      codes.size() + 4 * scale.size() + (unit == op::activation_unit::fixed_tensor ? 4 : 0));
      }
}

TEST_CASE("w8a8: the error of 8-bit activations is half a step per input", "[w8a8]") {
  const auto o = random_w8a8(17, 300, false, op::activation_unit::per_token).o;
  const auto x = random_matrix<float>(6, 300, 4);
  const auto q = op::quantize_activations(x.view(), op::activation_unit::per_token);
  matrix<float> y(6, 17);
  o.apply(x.view(), y.view());
  const auto w = o.to_dense();
  const auto expected = times(wide(x), transposed(wide(w)));
  for (index_t t = 0; t < 6; ++t)
    for (index_t r = 0; r < 17; ++r) {
      double bound = 0;
      for (const float v : w.row(r)) bound += std::abs(static_cast<double>(v));
      const double step = static_cast<double>(q.scale[static_cast<std::size_t>(t)]);
      CHECK(std::abs(static_cast<double>(y(t, r)) - expected(t, r)) <= 0.5001 * step * bound);
    }
}

TEST_CASE("w8a8: errors", "[w8a8]") {
  const auto unit = op::activation_unit::per_token;
  CHECK_THROWS_AS(op::w8a8(2, 3, std::vector<std::int8_t>(5), {1.0F}, unit), tersor::error);
  CHECK_THROWS_AS(op::w8a8(2, 3, std::vector<std::int8_t>(6), {1.0F, 1.0F, 1.0F}, unit), tersor::error);
  const auto o = random_w8a8(4, 6, false, unit).o;
  check_every_damage(o);
  const auto fixed = op::activation_unit::fixed_tensor;
  check_every_damage(random_w8a8(4, 6, false, fixed).o);
  CHECK_THROWS_AS(op::w8a8(2, 3, std::vector<std::int8_t>(6), {1.0F}, fixed), tersor::error);
  matrix<float> x(3, 5), y(3, 4);
  CHECK_THROWS_AS(o.apply(x.view(), y.view()), tersor::error);
}

}  // namespace w8a8_tests
