// tersor - what the commands that write a folder check before they work
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::mismatch
#include <charconv>   // std::from_chars
#include <filesystem>
#include <string>
#include <vector>

#include <tersor/io/output_folder.hpp>

namespace command {

/// Is a path, which may not exist yet, that folder or inside it? Links are followed.
inline bool is_within(const std::filesystem::path& path, const std::filesystem::path& folder) {
  const auto inner = std::filesystem::weakly_canonical(std::filesystem::absolute(path));
  const auto outer = std::filesystem::weakly_canonical(std::filesystem::absolute(folder));
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}
inline bool is_same(const std::filesystem::path& a, const std::filesystem::path& b) {
  return is_within(a, b) && is_within(b, a);
}

/// An input, and where it is a folder what is read in it, which may be links to somewhere else.
inline std::vector<std::filesystem::path> files_of(const std::filesystem::path& input) {
  std::vector<std::filesystem::path> files{input};
  std::error_code ignored;
  for (const auto& file : std::filesystem::directory_iterator(input, ignored)) {
    const auto kind = file.path().extension();
    if (kind == ".safetensors" || kind == ".json" || kind == ".model") files.push_back(file.path());
  }
  return files;
}

/// What can be known about an output folder before the work is done. @param option names it in errors;
/// @param inputs what this run reads, empty paths left out: --force does not remove a folder with one of them
/// inside. @param replaced an input that the output may take the place of, or empty.
inline void check_output(const std::string& option, const std::string& path, bool force,
                         const std::vector<std::filesystem::path>& inputs,
                         const std::filesystem::path& replaced = {}) {
  namespace fs = std::filesystem;
  const fs::path out = path;
  tersor::require(force || !fs::exists(fs::symlink_status(out)), option, path,
                  "a folder that does not exist yet, or --force");
  { const tersor::io::output_folder writable(out, force); }
  if (!fs::exists(out)) return;
  const auto check = [&](const fs::path& input) {
    for (const auto& file : files_of(input))
      tersor::require(!is_within(file, out), option, path, "a folder without ", file.string(),
                      ", which would be removed");
  };
  for (const fs::path& input : inputs)
    if (!input.empty()) check(input);
  if (!replaced.empty() && !is_same(replaced, out)) check(replaced);
}

/// The same of an output file: it is none of the files that this run reads.
inline void check_output_file(const std::string& option, const std::string& path,
                              const std::vector<std::filesystem::path>& inputs) {
  if (!std::filesystem::is_regular_file(path)) return;
  for (const auto& input : inputs) {
    if (input.empty()) continue;
    for (const auto& file : files_of(input))
      tersor::require(!is_same(file, path), option, path, "another file than ", file.string(),
                      ", which this run reads");
  }
}

/// "500MB", "5GB", "64KB" or a number of bytes, in powers of 1000 as transformers counts.
inline std::uint64_t bytes_of(const std::string& text, const std::string& option) {
  std::uint64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(end, text.data() + text.size());
  const std::uint64_t factor = unit.empty() || unit == "B" ? 1
                               : unit == "KB"              ? 1'000
                               : unit == "MB"              ? 1'000'000
                               : unit == "GB"              ? 1'000'000'000
                                                           : 0;
  tersor::require(code == std::errc() && factor != 0 && number <= (std::uint64_t{1} << 62) / factor, option,
                  text, "a number of bytes, KB, MB or GB, such as 5GB");
  return number * factor;
}

}  // namespace command
