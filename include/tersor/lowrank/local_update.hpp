// tersor - SVD-LLM's local update of a factored layer
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/linalg/least_squares.hpp>

namespace tersor::lowrank {

/// The local update of SVD-LLM (arXiv:2403.07378; official code AIoT-MLSys-Lab/SVD-LLM): with B [rank, in]
/// fixed, the A [out, rank] that best maps the layer's inputs x [tokens, in], as the compressed layers before
/// it produce them, to the outputs y [tokens, out] of the dense layer on its own inputs: least squares of
/// minimum norm, so no other A has a smaller ‖x Bᵀ Aᵀ - y‖. Error on NaN, infinity or no tokens. Cost of an
/// SVD of [tokens, rank].
template <matrix_like B, matrix_like X, matrix_like Y>
matrix<float> local_update(const B& b, const X& x, const Y& y, const context& ctx = {}) {
  const auto right = to_matrix<double>(b), inputs = to_matrix<double>(x), target = to_matrix<double>(y);
  require(inputs.cols() == right.cols(), "local_update: columns of x", inputs.cols(), right.cols(),
          ", the columns of b");
  require(inputs.rows() > 0, "local_update: rows of x", inputs.rows(), "at least one token");
  require(target.rows() == inputs.rows(), "local_update: rows of y", target.rows(), inputs.rows(),
          ", the rows of x");
  require_finite(right.view(), "local_update: b");
  require_finite(inputs.view(), "local_update: x");
  require_finite(target.view(), "local_update: y");
  const auto z = linalg::multiply(inputs, right.view().transposed(), ctx);
  const auto left = linalg::least_squares<double>(z.view(), target.view(), 0, ctx).x;
  return copy_as<float>(left.view().transposed());
}

}  // namespace tersor::lowrank
