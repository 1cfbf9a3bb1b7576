// tersor - tests of adapters/dora.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/dora.hpp>

#include "contract_checks.hpp"

namespace dora_tests {

using namespace tersor_test;
using tersor::adapters::dora;
using tersor::adapters::dora_state;

TEST_CASE("dora: by hand", "[dora]") {
  matrix<double> a(1, 2), b(1, 1, 1.0), w(1, 2), x(1, 2, 1.0), y(1, 1);
  a(0, 1) = 4;
  w(0, 0) = 3;
  const dora_state<double> s(a, b, {10}, 1);  // W + B A = (3, 4), norm 5
  dense_layer<double> layer{w, {1}};
  s.forward(layer, x, y);
  CHECK(std::abs(y(0, 0) - (2 * 7 + 1)) <= 1e-12);  // the bias is not scaled
  s.effective(layer);
  CHECK(std::abs(s.effective(layer).weight(0, 0) - 6) <= 1e-12);
  CHECK(s.effective(layer).bias == std::vector<double>{1});
}

TEST_CASE("dora: the contract", "[dora]") {
  for (const auto& shape : adapter_shapes)
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      const dora o{.rank = 2, .alpha = 3};
      const auto layer = random_layer(shape.out, shape.in, seed);
      auto s = o.init<double>(layer, random_generator(seed));
      CHECK(s.trainable_count() == 2 * (shape.in + shape.out) + shape.out);
      check_identity(s, seed);  // the same layer: m are its norms
      randomise(s, seed + 5);
      // n is a constant in backward: finite differences hold it at that of `s`
      const dora_state<double> held = s;
      check_contract<dora_state<double>>(
          s, shape.tokens, seed, {.finite_difference_of_weight = false},
          [held](const dora_state<double>& now, const dense_layer<double>& l, const matrix<double>& x) {
            const auto n = held.norms(l.weight);
            auto w = l.weight;
            tersor::linalg::gemm<double>(now.scale(), now.b(), now.a(), 1.0, w.view());
            auto y = times(x, transposed(w));
            for (index_t t = 0; t < y.rows(); ++t)
              for (index_t i = 0; i < y.cols(); ++i) {
                const auto k = static_cast<std::size_t>(i);
                y(t, i) = y(t, i) * now.magnitude()[k] / n[k] + l.bias[k];
              }
            return y;
          });
    }
}

TEST_CASE("dora: unmerging uses the norms of merging, and rows of zero magnitude", "[dora]") {
  auto layer = random_layer(6, 9, 1);
  auto s = dora{.rank = 3}.init<double>(layer, random_generator(2));
  randomise(s, 3);
  s.tensors()[2].value(0, 4) = 0;
  const auto before = layer;
  s.merge(layer);
  for (const double v : layer.weight.row(4)) CHECK(v == 0);
  s.unmerge(layer);
  CHECK(layer.weight == before.weight);  // the rows were kept
}

TEST_CASE("dora: errors", "[dora]") {
  matrix<double> w(3, 4, 1.0);
  CHECK_THROWS_AS(dora{.rank = 0}.init<double>(w, random_generator(1)), tersor::error);
  CHECK_THROWS_AS(dora_state<double>(matrix<double>(2, 4), matrix<double>(3, 2), {1, 1}, 1), tersor::error);
  for (double& v : w.row(1)) v = 0;
  CHECK_THROWS_AS(dora{}.init<double>(w, random_generator(1)), tersor::error);  // no direction
}

}  // namespace dora_tests
