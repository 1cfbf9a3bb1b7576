// tersor - whitening: coordinates in which the inputs of a layer are uncorrelated
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>    // std::min
#include <array>        // std::array
#include <string_view>  // std::string_view
#include <utility>      // std::pair

#include <tersor/linalg/cholesky.hpp>
#include <tersor/linalg/eigh.hpp>

namespace tersor::lowrank {

/// What is added to the diagonal of a Gram matrix without a Cholesky factor; ten times that after each
/// further failure.
enum class gram_damping {
  smallest_eigenvalue,  ///< 1e-6 minus the smallest eigenvalue if that is negative, as the official program
  relative  ///< 1e-8 times the mean of the diagonal: does not depend on the scale of the activations
};
constexpr auto option_names(gram_damping) {
  using row = std::pair<std::string_view, gram_damping>;
  return std::array<row, 2>{
      {{"smallest_eigenvalue", gram_damping::smallest_eigenvalue}, {"relative", gram_damping::relative}}};
}

/// The coordinates of SVD-LLM (arXiv:2403.07378): S, lower, with S Sᵀ = gram + damping I; damping is 0 where
/// gram [n, n] has a Cholesky factor. A zero gram gives the identity. Cost n³/3, with `smallest_eigenvalue`
/// 4/3 n³ more where gram is singular.
inline linalg::cholesky_result whitening_factor(const matrix<double>& gram, gram_damping damping,
                                                const context& ctx = {}) {
  const index_t n = gram.rows();
  double mean = 0;
  for (index_t j = 0; j < n; ++j) mean += gram(j, j) / static_cast<double>(n);
  if (mean == 0) {
    linalg::cholesky_result identity{matrix<double>(n, n), 1, 1};
    for (index_t j = 0; j < n; ++j) identity.factor(j, j) = 1;
    return identity;
  }
  auto result = linalg::cholesky(gram.view(), {}, ctx);  // on failure: its damping is the relative one
  if (result.retries == 0 || damping == gram_damping::relative) return result;
  const double lambda = 1e-6 - std::min(linalg::smallest_eigenvalue(gram.view()), 0.0);
  result = linalg::cholesky(gram.view(), {.relative_damping = lambda / mean, .max_retries = 30}, ctx);
  ++result.retries;
  return result;
}

}  // namespace tersor::lowrank
