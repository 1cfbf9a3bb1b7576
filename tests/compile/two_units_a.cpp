// tersor - test: everything included in two translation units of one program
// SPDX-License-Identifier: MIT
#if __has_include(<nlohmann/json.hpp>) && __has_include(<fmt/format.h>)
#include <tersor/all.hpp>
#else
#include <tersor/tersor.hpp>
#endif

double from_other_unit(const tersor::matrix<float>& x);

int main() {
  tersor::matrix<float> x(2, 3, 1.5F);
  return from_other_unit(x) == static_cast<double>(x(1, 2)) ? 0 : 1;
}
