// tersor - freeze masks: which elements of a tensor a training run must not move
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>  // std::uint8_t
#include <vector>   // std::vector

#include <tersor/core/matrix.hpp>

namespace tersor {

/// The elements of a tensor [rows, cols] that are frozen: all of it, whole rows and columns, or single
/// elements. A frozen element gets no gradient, no momentum and no decay: not one of its bits changes. (A
/// gradient of zero would not do that: momentum and decoupled decay still move the weight.) A value; costs
/// nothing while nothing is frozen, a byte a row and column for ranges, a byte an element for a bitmap.
class freeze_mask {
 public:
  freeze_mask() = default;
  freeze_mask(index_t rows, index_t cols) : rows_(rows), cols_(cols) {}

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }

  void freeze_all() {
    row_.assign(static_cast<std::size_t>(rows_), 1);
    column_.clear();
    element_.clear();
  }
  void freeze_rows(index_t first, index_t count) { mark(row_, rows_, first, count, "freeze_rows"); }
  void freeze_columns(index_t first, index_t count) { mark(column_, cols_, first, count, "freeze_columns"); }
  /// Freezes (i, j) wherever bitmap(i, j) is not zero. @param bitmap [rows, cols], any integer type or bool.
  template <matrix_like B>
  void freeze_elements(const B& bitmap) {
    const auto b = as_view(bitmap);
    require_shape(b, rows_, cols_, "freeze_elements: bitmap");
    element_.resize(static_cast<std::size_t>(rows_ * cols_));
    for (index_t i = 0; i < rows_; ++i)
      for (index_t j = 0; j < cols_; ++j)
        if (b(i, j) != 0) element_[static_cast<std::size_t>(i * cols_ + j)] = 1;
  }
  void unfreeze() { *this = freeze_mask(rows_, cols_); }

  bool is_frozen(index_t i, index_t j) const {
    return at(row_, i) || at(column_, j) || at(element_, i * cols_ + j);
  }
  /// Is nothing frozen, or everything?
  bool none() const { return trainable_count() == rows_ * cols_; }
  bool all() const { return trainable_count() == 0; }
  /// Elements that are not frozen.
  index_t trainable_count() const {
    if (element_.empty()) return count_free(row_, rows_) * count_free(column_, cols_);
    index_t n = 0;
    for (index_t i = 0; i < rows_; ++i)
      for (index_t j = 0; j < cols_; ++j) n += is_frozen(i, j) ? 0 : 1;
    return n;
  }

  /// The trainable elements packed without gaps. Where whole rows and columns are frozen that is a smaller
  /// matrix, with single elements one row.
  template <class T>
  matrix<T> gather(const matrix<T>& x) const {
    require_shape(x.view(), rows_, cols_, "freeze_mask: tensor");
    matrix<T> y(packed_rows(), packed_cols());
    T* out = y.data();
    for_each_trainable([&](index_t i, index_t j) { *out++ = x(i, j); });
    return y;
  }
  /// Writes what `gather` packed back to the trainable elements of x.
  template <class T>
  void scatter(const matrix<T>& packed, matrix<T>& x) const {
    require_shape(x.view(), rows_, cols_, "freeze_mask: tensor");
    require_shape(packed.view(), packed_rows(), packed_cols(), "freeze_mask: packed elements");
    const T* in = packed.data();
    for_each_trainable([&](index_t i, index_t j) { x(i, j) = *in++; });
  }
  /// f(i, j) for every trainable element, in row-major order.
  template <class F>
  void for_each_trainable(const F& f) const {
    for (index_t i = 0; i < rows_; ++i)
      if (!at(row_, i))
        for (index_t j = 0; j < cols_; ++j)
          if (!at(column_, j) && !at(element_, i * cols_ + j)) f(i, j);
  }
  index_t packed_rows() const { return element_.empty() ? count_free(row_, rows_) : 1; }
  index_t packed_cols() const { return element_.empty() ? count_free(column_, cols_) : trainable_count(); }

  /// Two masks are equal if they freeze the same elements and pack the others alike.
  friend bool operator==(const freeze_mask& a, const freeze_mask& b) {
    if (a.rows_ != b.rows_ || a.cols_ != b.cols_ || a.packed_rows() != b.packed_rows()) return false;
    if (a.row_ == b.row_ && a.column_ == b.column_ && a.element_ == b.element_) return true;
    for (index_t i = 0; i < a.rows_; ++i)
      for (index_t j = 0; j < a.cols_; ++j)
        if (a.is_frozen(i, j) != b.is_frozen(i, j)) return false;
    return true;
  }

 private:
  using flags = std::vector<std::uint8_t>;
  static bool at(const flags& f, index_t i) { return !f.empty() && f[static_cast<std::size_t>(i)] != 0; }
  static index_t count_free(const flags& f, index_t n) {
    for (const auto frozen : f) n -= frozen;
    return n;
  }
  static void mark(flags& f, index_t n, index_t first, index_t count, std::string_view what) {
    require(first >= 0 && count >= 0 && first <= n - count, concat(what, ": range"),
            concat(first, " .. ", first + count), "a part of 0 .. ", n);
    f.resize(static_cast<std::size_t>(n));
    for (index_t i = first; i < first + count; ++i) f[static_cast<std::size_t>(i)] = 1;
  }

  index_t rows_ = 0, cols_ = 0;
  flags row_, column_, element_;  // 1: frozen; empty: none of them
};

}  // namespace tersor
