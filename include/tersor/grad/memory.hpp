// tersor - the tape's memory: blocks that are used again, and a count of the bytes alive
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::max
#include <map>        // std::map
#include <memory>     // std::shared_ptr
#include <utility>    // std::pair
#include <vector>     // std::vector

#include <tersor/core/matrix.hpp>
#include <tersor/grad/dual.hpp>

namespace tersor::grad {

/// Matrices that are handed out, taken back and handed out again: a training step asks for the same shapes
/// every time, and fresh memory costs more than many an operation. Counts what is handed out; memory that
/// waits to be used again never takes the sum above the peak of the count. Not for use by several threads at
/// once.
template <scalar T>
class memory_pool {
 public:
  /// Bytes of tensors alive: activations, gradients that are not parameters', encoded tensors.
  index_t current() const { return current_; }
  /// The most there were since `reset_peak`.
  index_t peak() const { return peak_; }
  void reset_peak() { peak_ = current_; }

  /// A matrix with unspecified elements.
  matrix<T> take(index_t rows, index_t cols) {
    count(bytes(rows, cols));
    if (const auto found = waiting_.find({rows, cols}); found != waiting_.end()) {
      matrix<T> x = std::move(found->second.back());
      found->second.pop_back();
      if (found->second.empty()) waiting_.erase(found);
      waiting_bytes_ -= bytes(rows, cols);
      return x;
    }
    while (!waiting_.empty() && current_ + waiting_bytes_ > peak_) drop();
    return matrix<T>(rows, cols);
  }
  void give_back(matrix<T>&& x) {
    const index_t n = bytes(x.rows(), x.cols());
    count(-n);
    if (n == 0 || x.empty()) return;
    waiting_bytes_ += n;
    waiting_[{x.rows(), x.cols()}].push_back(std::move(x));
  }
  /// Adds bytes that are held elsewhere; negative: they are no longer.
  void count(index_t n) {
    current_ += n;
    peak_ = std::max(peak_, current_);
  }
  static index_t bytes(index_t rows, index_t cols) { return rows * cols * static_cast<index_t>(sizeof(T)); }

 private:
  void drop() {
    const auto largest = std::prev(waiting_.end());
    waiting_bytes_ -= bytes(largest->first.first, largest->first.second);
    largest->second.pop_back();
    if (largest->second.empty()) waiting_.erase(largest);
  }
  std::map<std::pair<index_t, index_t>, std::vector<matrix<T>>> waiting_;  // by rows and columns
  index_t waiting_bytes_ = 0, current_ = 0, peak_ = 0;
};

/// A matrix that belongs to a memory and goes back to it.
template <scalar T>
class buffer {
 public:
  buffer() = default;
  /// rows x cols with unspecified elements.
  buffer(std::shared_ptr<memory_pool<T>> m, index_t rows, index_t cols)
      : memory_(std::move(m)), matrix_(memory_->take(rows, cols)) {}
  /// Takes over a matrix that was made elsewhere.
  buffer(std::shared_ptr<memory_pool<T>> m, matrix<T> x) : memory_(std::move(m)), matrix_(std::move(x)) {
    memory_->count(memory_pool<T>::bytes(matrix_.rows(), matrix_.cols()));
  }
  buffer(buffer&& other) noexcept
      : memory_(std::move(other.memory_)), matrix_(std::exchange(other.matrix_, {})) {}
  buffer& operator=(buffer&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(matrix_, other.matrix_);
    return *this;
  }
  ~buffer() {
    if (memory_) memory_->give_back(std::move(matrix_));
  }

  explicit operator bool() const { return memory_ != nullptr; }
  index_t rows() const { return matrix_.rows(); }
  index_t cols() const { return matrix_.cols(); }
  index_t size() const { return matrix_.size(); }
  T* data() { return matrix_.data(); }
  const T* data() const { return matrix_.data(); }
  matrix_view<T> view() { return matrix_.view(); }
  matrix_view<const T> view() const { return matrix_.view(); }
  matrix<T>& get() { return matrix_; }
  const matrix<T>& get() const { return matrix_; }
  /// The matrix, which no longer belongs to the memory.
  matrix<T> release() {
    memory_->count(-memory_pool<T>::bytes(rows(), cols()));
    memory_ = nullptr;
    return std::exchange(matrix_, {});
  }

 private:
  std::shared_ptr<memory_pool<T>> memory_;
  matrix<T> matrix_;
};

/// A buffer that several hold and nobody changes.
template <scalar T>
std::shared_ptr<const matrix<T>> share(buffer<T> x) {
  auto held = std::make_shared<const buffer<T>>(std::move(x));
  return {held, &held->get()};
}

}  // namespace tersor::grad
