// tersor - must not compile: a number is not a tensor
// SPDX-License-Identifier: MIT
// message: (no matching function|constraints not satisfied|not satisfied)
#include <tersor/core/view.hpp>

int main() {
  const float values[2] = {1, 2};
  const auto two = tersor::as_view(values, {2});
#if defined(MUST_FAIL)
  const auto number = tersor::as_vector_view(3.0F);
  return static_cast<int>(number.size());
#else
  return two(1) == 2.0F ? 0 : 1;
#endif
}
