// tersor - what our programs arrange before they compute: OpenBLAS's kernels, and memory that stays mapped
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdlib>  // setenv

#if defined(__GLIBC__)
#include <malloc.h>  // mallopt
#endif
#if defined(TERSOR_USE_BLAS) && defined(__linux__) && defined(__x86_64__)
#include <unistd.h>  // execv
#endif

#include <tersor/linalg/gemm.hpp>

/// Call first in `main`.
///
/// OpenBLAS looks its kernels up by processor model, so a release that is older than the processor falls back
/// to SSE3, at a fifth of the speed or less. It reads OPENBLAS_CORETYPE only while it is loaded: where the
/// variable is unset, set it by the processor's features and start this program again. Threading is tersor's.
///
/// glibc gives large blocks back to the system when they are freed, and a layer's buffers are freed and
/// wanted again all the time: a tenth of an evaluation would go into mapping pages.
inline void set_up_program([[maybe_unused]] char** argv) {
#if defined(TERSOR_USE_BLAS) && defined(__linux__) && defined(__x86_64__)
  if (!std::getenv("OPENBLAS_CORETYPE")) {
    const char* core = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") ? "SkylakeX"
                       : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")        ? "Haswell"
                                                                                                : nullptr;
    if (core && setenv("OPENBLAS_CORETYPE", core, 1) == 0)
      execv("/proc/self/exe", argv);  // returns only on failure
  }
#endif
#if defined(__GLIBC__)
  constexpr int block = 1 << 26;
  mallopt(M_MMAP_THRESHOLD, block);
  mallopt(M_TRIM_THRESHOLD, 4 * block);
#endif
  tersor::linalg::single_threaded_blas();
}
