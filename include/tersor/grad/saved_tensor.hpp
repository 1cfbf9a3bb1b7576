// tersor - what forward hands to backward: tensors as they are, or behind a codec
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>      // std::byte
#include <memory>       // std::unique_ptr
#include <span>         // std::span
#include <string_view>  // std::string_view
#include <vector>       // std::vector

#include <tersor/grad/memory.hpp>

namespace tersor::grad {

/// Which tensor is to be stored: a codec may treat the input of a GELU unlike the operand of a product.
struct tensor_use {
  std::string_view owner;   ///< the operation or optimizer rule, e.g. "gelu", "adamw"
  std::string_view tensor;  ///< its name there, e.g. "x", "second moment"
  friend bool operator==(const tensor_use&, const tensor_use&) = default;
};

/// A tensor in the form that a codec gave it.
template <scalar T>
class encoded_tensor {
 public:
  virtual ~encoded_tensor() = default;
  /// The tensor again, in the shape it had.
  virtual matrix<T> decode() const = 0;
  /// Bytes that it occupies.
  virtual index_t bytes() const = 0;
  /// What `tensor_codec::restore` reads: only codecs of optimizer states need it.
  virtual std::vector<std::byte> save() const {
    fail("encoded_tensor: save", "none", "a codec that can be saved");
  }
};

/// How tensors are stored between two uses: activations between forward and backward (`tape_options::codec`),
/// states between two steps of an optimizer (`parameter_group::codec`). Called once for each tensor and use,
/// on the thread of the caller.
template <scalar T>
class tensor_codec {
 public:
  virtual ~tensor_codec() = default;
  /// x encoded; null: x is kept as it is.
  virtual std::unique_ptr<encoded_tensor<T>> encode(const matrix<T>& x, const tensor_use& use) const = 0;
  /// The tensor [rows, cols] whose `save` gave these bytes.
  virtual std::unique_ptr<encoded_tensor<T>> restore(std::span<const std::byte>, index_t /*rows*/,
                                                     index_t /*cols*/, const tensor_use&) const {
    fail("tensor_codec: restore", "none", "a codec that can be restored");
  }
};

namespace detail {

/// An encoded tensor whose bytes are counted while it lives.
template <scalar T>
struct stored_tensor {
  stored_tensor(std::unique_ptr<encoded_tensor<T>> x, std::shared_ptr<memory_pool<T>> m)
      : tensor(std::move(x)), bytes(tensor->bytes()), memory(std::move(m)) {
    memory->count(bytes);
  }
  ~stored_tensor() { memory->count(-bytes); }
  stored_tensor(const stored_tensor&) = delete;
  stored_tensor& operator=(const stored_tensor&) = delete;

  std::unique_ptr<encoded_tensor<T>> tensor;
  index_t bytes;
  std::shared_ptr<memory_pool<T>> memory;
};

}  // namespace detail

/// A tensor kept for the backward pass. Copies share it.
template <scalar T>
class saved_tensor {
 public:
  saved_tensor() = default;
  explicit saved_tensor(std::shared_ptr<const matrix<T>> x) : plain_(std::move(x)) {}
  explicit saved_tensor(std::shared_ptr<const detail::stored_tensor<T>> x) : stored_(std::move(x)) {}

  /// The tensor, decoded if need be; what was decoded lives as long as the returned pointer.
  std::shared_ptr<const matrix<T>> load() const {
    if (plain_) return plain_;
    return share(buffer<T>(stored_->memory, stored_->tensor->decode()));
  }

 private:
  std::shared_ptr<const matrix<T>> plain_;
  std::shared_ptr<const detail::stored_tensor<T>> stored_;
};

}  // namespace tersor::grad
