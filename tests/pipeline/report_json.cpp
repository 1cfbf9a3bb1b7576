// tersor - tests of pipeline/report_json.hpp
// SPDX-License-Identifier: MIT
#include <tersor/pipeline/report_json.hpp>

#include "catch.hpp"

namespace tersor {
namespace report_json_tests {

TEST_CASE("report_json: a layer's row") {
  pipeline::layer_report l{"a.b", 2, 3, {}};
  l.report.relative_error = 0.5;
  l.report.bytes = 7;
  l.report.bits_per_weight = 4.25;
  l.report.seconds = 1.5;
  auto j = pipeline::to_json(l);
  CHECK(j["name"] == "a.b");
  CHECK(j["bits_per_weight"] == 4.25);
  CHECK(j["bytes"] == 7);
  CHECK(j["relative_error"] == 0.5);
  CHECK(j["weighted_error"].is_null());
  CHECK(j["seconds"] == 1.5);
  CHECK_FALSE(pipeline::to_json(l, false).contains("seconds"));
  l.report.weighted_error = 0.25;
  l.report.notes = {"note"};
  j = pipeline::to_json(l);
  CHECK(j["weighted_error"] == 0.25);
  CHECK(j["notes"][0] == "note");
}

TEST_CASE("report_json: a layer's row comes back") {
  pipeline::layer_report l{"a.b", 2, 3, {}};
  l.report.relative_error = 1.0 / 3;
  l.report.bytes = 7;
  l.report.bits_per_weight = 4.25;
  l.report.seconds = 1.5;
  for (const bool more : {false, true}) {
    if (more) {
      l.report.weighted_error = 0.1;
      l.report.notes = {"a note"};
    }
    const auto j = io::json::parse(pipeline::to_json(l).dump());
    CHECK(pipeline::to_json(pipeline::layer_report_from(j, "x")) == pipeline::to_json(l));
  }
  CHECK_THROWS_AS(pipeline::layer_report_from({{"shape", {1}}}, "x"), error);
}

TEST_CASE("report_json: the catalog has the fields that tools read") {
  const auto j = pipeline::to_json(pipeline::standard_catalog());
  REQUIRE(j.is_array());
  for (const auto& e : j) {
    for (const char* key : {"id", "family", "title", "arxiv", "header", "guarantee", "options"})
      CHECK(e.contains(key));
    for (const auto& o : e["options"])
      for (const char* key : {"name", "default", "range"}) CHECK(o.contains(key));
  }
}

}  // namespace report_json_tests
}  // namespace tersor
