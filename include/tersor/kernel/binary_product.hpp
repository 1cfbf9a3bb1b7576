// tersor - products with planes of signs by table look-up: y = x Wᵀ without multiplications by weights
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/binary_product_portable.hpp>
#include <tersor/kernel/tile_product.hpp>

#if defined(TERSOR_X86_KERNELS)
namespace tersor::kernel::avx512 {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX512)
#include <tersor/kernel/binary_product.inc>
TERSOR_END_TARGET
}  // namespace tersor::kernel::avx512
namespace tersor::kernel::avx2 {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_AVX2)
#include <tersor/kernel/binary_product.inc>
TERSOR_END_TARGET
}  // namespace tersor::kernel::avx2
#elif defined(TERSOR_NEON_KERNELS)
namespace tersor::kernel::neon {
TERSOR_BEGIN_TARGET(TERSOR_FEATURES_NEON)
#include <tersor/kernel/binary_product.inc>
TERSOR_END_TARGET
}  // namespace tersor::kernel::neon
#endif

namespace tersor::kernel {

/// y [tokens, rows] := w times the activations, of tiles [first, last) alone. @param a float_tables or
/// byte_tables. With bytes all targets give the same bits; with floats the order of additions is the
/// target's.
template <class Tables>
void sign_product(target t, const binary_operand& w, const Tables& a, index_t first, index_t last, float* y,
                  index_t y_stride) {
#if defined(TERSOR_X86_KERNELS)
  if (t == target::avx512) return avx512::sign_product(w, a, first, last, y, y_stride);
  if (t == target::avx2) return avx2::sign_product(w, a, first, last, y, y_stride);
#elif defined(TERSOR_NEON_KERNELS)
  if (t == target::neon) return neon::sign_product(w, a, first, last, y, y_stride);
#endif
  (void)t;
  portable::sign_product(w, a, first, last, y, y_stride);
}

/// Tables of x [4 * count] into out [count, 16].
inline void fill_sign_tables(target t, const float* x, index_t count, float* out) {
#if defined(TERSOR_X86_KERNELS)
  if (t == target::avx512) return avx512::fill_tables(x, count, out);
  if (t == target::avx2) return avx2::fill_tables(x, count, out);
#elif defined(TERSOR_NEON_KERNELS)
  if (t == target::neon) return neon::fill_tables(x, count, out);
#endif
  (void)t;
  portable::fill_tables(x, count, out);
}
/// The same as bytes, all with one scale, which is returned: the largest |entry| / 127, not finite if an x is
/// not.
inline float fill_sign_tables(target t, const float* x, index_t count, std::uint8_t* out) {
  float top = 0, poison = 0;
  for (index_t j = 0; j < count; ++j, x += 4) {
    const float largest = (std::abs(x[0]) + std::abs(x[1])) + (std::abs(x[2]) + std::abs(x[3]));
    top = largest > top ? largest : top;
    poison += largest * 0.0F;
  }
  x -= 4 * count;
  const float scale = top / 127.0F, inverse = scale > 0 ? 127.0F / top : 0.0F;
#if defined(TERSOR_X86_KERNELS)
  if (t == target::avx512)
    avx512::fill_tables(x, count, inverse, out);
  else if (t == target::avx2)
    avx2::fill_tables(x, count, inverse, out);
  else
    portable::fill_tables(x, count, inverse, out);
#elif defined(TERSOR_NEON_KERNELS)
  if (t == target::neon)
    neon::fill_tables(x, count, inverse, out);
  else
    portable::fill_tables(x, count, inverse, out);
#else
  (void)t;
  portable::fill_tables(x, count, inverse, out);
#endif
  return scale + poison;
}

#if defined(TERSOR_PRECOMPILED)
extern template void sign_product(target, const binary_operand&, const float_tables&, index_t, index_t,
                                  float*, index_t);
extern template void sign_product(target, const binary_operand&, const byte_tables&, index_t, index_t, float*,
                                  index_t);
#endif

}  // namespace tersor::kernel
