// tersor - what stands between a transformer's linear layers: norms, gates, attention
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>  // std::sqrt
#include <span>   // std::span

#include <tersor/core/matrix.hpp>
#include <tersor/core/parallel.hpp>
#include <tersor/kernel/activations.hpp>
#include <tersor/linalg/gemm.hpp>

namespace tersor::model {

/// y[t] = x[t] / sqrt(mean(x[t]²) + epsilon) * weight, row by row. x, y [tokens, features], rows contiguous.
inline void rms_norm(matrix_view<const float> x, std::span<const float> weight, float epsilon,
                     matrix_view<float> y) {
  assert(x.strides[1] == 1 && y.strides[1] == 1);
  for (index_t t = 0; t < x.rows(); ++t)
    kernel::rms_norm(x.row(t).data, weight.data(), epsilon, x.cols(), y.row(t).data);
}

/// gate := silu(gate) * up.
inline void swiglu(matrix<float>& gate, const matrix<float>& up) {
  kernel::swiglu(gate.data(), up.data(), gate.size());
}

/// Causal attention with grouped queries. q [tokens, heads * d]; k, v [past + tokens, kv_heads * d], the last
/// `tokens` rows being those of q; out [tokens, heads * d]. Query head h reads key-value head h / (heads /
/// kv_heads). Scores are scaled by 1 / sqrt(d).
inline void causal_attention(matrix_view<const float> q, matrix_view<const float> k,
                             matrix_view<const float> v, index_t heads, index_t kv_heads,
                             matrix_view<float> out, const context& ctx = {}) {
  constexpr index_t query_rows = 128;
  const index_t d = q.cols() / heads, tokens = q.rows(), past = k.rows() - tokens;
  const index_t blocks = (tokens + query_rows - 1) / query_rows;
  const float scale = 1.0F / std::sqrt(static_cast<float>(d));
  parallel_for(heads * blocks, ctx, [&](index_t task) {
    const index_t h = task / blocks, kv = h / (heads / kv_heads);
    const index_t t0 = task % blocks * query_rows, rows = std::min(query_rows, tokens - t0);
    const index_t keys = past + t0 + rows;
    matrix<float> scores(rows, keys);
    linalg::gemm<float>(scale, q.block(t0, h * d, rows, d), k.block(0, kv * d, keys, d).transposed(), 0.0F,
                        scores.view());
    for (index_t t = 0; t < rows; ++t) {
      float* s = scores.row(t).data();
      const index_t seen = past + t0 + t + 1;
      kernel::softmax(s, seen);
      for (index_t j = seen; j < keys; ++j) s[j] = 0.0F;
    }
    linalg::gemm<float>(1.0F, scores.view(), v.block(0, kv * d, keys, d), 0.0F,
                        out.block(t0, h * d, rows, d));
  });
}

}  // namespace tersor::model
