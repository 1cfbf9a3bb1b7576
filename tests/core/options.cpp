// tersor - tests of core/options.hpp
// SPDX-License-Identifier: MIT
#include <tersor/core/options.hpp>

#include "catch.hpp"

namespace tersor {
namespace options_tests {

enum class color { red, green };
constexpr auto option_names(color) {
  using row = std::pair<std::string_view, color>;
  return std::array<row, 2>{{{"red", color::red}, {"green", color::green}}};
}

struct sample {
  int bits = 4;
  float share = 0.5F;
  bool loud = false;
  color paint = color::green;
  static constexpr auto options() {
    return std::tuple{option{"bits", &sample::bits, {.help = "width", .symbol = "b", .min = 2, .max = 8}},
                      option{"share", &sample::share, {.help = "part", .min = 0, .max = 1}},
                      option{"loud", &sample::loud, {.help = "sound"}},
                      option{"paint", &sample::paint, {.help = "color"}}};
  }
};

std::string set_error(std::string_view name, std::string_view text) {
  sample s;
  try {
    set_option(s, "sample", name, text);
  } catch (const error& e) {
    return e.what();
  }
  return "";
}

TEST_CASE("options: set from text") {
  sample s;
  set_option(s, "sample", "bits", "3");
  set_option(s, "sample", "share", "0.25");
  set_option(s, "sample", "loud", "true");
  set_option(s, "sample", "paint", "red");
  CHECK(s.bits == 3);
  CHECK(s.share == 0.25F);
  CHECK(s.loud);
  CHECK(s.paint == color::red);
}

TEST_CASE("options: mistakes name the option, the value and the range") {
  CHECK(set_error("bits", "9") == "sample: bits = 9: expected 2 .. 8");
  CHECK(set_error("bits", "3x") == "sample: bits = 3x: expected 2 .. 8");
  CHECK(set_error("share", "nan") == "sample: share = nan: expected 0 .. 1");
  CHECK(set_error("loud", "yes") == "sample: loud = yes: expected true|false");
  CHECK(set_error("paint", "blue") == "sample: paint = blue: expected red|green");
  CHECK(set_error("bit", "4").find("did you mean \"bits\"") != std::string::npos);
}

TEST_CASE("options: validation of an aggregate") {
  validate_options(sample{}, "sample");
  CHECK_THROWS_AS(validate_options(sample{.bits = 1}, "sample"), error);
  CHECK_THROWS_AS(validate_options(sample{.share = 1.5F}, "sample"), error);
}

TEST_CASE("options: the table has a row for each field") {
  const auto rows = option_table<sample>();
  REQUIRE(rows.size() == 4);
  CHECK(rows[0].name == "bits");
  CHECK(rows[0].default_value == "4");
  CHECK(rows[0].range == "2 .. 8");
  CHECK(rows[0].symbol == "b");
  CHECK(rows[3].default_value == "green");
  CHECK(rows[3].range == "red|green");
}

}  // namespace options_tests
}  // namespace tersor
