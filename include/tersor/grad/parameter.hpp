// tersor - a trainable tensor: name, value, gradient and what of it is frozen
// SPDX-License-Identifier: MIT
#pragma once

#include <string>   // std::string
#include <utility>  // std::exchange

#include <tersor/core/freeze_mask.hpp>
#include <tersor/grad/loops.hpp>

namespace tersor::grad {

/// A tensor that is trained: the tape reads `value` and adds to the gradient, an optimizer moves `value`. Its
/// address is its identity while a tape uses it. A gradient is kept until `clear_gradient`, so that several
/// backward passes add up; a frozen element's is zero, and a tensor that is frozen as a whole has none.
template <scalar T>
class parameter {
 public:
  parameter() = default;
  /// @param name unique among those of one optimizer; @param value [rows, cols], a vector is one row.
  parameter(std::string name, matrix<T> value)
      : name(std::move(name)), value(std::move(value)), frozen(this->value.rows(), this->value.cols()) {}

  std::string name;
  matrix<T> value;
  freeze_mask frozen;

  index_t rows() const { return value.rows(); }
  index_t cols() const { return value.cols(); }
  index_t size() const { return value.size(); }
  bool has_gradient() const { return has_gradient_; }
  /// [rows, cols]; an error if no backward pass has reached this parameter.
  const matrix<T>& gradient() const {
    require(has_gradient_, concat("gradient of ", name), "none", "a backward pass before");
    return gradient_;
  }
  /// Forgets the gradient; its memory is kept for the next one.
  void clear_gradient() { has_gradient_ = false; }
  /// Forgets the gradient and frees its memory.
  void release_gradient() {
    has_gradient_ = false;
    gradient_ = {};
  }
  /// Changes the gradient in place, for clipping.
  void scale_gradient(T factor, const context& ctx = {}) {
    if (has_gradient_)
      detail::map(
          gradient_.size(), ctx, gradient_.data(), [factor](T g) { return factor * g; },
          std::as_const(gradient_).data());
  }

  /// gradient += g, unless all is frozen.
  void accumulate(const matrix<T>& g, const context& ctx = {}) {
    require_shape(g.view(), rows(), cols(), concat("gradient of ", name));
    if (frozen.all()) return;
    const T* x = g.data();
    if (prepare())
      detail::map(
          g.size(), ctx, gradient_.data(), [](T a, T b) { return a + b; }, std::as_const(gradient_).data(),
          x);
    else
      detail::map(
          g.size(), ctx, gradient_.data(), [](T b) { return b; }, x);
    mask();
  }
  /// The same from memory that the caller gives away: the first gradient is moved, not copied.
  void accumulate(matrix<T>&& g, const context& ctx = {}) {
    if (has_gradient_ || !gradient_.empty() || frozen.all())
      return accumulate(static_cast<const matrix<T>&>(g), ctx);
    require_shape(g.view(), rows(), cols(), concat("gradient of ", name));
    gradient_ = std::move(g);
    has_gradient_ = true;
    mask();
  }
  /// gradient += alpha a b, without a matrix in between.
  void accumulate_product(real_of<T> alpha, matrix_view<const T> a, matrix_view<const T> b,
                          const context& ctx = {}) {
    if (frozen.all()) return;
    const auto beta = prepare() ? real_of<T>(1) : real_of<T>(0);
    detail::product<T>(alpha, a, b, beta, gradient_.view(), ctx);
    mask();
  }
  /// f(gradient, fresh): f adds to the gradient, or overwrites all of it where `fresh` says that it holds
  /// nothing.
  template <class F>
  void accumulate_with(const F& f) {
    if (frozen.all()) return;
    const bool fresh = !prepare();
    f(gradient_, fresh);
    mask();
  }

 private:
  /// Memory for the gradient; true if it holds one already.
  bool prepare() {
    if (gradient_.rows() != rows() || gradient_.cols() != cols()) {
      gradient_ = matrix<T>(rows(), cols());
      has_gradient_ = false;
    }
    return std::exchange(has_gradient_, true);
  }
  void mask() {
    if (frozen.none()) return;
    for (index_t i = 0; i < rows(); ++i)
      for (index_t j = 0; j < cols(); ++j)
        if (frozen.is_frozen(i, j)) gradient_(i, j) = T(0);
  }

  matrix<T> gradient_;
  bool has_gradient_ = false;
};

}  // namespace tersor::grad
