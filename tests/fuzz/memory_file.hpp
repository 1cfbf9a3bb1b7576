// tersor - bytes under a file name, for readers of files
// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string_view>

#include "io/temporary_folder.hpp"

namespace tersor::fuzz {

/// A file of a name, in a folder of its own; in memory where the system has such a place.
inline std::filesystem::path memory_file(std::string_view name, std::string_view bytes) {
  static const test::temporary_folder folder;
  return folder.file(name, bytes);
}

}  // namespace tersor::fuzz
