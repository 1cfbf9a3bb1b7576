// tersor - products on the tape, frozen linear operators, nodes with their own backward pass
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/grad/tape.hpp>

namespace tersor::grad {

namespace detail {

template <class T>
matrix_view<const T> oriented(const matrix<T>& x, bool transposed) {
  return transposed ? x.view().transposed() : x.view();
}

}  // namespace detail

/// op(a) op(b), where op transposes if asked to. The transposes are views: nothing is copied. Cost 2 m n k
/// operations, and twice that backward.
template <scalar T>
variable<T> matmul(const variable<T>& a, const variable<T>& b, bool transpose_a = false,
                   bool transpose_b = false) {
  operation<T> op("matmul", {a, b});
  const auto va = detail::oriented(a.value(), transpose_a), vb = detail::oriented(b.value(), transpose_b);
  op.check(va.cols() == vb.rows(), "inner extents that agree, after transposing", transpose_a ? " a" : "",
           transpose_b ? " b" : "", transpose_a || transpose_b ? "" : " nothing");
  auto y = op.make(va.rows(), vb.cols());
  detail::product<T>(1, va, vb, 0, y.view(), op.ctx());
  if (!op.needs_gradient()) return op.result(std::move(y));
  // Each operand is needed for the other's gradient only.
  const auto sa = b.needs_gradient() ? op.save(0, "a") : saved_tensor<T>();
  const auto sb = a.needs_gradient() ? op.save(1, "b") : saved_tensor<T>();
  return op.result(std::move(y), [sa, sb, transpose_a, transpose_b](backward_pass<T>& pass) {
    const auto g = pass.gradient().view();
    if (pass.needs(0)) {
      const auto held = sb.load();
      const auto bt = detail::oriented(*held, !transpose_b);
      transpose_a ? pass.add_product(0, 1, bt.transposed(), g.transposed()) : pass.add_product(0, 1, g, bt);
    }
    if (pass.needs(1)) {
      const auto held = sa.load();
      const auto at = detail::oriented(*held, !transpose_a);
      transpose_b ? pass.add_product(1, 1, g.transposed(), at.transposed()) : pass.add_product(1, 1, at, g);
    }
  });
}

/// A linear layer: x wᵀ for x [tokens, in], w [out, in].
template <scalar T>
variable<T> linear(const variable<T>& x, const variable<T>& w) {
  return matmul(x, w, false, true);
}
/// x wᵀ + bias, with the bias [1, out].
template <scalar T>
variable<T> linear(const variable<T>& x, const variable<T>& w, const variable<T>& bias) {
  return matmul(x, w, false, true) + bias;
}

/// What `linear` asks of a frozen operator: any of op/, or one's own.
template <class Op>
concept frozen_operator = requires(const Op& w, matrix_view<const float> x, matrix_view<float> y,
                                   const context& ctx) {
  { w.rows() } -> std::convertible_to<index_t>;
  { w.cols() } -> std::convertible_to<index_t>;
  w.apply(x, y, ctx);
  w.apply_transposed(x, y, ctx);
};

namespace detail {

/// y = apply(x) for every scalar; the operator computes in float. A linear map takes the slopes of duals as
/// it takes their values.
template <class T, class Apply>
void apply_in_float(const matrix<T>& x, matrix<T>& y, const Apply& apply) {
  if constexpr (std::is_same_v<T, float>) {
    apply(x.view(), y.view());
  } else {
    matrix<float> in(x.rows(), x.cols()), out(y.rows(), y.cols());
    const auto through = [&](auto read, auto write) {
      for (index_t i = 0; i < x.size(); ++i) in.data()[i] = static_cast<float>(read(x.data()[i]));
      apply(std::as_const(in).view(), out.view());
      for (index_t i = 0; i < y.size(); ++i) write(y.data()[i], out.data()[i]);
    };
    if constexpr (std::floating_point<T>) {
      through([](T v) { return v; }, [](T& v, float f) { v = f; });
    } else {
      using S = real_of<T>;
      through([](T v) { return v.value; }, [](T& v, float f) { v.value = static_cast<S>(f); });
      through([](T v) { return v.slope; }, [](T& v, float f) { v.slope = static_cast<S>(f); });
    }
  }
}

}  // namespace detail

/// x Wᵀ through a frozen operator W [out, in]: x gets a gradient, W none, and nothing is kept of x.
/// @param w copied; an `op::any_operator` is cheap to copy.
template <scalar T, frozen_operator Op>
variable<T> linear(const variable<T>& x, const Op& w) {
  operation<T> op("linear", {x});
  op.check(x.cols() == w.cols(), "as many columns as the operator has inputs, ", w.cols());
  auto y = op.make(x.rows(), w.rows());
  detail::apply_in_float(x.value(), y.get(), [&](auto in, auto out) { w.apply(in, out, op.ctx()); });
  if (!op.needs_gradient()) return op.result(std::move(y));
  return op.result(std::move(y), [w](backward_pass<T>& pass) {
    auto g = pass.make(pass.gradient().rows(), w.cols());
    detail::apply_in_float(pass.gradient(), g.get(),
                           [&](auto in, auto out) { w.apply_transposed(in, out, pass.ctx()); });
    pass.add(0, std::move(g));
  });
}

/// A node whose two passes are the caller's: an adapter with a factored backward pass.
/// @param value the result for x, [tokens, out].
/// @param backward (x, g) -> gradient of x, called once with the saved x and the gradient g of the result; it
/// adds to the gradients of its own parameters (`parameter::accumulate`). Where x needs no gradient it may
/// return an empty matrix.
template <scalar T, class Backward>
requires std::is_invocable_r_v<matrix<T>, Backward&, const matrix<T>&, const matrix<T>&> variable<T> custom(
    const variable<T>& x, matrix<T> value, Backward backward) {
  operation<T> op("custom", {x});
  op.has_parameters();
  auto y = op.adopt(std::move(value));
  if (!op.needs_gradient()) return op.result(std::move(y));
  return op.result(std::move(y), [saved = op.save(0, "x"), backward](backward_pass<T>& pass) mutable {
    const auto x = saved.load();
    matrix<T> g = backward(*x, pass.gradient());
    if (g.empty() && !pass.needs(0)) return;
    pass.add(0, std::move(g));
  });
}

}  // namespace tersor::grad
