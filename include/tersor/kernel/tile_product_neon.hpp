// tersor - products with tiles of codes in NEON
// SPDX-License-Identifier: MIT
#pragma once

#include <type_traits>  // std::is_base_of_v

#include <tersor/kernel/lanes/neon.hpp>
#include <tersor/kernel/tile_operand.hpp>

#if defined(TERSOR_NEON_KERNELS)
namespace tersor::kernel::neon {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_NEON)

#include <tersor/kernel/tile_product.inc>
// uses the one before
#include <tersor/kernel/tile_gemm.inc>
// uses both
#include <tersor/kernel/tile_dispatch.inc>

TERSOR_END_TARGET
}  // namespace tersor::kernel::neon
#endif
