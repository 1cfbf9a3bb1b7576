// tersor - operations of the tape that move or sum elements, and rows by index
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>  // std::int32_t
#include <span>     // std::span

#include <tersor/grad/elementwise.hpp>

namespace tersor::grad {

namespace detail {

/// y = x, or y += x, for views of any strides.
template <class T>
void move_block(matrix_view<const T> x, matrix_view<T> y, bool adds, const context& ctx) {
  assert(x.extents == y.extents);
  parallel_chunks(x.rows(), row_grain(x.cols()), ctx, [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i)
      for (index_t j = 0; j < x.cols(); ++j) y(i, j) = adds ? y(i, j) + x(i, j) : x(i, j);
  });
}
template <class T>
void fill(matrix<T>& x, T value) {
  std::fill(x.values().begin(), x.values().end(), value);
}

}  // namespace detail

template <scalar T>
variable<T> transpose(const variable<T>& x) {
  operation<T> op("transpose", {x});
  auto y = op.make(x.cols(), x.rows());
  detail::move_block<T>(x.value().view().transposed(), y.view(), false, op.ctx());
  if (!op.needs_gradient()) return op.result(std::move(y));
  return op.result(std::move(y), [](backward_pass<T>& pass) {
    const matrix<T>& g = pass.gradient();
    auto gx = pass.make(g.cols(), g.rows());
    detail::move_block<T>(g.view().transposed(), gx.view(), false, pass.ctx());
    pass.add(0, std::move(gx));
  });
}

/// The same elements in row-major order as rows x cols.
template <scalar T>
variable<T> reshape(const variable<T>& x, index_t rows, index_t cols) {
  operation<T> op("reshape", {x});
  op.check(rows >= 0 && cols >= 0 && rows * cols == x.rows() * x.cols(), "as many elements as ", rows, " x ",
           cols);
  auto y = op.make(rows, cols);
  std::copy_n(x.value().data(), y.size(), y.data());
  if (!op.needs_gradient()) return op.result(std::move(y));
  const index_t m = x.rows(), n = x.cols();
  return op.result(std::move(y), [m, n](backward_pass<T>& pass) {
    auto gx = pass.make(m, n);
    std::copy_n(pass.gradient().data(), gx.size(), gx.data());
    pass.add(0, std::move(gx));
  });
}

/// The block of `rows` x `cols` elements whose first is (i, j).
template <scalar T>
variable<T> slice(const variable<T>& x, index_t i, index_t j, index_t rows, index_t cols) {
  operation<T> op("slice", {x});
  op.check(i >= 0 && j >= 0 && rows >= 0 && cols >= 0 && i + rows <= x.rows() && j + cols <= x.cols(),
           "at least ", i + rows, " x ", j + cols, ", and a block that begins at (", i, ", ", j, ")");
  auto y = op.make(rows, cols);
  detail::move_block<T>(x.value().view().block(i, j, rows, cols), y.view(), false, op.ctx());
  if (!op.needs_gradient()) return op.result(std::move(y));
  return op.result(std::move(y), [i, j](backward_pass<T>& pass) {
    pass.add_with(0, [&](matrix<T>& gx, bool fresh) {
      if (fresh) detail::fill(gx, T(0));
      const matrix<T>& g = pass.gradient();
      detail::move_block<T>(g.view(), gx.view().block(i, j, g.rows(), g.cols()), true, pass.ctx());
    });
  });
}
template <scalar T>
variable<T> slice_rows(const variable<T>& x, index_t first, index_t count) {
  return slice(x, first, 0, count, x.cols());
}
template <scalar T>
variable<T> slice_columns(const variable<T>& x, index_t first, index_t count) {
  return slice(x, 0, first, x.rows(), count);
}

/// The inputs one under the other; as many columns each.
template <scalar T>
variable<T> concat_rows(const std::vector<variable<T>>& parts) {
  operation<T> op("concat_rows", parts);
  std::vector<index_t> first;
  index_t rows = 0;
  for (const auto& x : parts) {
    op.check(x.cols() == parts[0].cols(), "equal numbers of columns");
    first.push_back(rows);
    rows += x.rows();
  }
  auto y = op.make(rows, parts[0].cols());
  for (std::size_t p = 0; p < parts.size(); ++p)
    std::copy_n(parts[p].value().data(), parts[p].value().size(), y.data() + first[p] * y.cols());
  if (!op.needs_gradient()) return op.result(std::move(y));
  first.push_back(rows);
  return op.result(std::move(y), [first](backward_pass<T>& pass) {
    const matrix<T>& g = pass.gradient();
    for (std::size_t p = 0; p + 1 < first.size(); ++p) {
      auto gx = pass.make(first[p + 1] - first[p], g.cols());
      std::copy_n(g.data() + first[p] * g.cols(), gx.size(), gx.data());
      pass.add(p, std::move(gx));
    }
  });
}
/// The inputs side by side; as many rows each.
template <scalar T>
variable<T> concat_columns(const std::vector<variable<T>>& parts) {
  operation<T> op("concat_columns", parts);
  std::vector<index_t> first;
  index_t cols = 0;
  for (const auto& x : parts) {
    op.check(x.rows() == parts[0].rows(), "equal numbers of rows");
    first.push_back(cols);
    cols += x.cols();
  }
  auto y = op.make(parts[0].rows(), cols);
  for (std::size_t p = 0; p < parts.size(); ++p)
    detail::move_block<T>(parts[p].value().view(), y.view().block(0, first[p], y.rows(), parts[p].cols()),
                          false, op.ctx());
  if (!op.needs_gradient()) return op.result(std::move(y));
  first.push_back(cols);
  return op.result(std::move(y), [first](backward_pass<T>& pass) {
    const matrix<T>& g = pass.gradient();
    for (std::size_t p = 0; p + 1 < first.size(); ++p) {
      auto gx = pass.make(g.rows(), first[p + 1] - first[p]);
      detail::move_block<T>(g.view().block(0, first[p], g.rows(), gx.cols()), gx.view(), false, pass.ctx());
      pass.add(p, std::move(gx));
    }
  });
}

