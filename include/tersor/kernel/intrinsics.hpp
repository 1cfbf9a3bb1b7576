// tersor - the processor's intrinsics, without a compiler's false alarms
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/target.hpp>

#if defined(TERSOR_X86_KERNELS)
// GCC 12 warns of its own placeholders for lanes that are not written (PR 105593).
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#elif defined(TERSOR_NEON_KERNELS)
#include <arm_neon.h>
#endif
