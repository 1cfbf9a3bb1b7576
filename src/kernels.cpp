// tersor - the kernels of packed weights, compiled once for the programs that link tersor::precompiled
// SPDX-License-Identifier: MIT
#include <tersor/kernel/binary_product.hpp>
#include <tersor/kernel/outlier_tile_body.hpp>
#include <tersor/kernel/row_products_body.hpp>
#include <tersor/kernel/sparse_tile_product.hpp>
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
template void read_reals(target, dtype, const std::uint8_t*, index_t, float*);
template void row_scores(target, const real_rows&, row_vectors, float*, index_t);
template void row_sums(target, const real_rows&, row_vectors, float*, index_t);
template void row_scores(target, const code_rows&, const column_grids&, row_vectors, float*, index_t);
template void row_sums(target, const code_rows&, const group_grids&, row_vectors, float*, index_t);
template void decode_rows(target, const code_rows&, const column_grids&, float*);
template void decode_rows(target, const code_rows&, const group_grids&, float*);
template void add_outliers(target, const outlier_tile&, const float*, index_t, int, row_vectors, index_t,
                           index_t, float*, index_t);
template void sparse_product(target, const pair_operand&, const float_activations&, index_t, index_t, float*,
                             index_t, bool);
template void sparse_product(target, const pair_operand&, const byte_activations&, index_t, index_t, float*,
                             index_t, bool);
template void sparse_product(target, const masked_operand&, const float_activations&, index_t, index_t,
                             float*, index_t, bool);
template void sparse_product(target, const real_operand&, const float_activations&, index_t, index_t, float*,
                             index_t, bool);
template void sparse_product(target, const dealt_operand&, const float_activations&, index_t, index_t, float*,
                             index_t, bool);
template void sparse_product(target, const dealt_operand&, const block_activations&, index_t, index_t, float*,
                             index_t, bool);

}  // namespace tersor::kernel
