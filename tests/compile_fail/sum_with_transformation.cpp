// tersor - must not compile: a transformation has no operator that could be added
// SPDX-License-Identifier: MIT
// message: adds the operators of two compressors
#include <tersor/quant/rtn.hpp>
#include <tersor/quant/smoothquant.hpp>

int main() {
  using namespace tersor::quant;
#if defined(MUST_FAIL)
  const auto recipe = smoothquant{} + rtn{};
#else
  const auto recipe = rtn{} + rtn{};
#endif
  recipe.validate();
}