namespace detail {

/// factor times the sums of x along the extents that are 1 in [rows, cols].
template <class T>
variable<T> sum_to(std::string_view name, const variable<T>& x, index_t rows, index_t cols, T factor) {
  operation<T> op(name, {x});
  auto y = reduced(x.value(), op.make(rows, cols), op.ctx());
  if (factor != T(1))
    map_row(
        y.size(), y.data(), [factor](T v) { return factor * v; }, std::as_const(y).data());
  if (!op.needs_gradient()) return op.result(std::move(y));
  const index_t m = x.rows(), n = x.cols();
  return op.result(std::move(y), [m, n, factor](backward_pass<T>& pass) {
    auto gx = pass.make(m, n);
    matrix<T> f(1, 1, factor);
    broadcast_map(pass.ctx(), gx.get(), pass.gradient(), f, [](T g, T v) { return g * v; });
    pass.add(0, std::move(gx));
  });
}

/// The element of each row that no other `precedes`; of equal ones the first.
template <class T, class Precedes>
variable<T> extreme_of_rows(std::string_view name, const variable<T>& x, const Precedes& precedes) {
  operation<T> op(name, {x});
  op.check(x.cols() > 0, "one column at least");
  auto y = op.make(x.rows(), 1);
  std::vector<index_t> where(static_cast<std::size_t>(x.rows()));
  for (index_t i = 0; i < x.rows(); ++i) {
    const T* row = x.value().row(i).data();
    index_t best = 0;
    for (index_t j = 1; j < x.cols(); ++j)
      if (precedes(row[j], row[best])) best = j;
    where[static_cast<std::size_t>(i)] = best;
    y.data()[i] = row[best];
  }
  if (!op.needs_gradient()) return op.result(std::move(y));
  return op.result(std::move(y), [where](backward_pass<T>& pass) {
    pass.add_with(0, [&](matrix<T>& gx, bool fresh) {
      if (fresh) fill(gx, T(0));
      for (index_t i = 0; i < gx.rows(); ++i)
        gx(i, where[static_cast<std::size_t>(i)]) += pass.gradient()(i, 0);
    });
  });
}

}  // namespace detail

/// The sum of all elements, 1 x 1.
template <scalar T>
variable<T> sum(const variable<T>& x) {
  return detail::sum_to("sum", x, 1, 1, T(1));
}
/// The mean of all elements, 1 x 1; x has at least one.
template <scalar T>
variable<T> mean(const variable<T>& x) {
  require(x.rows() * x.cols() > 0, "mean: shape", concat(x.rows(), " x ", x.cols()), "one element at least");
  return detail::sum_to("mean", x, 1, 1, T(1) / T(x.rows() * x.cols()));
}
/// Σ over the columns of each row, [rows, 1].
template <scalar T>
variable<T> sum_of_rows(const variable<T>& x) {
  return detail::sum_to("sum_of_rows", x, x.rows(), 1, T(1));
}
/// Σ over the rows of each column, [1, cols].
template <scalar T>
variable<T> sum_of_columns(const variable<T>& x) {
  return detail::sum_to("sum_of_columns", x, 1, x.cols(), T(1));
}
/// The smallest (largest) element of each row, [rows, 1]; the gradient goes to the first of equal ones.
template <scalar T>
variable<T> min_of_rows(const variable<T>& x) {
  return detail::extreme_of_rows("min_of_rows", x, [](const T& a, const T& b) { return a < b; });
}
template <scalar T>
variable<T> max_of_rows(const variable<T>& x) {
  return detail::extreme_of_rows("max_of_rows", x, [](const T& a, const T& b) { return b < a; });
}

/// The rows ids[t] of a table [vocabulary, features], one for each token: [tokens, features].
template <scalar T>
variable<T> embedding(const variable<T>& table, std::span<const std::int32_t> ids) {
  operation<T> op("embedding", {table});
  const auto tokens = static_cast<index_t>(ids.size());
  for (std::size_t t = 0; t < ids.size(); ++t)
    require(ids[t] >= 0 && ids[t] < table.rows(), concat("embedding: ids[", t, "]"), ids[t], "0 .. ",
            table.rows() - 1);
  auto y = op.make(tokens, table.cols());
  for (index_t t = 0; t < tokens; ++t)
    std::copy_n(table.value().row(ids[static_cast<std::size_t>(t)]).data(), y.cols(),
                y.data() + t * y.cols());
  if (!op.needs_gradient()) return op.result(std::move(y));
  return op.result(std::move(y),
                   [ids = std::vector<std::int32_t>(ids.begin(), ids.end())](backward_pass<T>& pass) {
                     pass.add_with(0, [&](matrix<T>& gx, bool fresh) {
                       if (fresh) detail::fill(gx, T(0));
                       const matrix<T>& g = pass.gradient();
                       // Columns in parallel, tokens in order: ids repeat.
                       parallel_chunks(g.cols(), 64, pass.ctx(), [&](index_t first, index_t last) {
                         for (index_t t = 0; t < g.rows(); ++t) {
                           T* out = gx.row(ids[static_cast<std::size_t>(t)]).data();
                           for (index_t j = first; j < last; ++j) out[j] += g(t, j);
                         }
                       });
                     });
                   });
}

}  // namespace tersor::grad
