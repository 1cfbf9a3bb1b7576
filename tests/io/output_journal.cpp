// tersor - tests of io/output_journal.hpp
// SPDX-License-Identifier: MIT
#include <tersor/io/output_journal.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace tersor {
namespace output_journal_tests {

using test::error_of;
using test::holds;
using test::temporary_folder;

TEST_CASE("output_journal: entries come back, and a line that was cut off does not count") {
  const temporary_folder folder;
  const auto path = folder / "journal";
  const io::json settings{{"to", "gptq"}, {"size", 3}};
  {
    io::output_journal journal(path, settings);
    CHECK(journal.entries().empty());
    journal.append({{"part", "a"}});
    journal.append({{"part", "b\nc"}});
  }
  const std::string text = io::read_text_file(path);
  folder.file("journal", text + R"({"part": "d)");
  {
    io::output_journal journal(path, settings);
    REQUIRE(journal.entries().size() == 2);
    CHECK(journal.entries()[1]["part"] == "b\nc");
    journal.append({{"part", "e"}});
  }
  CHECK(io::output_journal(path, settings).entries().size() == 3);
  folder.file("journal", text.substr(0, 5));  // not even the settings: a new run
  CHECK(io::output_journal(path, settings).entries().empty());
}

TEST_CASE("output_journal: other settings and broken lines are refused by name") {
  const temporary_folder folder;
  const auto path = folder / "journal";
  { io::output_journal journal(path, {{"to", "gptq"}}); }
  CHECK(holds(error_of([&] { io::output_journal(path, {{"to", "awq"}}); }), {"--resume: to", "awq", "gptq"}));
  CHECK(holds(error_of([&] { io::output_journal(path, {{"to", "gptq"}, {"x", 1}}); }), {"x", "none"}));
  folder.file("journal", "{\"to\": \"gptq\"}\nnonsense\n");
  CHECK(holds(error_of([&] { io::output_journal(path, {{"to", "gptq"}}); }), {"journal"}));
}

TEST_CASE("output_journal: an end that the folder does not have is refused") {
  const temporary_folder folder;
  const auto path = folder / "journal";
  const io::json settings{{"to", "gptq"}};
  folder.file("model.safetensors", "12345");
  {
    io::output_journal journal(path, settings);
    journal.append({{"finished", 5}});
  }
  CHECK(io::output_journal(path, settings).entries().size() == 1);
  folder.file("model.safetensors", "1234");
  CHECK(holds(error_of([&] { io::output_journal(path, settings); }), {"journal", "5", "weight files"}));
}

TEST_CASE("output_journal: JSON that is kept as text, and paths that are not UTF-8") {
  CHECK(io::kept_json({{"note", R"({"b":1,"a":2})"}}, "note", "journal").dump() == R"({"b":1,"a":2})");
  CHECK(holds(error_of([] {
                (void)io::kept_json({{"note", "{"}}, "note", "journal");
              }),
              {"journal", "note"}));
  CHECK(io::path_text("/caf\xC3\xA9") == "/caf\xC3\xA9");
  CHECK(io::path_text("/caf\xE9") == "/caf\\xe9");
}

}  // namespace output_journal_tests
}  // namespace tersor
