// tersor - tests of io/regex_pattern.hpp
// SPDX-License-Identifier: MIT
#include <tersor/io/regex_pattern.hpp>

#include "../catch.hpp"
#include "temporary_folder.hpp"

namespace regex_pattern_tests {

using tersor::io::regex_first_capture;
using tersor::io::regex_matches;
using tersor::test::error_of;
using tersor::test::holds;

std::string times(std::size_t n, const std::string& part) {
  std::string s;
  for (std::size_t i = 0; i < n; ++i) s += part;
  return s;
}
std::string error_with(const std::string& pattern, const std::string& text = "model.layers.0.q_proj") {
  return error_of([&] { regex_matches(text, pattern, "targets"); });
}

TEST_CASE("regex pattern: whole texts match, and the first group is found", "[regex_pattern]") {
  CHECK(regex_matches("model.layers.0.q_proj", ".*\\.\\d{1,2}\\.(q|k)_proj", ""));
  CHECK_FALSE(regex_matches("model.layers.0.q_proj", "q_proj", ""));
  CHECK(regex_matches("lm_head", "(?!.*q_proj).*", ""));
  CHECK_FALSE(regex_matches("a.q_proj", "(?!.*q_proj).*", ""));
  CHECK(regex_matches("a[{(b", "a\\[[{(]+\\(?b", ""));  // no braces, no groups
  CHECK(regex_first_capture("a.1.b.23.c", "^.*\\.(\\d+)\\.", "") == "23");
  CHECK(regex_first_capture("a.b", "(\\d+)", "") == std::nullopt);
}

TEST_CASE("regex pattern: what is none", "[regex_pattern]") {
  CHECK(holds(error_with("(("), {"targets", "((", "regular expression"}));
  CHECK(holds(error_with("a{2,1}"), {"targets", "regular expression"}));
  CHECK(holds(error_of([] { regex_first_capture("a", "[", "layers"); }), {"layers", "regular expression"}));
}

// These ended in a stack overflow: one recursion for each group, and for each character of the text.
TEST_CASE("regex pattern: long patterns and texts are refused", "[regex_pattern]") {
  CHECK(holds(error_with(times(40000, "(") + times(40000, ")")), {"targets", "80000 characters", "2000"}));
  CHECK(holds(error_with(".*", std::string(200000, 'a')), {"targets", "200000 characters", "500"}));
  CHECK(error_with(times(1000, "(") + times(1000, ")")).empty());
  CHECK(error_with(times(1000, "a?"), std::string(500, 'a')).empty());
}

TEST_CASE("regex pattern: counts and lookaheads that multiply are refused", "[regex_pattern]") {
  CHECK(holds(error_with("(?:" + times(250, "a?") + "){100}"), {"targets", "braces", "10000"}));
  CHECK(holds(error_with("((a{99}){99}){99}"), {"targets", "braces"}));
  CHECK(holds(error_with("a{0,99999999999999999999999}"), {"targets", "braces"}));
  CHECK(holds(error_with(times(50, "(?=.*") + times(50, ")")), {"targets", "lookaheads in lookaheads"}));
  CHECK(error_with("(?=.*q)(?!.*k).*").empty());
  CHECK(error_with("(?:" + times(50, "a?") + "){90}").empty());
}

// Tried one way after the other, this took a time that doubles with each letter.
TEST_CASE("regex pattern: repetitions of repetitions end", "[regex_pattern]") {
  CHECK_FALSE(regex_matches(std::string(400, 'a'), "(a*)*b", ""));
  CHECK(regex_matches(std::string(400, 'a') + "b", "((a+)+)+b", ""));
}

}  // namespace regex_pattern_tests
