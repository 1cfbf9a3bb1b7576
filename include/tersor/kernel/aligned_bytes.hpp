// tersor - memory for streams: aligned to a cache line, in large pages where the system has them
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>  // std::uint8_t
#include <cstring>  // std::memset
#include <memory>   // std::shared_ptr
#include <new>      // std::align_val_t

#include <tersor/core/view.hpp>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tersor::kernel {

/// Bytes that are written once and then only read: copies share them. They are followed by 64 bytes that may
/// be read.
class aligned_bytes {
 public:
  aligned_bytes() = default;
  explicit aligned_bytes(std::size_t size) : size_(size) {
    // A page of 2 MiB in place of 512 of 4 KiB: a stream then waits less for addresses to be translated.
    const std::size_t large = std::size_t{1} << 21;
    const std::size_t alignment = size >= large ? large : 64;
    const std::size_t whole = (size + 64 + alignment - 1) / alignment * alignment;
    auto* p = static_cast<std::uint8_t*>(::operator new (whole, std::align_val_t{alignment}));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (alignment == large) ::madvise(p, whole, MADV_HUGEPAGE);  // a wish: nothing depends on it
#endif
    std::memset(p, 0, whole);
    data_ = std::shared_ptr<std::uint8_t>(
        p, [alignment](std::uint8_t* q) { ::operator delete (q, std::align_val_t{alignment}); });
  }

  std::size_t size() const { return size_; }
  std::uint8_t* data() { return data_.get(); }
  const std::uint8_t* data() const { return data_.get(); }

 private:
  std::size_t size_ = 0;
  std::shared_ptr<std::uint8_t> data_;
};

/// Memory of vectors that are read as streams: of 2 MiB and more, in large pages where the system has them.
template <class T>
struct stream_allocator {
  using value_type = T;
  static constexpr std::size_t large = std::size_t{1} << 21;

  stream_allocator() = default;
  template <class U>
  stream_allocator(const stream_allocator<U>&) {}
  T* allocate(std::size_t n) {
    const std::size_t size = n * sizeof(T);
    void* p = ::operator new (size, std::align_val_t{alignment(size)});
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (size >= large) ::madvise(p, size / large * large, MADV_HUGEPAGE);  // a wish, as above
#endif
    return static_cast<T*>(p);
  }
  void deallocate(T* p, std::size_t n) { ::operator delete (p, std::align_val_t{alignment(n * sizeof(T))}); }
  friend bool operator==(const stream_allocator&, const stream_allocator&) { return true; }

 private:
  static std::size_t alignment(std::size_t size) { return size >= large ? large : 64; }
};

}  // namespace tersor::kernel
