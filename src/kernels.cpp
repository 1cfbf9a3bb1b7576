// tersor - the kernels of packed weights, compiled once for the programs that link tersor::precompiled
// SPDX-License-Identifier: MIT
#include <tersor/kernel/tile_product.hpp>

namespace tersor::kernel {

template void tile_product(target, const tile_operand&, const float_activations&, index_t, index_t, float*,
                           index_t);
template void tile_product(target, const tile_operand&, const byte_activations&, index_t, index_t, float*,
                           index_t);
template void tile_product(target, const tile_operand&, const packed_floats&, index_t, index_t, float*,
                           index_t);
template void tile_product(target, const tile_operand&, const packed_bytes&, index_t, index_t, float*,
                           index_t);

}  // namespace tersor::kernel
