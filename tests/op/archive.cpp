// tersor - tests of op/archive.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/archive.hpp>

#include "operator_checks.hpp"

namespace archive_tests {

using namespace tersor_test;
using tersor::index_t;

enum class colour { red, blue };
constexpr auto option_names(colour) {
  using row = std::pair<std::string_view, colour>;
  return std::array<row, 2>{{{"red", colour::red}, {"blue", colour::blue}}};
}

/// One of each thing that can be stored.
struct everything {
  index_t rows = 3, cols = 2;
  int number = 0;
  double real = 0;
  bool flag = false;
  colour paint = colour::red;
  std::string text;
  std::vector<std::int32_t> integers;
  std::vector<std::uint8_t> maybe;
  real_array reals;

  static constexpr std::string_view kind() { return "everything"; }
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a) {
    a.extents(self.rows, self.cols);
    a.attribute("number", self.number);
    a.attribute("real", self.real);
    a.attribute("flag", self.flag);
    a.attribute("paint", self.paint);
    a.attribute("text", self.text);
    a.tensor("integers", self.integers, {self.rows});
    a.tensor("reals", self.reals, {self.rows, self.cols});
    a.optional_tensor("maybe", self.maybe, {self.cols});
  }
  void save(op::archive_writer& out) const {
    op::detail::save_archive a{out};
    describe(*this, a);
  }
  static everything load(std::string_view, op::archive_reader& in) {
    everything o;
    op::detail::load_archive a{in};
    describe(o, a);
    return o;
  }
};

everything sample(bool with_optional) {
  return {3,
          2,
          -7,
          0.1,
          true,
          colour::blue,
          "a = \"b\"",
          {1, -2, 3},
          with_optional ? std::vector<std::uint8_t>{4, 5} : std::vector<std::uint8_t>{},
          tersor::store_as(dtype::f16, random_matrix<float>(3, 2, 1).view())};
}

TEST_CASE("archive: attributes and tensors come back exactly", "[archive]") {
  for (const bool with_optional : {false, true}) {
    const auto x = sample(with_optional);
    const auto stored = save(x);
    CHECK(stored.attributes.at("real") == "0.1");
    CHECK(stored.attributes.at("paint") == "blue");
    CHECK(stored.attributes.at("flag") == "true");
    CHECK(stored.tensors.contains("maybe") == with_optional);
    const auto y = load<everything>(stored);
    CHECK((y.rows == 3 && y.cols == 2 && y.number == -7 && y.real == 0.1 && y.flag));
    CHECK((y.paint == colour::blue && y.text == x.text && y.integers == x.integers));
    CHECK((y.maybe == x.maybe && y.reals == x.reals));
    CHECK(save(y) == stored);
    CHECK(op::storage_of(x).bytes() == 3 * 4 + 6 * 2 + (with_optional ? 2u : 0u));
  }
}

TEST_CASE("archive: damage is an error that names the part", "[archive]") {
  const auto good = save(sample(true));
  for (const char* name : {"rows", "number", "real", "flag", "paint"}) {
    auto bad = good;
    bad.attributes[name] = "seven";
    check_damaged<everything>(bad, tersor::concat("layer: attribute ", name, " = seven"));
    bad.attributes.erase(name);
    check_damaged<everything>(bad, tersor::concat("attribute ", name));
  }
  const std::pair<const char*, const char*> shapes[] = {{"-3", "2"},
                                                        {"3", "-2"},
                                                        {"4611686018427387904", "4"},
                                                        {"9223372036854775807", "1"},
                                                        {"0", "9223372036854775807"}};
  for (const auto& [rows, cols] : shapes) {
    auto bad = good;
    bad.attributes["rows"] = rows;
    bad.attributes["cols"] = cols;
    check_damaged<everything>(bad, "layer: shape");
  }
  for (const char* name : {"integers", "reals", "maybe"}) {
    auto bad = good;
    bad.tensors[name].shape[0] = 4;
    check_damaged<everything>(bad, tersor::concat("layer.", name, " = [4"));
    bad = good;
    bad.tensors[name].type = dtype::f64;
    check_damaged<everything>(bad, tersor::concat("layer.", name, " = F64: expected type"));
    bad = good;
    bad.tensors[name].bytes.pop_back();
    check_damaged<everything>(bad, tersor::concat("layer.", name, ": bytes"));
    bad.tensors.erase(name);
    check_damaged<everything>(bad, tersor::concat("tensor ", name));
  }
  auto bad = good;
  bad.attributes["flag"] = "maybe";
  check_damaged<everything>(bad, "true|false");
  bad = good;
  bad.attributes["paint"] = "green";
  check_damaged<everything>(bad, "red|blue");
}

TEST_CASE("archive: 16-bit reals keep their type", "[archive]") {
  auto stored = save(sample(false));
  stored.tensors["reals"].type = dtype::bf16;  // another type of the same width is a different number
  CHECK(load<everything>(stored).reals.type() == dtype::bf16);
}

}  // namespace archive_tests
