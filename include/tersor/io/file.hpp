// tersor - files: read-only mappings, and writing that leaves a whole file or none
// SPDX-License-Identifier: MIT
#pragma once

#include <cerrno>        // errno
#include <cstddef>       // std::byte
#include <cstdint>       // std::uint64_t
#include <cstdio>        // std::fopen
#include <filesystem>    // std::filesystem::path
#include <span>          // std::span
#include <string>        // std::string
#include <string_view>   // std::string_view
#include <system_error>  // std::generic_category
#include <utility>       // std::exchange
#include <vector>        // std::vector

#if defined(__unix__) || defined(__APPLE__)
#define TERSOR_HAS_MMAP 1
#include <fcntl.h>     // open
#include <sys/mman.h>  // mmap
#include <sys/stat.h>  // fstat
#include <unistd.h>    // close, fsync
#else
#define TERSOR_HAS_MMAP 0
#endif

#include <tersor/core/error.hpp>

namespace tersor::io {

namespace detail {
inline std::string reason(int code) { return std::generic_category().message(code); }
/// A free name beside `path`, hidden and recognisable: ".<name>.tersor-<number>".
inline std::filesystem::path sibling(const std::filesystem::path& path) {
  for (unsigned n = 0;; ++n) {
    std::filesystem::path p = path.parent_path() / concat(".", path.filename().string(), ".tersor-", n);
    std::error_code ignored;
    if (!std::filesystem::exists(std::filesystem::symlink_status(p, ignored))) return p;
  }
}
/// Removes the files of such names in a folder that belongs to one run: what a killed one was writing.
inline void remove_siblings(const std::filesystem::path& folder) {
  constexpr std::string_view mark = ".tersor-";
  std::error_code ignored;
  std::vector<std::filesystem::path> left;
  for (const auto& file : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = file.path().filename().string();
    const std::size_t at = name.rfind(mark);
    if (name[0] == '.' && at != name.npos && at + mark.size() < name.size() &&
        name.find_first_not_of("0123456789", at + mark.size()) == name.npos)
      left.push_back(file.path());
  }
  for (const auto& path : left) std::filesystem::remove(path, ignored);
}
}  // namespace detail

/// A whole file as read-only bytes: memory-mapped on POSIX systems (pages are read when touched, shared with
/// other processes), read into memory elsewhere. The file must not be shortened while it is open. Move-only;
/// the bytes stay where they are when it is moved. Errors name the file.
class mapped_file {
 public:
  mapped_file() = default;
  explicit mapped_file(const std::filesystem::path& path) : path_(path) {
    const std::string name = path.string();
    std::error_code code;
    const auto status = std::filesystem::status(path, code);
    if (status.type() ==
        std::filesystem::file_type::none)  // a folder that cannot be searched, a name too long
      fail(name, "", "a readable file (" + code.message() + ")");
    require(std::filesystem::exists(status), name, "", "an existing file");
    require(std::filesystem::is_regular_file(status), name, "", "a regular file");
#if TERSOR_HAS_MMAP
    const int file = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) fail(name, "", "a readable file (" + detail::reason(errno) + ")");
    struct stat information {};
    const bool known = ::fstat(file, &information) == 0;
    size_ = known ? static_cast<std::size_t>(information.st_size) : 0;
    void* memory = size_ == 0 ? nullptr : ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    const int mapping_error = errno;
    ::close(file);
    if (!known || memory == MAP_FAILED)
      fail(name, "", "a file that can be mapped (" + detail::reason(mapping_error) + ")");
    data_ = static_cast<const std::byte*>(memory);
#else
    std::FILE* file = std::fopen(name.c_str(), "rb");
    if (file == nullptr) fail(name, "", "a readable file (" + detail::reason(errno) + ")");
    owned_.resize(static_cast<std::size_t>(std::filesystem::file_size(path)));
    const std::size_t count = std::fread(owned_.data(), 1, owned_.size(), file);
    std::fclose(file);
    require(count == owned_.size(), name, count, "all of its ", owned_.size(), " bytes to be readable");
    data_ = owned_.data();
    size_ = owned_.size();
#endif
  }
  mapped_file(mapped_file&& other) noexcept { swap(other); }
  mapped_file& operator=(mapped_file&& other) noexcept {
    mapped_file taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~mapped_file() {
#if TERSOR_HAS_MMAP
    if (size_ != 0) ::munmap(const_cast<std::byte*>(data_), size_);
#endif
  }

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::size_t size() const { return size_; }
  /// Lets go of the memory pages that lie within `part` of the bytes: they are read again when they are
  /// touched. For what is worked through once, so that the whole file is never resident.
  void release(std::span<const std::byte> part) const {
#if TERSOR_HAS_MMAP
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto begin = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) / page * page;
    const auto end = reinterpret_cast<std::uintptr_t>(part.data() + part.size()) / page * page;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): rounded to whole pages
    if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
#else
    static_cast<void>(part);
#endif
  }

 private:
  void swap(mapped_file& other) noexcept {
    path_.swap(other.path_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    owned_.swap(other.owned_);
  }
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::vector<std::byte> owned_;  // only where files are not mapped
};

