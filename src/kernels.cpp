// tersor - the kernels of packed weights, compiled once for the programs that link tersor::precompiled
// SPDX-License-Identifier: MIT
#include <tersor/kernel/binary_product.hpp>
#include <tersor/kernel/ternary_product.hpp>
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

template void sign_product(target, const binary_operand&, const float_tables&, index_t, index_t, float*,
                           index_t);
template void sign_product(target, const binary_operand&, const byte_tables&, index_t, index_t, float*,
                           index_t);
template void trit_product(target, const ternary_operand&, const ternary_floats&, index_t, index_t, float*,
                           index_t);
template void trit_product(target, const ternary_operand&, const ternary_bytes&, index_t, index_t, float*,
                           index_t);

}  // namespace tersor::kernel
