// tersor - memory before a page that nobody may touch, for tests that kernels stay inside their operands
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>  // mmap, mprotect
#include <unistd.h>    // sysconf

#include <cstring>  // std::memcpy
#include <span>     // std::span

#include <tersor/core/error.hpp>
#include <tersor/core/view.hpp>

namespace tersor::test {

/// A copy of `values` that ends where a page begins whose reading or writing ends the program. Its beginning
/// is as unaligned as its size makes it.
template <class T>
class guarded {
 public:
  explicit guarded(std::span<const T> values) : size_(values.size()) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = size_ * sizeof(T), pages = (bytes + page - 1) / page;
    mapped_ = (pages + 1) * page;
    memory_ = static_cast<char*>(
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    require(memory_ != MAP_FAILED && mprotect(memory_ + pages * page, page, PROT_NONE) == 0, "guarded: bytes",
            bytes, "memory to be had");
    data_ = reinterpret_cast<T*>(memory_ + pages * page - bytes);
    if (bytes > 0) std::memcpy(data_, values.data(), bytes);
  }
  guarded(const guarded&) = delete;
  guarded& operator=(const guarded&) = delete;
  ~guarded() { munmap(memory_, mapped_); }

  T* data() { return data_; }
  std::span<const T> values() const { return {data_, size_}; }

 private:
  std::size_t size_, mapped_ = 0;
  char* memory_ = nullptr;
  T* data_ = nullptr;
};
template <class Container>
guarded(const Container&) -> guarded<typename Container::value_type>;

}  // namespace tersor::test
