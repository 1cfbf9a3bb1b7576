// tersor - operations of the tape over rows: softmax, log-softmax, RMSNorm, LayerNorm
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/grad/tape.hpp>

namespace tersor::grad {

namespace detail {

/// x[i] := e^x[i] / Σ e^x[j]; stable.
template <class T>
void softmax_row(T* x, index_t n) {
  if constexpr (std::is_same_v<T, float>) {
    kernel::softmax(x, n);
  } else {
    const T top = *std::max_element(x, x + n);
    map_row(
        n, x, [top](T v) { return exponential(v - top); }, std::as_const(x));
    const auto inverse = static_cast<T>(wide_of<T>(1) / sum_row<T>(
                                                            n, [](auto v) { return v; }, std::as_const(x)));
    map_row(
        n, x, [inverse](T v) { return v * inverse; }, std::as_const(x));
  }
}
/// log Σ e^x[j]; stable.
template <class T>
wide_of<T> log_sum_exp_row(const T* x, index_t n) {
  if constexpr (std::is_same_v<T, float>) {
    return kernel::log_sum_exp(x, n);
  } else {
    const auto top = static_cast<wide_of<T>>(*std::max_element(x, x + n));
    return top + logarithm(sum_row<T>(
                     n, [top](auto v) { return exponential(v - top); }, x));
  }
}

/// Mean and 1 / sqrt(variance + epsilon) of a row; `centred` false: of zero mean, as RMSNorm has it.
template <class T>
struct row_scale {
  T mean, inverse;
};
template <class T>
row_scale<T> scale_of_row(const T* x, index_t n, double epsilon, bool centred) {
  using W = wide_of<T>;
  const W mean = centred ? sum_row<T>(
                               n, [](auto v) { return v; }, x) /
                               W(n)
                         : W(0);
  const W squares = sum_row<T>(
      n, [mean](auto v) { return (v - mean) * (v - mean); }, x);
  return {static_cast<T>(mean), static_cast<T>(W(1) / square_root(squares / W(n) + W(epsilon)))};
}

/// RMSNorm and LayerNorm; the bias may be absent.
template <class T>
variable<T> normalized(std::string_view name, const variable<T>& x, const variable<T>& weight,
                       const variable<T>& bias, double epsilon, bool centred) {
  operation<T> op(name, bias ? std::vector{x, weight, bias} : std::vector{x, weight});
  const index_t rows = x.rows(), n = x.cols();
  op.check(
      n > 0 && weight.rows() == 1 && weight.cols() == n && (!bias || (bias.rows() == 1 && bias.cols() == n)),
      "x with one column at least, weight and bias of one row and as many columns");
  auto y = op.make(rows, n);
  const T* w = weight.value().data();
  const T* b = bias ? bias.value().data() : nullptr;
  parallel_chunks(rows, row_grain(n), op.ctx(), [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i) {
      const T* in = x.value().row(i).data();
      T* out = y.data() + i * n;
      const auto s = scale_of_row(in, n, epsilon, centred);
      map_row(
          n, out, [s](T v, T u) { return (v - s.mean) * s.inverse * u; }, in, w);
      if (b != nullptr)
        map_row(
            n, out, [](T v, T u) { return v + u; }, std::as_const(out), b);
    }
  });
  if (!op.needs_gradient()) return op.result(std::move(y));
  return op.result(std::move(y), [saved_x = op.save(0, "x"), saved_w = op.save(1, "weight"),
                                  has_bias = static_cast<bool>(bias), epsilon,
                                  centred](backward_pass<T>& pass) {
    using W = wide_of<T>;
    const auto x = saved_x.load(), weight = saved_w.load();
    const matrix<T>& g = pass.gradient();
    const index_t n = x->cols();
    const T* w = weight->data();
    auto gx = pass.needs(0) ? pass.make(x->rows(), n) : buffer<T>();
    const bool sums = pass.needs(1) || (has_bias && pass.needs(2));
    // With h = g w and the normalised row z: gx = inverse (h - mean(h) - z mean(h z)).
    const auto totals =
        sums_over_rows<W>(x->rows(), 2 * n, pass.ctx(), [&](index_t first, index_t last, W* partial) {
          std::vector<T> z(static_cast<std::size_t>(n)), h(static_cast<std::size_t>(n));
          for (index_t i = first; i < last; ++i) {
            const T* in = x->row(i).data();
            const T* gi = g.row(i).data();
            const auto s = scale_of_row(in, n, epsilon, centred);
            map_row(
                n, z.data(), [s](T v) { return (v - s.mean) * s.inverse; }, in);
            if (gx) {
              map_row(
                  n, h.data(), [](T u, T v) { return u * v; }, gi, w);
              const T *hd = h.data(), *zd = z.data();
              const T mean = centred ? static_cast<T>(sum_row<T>(
                                                          n, [](auto v) { return v; }, hd) /
                                                      W(n))
                                     : T(0);
              const T along = static_cast<T>(sum_row<T>(
                                                 n, [](auto u, auto v) { return u * v; }, hd, zd) /
                                             W(n));
              const T inverse = s.inverse;
              map_row(
                  n, gx.data() + i * n, [=](T u, T v) { return inverse * (u - mean - v * along); }, hd, zd);
            }
            if (!sums) continue;
            for (index_t j = 0; j < n; ++j)
              partial[j] += static_cast<W>(gi[j]) * static_cast<W>(z[static_cast<std::size_t>(j)]);
            for (index_t j = 0; has_bias && j < n; ++j) partial[n + j] += static_cast<W>(gi[j]);
          }
        });
    const auto add_sums = [&](std::size_t input, index_t offset) {
      auto gw = pass.make(1, n);
      for (index_t j = 0; j < n; ++j)
        gw.data()[j] = static_cast<T>(totals[static_cast<std::size_t>(offset + j)]);
      pass.add(input, std::move(gw));
    };
    if (gx) pass.add(0, std::move(gx));
    if (pass.needs(1)) add_sums(1, 0);
    if (has_bias && pass.needs(2)) add_sums(2, n);
  });
}

}  // namespace detail

