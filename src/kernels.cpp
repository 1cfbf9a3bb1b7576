// tersor - the kernels of packed weights, compiled once for the programs that link tersor::precompiled
// SPDX-License-Identifier: MIT
#include <tersor/kernel/sparse_tile_product.hpp>
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

template void sparse_product(target, const pair_operand&, const float_activations&, index_t, index_t, float*,
                             index_t, bool);
template void sparse_product(target, const pair_operand&, const byte_activations&, index_t, index_t, float*,
                             index_t, bool);
template void sparse_product(target, const masked_operand&, const float_activations&, index_t, index_t,
                             float*, index_t, bool);
template void sparse_product(target, const real_operand&, const float_activations&, index_t, index_t, float*,
                             index_t, bool);
template void sparse_product(target, const row_operand&, const float_activations&, index_t, index_t, float*,
                             index_t, bool);
template void sparse_product(target, const row_operand&, const block_activations&, index_t, index_t, float*,
                             index_t, bool);

}  // namespace tersor::kernel
