// tersor - cross-entropy on the tape, with or without the product that gives the logits
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>  // std::int32_t
#include <span>     // std::span

#include <tersor/grad/normalization.hpp>

namespace tersor::grad {

/// A target that is this number counts for nothing: neither loss nor gradient.
inline constexpr std::int32_t ignored_target = -100;

namespace detail {

/// The number of targets that count; an error if one is no class.
inline index_t counted_targets(std::string_view name, std::span<const std::int32_t> targets,
                               index_t classes) {
  index_t n = 0;
  for (std::size_t t = 0; t < targets.size(); ++t) {
    if (targets[t] == ignored_target) continue;
    require(targets[t] >= 0 && targets[t] < classes, concat(name, ": targets[", t, "]"), targets[t], "0 .. ",
            classes - 1, ", or ", ignored_target);
    ++n;
  }
  return n;
}

/// The loss of one row of logits; with `gradient`, the row becomes factor (softmax - one-hot).
template <class T>
wide_of<T> row_loss(T* logits, index_t n, std::int32_t target, bool gradient, T factor) {
  if (target == ignored_target) {
    if (gradient) std::fill(logits, logits + n, T(0));
    return wide_of<T>(0);
  }
  const T* in = logits;
  const auto total = log_sum_exp_row(in, n);
  const auto loss = total - static_cast<wide_of<T>>(logits[target]);
  if (gradient) {
    const T shift = static_cast<T>(total);
    map_row(
        n, logits, [shift, factor](T v) { return factor * exponential(v - shift); }, in);
    logits[target] -= factor;
  }
  return loss;
}

/// The sum of row_loss over rows of x, whose row 0 has targets[0].
template <class T>
wide_of<T> rows_loss(matrix<T>& x, index_t rows, std::span<const std::int32_t> targets, bool gradient,
                     T factor, const context& ctx) {
  std::vector<wide_of<T>> losses(static_cast<std::size_t>(rows));
  parallel_chunks(rows, row_grain(x.cols()), ctx, [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i)
      losses[static_cast<std::size_t>(i)] =
          row_loss(x.data() + i * x.cols(), x.cols(), targets[static_cast<std::size_t>(i)], gradient, factor);
  });
  wide_of<T> sum(0);
  for (const auto& l : losses) sum += l;
  return sum;
}

/// Multiplies a gradient by the 1 x 1 gradient of the loss, which nearly always is 1.
template <class T>
void times(buffer<T>& x, const matrix<T>& factor, const context& ctx) {
  const T f = factor(0, 0);
  map(
      x.size(), ctx, x.data(), [f](T v) { return f * v; }, std::as_const(x).data());
}

}  // namespace detail

/// Mean of -log softmax(logits)[target] over the rows whose target is not `ignored_target`; 0 if none is. 1
/// x 1. logits [tokens, classes].
template <scalar T>
variable<T> cross_entropy(const variable<T>& logits, std::span<const std::int32_t> targets) {
  operation<T> op("cross_entropy", {logits});
  const index_t rows = logits.rows(), classes = logits.cols();
  op.check(static_cast<index_t>(targets.size()) == rows, "as many rows as targets, ", targets.size());
  const index_t counted = detail::counted_targets(op.name(), targets, classes);
  const T factor = counted == 0 ? T(0) : T(1) / T(counted);
  auto x = op.make(rows, classes);
  std::copy_n(logits.value().data(), x.size(), x.data());
  const auto sum = detail::rows_loss(x.get(), rows, targets, op.needs_gradient(), factor, op.ctx());
  auto y = op.make(1, 1);
  y.data()[0] = static_cast<T>(counted == 0 ? wide_of<T>(0) : sum / wide_of<T>(counted));
  if (!op.needs_gradient()) return op.result(std::move(y));
  auto held = std::make_shared<buffer<T>>(std::move(x));
  return op.result(std::move(y), [held](backward_pass<T>& pass) {
    detail::times(*held, pass.gradient(), pass.ctx());
    pass.add(0, std::move(*held));
  });
}

/// The same for logits = x headᵀ, x [tokens, features], head [classes, features]: a few rows of logits at a
/// time, never all [tokens, classes] of them. The gradients of x and head are computed on the way, which
/// costs their memory until the backward pass but saves it the product.
template <scalar T>
variable<T> linear_cross_entropy(const variable<T>& x, const variable<T>& head,
                                 std::span<const std::int32_t> targets) {
  operation<T> op("linear_cross_entropy", {x, head});
  const index_t rows = x.rows(), classes = head.rows(), features = x.cols();
  op.check(head.cols() == features, "equal numbers of columns");
  op.check(static_cast<index_t>(targets.size()) == rows, "as many rows of x as targets, ", targets.size());
  const index_t counted = detail::counted_targets(op.name(), targets, classes);
  const T factor = counted == 0 ? T(0) : T(1) / T(counted);
  const bool needs_x = op.needs_gradient() && x.needs_gradient();
  const bool needs_head = op.needs_gradient() && head.needs_gradient();
  auto gx = needs_x ? op.make(rows, features) : buffer<T>();
  auto gh = needs_head ? op.make(classes, features) : buffer<T>();
  constexpr index_t most = index_t{1} << 22;  // logits at a time
  const index_t step = std::clamp<index_t>(most / std::max<index_t>(classes, 1), 64, 512);
  wide_of<T> sum(0);
  if (needs_head && rows == 0) std::fill_n(gh.data(), gh.size(), T(0));
  for (index_t first = 0; first < rows; first += step) {
    const index_t n = std::min(step, rows - first);
    auto logits = op.make(n, classes);
    const auto xs = x.value().view().rows(first, n);
    detail::product<T>(1, xs, head.value().view().transposed(), 0, logits.view(), op.ctx());
    sum += detail::rows_loss(logits.get(), n,
                             targets.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(n)),
                             op.needs_gradient(), factor, op.ctx());
    const auto g = std::as_const(logits).view();
    if (needs_x) detail::product<T>(1, g, head.value().view(), 0, gx.view().rows(first, n), op.ctx());
    if (needs_head) detail::product<T>(1, g.transposed(), xs, first == 0 ? 0 : 1, gh.view(), op.ctx());
  }
  auto y = op.make(1, 1);
  y.data()[0] = static_cast<T>(counted == 0 ? wide_of<T>(0) : sum / wide_of<T>(counted));
  if (!op.needs_gradient()) return op.result(std::move(y));
  auto held_x = std::make_shared<buffer<T>>(std::move(gx)),
       held_head = std::make_shared<buffer<T>>(std::move(gh));
  return op.result(std::move(y), [held_x, held_head](backward_pass<T>& pass) {
    for (const auto& [input, held] :
         {std::pair(std::size_t{0}, held_x), std::pair(std::size_t{1}, held_head)}) {
      if (!pass.needs(input)) continue;
      detail::times(*held, pass.gradient(), pass.ctx());
      pass.add(input, std::move(*held));
    }
  });
}

}  // namespace tersor::grad
