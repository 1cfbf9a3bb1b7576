// tersor - must not compile: a tensor of rank 3 is not a matrix
// SPDX-License-Identifier: MIT
// message: (no matching function|constraints not satisfied)
#include <tersor/core/matrix.hpp>

int main() {
  float values[8] = {};
  const auto flat = tersor::as_view(values, {2, 4});
  const auto cube = tersor::as_view(values, {2, 2, 2});
  static_assert(!tersor::matrix_like<decltype(cube)>);
#if defined(MUST_FAIL)
  return static_cast<int>(tersor::to_matrix<float>(cube).size());
#else
  return static_cast<int>(tersor::to_matrix<float>(flat).size() - cube.size());
#endif
}
