// tersor - a folder that one run at a time works in
// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>  // std::filesystem::path
#include <string>      // std::string

#include <tersor/core/error.hpp>
#include <tersor/io/file.hpp>

#if TERSOR_HAS_MMAP
#include <sys/file.h>  // flock
#endif

namespace tersor::io {

/// Holds a folder for one run, by a lock on a file in it. The lock ends with this object or with the process,
/// however that ends; the file stays until `remove_file`. Move-only. File systems without locks, and systems
/// that are not POSIX, lock nothing.
class folder_lock {
 public:
  /// Its name in the folder.
  static constexpr const char* file_name = ".lock";

  folder_lock() = default;
  /// @param folder exists. @param output what the run writes: an error names it if another run has the lock.
  folder_lock(const std::filesystem::path& folder, const std::string& output) {
#if TERSOR_HAS_MMAP
    const auto path = folder / file_name;
    file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    const int cause = errno;
    // A run that is about to end may rename or remove the folder after it was opened here.
    if (file_ < 0 && cause != ENOENT)
      fail(output, "", "a folder that can be written to (" + detail::reason(cause) + ")");
    if (file_ >= 0 && (::flock(file_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) && is_at(path)) return;
    close();
    fail(output, "another run writes to it", "one run at a time");
#else
    static_cast<void>(folder), static_cast<void>(output);
#endif
  }
  folder_lock(folder_lock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  folder_lock& operator=(folder_lock&& other) noexcept {
    close();
    file_ = std::exchange(other.file_, -1);
    return *this;
  }
  ~folder_lock() { close(); }

  /// Removes the lock's file, whose folder is at `folder` by now.
  void remove_file(const std::filesystem::path& folder) const {
    std::error_code ignored;
    if (file_ >= 0) std::filesystem::remove(folder / file_name, ignored);
  }

 private:
  void close() noexcept {
#if TERSOR_HAS_MMAP
    if (file_ >= 0) ::close(std::exchange(file_, -1));
#endif
  }
#if TERSOR_HAS_MMAP
  /// Is the file that was opened still the one of that name?
  bool is_at(const std::filesystem::path& path) const {
    struct stat opened {
    }, named{};
    return ::fstat(file_, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
  }
#endif
  int file_ = -1;
};

}  // namespace tersor::io
