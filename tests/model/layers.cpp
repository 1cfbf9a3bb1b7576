// tersor - tests of model/layers.hpp
// SPDX-License-Identifier: MIT
#include <tersor/model/layers.hpp>

#include "catch.hpp"

namespace tersor {
namespace layers_tests {

TEST_CASE("layers: attention to one key returns its value, to equal keys the mean") {
  matrix<float> q(3, 4, 1.0F), k(3, 4), v(3, 4), out(3, 4);
  for (index_t t = 0; t < 3; ++t)
    for (index_t j = 0; j < 4; ++j) v(t, j) = static_cast<float>(t + 1);
  model::causal_attention(q.view(), k.view(), v.view(), 2, 2, out.view());
  CHECK(out(0, 0) == 1.0F);
  CHECK(std::abs(out(1, 1) - 1.5F) < 1e-6F);
  CHECK(std::abs(out(2, 3) - 2.0F) < 1e-6F);
}

TEST_CASE("layers: RMS norm and SwiGLU") {
  matrix<float> x(1, 4, 2.0F), y(1, 4);
  model::rms_norm(x.view(), std::vector<float>{1, 2, 3, 4}, 0.0F, y.view());
  CHECK(y(0, 0) == 1.0F);
  CHECK(y(0, 3) == 4.0F);
  matrix<float> gate(1, 2), up(1, 2, 3.0F);
  gate(0, 1) = 1.0F;
  model::swiglu(gate, up);
  CHECK(gate(0, 0) == 0.0F);
  CHECK(std::abs(static_cast<double>(gate(0, 1)) - 3.0 / (1.0 + std::exp(-1.0))) < 1e-6);
}

}  // namespace layers_tests
}  // namespace tersor
