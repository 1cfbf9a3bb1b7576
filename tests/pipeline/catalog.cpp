// tersor - tests of pipeline/catalog.hpp
// SPDX-License-Identifier: MIT
#include <tersor/pipeline/standard_catalog.hpp>
#include <tersor/quant/rtn.hpp>

#include <set>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

#include <tersor/io/file.hpp>

namespace tersor {
namespace catalog_tests {

using test::error_of;
using test::holds;

TEST_CASE(
    "catalog: every entry has a header, a test, a line in the docs, a guarantee and options with defaults") {
  const std::filesystem::path root = TERSOR_SOURCE_DIR;
  const auto docs = io::read_text_file(root / "docs" / "methods.md");
  std::set<std::string_view> ids;
  const auto catalog = pipeline::standard_catalog();
  for (const auto& e : catalog.entries()) {
    INFO(e.info.id);
    CHECK(ids.insert(e.info.id).second);
    const std::string header(e.info.header);
    CHECK(std::filesystem::exists(root / "include" / header));
    auto test = std::filesystem::path(header.substr(header.find('/') + 1)).replace_extension(".cpp");
    CHECK(std::filesystem::exists(root / "tests" / test));
    CHECK(docs.find("| `" + std::string(e.info.id) + "` |") != std::string::npos);
    CHECK_FALSE(e.info.title.empty());
    CHECK_FALSE(e.info.guarantee.empty());
    const auto made = e.make({});
    CHECK(made.id() == e.info.id);
    CHECK(made.text() == e.info.id);
    for (const auto& o : e.options) {
      CHECK_FALSE(o.range.empty());
      CHECK_FALSE(o.help.empty());
      // a default can be given back as text
      const pipeline::option_value value{o.name, o.default_value};
      CHECK(e.make(std::span(&value, 1)).text() == e.info.id);
    }
  }
  CHECK(ids.size() >= 10);
}

TEST_CASE("catalog: unknown methods suggest the nearest") {
  const auto c = pipeline::standard_catalog();
  CHECK(c.find("gptq").info.arxiv == "2210.17323");
  CHECK(holds(error_of([&] { c.find("sparsegtp"); }), {"sparsegtp", "sparsegpt"}));
}

TEST_CASE("catalog: an id is taken once") {
  auto c = pipeline::standard_catalog();
  CHECK(holds(error_of([&] { c.add<quant::rtn>(); }), {"rtn"}));
}

}  // namespace catalog_tests
}  // namespace tersor