/// Each row e^x / Σ e^x.
template <scalar T>
variable<T> softmax(const variable<T>& x) {
  operation<T> op("softmax", {x});
  op.check(x.cols() > 0, "one column at least");
  const index_t n = x.cols();
  auto y = op.make(x.rows(), n);
  parallel_chunks(x.rows(), detail::row_grain(n), op.ctx(), [&](index_t first, index_t last) {
    std::copy_n(x.value().data() + first * n, (last - first) * n, y.data() + first * n);
    for (index_t i = first; i < last; ++i) detail::softmax_row(y.data() + i * n, n);
  });
  if (!op.needs_gradient()) return op.result(std::move(y));
  const auto shared = share(std::move(y));
  return op.result(shared, [saved = op.save(shared, "y")](backward_pass<T>& pass) {
    const auto y = saved.load();
    const index_t n = y->cols();
    auto g = pass.take_gradient();
    parallel_chunks(y->rows(), detail::row_grain(n), pass.ctx(), [&](index_t first, index_t last) {
      for (index_t i = first; i < last; ++i) {
        T* gi = g.data() + i * n;
        const T *p = y->row(i).data(), *gc = gi;
        const T along = static_cast<T>(detail::sum_row<T>(
            n, [](auto u, auto v) { return u * v; }, gc, p));
        detail::map_row(
            n, gi, [along](T u, T v) { return v * (u - along); }, gc, p);
      }
    });
    pass.add(0, std::move(g));
  });
}

/// Each row x - log Σ e^x.
template <scalar T>
variable<T> log_softmax(const variable<T>& x) {
  operation<T> op("log_softmax", {x});
  op.check(x.cols() > 0, "one column at least");
  const index_t n = x.cols();
  auto y = op.make(x.rows(), n);
  parallel_chunks(x.rows(), detail::row_grain(n), op.ctx(), [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i) {
      const T* in = x.value().row(i).data();
      const T total = static_cast<T>(detail::log_sum_exp_row(in, n));
      detail::map_row(
          n, y.data() + i * n, [total](T v) { return v - total; }, in);
    }
  });
  if (!op.needs_gradient()) return op.result(std::move(y));
  const auto shared = share(std::move(y));
  return op.result(shared, [saved = op.save(shared, "y")](backward_pass<T>& pass) {
    const auto y = saved.load();
    const index_t n = y->cols();
    auto g = pass.take_gradient();
    parallel_chunks(y->rows(), detail::row_grain(n), pass.ctx(), [&](index_t first, index_t last) {
      for (index_t i = first; i < last; ++i) {
        T* gi = g.data() + i * n;
        const T *yi = y->row(i).data(), *gc = gi;
        const T total = static_cast<T>(detail::sum_row<T>(
            n, [](auto v) { return v; }, gc));
        detail::map_row(
            n, gi, [total](T u, T v) { return u - detail::exponential(v) * total; }, gc, yi);
      }
    });
    pass.add(0, std::move(g));
  });
}

/// x / sqrt(mean(x²) + epsilon) * weight, row by row, with the weight [1, features].
template <scalar T>
variable<T> rms_norm(const variable<T>& x, const variable<T>& weight, double epsilon) {
  return detail::normalized("rms_norm", x, weight, variable<T>(), epsilon, false);
}
/// (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias, row by row; weight and bias [1, features].
template <scalar T>
variable<T> layer_norm(const variable<T>& x, const variable<T>& weight, const variable<T>& bias,
                       double epsilon) {
  return detail::normalized("layer_norm", x, weight, bias, epsilon, true);
}

}  // namespace tersor::grad
