// tersor - a tensor of an adapter: its values, its name in files, and which of them train
// SPDX-License-Identifier: MIT
#pragma once

// No paper: what every adapter is made of.

#include <algorithm>  // std::ranges::count
#include <cstdint>    // std::uint8_t
#include <span>       // std::span
#include <string>     // std::string
#include <vector>     // std::vector

#include <tersor/core/dtype.hpp>
#include <tersor/core/matrix.hpp>

namespace tersor::adapters {

/// What a tensor is to an optimiser.
enum class parameter_kind {
  projection,     ///< matrices at the input side and whatever has two axes or more
  up_projection,  ///< the matrix that starts at zero: LoRA's B
  vector,         ///< one axis
  bias,
  embedding,
  shared  ///< frozen, of all layers together: counted once, not per layer
};

/// A tensor with its mask. A frozen element gets no gradient, no momentum and no weight decay: an optimiser
/// keeps state for `gather(values)` alone and writes back through `scatter`, so it cannot reach the others.
template <class T>
struct parameter {
  std::string key;  ///< in a file, after the name of the module: "lora_A.weight"
  parameter_kind kind;
  std::vector<index_t> shape;      ///< in a file
  matrix<T> value;                 ///< leading axes flattened; a vector is one row
  dtype stored_type = dtype::f32;  ///< in a file

  parameter(std::string k, parameter_kind what, matrix<T> v)
      : key(std::move(k)), kind(what), shape{v.rows(), v.cols()}, value(std::move(v)) {}
  parameter(std::string k, parameter_kind what, std::vector<index_t> extents, matrix<T> v)
      : key(std::move(k)), kind(what), shape(std::move(extents)), value(std::move(v)) {
    index_t n = 1;
    for (const index_t e : shape) n *= e;
    require(n == value.size(), concat("parameter ", key, ": elements"), value.size(), n, " by its shape");
  }

  index_t size() const { return value.size(); }

  void freeze() { frozen_.assign(count(), 1); }
  void thaw() { frozen_.clear(); }
  void freeze_rows(index_t first, index_t rows) { freeze_block(first, 0, rows, value.cols()); }
  void freeze_columns(index_t first, index_t columns) { freeze_block(0, first, value.rows(), columns); }
  /// @param mask [rows, cols] of `value`; elements that are not 0 become frozen.
  void freeze_elements(matrix_view<const std::uint8_t> mask) {
    require_shape(mask, value.rows(), value.cols(), concat("parameter ", key, ": mask"));
    allocate();
    for (index_t i = 0; i < mask.rows(); ++i)
      for (index_t j = 0; j < mask.cols(); ++j)
        if (mask(i, j) != 0) frozen_[at(i, j)] = 1;
  }
  bool frozen(index_t i, index_t j) const { return !frozen_.empty() && frozen_[at(i, j)] != 0; }
  /// Does any element train?
  bool trains() const { return trainable_count() > 0; }
  index_t trainable_count() const {
    return size() - static_cast<index_t>(std::ranges::count(frozen_, std::uint8_t{1}));
  }

  /// The trainable elements of x, a matrix of the shape of `value`, in row-major order.
  std::vector<T> gather(const matrix<T>& x) const {
    require_shape(x.view(), value.rows(), value.cols(), concat("parameter ", key, ": gradient"));
    std::vector<T> result;
    for (std::size_t i = 0; i < count(); ++i)
      if (frozen_.empty() || frozen_[i] == 0) result.push_back(x.values()[i]);
    return result;
  }
  /// Writes the trainable elements, in the order of `gather`.
  void scatter(std::span<const T> values) {
    require(static_cast<index_t>(values.size()) == trainable_count(), concat("parameter ", key, ": values"),
            values.size(), trainable_count());
    std::size_t next = 0;
    for (std::size_t i = 0; i < count(); ++i)
      if (frozen_.empty() || frozen_[i] == 0) value.values()[i] = values[next++];
  }

 private:
  std::size_t count() const { return static_cast<std::size_t>(value.size()); }
  std::size_t at(index_t i, index_t j) const { return static_cast<std::size_t>(i * value.cols() + j); }
  void allocate() {
    if (frozen_.empty()) frozen_.assign(count(), 0);
  }
  void freeze_block(index_t i, index_t j, index_t rows, index_t columns) {
    require(i >= 0 && rows >= 0 && i + rows <= value.rows(), concat("parameter ", key, ": frozen rows"),
            concat(i, " .. ", i + rows), "0 .. ", value.rows());
    require(j >= 0 && columns >= 0 && j + columns <= value.cols(),
            concat("parameter ", key, ": frozen columns"), concat(j, " .. ", j + columns), "0 .. ",
            value.cols());
    allocate();
    for (index_t r = i; r < i + rows; ++r)
      for (index_t c = j; c < j + columns; ++c) frozen_[at(r, c)] = 1;
  }

  std::vector<std::uint8_t> frozen_;  // one per element; empty: all train
};

/// One gradient per tensor of an adapter, in the order of its `tensors()`, of the shape of `value`; empty
/// where nothing of the tensor trains.
template <class T>
using gradients = std::vector<matrix<T>>;

}  // namespace tersor::adapters
