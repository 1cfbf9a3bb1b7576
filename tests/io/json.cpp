// tersor - tests of the JSON helpers
// SPDX-License-Identifier: MIT
#include <tersor/io/json.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace json_tests {

using namespace tersor;
using namespace tersor::io;
using tersor::test::error_of;
using tersor::test::holds;
using tersor::test::temporary_folder;

TEST_CASE("json: parsing gives what the library's own parser gives") {
  for (const char* text : {"null", "true", "-3", "18446744073709551615", "2.5e-3",
                           R"("a\u00e9\ud83d\ude00\n")", "[]", "{}", R"([1, [2, {"a": [3, {}]}, []], "x"])",
                           R"({"a": {"b": [1, 2, {"c": null}], "d": "e"}, "f": [[[]]]})"})
    CHECK(parse_json(text, "text") == json::parse(text));
}

TEST_CASE("json: errors name the text and the place") {
  CHECK(holds(error_of([] { parse_json("{\"a\": }", "config.json"); }),
              {"config.json", "valid JSON", "byte 7"}));
  CHECK(holds(error_of([] { parse_json("", "config.json"); }), {"config.json", "valid JSON"}));
  CHECK(holds(error_of([] { parse_json("{} {}", "config.json"); }), {"config.json", "byte 4"}));
  CHECK(holds(error_of([] { parse_json(std::string_view("{}\0{}", 5), "config.json"); }),
              {"config.json", "byte 3", "zero byte"}));
  CHECK(holds(error_of([] { parse_json("\"\xC0\x80\"", "config.json"); }), {"config.json", "UTF-8"}));
  CHECK(holds(error_of([] { parse_json("\"\\ud800\"", "config.json"); }), {"config.json", "valid JSON"}));
  const temporary_folder folder;
  CHECK(holds(error_of([&] { read_json_file(folder.file("x.json", "[1,]")); }), {"x.json", "byte 4"}));
}

TEST_CASE("json: nesting is limited, so that brackets cannot take all memory") {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(parse_json(nested(256), "text") == json::parse(nested(256)));
  CHECK(holds(error_of([&] { parse_json(nested(257), "text"); }), {"text", "nested", "256"}));
}

TEST_CASE("json: duplicate keys") {
  const char* text = R"({"a": {"k": 1, "k": 2}, "b": [{"k": 1}, {"k": 1}]})";
  CHECK(parse_json(text, "text")["a"]["k"] == json(2));
  CHECK(
      holds(error_of([&] { parse_json(text, "text", duplicate_keys::refuse); }), {"text", "\"k\"", "twice"}));
  CHECK_NOTHROW(parse_json(R"({"a": {"a": 1}, "b": [{"k": 1}, {"k": 1}]})", "text", duplicate_keys::refuse));
  CHECK(holds(error_of([&] { parse_json(R"({"a": 1, "\u0061": 2})", "text", duplicate_keys::refuse); }),
              {"\"a\"", "twice"}));
}

TEST_CASE("json: checked getters") {
  const json o = json::parse(
      R"({"i": 300, "n": -1, "big": 18446744073709551615, "f": 1.5, "b": true, "s": "x", "z": null,
                                 "v": [1, 2], "m": [1, "x"], "o": {}})");
  CHECK(get<int>(o, "i", "o") == 300);
  CHECK(get<double>(o, "i", "o") == 300.0);
  CHECK(get<double>(o, "f", "o") == 1.5);
  CHECK(get<std::uint64_t>(o, "big", "o") == 18446744073709551615U);
  CHECK(get<bool>(o, "b", "o"));
  CHECK(get<std::string>(o, "s", "o") == "x");
  CHECK(get<std::vector<int>>(o, "v", "o") == std::vector<int>{1, 2});
  CHECK(get<json>(o, "o", "o").empty());
  CHECK(get<int>(o, "none", "o", 7) == 7);
  CHECK(get<int>(o, "z", "o", 7) == 7);
  CHECK(get<int>(o, "i", "o", 7) == 300);
  CHECK(get<std::string>(o, "none", "o", "default") == "default");

  CHECK(holds(error_of([&] { get<std::int8_t>(o, "i", "file"); }), {"file", "\"i\"", "300", "-128 to 127"}));
  CHECK(holds(error_of([&] { get<unsigned>(o, "n", "file"); }), {"\"n\"", "-1"}));
  CHECK(holds(error_of([&] { get<std::int64_t>(o, "big", "file"); }), {"\"big\"", "18446744073709551615"}));
  CHECK(holds(error_of([&] { get<int>(o, "f", "file"); }), {"\"f\"", "1.5", "an integer"}));
  CHECK(holds(error_of([&] { get<int>(o, "b", "file"); }), {"\"b\"", "boolean", "an integer"}));
  CHECK(holds(error_of([&] { get<bool>(o, "i", "file"); }), {"\"i\"", "a boolean"}));
  CHECK(holds(error_of([&] { get<std::string>(o, "z", "file"); }), {"\"z\"", "null", "a string"}));
  CHECK(holds(error_of([&] { get<int>(o, "s", "file", 7); }), {"\"s\"", "an integer"}));
  CHECK(holds(error_of([&] { get<std::vector<int>>(o, "m", "file"); }), {"\"m\"[1]", "an integer"}));
  CHECK(holds(error_of([&] { get<int>(o, "bigg", "file"); }), {"file", "\"bigg\"", "did you mean \"big\"?"}));
  CHECK(holds(error_of([&] { get<int>(json(3), "a", "file"); }), {"file", "number", "an object"}));
}

TEST_CASE("json: quoted text") {
  CHECK(quoted("a\"\n\xE2\x9C\x93", "x") == "\"a\\\"\\n\xE2\x9C\x93\"");
  CHECK(quoted("", "x") == "\"\"");
  CHECK(holds(error_of([] { quoted("a\xff", "name"); }), {"name", "UTF-8"}));
}

}  // namespace json_tests
