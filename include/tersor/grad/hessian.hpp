// tersor - exact products of the Hessian with a vector: the tape over dual numbers
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/grad/tape.hpp>

namespace tersor::grad {

/// A loss at a point, its gradient there, and the product of its Hessian with a direction.
template <std::floating_point T>
struct hessian_product {
  T value = 0;
  std::vector<matrix<T>> gradient;  ///< one for each tensor of the point
  std::vector<matrix<T>> product;   ///< H v, in the same shapes
};

/// H v without H: one forward and one backward pass in dual numbers, the derivative of the gradient along v.
/// Exact up to rounding, for every operation of the tape, checkpoints included. Costs about three gradients
/// and twice the memory. A rounding with a straight-through gradient counts as straight here too.
/// @param loss (tape, variables) -> 1 x 1, generic: called with a `tape<dual<T>>` and one variable for each
/// tensor.
/// @param at the point; @param direction v, in the same shapes.
template <std::floating_point T, class Loss>
hessian_product<T> hessian_vector_product(const Loss& loss, std::span<const matrix<T>> at,
                                          std::span<const matrix<T>> direction, const context& ctx = {}) {
  require(at.size() == direction.size(), "hessian_vector_product: tensors of the direction", direction.size(),
          at.size());
  using D = dual<T>;
  tape<D> t(ctx);
  std::vector<variable<D>> x;
  for (std::size_t i = 0; i < at.size(); ++i) {
    require_shape(direction[i].view(), at[i].rows(), at[i].cols(), concat("direction[", i, "]"));
    matrix<D> both(at[i].rows(), at[i].cols());
    for (index_t j = 0; j < both.size(); ++j) both.data()[j] = {at[i].data()[j], direction[i].data()[j]};
    x.push_back(t.input(std::move(both)));
  }
  const variable<D> y = loss(t, std::as_const(x));
  t.backward(y);
  hessian_product<T> result;
  result.value = y.item().value;
  for (std::size_t i = 0; i < at.size(); ++i) {
    matrix<T>& g = result.gradient.emplace_back(at[i].rows(), at[i].cols());
    matrix<T>& p = result.product.emplace_back(at[i].rows(), at[i].cols());
    if (!x[i].has_gradient()) continue;  // the loss does not depend on it
    for (index_t j = 0; j < g.size(); ++j) {
      g.data()[j] = x[i].gradient().data()[j].value;
      p.data()[j] = x[i].gradient().data()[j].slope;
    }
  }
  return result;
}
template <std::floating_point T, class Loss>
hessian_product<T> hessian_vector_product(const Loss& loss, const std::vector<matrix<T>>& at,
                                          const std::vector<matrix<T>>& direction, const context& ctx = {}) {
  return hessian_vector_product<T>(loss, std::span<const matrix<T>>(at),
                                   std::span<const matrix<T>>(direction), ctx);
}

}  // namespace tersor::grad
