// tersor - products with ternary digits, five in a byte: y = x Wᵀ for one or some tokens
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/ternary_product_portable.hpp>
#include <tersor/kernel/tile_product.hpp>

#if defined(TERSOR_X86_KERNELS)
namespace tersor::kernel::avx512 {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX512)
#include <tersor/kernel/ternary_product.inc>
TERSOR_END_TARGET
}  // namespace tersor::kernel::avx512
namespace tersor::kernel::avx2 {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX2)
#include <tersor/kernel/ternary_product.inc>
TERSOR_END_TARGET
}  // namespace tersor::kernel::avx2
#elif defined(TERSOR_NEON_KERNELS)
namespace tersor::kernel::neon {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_NEON)
#include <tersor/kernel/ternary_product.inc>
TERSOR_END_TARGET
}  // namespace tersor::kernel::neon
#endif

namespace tersor::kernel {

/// y [tokens, rows] := w times the activations, of tiles [first, last) alone. @param a ternary_floats or
/// ternary_bytes. With bytes all targets give the same bits; with floats the order of additions is the
/// target's.
template <class Activations>
void trit_product(target t, const ternary_operand& w, const Activations& a, index_t first, index_t last,
                  float* y, index_t y_stride) {
#if defined(TERSOR_X86_KERNELS)
  if (t == target::avx512) return avx512::trit_product(w, a, first, last, y, y_stride);
  if (t == target::avx2) return avx2::trit_product(w, a, first, last, y, y_stride);
#elif defined(TERSOR_NEON_KERNELS)
  if (t == target::neon) return neon::trit_product(w, a, first, last, y, y_stride);
#endif
  (void)t;
  portable::trit_product(w, a, first, last, y, y_stride);
}

#if defined(TERSOR_PRECOMPILED)
extern template void trit_product(target, const ternary_operand&, const ternary_floats&, index_t, index_t,
                                  float*, index_t);
extern template void trit_product(target, const ternary_operand&, const ternary_bytes&, index_t, index_t,
                                  float*, index_t);
#endif

}  // namespace tersor::kernel
