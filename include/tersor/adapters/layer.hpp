// tersor - the frozen linear layer under an adapter
// SPDX-License-Identifier: MIT
#pragma once

// No paper: what every adapter stands on.

#include <concepts>  // std::convertible_to
#include <span>      // std::span
#include <vector>    // std::vector

#include <tersor/op/operator.hpp>

namespace tersor::adapters {

/// A linear layer with its values: what adapters are merged into.
template <class T = float>
struct dense_layer {
  matrix<T> weight{};     ///< W [out, in]
  std::vector<T> bias{};  ///< b [out]; empty: none
};

/// y = x Wᵀ + b, not owned and never changed: any tensor, or any operator for float, so that LoRA over an NF4
/// operator is QLoRA. What it refers to must outlive it. A convolution is the linear layer of its unfolded
/// patches, with W [out, in · kh · kw].
template <std::floating_point T>
class layer_view {
 public:
  /// @param weight W [out, in]. @param bias b [out], or empty.
  layer_view(const matrix<T>& weight, std::span<const T> bias = {}) : layer_view(weight.view(), bias) {}
  layer_view(matrix_view<const T> weight, std::span<const T> bias = {}) : weight_(weight), bias_(bias) {
    check_bias(weight.rows());
  }
  /// Any other tensor of that element type: Eigen, xtensor, a type of your own.
  template <matrix_like W>
  requires std::convertible_to<const W&, matrix_view<const T>> layer_view(const W& weight,
                                                                          std::span<const T> bias = {})
      : layer_view(matrix_view<const T>(weight), bias) {}
  layer_view(const dense_layer<T>& layer) : layer_view(layer.weight, layer.bias) {}
  template <op::linear_operator Op>
  requires std::same_as<T, float> layer_view(const Op& op, std::span<const T> bias = {})
      : operator_(&op), functions_(&functions_of<Op>), bias_(bias) {
    check_bias(op.rows());
  }

  index_t rows() const { return functions_ ? functions_->rows(operator_) : weight_.rows(); }
  index_t cols() const { return functions_ ? functions_->cols(operator_) : weight_.cols(); }
  std::span<const T> bias() const { return bias_; }
  dense_layer<T> dense() const { return {weight(), {bias_.begin(), bias_.end()}}; }
  matrix<T> weight() const {
    if constexpr (std::same_as<T, float>)
      if (functions_) return functions_->dense(operator_);
    return copy_as<T>(weight_);
  }

  /// y [tokens, out] = x [tokens, in] Wᵀ, without the bias.
  void multiply(matrix_view<const T> x, matrix_view<T> y, const context& ctx = {}) const {
    require_shape(y, x.rows(), rows(), "adapter: y");
    require(x.cols() == cols(), "adapter: columns of x", x.cols(), cols());
    if (functions_) return functions_->apply(operator_, x, y, ctx);
    linalg::gemm<T>(T(1), x, weight_.transposed(), T(0), y, ctx);
  }
  /// y [tokens, out] = x Wᵀ + b.
  void apply(matrix_view<const T> x, matrix_view<T> y, const context& ctx = {}) const {
    multiply(x, y, ctx);
    if (bias_.empty()) return;
    for (index_t t = 0; t < y.rows(); ++t)
      for (index_t o = 0; o < y.cols(); ++o) y(t, o) += bias_[static_cast<std::size_t>(o)];
  }
  /// gx [tokens, in] = g [tokens, out] W.
  void apply_transposed(matrix_view<const T> g, matrix_view<T> gx, const context& ctx = {}) const {
    require(g.cols() == rows(), "adapter: columns of the gradient", g.cols(), rows());
    require_shape(gx, g.rows(), cols(), "adapter: gx");
    if (functions_) return functions_->apply_transposed(operator_, g, gx, ctx);
    linalg::gemm<T>(T(1), g, weight_, T(0), gx, ctx);
  }

 private:
  struct functions {
    index_t (*rows)(const void*);
    index_t (*cols)(const void*);
    void (*apply)(const void*, matrix_view<const T>, matrix_view<T>, const context&);
    void (*apply_transposed)(const void*, matrix_view<const T>, matrix_view<T>, const context&);
    matrix<T> (*dense)(const void*);
  };
  template <class Op>
  static const Op& as(const void* op) {
    return *static_cast<const Op*>(op);
  }
  template <class Op>
  static constexpr functions functions_of{[](const void* op) -> index_t { return as<Op>(op).rows(); },
                                          [](const void* op) -> index_t { return as<Op>(op).cols(); },
                                          [](const void* op, matrix_view<const T> x, matrix_view<T> y,
                                             const context& ctx) { as<Op>(op).apply(x, y, ctx); },
                                          [](const void* op, matrix_view<const T> x, matrix_view<T> y,
                                             const context& ctx) { as<Op>(op).apply_transposed(x, y, ctx); },
                                          [](const void* op) -> matrix<T> { return as<Op>(op).to_dense(); }};

  void check_bias(index_t out) const {
    require(bias_.empty() || static_cast<index_t>(bias_.size()) == out, "adapter: size of the bias",
            bias_.size(), out);
  }

  const void* operator_ = nullptr;
  const functions* functions_ = nullptr;  // null: weight_ is the layer
  matrix_view<const T> weight_{};
  std::span<const T> bias_;
};

}  // namespace tersor::adapters
