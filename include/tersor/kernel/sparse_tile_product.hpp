// tersor - products with sparse and thin weights: 2:4, masked columns, compressed rows, factors of low rank
// SPDX-License-Identifier: MIT
#pragma once

#include <type_traits>  // std::is_same_v

#include <tersor/kernel/sparse_tile_operand.hpp>
#include <tersor/kernel/sparse_tile_product_portable.hpp>
#include <tersor/kernel/tile_product.hpp>

#if defined(TERSOR_X86_KERNELS)
namespace tersor::kernel::avx512 {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX512)
#include <tersor/kernel/sparse_tile_product.inc>
TERSOR_END_TARGET
}  // namespace tersor::kernel::avx512
namespace tersor::kernel::avx2 {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX2)
#include <tersor/kernel/sparse_tile_product.inc>
TERSOR_END_TARGET
}  // namespace tersor::kernel::avx2
#elif defined(TERSOR_NEON_KERNELS)
namespace tersor::kernel::neon {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_NEON)
#include <tersor/kernel/sparse_tile_product.inc>
TERSOR_END_TARGET
}  // namespace tersor::kernel::neon
#endif

namespace tersor::kernel {

/// y [tokens, rows] := w times the activations, or += if `add`, of tiles of 16 rows [first, last) alone.
/// @param w pair_operand with float_activations or byte_activations (padded to whole chunks of 64 columns),
/// masked_operand or real_operand with float_activations (to whole 32 columns), dealt_operand with
/// float_activations or block_activations. With bytes all targets give the same bits.
template <class Operand, class Activations>
void sparse_product(target t, const Operand& w, const Activations& a, index_t first, index_t last, float* y,
                    index_t y_stride, bool add) {
#if defined(TERSOR_X86_KERNELS)
  if (t == target::avx512) return avx512::sparse_product(w, a, first, last, y, y_stride, add);
  if (t == target::avx2) return avx2::sparse_product(w, a, first, last, y, y_stride, add);
#elif defined(TERSOR_NEON_KERNELS)
  if (t == target::neon) return neon::sparse_product(w, a, first, last, y, y_stride, add);
#endif
  (void)t;
  portable::sparse_product(w, a, first, last, y, y_stride, add);
}

#if defined(TERSOR_PRECOMPILED)
extern template void sparse_product(target, const pair_operand&, const float_activations&, index_t, index_t,
                                    float*, index_t, bool);
extern template void sparse_product(target, const pair_operand&, const byte_activations&, index_t, index_t,
                                    float*, index_t, bool);
extern template void sparse_product(target, const masked_operand&, const float_activations&, index_t, index_t,
                                    float*, index_t, bool);
extern template void sparse_product(target, const real_operand&, const float_activations&, index_t, index_t,
                                    float*, index_t, bool);
extern template void sparse_product(target, const dealt_operand&, const float_activations&, index_t, index_t,
                                    float*, index_t, bool);
extern template void sparse_product(target, const dealt_operand&, const block_activations&, index_t, index_t,
                                    float*, index_t, bool);
#endif

}  // namespace tersor::kernel
