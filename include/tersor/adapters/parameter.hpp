// tersor - a tensor of an adapter: its values, its name in files, and which of them train
// SPDX-License-Identifier: MIT
#pragma once

// No paper: what every adapter is made of.

#include <string>  // std::string
#include <vector>  // std::vector

#include <tersor/core/dtype.hpp>
#include <tersor/core/freeze_mask.hpp>

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

/// A tensor with its mask, which an optimiser obeys: it keeps state for the trainable elements alone, and not
/// one bit of the others changes.
template <class T>
struct parameter {
  std::string key;  ///< in a file, after the name of the module: "lora_A.weight"
  parameter_kind kind;
  std::vector<index_t> shape;      ///< in a file
  matrix<T> value;                 ///< leading axes flattened; a vector is one row
  freeze_mask frozen;              ///< of `value`
  dtype stored_type = dtype::f32;  ///< in a file

  parameter(std::string k, parameter_kind what, matrix<T> v)
      : parameter(std::move(k), what, {v.rows(), v.cols()}, std::move(v)) {}
  parameter(std::string k, parameter_kind what, std::vector<index_t> extents, matrix<T> v)
      : key(std::move(k)),
        kind(what),
        shape(std::move(extents)),
        value(std::move(v)),
        frozen(value.rows(), value.cols()) {
    index_t n = 1;
    for (const index_t e : shape) n *= e;
    require(n == value.size(), concat("parameter ", key, ": elements"), value.size(), n, " by its shape");
  }

  index_t size() const { return value.size(); }
  /// Does any element train?
  bool trains() const { return trainable_count() > 0; }
  index_t trainable_count() const { return frozen.trainable_count(); }
};

/// One gradient per tensor of an adapter, in the order of its `tensors()`, of the shape of `value`; empty
/// where nothing of the tensor trains.
template <class T>
using gradients = std::vector<matrix<T>>;

}  // namespace tersor::adapters
