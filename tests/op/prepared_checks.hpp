// tersor - what tests of prepared operators share: activations, and the error of a product
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>

#include <tersor/core/matrix.hpp>
#include <tersor/core/random.hpp>

namespace tersor::test {

inline matrix<float> random_matrix(index_t rows, index_t cols, std::uint64_t seed) {
  random_generator random(seed);
  matrix<float> x(rows, cols);
  for (auto& v : x.values()) v = static_cast<float>(random.normal());
  return x;
}
/// [rows, cols], 1 with probability `density`.
inline matrix<std::uint8_t> random_mask(index_t rows, index_t cols, double density, std::uint64_t seed) {
  random_generator random(seed);
  matrix<std::uint8_t> kept(rows, cols);
  for (auto& k : kept.values()) k = random.uniform() < density;
  return kept;
}
/// max over outputs of |y - W x| / Σ |w x|, in double.
inline double error_of_product(const matrix<float>& w, const matrix<float>& x, const matrix<float>& y) {
  double worst = 0;
  for (index_t t = 0; t < x.rows(); ++t)
    for (index_t r = 0; r < w.rows(); ++r) {
      double exact = 0, size = 0;
      for (index_t j = 0; j < w.cols(); ++j) {
        const double p = static_cast<double>(w(r, j)) * static_cast<double>(x(t, j));
        exact += p;
        size += std::abs(p);
      }
      const double error = std::abs(static_cast<double>(y(t, r)) - exact);
      worst = std::max(worst, error == 0 ? 0 : error / std::max(size, 1e-30));
    }
  return worst;
}

}  // namespace tersor::test
