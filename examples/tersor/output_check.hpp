// tersor - what the commands that write a folder check before they work
// SPDX-License-Identifier: MIT
#pragma once

#include <charconv>  // std::from_chars
#include <filesystem>
#include <string>
#include <vector>

#include <tersor/io/output_folder.hpp>

namespace command {

/// What can be known about an output folder before the work is done. @param option names it in errors;
/// @param inputs what this run reads: --force does not remove a folder with one of them inside, except for
/// an input that is replaced.
inline void check_output(const std::string& option, const std::string& path, bool force,
                         const std::vector<std::filesystem::path>& inputs) {
  namespace fs = std::filesystem;
  const fs::path out = path;
  tersor::require(force || !fs::exists(fs::symlink_status(out)), option, path,
                  "a folder that does not exist yet, or --force");
  { const tersor::io::output_folder writable(out, force); }
  if (!fs::exists(out)) return;
  for (const fs::path& input : inputs) {
    if (input.empty() || fs::equivalent(input, out)) continue;
    const auto inside = fs::relative(input, out);
    tersor::require(inside.empty() || *inside.begin() == "..", option, path, "a folder without ",
                    input.string(), ", which would be removed");
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
