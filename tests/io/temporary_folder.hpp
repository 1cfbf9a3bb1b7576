// tersor - a folder for one test, removed at its end
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <string_view>

#include <tersor/core/error.hpp>

namespace tersor::test {

class temporary_folder {
 public:
  temporary_folder() {
    std::random_device random;
    do {
      path_ = std::filesystem::temp_directory_path() / ("tersor-test-" + std::to_string(random()));
    } while (!std::filesystem::create_directory(path_));
  }
  temporary_folder(const temporary_folder&) = delete;
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  /// Writes a file byte by byte and returns its path.
  std::filesystem::path file(std::string_view name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path_ / name;
  }
  /// Number of entries in the folder.
  std::size_t count() const {
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path_)) ++n;
    return n;
  }

 private:
  std::filesystem::path path_;
};

/// The text of the tersor::error that `f` throws, or "" if it throws none.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const tersor::error& e) {
    return e.what();
  }
  return {};
}

/// Whether `text` holds each of `parts`.
inline bool holds(std::string_view text, std::initializer_list<std::string_view> parts) {
  for (std::string_view part : parts)
    if (text.find(part) == std::string_view::npos) return false;
  return true;
}

/// 8 bytes, little-endian.
inline std::string u64(std::uint64_t value) {
  std::string s;
  for (int k = 0; k < 8; ++k) s += static_cast<char>(value >> (8 * k) & 0xff);
  return s;
}

}  // namespace tersor::test
