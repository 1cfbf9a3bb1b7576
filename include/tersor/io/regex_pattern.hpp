// tersor - regular expressions that stand in files, by <regex>
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>    // std::find
#include <charconv>     // std::from_chars
#include <cstdint>      // std::uint64_t
#include <optional>     // std::optional
#include <regex>        // std::regex
#include <string>       // std::string
#include <string_view>  // std::string_view
#include <vector>       // std::vector

#include <tersor/core/error.hpp>

namespace tersor::io {

namespace detail {

// <regex> recurses over groups, alternatives and repetitions when it compiles a pattern and when it matches.
// Within these bounds 8 MiB of stack are enough with AddressSanitizer and without optimisation, where three
// times the repeated size still are.
inline constexpr std::size_t longest_pattern = 2000;
inline constexpr std::size_t longest_matched_text = 500;
inline constexpr std::uint64_t largest_repeated_pattern = 10000;

/// What the cost of a pattern depends on.
struct pattern_cost {
  std::uint64_t copies = 1;        ///< product of the counts in braces, a bound of how often a part is copied
  bool nested_lookaheads = false;  ///< each level would multiply the time by the length of the text
};

/// The largest number of "{2,5}" at `at`, at least 1.
inline std::uint64_t largest_count(std::string_view text, std::size_t at) {
  std::uint64_t largest = 1;
  const char* end = text.data() + text.size();
  for (const char* p = text.data() + at; p < end && (*p == '{' || *p == ',');) {
    std::uint64_t count = 0;
    const auto [next, error] = std::from_chars(p + 1, end, count);
    if (error == std::errc::result_out_of_range) return largest_repeated_pattern + 1;
    largest = std::max(largest, count);
    p = next;
  }
  return largest;
}
inline pattern_cost cost_of(std::string_view text) {
  pattern_cost cost;
  std::vector<bool> open;  // groups, and whether each is a lookahead
  bool in_class = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\') {
      ++i;
    } else if (in_class) {
      in_class = c != ']';
    } else if (c == '[') {
      in_class = true;
    } else if (c == '(') {
      const auto kind = text.substr(i + 1, 2);
      const bool lookahead = kind == "?=" || kind == "?!";
      if (lookahead && std::find(open.begin(), open.end(), true) != open.end()) cost.nested_lookaheads = true;
      open.push_back(lookahead);
    } else if (c == ')' && !open.empty()) {
      open.pop_back();
    } else if (c == '{') {
      // no overflow: both factors are at most one more than the bound
      cost.copies = std::min(cost.copies * std::min(largest_count(text, i), largest_repeated_pattern + 1),
                             largest_repeated_pattern + 1);
    }
  }
  return cost;
}
inline void check_pattern(const std::string& text, std::string_view where) {
  require(text.size() <= longest_pattern, where, concat(text.size(), " characters"),
          "a regular expression of at most ", longest_pattern);
  const auto cost = cost_of(text);
  require(cost.copies * text.size() <= largest_repeated_pattern, where, text,
          "a regular expression whose length times the counts in its braces is at most ",
          largest_repeated_pattern);
  require(!cost.nested_lookaheads, where, text, "a regular expression without lookaheads in lookaheads");
}
/// With libstdc++ the search that follows all ways at once: the default tries one after the other, which
/// takes a stack of the length of the text, and for (a*)*b a time that is exponential in it. Other libraries
/// bound both by themselves.
inline std::regex compile_pattern(const std::string& text, std::regex::flag_type flags) {
#if defined(__GLIBCXX__)
  flags |= std::regex_constants::__polynomial;
#endif
  return std::regex(text, std::regex::ECMAScript | flags);
}
/// f(the compiled pattern), for a text that is not too long.
template <class F>
auto with_pattern(const std::string& text, const std::string& pattern, std::string_view where,
                  std::regex::flag_type flags, const F& f) {
  check_pattern(pattern, where);
  require(text.size() <= longest_matched_text, where, concat("a name of ", text.size(), " characters"),
          "names of at most ", longest_matched_text, " to match with ", pattern);
#if TERSOR_HAS_EXCEPTIONS
  try {
    return f(compile_pattern(pattern, flags));
  } catch (const std::regex_error& e) {  // matching throws as well
    fail(where, pattern, concat("a regular expression (", e.what(), ")"));
  }
#else
  return f(compile_pattern(pattern, flags));
#endif
}

}  // namespace detail

/// What `matches` returns.
inline bool regex_matches(const std::string& text, const std::string& pattern, std::string_view where) {
  return detail::with_pattern(text, pattern, where, std::regex::nosubs,
                              [&](const std::regex& r) { return std::regex_match(text, r); });
}
/// What `first_capture` returns.
inline std::optional<std::string> regex_first_capture(const std::string& text, const std::string& pattern,
                                                      std::string_view where) {
  return detail::with_pattern(text, pattern, where, {},
                              [&](const std::regex& r) -> std::optional<std::string> {
                                std::smatch match;
                                if (!std::regex_search(text, match, r)) return std::nullopt;
                                return match[1].str();
                              });
}

}  // namespace tersor::io
