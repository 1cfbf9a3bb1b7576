// tersor - what the low-rank tests share: weights, inputs and errors
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/lowrank/svd.hpp>

#include "../linalg/oracle.hpp"
#include "catch.hpp"

namespace tersor_test {

using tersor::calib::statistics;
using tersor::lowrank::svd;
using tersor::lowrank::svd_factors;
using tersor::lowrank::svd_method;

inline matrix<double> wide(const matrix<float>& x) { return tersor::copy_as<double>(x.view()); }
inline matrix<float> narrow(const matrix<double>& x) { return tersor::copy_as<float>(x.view()); }
inline matrix<double> product(const svd_factors& f) { return times(wide(f.a), wide(f.b)); }

inline double norm(const matrix<double>& x) {
  double s = 0;
  for (double v : x.values()) s += v * v;
  return std::sqrt(s);
}
inline matrix<double> minus(matrix<double> x, const matrix<double>& y) {
  for (index_t i = 0; i < x.size(); ++i) x.data()[i] -= y.data()[i];
  return x;
}
/// ‖(W - A B) Xᵀ‖ as the Gram matrix of the statistics sees it.
inline double output_error(const matrix<float>& w, const svd_factors& f, const statistics& inputs) {
  return std::sqrt(std::max(tersor::linalg::weighted_error(w, product(f), inputs.gram().view()), 0.0));
}
inline double output_norm(const matrix<float>& w, const statistics& inputs) {
  return std::sqrt(tersor::linalg::weighted_norm(w, inputs.gram().view()));
}

/// Channels of different sizes that depend on each other.
inline matrix<float> random_inputs(index_t tokens, index_t n, std::uint64_t seed) {
  auto x = times(random_matrix(tokens, n, seed), random_matrix(n, n, seed + 1));
  for (index_t t = 0; t < tokens; ++t)
    for (index_t j = 0; j < n; ++j) x(t, j) *= std::exp(2 * std::sin(static_cast<double>(j)));
  return narrow(x);
}
inline statistics input_statistics(const matrix<float>& x, index_t sequences = 1) {
  statistics s(x.cols());
  for (index_t i = 0; i < sequences; ++i)
    s.add(x.view().rows(i * x.rows() / sequences, x.rows() / sequences));
  return s;
}
inline svd with_rank(svd_method method, index_t rank) {
  return {.method = method, .rank = rank, .value_type = tersor::dtype::f32};
}

}  // namespace tersor_test
