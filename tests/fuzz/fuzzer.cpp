// tersor - the entry point of a fuzzer; TERSOR_FUZZ_TARGET names a function of targets.hpp
// SPDX-License-Identifier: MIT
#include <cstddef>
#include <cstdint>

#include <tersor/core/error.hpp>

#include "fuzz/targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    tersor::fuzz::TERSOR_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  } catch (const tersor::error&) {
  }
  return 0;
}
