// tersor - makes OpenBLAS choose its kernels by what the processor can do
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdlib>  // setenv

#if defined(TERSOR_USE_BLAS) && defined(__linux__) && defined(__x86_64__)
#include <unistd.h>  // execv
#endif

#include <tersor/linalg/gemm.hpp>

/// OpenBLAS looks its kernels up by processor model, so a release that is older than the processor falls back
/// to SSE3, at a fifth of the speed or less. It reads OPENBLAS_CORETYPE only while it is loaded: where the
/// variable is unset, set it by the processor's features and start this program again. Call first in `main`.
/// Also leaves the threading to tersor.
inline void choose_openblas_kernels([[maybe_unused]] char** argv) {
#if defined(TERSOR_USE_BLAS) && defined(__linux__) && defined(__x86_64__)
  if (!std::getenv("OPENBLAS_CORETYPE")) {
    const char* core = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") ? "SkylakeX"
                       : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")        ? "Haswell"
                                                                                                : nullptr;
    if (core && setenv("OPENBLAS_CORETYPE", core, 1) == 0)
      execv("/proc/self/exe", argv);  // returns only on failure
  }
#endif
  tersor::linalg::single_threaded_blas();
}
