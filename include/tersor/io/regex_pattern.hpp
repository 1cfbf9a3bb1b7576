// tersor - regular expressions that stand in files, by <regex>
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>     // std::optional
#include <regex>        // std::regex
#include <string>       // std::string
#include <string_view>  // std::string_view

#include <tersor/core/error.hpp>

namespace tersor::io {

namespace detail {
inline std::regex read_pattern(const std::string& text, std::string_view where) {
#if TERSOR_HAS_EXCEPTIONS
  try {
    return std::regex(text);
  } catch (const std::regex_error& e) {
    fail(where, text, concat("a regular expression (", e.what(), ")"));
  }
#else
  return std::regex(text);
#endif
}
}  // namespace detail

/// What `matches` returns.
inline bool regex_matches(const std::string& text, const std::string& pattern, std::string_view where) {
  return std::regex_match(text, detail::read_pattern(pattern, where));
}
/// What `first_capture` returns.
inline std::optional<std::string> regex_first_capture(const std::string& text, const std::string& pattern,
                                                      std::string_view where) {
  std::smatch match;
  if (!std::regex_search(text, match, detail::read_pattern(pattern, where))) return std::nullopt;
  return match[1].str();
}

}  // namespace tersor::io
