// tersor - tests of adapters/ia3.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/ia3.hpp>

#include "contract_checks.hpp"

namespace ia3_tests {

using namespace tersor_test;
using tersor::adapters::ia3;

TEST_CASE("ia3: the contract", "[ia3]") {
  for (const auto& shape : adapter_shapes)
    for (const bool feedforward : {false, true}) {
      auto s = ia3{.feedforward = feedforward}.init<double>(matrix<double>(shape.out, shape.in));
      CHECK(s.trainable_count() == (feedforward ? shape.in : shape.out));
      check_identity(s, 1);
      randomise(s, 2);
      s.tensors()[0].value.data()[0] = 0;  // unmerging is exact all the same
      check_contract(s, shape.tokens, 3, {.merge_tolerance = 0});
    }
}

TEST_CASE("ia3: by hand", "[ia3]") {
  dense_layer<double> layer{matrix<double>(1, 2, 1.0), {3}};
  matrix<double> x(1, 2, 2.0), y(1, 1);
  auto out = ia3{}.init<double>(layer);
  out.tensors()[0].value(0, 0) = 10;
  out.forward(layer, x, y);
  CHECK(y(0, 0) == 70);  // the bias is scaled as well
  auto in = ia3{.feedforward = true}.init<double>(layer);
  in.tensors()[0].value(0, 1) = 10;
  in.forward(layer, x, y);
  CHECK(y(0, 0) == 25);
}

}  // namespace ia3_tests
