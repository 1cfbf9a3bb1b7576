// tersor - must not compile: a chain that begins with a transformation cannot follow a compressor either
// SPDX-License-Identifier: MIT
// message: a transformation must come before the compressors of a chain
#include <tersor/quant/rtn.hpp>
#include <tersor/quant/smoothquant.hpp>

int main() {
  using namespace tersor::quant;
#if defined(MUST_FAIL)
  const auto recipe = rtn{} | (smoothquant{} | rtn{});
#else
  const auto recipe = smoothquant{} | (rtn{} | rtn{});
#endif
  recipe.validate();
}
