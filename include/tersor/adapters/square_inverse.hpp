// tersor - inverses of small square matrices
// SPDX-License-Identifier: MIT
#pragma once

// No paper: for adapters that multiply the weight and must be taken out again.

#include <algorithm>  // std::max
#include <limits>     // std::numeric_limits

#include <tersor/linalg/qr.hpp>
#include <tersor/linalg/triangular.hpp>

namespace tersor::adapters::detail {

/// m⁻¹ by Householder QR in double; n up to some hundreds. Error that names `what` if m is singular to
/// working precision. Cost 4 n³.
inline matrix<double> square_inverse(const matrix<double>& m, std::string_view what) {
  const auto d = linalg::qr(m);
  double largest = 0;
  for (index_t i = 0; i < m.rows(); ++i) largest = std::max(largest, d.r(i, i));
  for (index_t i = 0; i < m.rows(); ++i)
    require(d.r(i, i) > 8 * std::numeric_limits<double>::epsilon() * largest, what, "singular",
            "an invertible matrix");
  matrix<double> inverse = copy_as<double>(d.q.view().transposed());
  linalg::solve_upper(d.r, inverse.view());
  return inverse;
}

}  // namespace tersor::adapters::detail
