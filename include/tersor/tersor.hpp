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

#include <tersor/solve/allocate.hpp>
#include <tersor/solve/budget_schedule.hpp>
#include <tersor/solve/column_feedback.hpp>
#include <tersor/solve/equivalent.hpp>
#include <tersor/solve/grid.hpp>
#include <tersor/solve/importance.hpp>
#include <tersor/solve/layer.hpp>
#include <tersor/solve/report.hpp>
#include <tersor/solve/select.hpp>
#include <tersor/solve/stage.hpp>
#include <tersor/solve/update.hpp>

#include <tersor/adapters/adalora.hpp>
#include <tersor/adapters/aflora.hpp>
#include <tersor/adapters/any_adapter.hpp>
#include <tersor/adapters/bat.hpp>
#include <tersor/adapters/bone.hpp>
#include <tersor/adapters/combine.hpp>
#include <tersor/adapters/dora.hpp>
#include <tersor/adapters/extract.hpp>
#include <tersor/adapters/ia3.hpp>
#include <tersor/adapters/lamda.hpp>
#include <tersor/adapters/lamda_pp.hpp>
#include <tersor/adapters/layer.hpp>
#include <tersor/adapters/loha.hpp>
#include <tersor/adapters/lokr.hpp>
#include <tersor/adapters/lora.hpp>
#include <tersor/adapters/lora_plus.hpp>
#include <tersor/adapters/oft.hpp>
#include <tersor/adapters/olora.hpp>
#include <tersor/adapters/parameter.hpp>
#include <tersor/adapters/pissa.hpp>
#include <tersor/adapters/rank_product.hpp>
#include <tersor/adapters/square_inverse.hpp>
#include <tersor/adapters/state.hpp>
#include <tersor/adapters/torch_random.hpp>
#include <tersor/adapters/tucker.hpp>
#include <tersor/adapters/vera.hpp>

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
