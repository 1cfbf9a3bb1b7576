// tersor - every header that needs nothing but Eigen; written by docs/tools/umbrella.sh
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/bits.hpp>
#include <tersor/core/context.hpp>
#include <tersor/core/dlpack.hpp>
#include <tersor/core/dtype.hpp>
#include <tersor/core/error.hpp>
#include <tersor/core/error_statistics.hpp>
#include <tersor/core/float16.hpp>
#include <tersor/core/float8.hpp>
#include <tersor/core/matrix.hpp>
#include <tersor/core/nearest.hpp>
#include <tersor/core/options.hpp>
#include <tersor/core/parallel.hpp>
#include <tersor/core/random.hpp>
#include <tersor/core/real_array.hpp>
#include <tersor/core/rounding.hpp>
#include <tersor/core/version.hpp>
#include <tersor/core/view.hpp>

#include <tersor/linalg/assignment.hpp>
#include <tersor/linalg/blas.hpp>
#include <tersor/linalg/cholesky.hpp>
#include <tersor/linalg/eigen_product.hpp>
#include <tersor/linalg/eigh.hpp>
#include <tersor/linalg/gemm.hpp>
#include <tersor/linalg/least_squares.hpp>
#include <tersor/linalg/qr.hpp>
#include <tersor/linalg/svd.hpp>
#include <tersor/linalg/triangular.hpp>
#include <tersor/linalg/weighted_error.hpp>

#include <tersor/kernel/activations.hpp>
#include <tersor/kernel/rotary.hpp>
#include <tersor/kernel/target.hpp>

#include <tersor/op/affine_grid.hpp>
#include <tersor/op/any_operator.hpp>
#include <tersor/op/archive.hpp>
#include <tersor/op/dense.hpp>
#include <tersor/op/element_store.hpp>
#include <tersor/op/load.hpp>
#include <tersor/op/low_rank.hpp>
#include <tersor/op/operator.hpp>
#include <tersor/op/parts.hpp>
#include <tersor/op/permuted.hpp>
#include <tersor/op/product.hpp>
#include <tersor/op/quantized.hpp>
#include <tersor/op/scaled.hpp>
#include <tersor/op/sparse_bitmap.hpp>
#include <tersor/op/sparse_csr.hpp>
#include <tersor/op/sparse_nm.hpp>
#include <tersor/op/sum.hpp>
#include <tersor/op/w8a8.hpp>

#include <tersor/calib/statistics.hpp>

#include <tersor/solve/column_feedback.hpp>
#include <tersor/solve/equivalent.hpp>
#include <tersor/solve/grid.hpp>
#include <tersor/solve/layer.hpp>
#include <tersor/solve/report.hpp>
#include <tersor/solve/select.hpp>
#include <tersor/solve/stage.hpp>
#include <tersor/solve/update.hpp>

#include <tersor/kv/adakv.hpp>
#include <tersor/kv/attention.hpp>
#include <tersor/kv/bfp.hpp>
#include <tersor/kv/budget.hpp>
#include <tersor/kv/cache.hpp>
#include <tersor/kv/codec.hpp>
#include <tersor/kv/dense.hpp>
#include <tersor/kv/eviction.hpp>
#include <tersor/kv/expected.hpp>
#include <tersor/kv/full.hpp>
#include <tersor/kv/gear.hpp>
#include <tersor/kv/group.hpp>
#include <tersor/kv/h2o.hpp>
#include <tersor/kv/key_order.hpp>
#include <tersor/kv/keydiff.hpp>
#include <tersor/kv/kivi.hpp>
#include <tersor/kv/knorm.hpp>
#include <tersor/kv/pages.hpp>
#include <tersor/kv/prompt.hpp>
#include <tersor/kv/pyramid.hpp>
#include <tersor/kv/quantized_tokens.hpp>
#include <tersor/kv/quest.hpp>
#include <tersor/kv/random.hpp>
#include <tersor/kv/real_list.hpp>
#include <tersor/kv/scores.hpp>
#include <tersor/kv/segment.hpp>
#include <tersor/kv/snapkv.hpp>
#include <tersor/kv/streaming.hpp>
#include <tersor/kv/tova.hpp>

#include <tersor/lowrank/asvd_search.hpp>
#include <tersor/lowrank/fisher.hpp>
#include <tersor/lowrank/local_update.hpp>
#include <tersor/lowrank/svd.hpp>
#include <tersor/lowrank/whitening.hpp>

#include <tersor/prune/channel_order.hpp>
#include <tersor/prune/magnitude.hpp>
#include <tersor/prune/nm_mask.hpp>
#include <tersor/prune/ria.hpp>
#include <tersor/prune/sp24_codec.hpp>
#include <tersor/prune/sp24_store.hpp>
#include <tersor/prune/sparsegpt.hpp>
#include <tersor/prune/wanda.hpp>

#include <tersor/quant/awq.hpp>
#include <tersor/quant/awq_layout.hpp>
#include <tersor/quant/gptq.hpp>
#include <tersor/quant/gptq_layout.hpp>
#include <tersor/quant/rtn.hpp>
#include <tersor/quant/smoothquant.hpp>
#include <tersor/quant/w8a8.hpp>
