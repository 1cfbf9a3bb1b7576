// tersor - tests of core/error.hpp
// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <limits>
#include <string>

#include <tersor/core/error.hpp>

namespace error_tests {

using namespace tersor;

TEST_CASE("an error names argument, value and expectation") {
  const error e("group_size", "0", "a positive number");
  CHECK(e.argument() == "group_size");
  CHECK(e.value() == "0");
  CHECK(e.expected() == "a positive number");
  CHECK(std::string(e.what()) == "group_size = 0: expected a positive number");
  CHECK(std::string(error("file", "", "a header").what()) == "file: expected a header");
  CHECK(std::string(error("run", "cancelled", "").what()) == "run = cancelled");
}

TEST_CASE("require throws only when its condition is false") {
  CHECK_NOTHROW(require(true, "bits", 4, "2 ... 8"));
  try {
    require(false, "bits", 9, "2 ... ", 8, ", not ", 0.5);
    FAIL("require(false) returned");
  } catch (const error& e) {
    CHECK(std::string(e.what()) == "bits = 9: expected 2 ... 8, not 0.5");
  }
  CHECK_THROWS_AS(fail("x", "y", "z"), error);
  CHECK_THROWS_AS(fail("x", "y", "z"), std::runtime_error);
}

TEST_CASE("texts of values round-trip") {
  CHECK(to_text(true) == "true");
  CHECK(to_text(-7) == "-7");
  CHECK(to_text(0.1F) == "0.1");
  CHECK(to_text(0.1) == "0.1");
  CHECK(to_text(std::numeric_limits<double>::infinity()) == "inf");
  CHECK(to_text("name") == "name");
  CHECK(std::stod(to_text(1.0 / 3.0)) == 1.0 / 3.0);
  CHECK(std::stod(to_text(std::numeric_limits<double>::lowest())) == std::numeric_limits<double>::lowest());
  CHECK(concat("[", 1, ", ", std::string("b"), "]") == "[1, b]");
}

}  // namespace error_tests
