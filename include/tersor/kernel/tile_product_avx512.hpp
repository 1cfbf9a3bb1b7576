// tersor - products with tiles of codes in AVX-512
// SPDX-License-Identifier: MIT
#pragma once

#include <type_traits>  // std::is_base_of_v

#include <tersor/kernel/lanes/avx512.hpp>
#include <tersor/kernel/tile_operand.hpp>

#if defined(TERSOR_X86_KERNELS)
namespace tersor::kernel::avx512 {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX512)

#include <tersor/kernel/tile_product.inc>
// uses the one before
#include <tersor/kernel/tile_gemm.inc>
// uses both
#include <tersor/kernel/tile_dispatch.inc>

TERSOR_END_TARGET
}  // namespace tersor::kernel::avx512
#endif
