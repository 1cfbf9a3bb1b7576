// tersor - test: everything included in two translation units of one program
// SPDX-License-Identifier: MIT
#if __has_include(<nlohmann/json.hpp>) && __has_include(<fmt/format.h>)
#include <tersor/all.hpp>
#else
#include <tersor/tersor.hpp>
#endif

double from_other_unit(const tersor::matrix<float>& x) {
  return static_cast<double>(tersor::as_view(x)(0, 0));
}
