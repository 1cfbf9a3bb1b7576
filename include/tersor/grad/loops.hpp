// tersor - the loops of the tape: products and element-wise maps over every scalar
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/parallel.hpp>
#include <tersor/grad/dual.hpp>
#include <tersor/kernel/target.hpp>
#include <tersor/linalg/gemm.hpp>

namespace tersor::grad::detail {

/// Elements of a task of an element-wise loop: less does not repay waking a thread.
inline constexpr index_t grain = 32768;
/// Elements that a loop reads before it writes any: the compiler then vectorises without asking whether
/// operands overlap, and a result may be written over an operand.
inline constexpr index_t block = 16;

/// Kernel::run(args...), for float in the widest instruction set of the machine.
template <class T, class Kernel, class... Args>
auto run(Args... args) {
  if constexpr (std::is_same_v<T, float>)
    return kernel::run<Kernel>(kernel::best_target(), args...);
  else
    return Kernel::run(args...);
}

template <class T, class F, class... X>
struct map_kernel {
  TERSOR_ALWAYS_INLINE static void run(index_t n, T* y, F f, const X*... x) {
    const index_t whole = n - n % block;
    for (index_t i = 0; i < whole; i += block) {
      T out[block];
      for (index_t l = 0; l < block; ++l) out[l] = f(x[i + l]...);
      for (index_t l = 0; l < block; ++l) y[i + l] = out[l];
    }
    for (index_t i = whole; i < n; ++i) y[i] = f(x[i]...);
  }
};
/// y[i] = f(x[i]...) for i in [0, n) on the calling thread.
template <class T, class F, class... X>
void map_row(index_t n, T* y, F f, const X*... x) {
  run<T, map_kernel<T, F, X...>>(n, y, f, x...);
}
/// The same in parallel.
template <class T, class F, class... X>
void map(index_t n, const context& ctx, T* y, F f, const X*... x) {
  parallel_chunks(n, grain, ctx, [&](index_t i, index_t end) { map_row(end - i, y + i, f, (x + i)...); });
}

/// Σ f(x[i]...) in the wide type.
template <class T, class F, class... X>
struct sum_kernel {
  TERSOR_ALWAYS_INLINE static wide_of<T> run(index_t n, F f, const X*... x) {
    wide_of<T> lanes[block] = {};
    const index_t whole = n - n % block;
    for (index_t i = 0; i < whole; i += block)
      for (index_t l = 0; l < block; ++l) lanes[l] += f(static_cast<wide_of<T>>(x[i + l])...);
    for (index_t i = whole; i < n; ++i) lanes[0] += f(static_cast<wide_of<T>>(x[i])...);
    for (index_t half = block / 2; half > 0; half /= 2)
      for (index_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    return lanes[0];
  }
};
template <class T, class F, class... X>
wide_of<T> sum_row(index_t n, F f, const X*... x) {
  return run<T, sum_kernel<T, F, X...>>(n, f, x...);
}

/// Rows of a task of a loop over rows of `cols` elements.
inline index_t row_grain(index_t cols) { return std::max<index_t>(grain / std::max<index_t>(cols, 1), 1); }

/// Sums over rows: task(first, last, partial) adds the rows [first, last) to its partial sums [count]; they
/// are then added in order, so that the result does not depend on the number of threads.
template <class W, class Task>
std::vector<W> sums_over_rows(index_t rows, index_t count, const context& ctx, const Task& task) {
  constexpr index_t most = 64;  // partial sums, which cost memory
  const index_t chunk = std::max(row_grain(count), (rows + most - 1) / most);
  const index_t chunks = (rows + chunk - 1) / chunk;
  std::vector<W> sums(static_cast<std::size_t>(std::max<index_t>(chunks, 1) * count));
  parallel_for(chunks, ctx,
               [&](index_t c) { task(c * chunk, std::min(rows, (c + 1) * chunk), sums.data() + c * count); });
  for (index_t c = 1; c < chunks; ++c)
    for (index_t j = 0; j < count; ++j)
      sums[static_cast<std::size_t>(j)] += sums[static_cast<std::size_t>(c * count + j)];
  sums.resize(static_cast<std::size_t>(count));
  return sums;
}

/// c = alpha a b + beta c, as linalg::gemm, for every scalar: of duals, the product rule on strided views.
template <class T>
void product(real_of<T> alpha, matrix_view<const T> a, matrix_view<const T> b, real_of<T> beta,
             matrix_view<T> c, const context& ctx) {
  if constexpr (std::floating_point<T>) {
    // A product over many tokens whose result is as small as a weight is one tile of gemm, that is one
    // thread's work; cut by rows, it is several.
    constexpr index_t rows = 64, deep = 512;
    if (c.rows() > rows && a.cols() >= deep && c.rows() <= 512 && c.cols() <= 1536)
      return parallel_chunks(c.rows(), rows, ctx, [&](index_t i, index_t end) {
        linalg::gemm<T>(alpha, a.rows(i, end - i), b, beta, c.rows(i, end - i), ctx);
      });
    linalg::gemm<T>(alpha, a, b, beta, c, ctx);
  } else {
    using S = real_of<T>;
    const auto part = []<class D>(matrix_view<D> x, auto member) {
      using E = std::conditional_t<std::is_const_v<D>, const S, S>;
      E* data = x.data == nullptr ? nullptr : &(x.data->*member);
      return matrix_view<E>(data, x.extents, {2 * x.strides[0], 2 * x.strides[1]});
    };
    const auto av = part(a, &T::value), as = part(a, &T::slope), bv = part(b, &T::value),
               bs = part(b, &T::slope);
    const auto cs = part(c, &T::slope);
    linalg::gemm<S>(alpha, av, bs, beta, cs, ctx);
    linalg::gemm<S>(alpha, as, bv, S(1), cs, ctx);
    linalg::gemm<S>(alpha, av, bv, beta, part(c, &T::value), ctx);
  }
}

}  // namespace tersor::grad::detail
