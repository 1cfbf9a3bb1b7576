// tersor - regular expressions that stand in files, without including <regex> where they are precompiled
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>     // std::optional
#include <string>       // std::string
#include <string_view>  // std::string_view

#if !defined(TERSOR_PRECOMPILED)
#include <tersor/io/regex_pattern.hpp>
#endif

namespace tersor::io {

/// Does the pattern match all of `text`? Patterns are in ECMAScript's syntax, which agrees with Python's for
/// what adapters use; an error that names `where` if one is none, or costs too much: files bring them.
#if defined(TERSOR_PRECOMPILED)
bool matches(const std::string& text, const std::string& pattern, std::string_view where);
#else
inline bool matches(const std::string& text, const std::string& pattern, std::string_view where) {
  return regex_matches(text, pattern, where);
}
#endif

/// What the pattern's first group holds where the pattern first matches, if it does anywhere.
#if defined(TERSOR_PRECOMPILED)
std::optional<std::string> first_capture(const std::string& text, const std::string& pattern,
                                         std::string_view where);
#else
inline std::optional<std::string> first_capture(const std::string& text, const std::string& pattern,
                                                std::string_view where) {
  return regex_first_capture(text, pattern, where);
}
#endif

}  // namespace tersor::io
