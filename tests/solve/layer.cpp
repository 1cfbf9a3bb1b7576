// tersor - tests of solve/layer.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/dense.hpp>
#include <tersor/solve/layer.hpp>

#include "../quant/samples.hpp"

namespace layer_tests {

using namespace tersor_test;
using namespace tersor::solve;
using tersor::index_t;
namespace op = tersor::op;

/// Stores a weight in 16 bits.
struct halving {
  outcome compress(const layer& l, const tersor::context& = {}) const {
    check_layer(l);
    return {op::dense(l.weight.view(), tersor::dtype::bf16), l.sparsity, {"halved"}};
  }
};

TEST_CASE("layer: what a compressor refuses", "[layer]") {
  layer l{.name = "gate", .weight = random_matrix<float>(3, 4, 1)};
  check_layer(l);
  l.weight(1, 2) = not_a_number;
  CHECK(error_text([&] { check_layer(l); }) == "gate[1, 2] = nan: expected a finite number");
  l.weight(1, 2) = -infinite;
  CHECK(error_text([&] { check_layer(l); }) == "gate[1, 2] = -inf: expected a finite number");
  l.weight(1, 2) = 0;
  l.sparsity.kept = matrix<std::uint8_t>(3, 5);
  CHECK(holds(error_text([&] { check_layer(l); }), "sparsity of gate = 3 x 5: expected 3 x 4"));
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{0, 4}, {4, 0}, {0, 0}}) {
    const layer empty{.name = "gate", .weight = matrix<float>(rows, cols)};
    CHECK(holds(error_text([&] { check_layer(empty); }), "gate = "));
  }
}

TEST_CASE("layer: statistics that a technique asks for", "[layer]") {
  layer l{.name = "gate", .weight = matrix<float>(3, 4)};
  CHECK(error_text([&] { l.require_inputs("gptq"); }) ==
        "gptq: calibration of gate = empty: expected at least one sequence");
  tersor::calib::statistics none(4), other(5), good(4);
  l.inputs = &none;
  CHECK(holds(error_text([&] { l.require_inputs("gptq"); }), "empty"));
  other.add(random_matrix<float>(2, 5, 1));
  l.inputs = &other;
  CHECK(holds(error_text([&] { l.require_inputs("gptq"); }),
              "gptq: in_features of the statistics of gate = 5: expected 4"));
  good.add(random_matrix<float>(2, 4, 1));
  l.inputs = &good;
  CHECK(&l.require_inputs("gptq") == &good);
}

TEST_CASE("layer: the report by its definitions", "[layer]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {5, 9}, {16, 4}})
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      const auto w = random_matrix<float>(rows, cols, seed), x = random_matrix<float>(7, cols, seed + 1);
      const auto approximation = random_matrix<float>(rows, cols, seed + 2);
      const op::dense stored(approximation.view());
      const auto inputs = statistics_of(x);
      const auto r = measure(w.view(), stored, &inputs);
      double error = 0, norm = 0, worst = 0, output_error = 0, output_norm = 0;
      for (index_t i = 0; i < rows; ++i) {
        for (index_t j = 0; j < cols; ++j) {
          const double a = static_cast<double>(w(i, j)), d = a - static_cast<double>(approximation(i, j));
          error += d * d;
          norm += a * a;
          worst = std::max(worst, std::abs(d));
        }
        for (index_t t = 0; t < 7; ++t) {
          double y = 0, e = 0;
          for (index_t j = 0; j < cols; ++j) {
            const double a = static_cast<double>(w(i, j)), v = static_cast<double>(x(t, j));
            y += a * v;
            e += (a - static_cast<double>(approximation(i, j))) * v;
          }
          output_error += e * e;
          output_norm += y * y;
        }
      }
      CHECK(std::abs(r.relative_error - std::sqrt(error / norm)) <= 1e-9 * r.relative_error);
      CHECK(std::abs(r.max_error - worst) <= 1e-9 * worst);
      REQUIRE(r.weighted_error.has_value());
      CHECK(std::abs(*r.weighted_error - std::sqrt(output_error / output_norm)) <= 1e-6 * *r.weighted_error);
      CHECK(r.bytes == static_cast<std::size_t>(4 * rows * cols));
      CHECK(r.bits_per_weight == 32.0);
      CHECK_FALSE(measure(w.view(), stored, nullptr).weighted_error.has_value());
      const auto sums = statistics_of(x, false);
      CHECK_FALSE(measure(w.view(), stored, &sums).weighted_error.has_value());
    }
}

TEST_CASE("layer: errors of exact and of dead layers are 0", "[layer]") {
  const auto w = random_matrix<float>(4, 6, 1);
  const auto zeros = statistics_of(matrix<float>(3, 6));
  const auto exact = measure(w.view(), op::dense(w.view()), &zeros);
  CHECK(exact.relative_error == 0.0);
  CHECK(*exact.weighted_error == 0.0);
  const matrix<float> nothing(4, 6);
  CHECK(*measure(w.view(), op::dense(nothing.view()), &zeros).weighted_error == 0.0);
  CHECK(measure(nothing.view(), op::dense(nothing.view()), nullptr).relative_error == 0.0);
}

TEST_CASE("layer: a direct call reports what it did", "[layer]") {
  const auto w = random_matrix<float>(4, 6, 1);
  const auto inputs = statistics_of(random_matrix<float>(9, 6, 2));
  const auto named = compress_weight<op::dense>(halving{}, w, &inputs, {});
  CHECK(named.op.rows() == 4);
  CHECK(named.report.bytes == 48);
  CHECK(named.report.bits_per_weight == 16.0);
  CHECK(named.report.relative_error > 0.0);
  CHECK(named.report.relative_error < 0x1p-8);
  CHECK(named.report.weighted_error.has_value());
  CHECK(named.report.seconds >= 0.0);
  CHECK(named.report.notes == std::vector<std::string>{"halved"});
  const auto erased = compress_weight<op::any_operator>(halving{}, w, nullptr, {});
  CHECK(erased.op.to_dense() == named.op.to_dense());
}

}  // namespace layer_tests
