// tersor - products with tiles of codes: y = x Wᵀ for one or some tokens, at the speed of memory
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/tile_product_avx2.hpp>
#include <tersor/kernel/tile_product_avx512.hpp>
#include <tersor/kernel/tile_product_neon.hpp>
#include <tersor/kernel/tile_product_portable.hpp>

namespace tersor::kernel {

/// Tokens that the products of a target take at a time where there are many.
inline index_t block_tokens(target t) {
#if defined(TERSOR_X86_KERNELS)
  if (t == target::avx512) return avx512::lanes::block_tokens;
  if (t == target::avx2) return avx2::lanes::block_tokens;
#elif defined(TERSOR_NEON_KERNELS)
  if (t == target::neon) return neon::lanes::block_tokens;
#endif
  (void)t;
  return portable::block_tokens;
}

/// y [tokens, rows] := w times the activations, of tiles [first, last) alone. @param a float_activations or
/// byte_activations for few tokens, packed_floats or packed_bytes for many. With bytes all targets give the
/// same bits; with floats the order of additions is the target's.
template <class Activations>
void tile_product(target t, const tile_operand& w, const Activations& a, index_t first, index_t last,
                  float* y, index_t y_stride) {
#if defined(TERSOR_X86_KERNELS)
  if (t == target::avx512) return avx512::product(w, a, first, last, y, y_stride);
  if (t == target::avx2) return avx2::product(w, a, first, last, y, y_stride);
#elif defined(TERSOR_NEON_KERNELS)
  if (t == target::neon) return neon::product(w, a, first, last, y, y_stride);
#endif
  (void)t;
  portable::product(w, a, first, last, y, y_stride);
}

#if defined(TERSOR_PRECOMPILED)
extern template void tile_product(target, const tile_operand&, const float_activations&, index_t, index_t,
                                  float*, index_t);
extern template void tile_product(target, const tile_operand&, const byte_activations&, index_t, index_t,
                                  float*, index_t);
extern template void tile_product(target, const tile_operand&, const packed_floats&, index_t, index_t, float*,
                                  index_t);
extern template void tile_product(target, const tile_operand&, const packed_bytes&, index_t, index_t, float*,
                                  index_t);
#endif

}  // namespace tersor::kernel
