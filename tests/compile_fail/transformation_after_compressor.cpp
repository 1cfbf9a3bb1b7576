// tersor - must not compile: a compressor stores the weights that a transformation would still change
// SPDX-License-Identifier: MIT
// message: a transformation must come before the compressors of a chain
#include <tersor/quant/rtn.hpp>
#include <tersor/quant/smoothquant.hpp>

int main() {
  using namespace tersor::quant;
#if defined(MUST_FAIL)
  const auto recipe = rtn{} | smoothquant{};
#else
  const auto recipe = smoothquant{} | rtn{};
#endif
  recipe.validate();
}
