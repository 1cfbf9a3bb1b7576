// tersor - bytes under a file name, for readers of files, and reading all of what they give
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

#include "io/temporary_folder.hpp"

namespace tersor::fuzz {

/// A file of a name, in a folder of its own; in memory where the system has such a place.
inline std::filesystem::path memory_file(std::string_view name, std::string_view bytes) {
  static const test::temporary_folder folder;
  return folder.file(name, bytes);
}
/// Reads every byte.
inline void touch(std::span<const std::byte> bytes) {
  std::byte all{};
  for (const std::byte b : bytes) all ^= b;
  [[maybe_unused]] volatile const std::byte kept = all;  // so that compilers leave nothing out
}

}  // namespace tersor::fuzz