/// The bytes of a text file, unchanged.
inline std::string read_text_file(const std::filesystem::path& path) {
  const mapped_file file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.size()};
}

/// Writes a file under a temporary name in the same folder; `commit()` flushes it to the disk and renames it
/// into place. Until then an older file of that name is untouched, and without commit() nothing is left
/// behind. A target that exists but is no regular file (a device, a pipe) is written directly; a symbolic
/// link is followed. Errors (folder missing, disk full) name the file and what the system said.
class file_writer {
 public:
  explicit file_writer(const std::filesystem::path& path) : path_(path) {
    std::error_code code;
    const auto status = std::filesystem::status(path, code);
    require(!std::filesystem::is_directory(status), path.string(), "", "a file name, not a folder");
    const bool special = std::filesystem::exists(status) && !std::filesystem::is_regular_file(status);
    if (std::filesystem::is_symlink(std::filesystem::symlink_status(path, code)))
      path_ = std::filesystem::weakly_canonical(path);
    if (!special) temporary_ = detail::sibling(path_);
    const std::string opened = (special ? path_ : temporary_).string();
    file_ = std::fopen(opened.c_str(), special ? "wb" : "wbx");
    if (file_ == nullptr) {
      const int cause = errno;
      temporary_.clear();
      fail(path.string(), "", "a folder that can be written to (" + detail::reason(cause) + ")");
    }
    std::setvbuf(file_, nullptr, _IOFBF, std::size_t{1} << 18);
  }
  file_writer(file_writer&& other) noexcept
      : path_(std::move(other.path_)),
        temporary_(std::exchange(other.temporary_, {})),
        file_(std::exchange(other.file_, nullptr)),
        written_(other.written_) {}
  file_writer& operator=(file_writer&&) = delete;
  ~file_writer() { abandon(); }

  void write(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    const std::size_t count = std::fwrite(bytes.data(), 1, bytes.size(), file_);
    written_ += count;
    if (count != bytes.size()) refuse(errno);
  }
  void write(std::string_view text) {
    write(std::span(reinterpret_cast<const std::byte*>(text.data()), text.size()));
  }
  /// Bytes written so far.
  std::uint64_t written() const { return written_; }

  void commit() {
    if (std::fflush(file_) != 0) refuse(errno);
#if TERSOR_HAS_MMAP
    // Devices and pipes have nothing to synchronise and say EINVAL.
    if (::fsync(::fileno(file_)) != 0 && errno != EINVAL && errno != ENOTSUP) refuse(errno);
#endif
    if (std::fclose(std::exchange(file_, nullptr)) != 0) refuse(errno);
    if (temporary_.empty()) return;
    std::error_code code;
    std::filesystem::rename(temporary_, path_, code);
    if (code) refuse(code.value());
    temporary_.clear();
  }

 private:
  [[noreturn]] void refuse(int cause) {
    abandon();
    fail(path_.string(), concat(written_, " bytes written"),
         "all bytes to be written (" + detail::reason(cause) + ")");
  }
  void abandon() noexcept {
    if (file_ != nullptr) std::fclose(std::exchange(file_, nullptr));
    if (temporary_.empty()) return;
    std::error_code ignored;
    std::filesystem::remove(temporary_, ignored);
    temporary_.clear();
  }
  std::filesystem::path path_, temporary_;
  std::FILE* file_ = nullptr;
  std::uint64_t written_ = 0;
};

/// Writes `text` as the whole content of a file, all or nothing.
inline void write_text_file(const std::filesystem::path& path, std::string_view text) {
  file_writer file(path);
  file.write(text);
  file.commit();
}

}  // namespace tersor::io
