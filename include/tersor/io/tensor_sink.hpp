// tersor - what takes the tensors of a checkpoint that is written
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>  // std::byte
#include <span>     // std::span
#include <string>   // std::string
#include <vector>   // std::vector

#include <tersor/core/dtype.hpp>
#include <tersor/core/matrix.hpp>

namespace tersor::io {

/// Receives tensors one by one: a file that is collected (`safetensors_writer`) or a folder that grows on the
/// disk (`sharded_writer`). Errors name the tensor: a name that is there already, bytes that do not fit the
/// shape.
class tensor_sink {
 public:
  virtual ~tensor_sink() = default;
  /// @param bytes row-major values; memory of the caller that lives until the sink's file is written.
  virtual void add(std::string name, dtype type, std::vector<index_t> shape,
                   std::span<const std::byte> bytes) = 0;
  /// The same of bytes that nobody else keeps.
  virtual void add(std::string name, dtype type, std::vector<index_t> shape,
                   std::vector<std::byte>&& bytes) = 0;
  /// A string for the metadata of a file, each key once.
  virtual void metadata(std::string key, std::string value) = 0;

  /// Adds a copy of `values`.
  template <class T>
  void add_values(std::string name, std::vector<index_t> shape, std::span<const T> values) {
    const auto bytes = std::as_bytes(values);
    add(std::move(name), dtype_of<T>, std::move(shape), std::vector<std::byte>(bytes.begin(), bytes.end()));
  }
  template <class T>
  void add_values(std::string name, const matrix<T>& values) {
    add_values<T>(std::move(name), {values.rows(), values.cols()}, std::span<const T>(values.values()));
  }
};

}  // namespace tersor::io
