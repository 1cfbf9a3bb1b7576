// tersor - tests of quant/w8a8.hpp
// SPDX-License-Identifier: MIT
#include <tersor/quant/w8a8.hpp>

#include "samples.hpp"

namespace w8a8_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::op::activation_unit;
using tersor::quant::w8a8;
using tersor::quant::weight_unit;

TEST_CASE("w8a8: every weight is within half a step", "[w8a8]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{1, 1}, {1, 20}, {9, 1}, {12, 33}})
    for (const auto unit : {weight_unit::per_row, weight_unit::per_tensor})
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        auto w = random_matrix<float>(out, in, seed);
        for (float& v : w.row(0)) v *= 3;
        const auto result = w8a8{.weights = unit}(w);
        const auto q = result.op.to_dense();
        float all = 0;
        for (const float v : w.values()) all = std::max(all, std::fabs(v));
        for (index_t r = 0; r < out; ++r) {
          float largest = 0;
          for (const float v : w.row(r)) largest = std::max(largest, std::fabs(v));
          const float step = (unit == weight_unit::per_row ? largest : all) / 127.0F;
          for (index_t j = 0; j < in; ++j) {
            CHECK(std::fabs(q(r, j) - w(r, j)) <= 0.50002F * step);
            const auto code = result.op.codes()[static_cast<std::size_t>(r * in + j)];
            CHECK(code >= -127);
            if (std::fabs(w(r, j)) == largest && unit == weight_unit::per_row)
              CHECK(std::abs(static_cast<int>(code)) == 127);
          }
        }
      }
}

TEST_CASE("w8a8: rows of zeros and weights below the smallest step", "[w8a8]") {
  auto w = random_matrix<float>(3, 8, 1);
  for (float& v : w.row(1)) v = 0;
  for (float& v : w.row(2)) v *= 1e-9F;
  const auto q = w8a8{}(w).op.to_dense();
  for (index_t j = 0; j < 8; ++j) CHECK((q(1, j) == 0.0F && q(2, j) == 0.0F));
  CHECK(w8a8{}(matrix<float>(2, 3)).op.to_dense() == matrix<float>(2, 3));
}

TEST_CASE("w8a8: integer products equal products of what the integers stand for", "[w8a8]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{1, 1}, {9, 40}, {5, 3000}})
    for (const auto weights : {weight_unit::per_row, weight_unit::per_tensor})
      for (const auto unit : {activation_unit::per_token, activation_unit::per_tensor}) {
        const auto w = random_matrix<float>(out, in, 1);
        auto x = random_matrix<float>(6, in, 2);
        for (float& v : x.row(3)) v = 0;  // a token of zeros
        for (float& v : x.row(4)) v *= 100;
        const auto op = w8a8{.weights = weights, .activations = unit}(w).op;
        matrix<float> y(6, out);
        op.apply(x.view(), y.view());
        const auto q = tersor::op::quantize_activations(x.view(), unit);
        const auto dense = op.to_dense();
        for (index_t t = 0; t < 6; ++t)
          for (index_t r = 0; r < out; ++r) {
            double expected = 0, magnitude = 0;
            for (index_t j = 0; j < in; ++j) {
              const double term =
                  static_cast<double>(q.codes(t, j) *
                                      q.scale[q.scale.size() == 1 ? 0 : static_cast<std::size_t>(t)]) *
                  static_cast<double>(dense(r, j));
              expected += term;
              magnitude += std::abs(term);
            }
            // the fake-quantized operands are themselves rounded to float
            CHECK(std::abs(static_cast<double>(y(t, r)) - expected) <= 1e-6 * magnitude);
          }
      }
}

TEST_CASE("w8a8: a fixed scale is the largest input of the calibration over 127", "[w8a8]") {
  const auto w = random_matrix<float>(5, 12, 1);
  auto x = random_matrix<float>(40, 12, 2);
  x(17, 3) = -9;
  tersor::calib::statistics inputs(12);
  inputs.add(x);
  const w8a8 fixed{.activations = activation_unit::fixed_tensor},
      dynamic{.activations = activation_unit::per_tensor};
  CHECK(fixed.needed() == tersor::solve::calibration_need::sums);
  CHECK(dynamic.needed() == tersor::solve::calibration_need::none);
  // On the calibration data itself it is the scale of the whole tensor.
  matrix<float> y(40, 5), expected(40, 5);
  fixed(w, &inputs).op.apply(x.view(), y.view());
  dynamic(w).op.apply(x.view(), expected.view());
  CHECK(y == expected);
  CHECK(holds(error_text([&] { fixed(w); }), "w8a8"));
}

TEST_CASE("w8a8: storage, constraints, errors", "[w8a8]") {
  const auto w = random_matrix<float>(16, 64, 1);
  CHECK(w8a8{}(w).report.bits_per_weight == 8.0 + 32.0 / 64);
  CHECK(w8a8{.weights = weight_unit::per_tensor}(w).report.bits_per_weight == 8.0 + 32.0 / (16 * 64));
  tersor::solve::layer l{.weight = w};
  l.sparsity.kept = random_mask(16, 64, 0.5, 2);
  for (index_t i = 0; i < w.size(); ++i)
    if (l.sparsity.kept.data()[i] == 0) l.weight.data()[i] = 0;
  const auto outcome = w8a8{}.compress(l);
  CHECK(outcome.sparsity.kept == l.sparsity.kept);
  const auto q = outcome.op.to_dense();
  for (index_t i = 0; i < w.size(); ++i)
    if (l.sparsity.kept.data()[i] == 0) CHECK(q.data()[i] == 0.0F);
  auto bad = w;
  bad(5, 6) = not_a_number;
  CHECK(error_text([&] { w8a8{}(bad); }) == "weight[5, 6] = nan: expected a finite number");
  CHECK(holds(error_text([&] { w8a8{}(matrix<float>(2, 0)); }), "weight = 2 x 0"));
}

}  // namespace w8a8_tests
