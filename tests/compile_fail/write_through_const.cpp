// tersor - must not compile: a const tensor gives a view of const elements
// SPDX-License-Identifier: MIT
// message: (read-only|const)
#include <vector>

#include <tersor/core/view.hpp>

int main() {
  std::vector<float> x{1, 2, 3};
  const std::vector<float>& read_only = x;
  tersor::as_view(x)(0) = 2;
#if defined(MUST_FAIL)
  tersor::as_view(read_only)(0) = 3;
#endif
  return read_only[0] == 2 ? 0 : 1;
}
