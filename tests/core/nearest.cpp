// tersor - tests of the nearest-name helper
// SPDX-License-Identifier: MIT
#include <tersor/core/nearest.hpp>

#include <random>

#include "catch.hpp"

namespace nearest_tests {

using namespace tersor;

TEST_CASE("edit distance: closed form") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("gptq", "gptq") == 0);
  CHECK(edit_distance("gptq", "gtpq") == 1);       // neighbours swapped
  CHECK(edit_distance("ca", "abc") == 3);          // swapped places are not edited again
  CHECK(edit_distance("kitten", "sitting") == 3);  // the textbook example
  CHECK(edit_distance("kitten", "sitting", 2) == 2);
  CHECK(edit_distance("kitten", "sitting", 4) == 3);
}

TEST_CASE("edit distance: symmetric, limit is a minimum") {
  std::mt19937 random(1);
  const auto word = [&] {
    std::string s(random() % 7, 'a');
    for (char& c : s) c = static_cast<char>('a' + random() % 3);
    return s;
  };
  for (int n = 0; n < 500; ++n) {
    const std::string a = word(), b = word();
    const std::size_t ab = edit_distance(a, b);
    CHECK(ab == edit_distance(b, a));
    CHECK((ab == 0) == (a == b));
    for (std::size_t limit = 0; limit < 9; ++limit) CHECK(edit_distance(a, b, limit) == std::min(ab, limit));
  }
}

TEST_CASE("nearest name: closest, first of equals, nothing if far") {
  const std::vector<std::string> names{"awq", "gptq", "sparsegpt", "wanda",
                                       "model.layers.0.mlp.gate_proj.weight"};
  CHECK(nearest_name("gpqt", names) == "gptq");
  CHECK(nearest_name("gqtp", names).empty());  // two edits of four letters is not close
  CHECK(nearest_name("gptg", names) == "gptq");
  CHECK(nearest_name("sparsgpt", names) == "sparsegpt");
  CHECK(nearest_name("layers.0.mlp.gate_proj.weight", names) == "model.layers.0.mlp.gate_proj.weight");
  CHECK(nearest_name("lm_head.weight", names).empty());
  CHECK(nearest_name("x", std::vector<std::string_view>{"y", "z"}) == "y");
  CHECK(nearest_name("x", std::vector<const char*>{}).empty());
  CHECK(suggestion("wandb", names) == " (did you mean \"wanda\"?)");
  CHECK(suggestion("lm_head.weight", names).empty());
}

}  // namespace nearest_tests
