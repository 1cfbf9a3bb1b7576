// tersor - the library's own matrix: row-major, contiguous, owned
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::fill
#include <cmath>      // std::isfinite
#include <span>       // std::span
#include <vector>     // std::vector

#include <tersor/core/view.hpp>

namespace tersor {

/// Row-major contiguous matrix, zero-initialised. Techniques copy what they change into one of these, so that
/// every layout of the caller's tensor gives the same bits.
template <class T>
class matrix {
 public:
  matrix() = default;
  matrix(index_t rows, index_t cols)
      : rows_(rows), cols_(cols), data_(static_cast<std::size_t>(rows * cols)) {}
  matrix(index_t rows, index_t cols, T value)
      : rows_(rows), cols_(cols), data_(static_cast<std::size_t>(rows * cols), value) {}

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  index_t size() const { return rows_ * cols_; }
  bool empty() const { return data_.empty(); }
  T* data() { return data_.data(); }
  const T* data() const { return data_.data(); }
  T& operator()(index_t i, index_t j) { return data_[static_cast<std::size_t>(i * cols_ + j)]; }
  const T& operator()(index_t i, index_t j) const { return data_[static_cast<std::size_t>(i * cols_ + j)]; }
  std::span<T> row(index_t i) { return {data() + i * cols_, static_cast<std::size_t>(cols_)}; }
  std::span<const T> row(index_t i) const { return {data() + i * cols_, static_cast<std::size_t>(cols_)}; }
  std::span<T> values() { return data_; }
  std::span<const T> values() const { return data_; }

  matrix_view<T> view() { return {data(), {rows_, cols_}}; }
  matrix_view<const T> view() const { return {data(), {rows_, cols_}}; }

  friend bool operator==(const matrix&, const matrix&) = default;

 private:
  index_t rows_ = 0, cols_ = 0;
  std::vector<T> data_;
};

template <class T>
struct view_traits<matrix<T>> {
  static auto view(auto& x) { return x.view(); }
};

/// An owned row-major copy, converted to T.
template <class T, class U>
matrix<T> copy_as(matrix_view<U> x) {
  matrix<T> y(x.rows(), x.cols());
  for (index_t i = 0; i < x.rows(); ++i)
    for (index_t j = 0; j < x.cols(); ++j) y(i, j) = static_cast<T>(x(i, j));
  return y;
}
template <class T, matrix_like X>
matrix<T> to_matrix(const X& x) {
  return copy_as<T>(as_view(x));
}
/// The matrix whose column j is column order[j] of x.
template <class T, class I>
matrix<T> gather_columns(const matrix<T>& x, const std::vector<I>& order) {
  matrix<T> y(x.rows(), static_cast<index_t>(order.size()));
  for (index_t i = 0; i < y.rows(); ++i)
    for (index_t j = 0; j < y.cols(); ++j)
      y(i, j) = x(i, static_cast<index_t>(order[static_cast<std::size_t>(j)]));
  return y;
}
/// An owned copy of a vector, converted to T.
template <class T, vector_like X>
std::vector<T> to_vector(const X& x, std::string_view name = "vector") {
  const auto v = as_vector_view(x, name);
  std::vector<T> y(static_cast<std::size_t>(v.extents[0]));
  for (index_t i = 0; i < v.extents[0]; ++i) y[static_cast<std::size_t>(i)] = static_cast<T>(v(i));
  return y;
}

/// Copies x into y, converting; the extents must agree.
template <class T, class U>
void copy(matrix_view<T> x, matrix_view<U> y) {
  assert(x.extents == y.extents);
  for (index_t i = 0; i < x.rows(); ++i)
    for (index_t j = 0; j < x.cols(); ++j) y(i, j) = static_cast<std::remove_cv_t<U>>(x(i, j));
}

/// Error that names the tensor and the first index if x holds a NaN or an infinity.
template <class T>
void require_finite(matrix_view<T> x, std::string_view name) {
  for (index_t i = 0; i < x.rows(); ++i) {
    bool finite = true;  // without a branch for each element, the loop can be vectorised
    for (index_t j = 0; j < x.cols(); ++j) finite &= std::isfinite(static_cast<double>(x(i, j)));
    if (finite) [[likely]]
      continue;
    for (index_t j = 0; j < x.cols(); ++j)
      if (!std::isfinite(static_cast<double>(x(i, j))))
        fail(concat(name, "[", i, ", ", j, "]"), static_cast<double>(x(i, j)), "a finite number");
  }
}
template <class T>
void require_finite(vector_view<T> x, std::string_view name) {
  for (index_t i = 0; i < x.extents[0]; ++i)
    if (!std::isfinite(static_cast<double>(x(i)))) [[unlikely]]
      fail(concat(name, "[", i, "]"), static_cast<double>(x(i)), "a finite number");
}

/// Error unless x is rows x cols.
template <class T>
void require_shape(matrix_view<T> x, index_t rows, index_t cols, std::string_view name) {
  require(x.rows() == rows && x.cols() == cols, name, concat(x.rows(), " x ", x.cols()), rows, " x ", cols);
}

}  // namespace tersor
