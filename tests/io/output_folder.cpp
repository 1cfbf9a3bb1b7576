// tersor - tests of output folders
// SPDX-License-Identifier: MIT
#include <tersor/io/output_folder.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace output_folder_tests {

using namespace tersor;
using namespace tersor::io;
using tersor::test::error_of;
using tersor::test::holds;
using tersor::test::temporary_folder;

TEST_CASE("output folder: appears with commit, and only then") {
  const temporary_folder folder;
  {
    output_folder out(folder / "out");
    CHECK(out.destination() == folder / "out");
    write_text_file(out.path() / "file", "new");
    CHECK_FALSE(std::filesystem::exists(folder / "out"));
    out.commit();
    CHECK(read_text_file(folder / "out" / "file") == "new");
  }
  CHECK(read_text_file(folder / "out" / "file") == "new");
  CHECK(folder.count() == 1);
}

TEST_CASE("output folder: an error on the way leaves nothing") {
  const temporary_folder folder;
  try {
    output_folder out(folder / "out");
    write_text_file(out.path() / "file", "half");
    fail("x", 1, "2");
  } catch (const error&) {
  }
  CHECK(folder.count() == 0);
}

TEST_CASE("output folder: existing paths") {
  const temporary_folder folder;
  std::filesystem::create_directory(folder / "out");
  write_text_file(folder / "out" / "old", "old");
  SECTION("are refused without force") {
    CHECK(holds(error_of([&] { output_folder out(folder / "out"); }), {(folder / "out").string(), "exists"}));
    CHECK(
        holds(error_of([&] { output_folder out(folder / "out/"); }), {(folder / "out").string(), "exists"}));
    std::filesystem::create_symlink("nowhere", folder / "dangling");
    CHECK(holds(error_of([&] { output_folder out(folder / "dangling"); }), {"exists"}));
    CHECK(folder.count() == 2);
  }
  SECTION("are replaced whole with force") {
    output_folder out(folder / "out/", true);
    write_text_file(out.path() / "new", "new");
    CHECK(read_text_file(folder / "out" / "old") == "old");
    out.commit();
    CHECK(read_text_file(folder / "out" / "new") == "new");
    CHECK_FALSE(std::filesystem::exists(folder / "out" / "old"));
    CHECK(folder.count() == 1);
  }
  SECTION("stay without commit") {
    { output_folder out(folder / "out", true); }
    CHECK(read_text_file(folder / "out" / "old") == "old");
    CHECK(folder.count() == 1);
  }
  SECTION("that appear meanwhile are not overwritten without force") {
    {
      output_folder out(folder / "late");
      std::filesystem::create_directory(folder / "late");
      CHECK(holds(error_of([&] { out.commit(); }), {"late", "exists"}));
    }
    CHECK(folder.count() == 2);
  }
}

TEST_CASE("output folder: places where none can be made") {
  CHECK(holds(error_of([] { output_folder out("/nowhere/at/all"); }), {"/nowhere/at/all", "parent folder"}));
  for (const char* path : {"", "/", ".", "..", "a/.."})
    CHECK(holds(error_of([&] { output_folder out(path, true); }), {"output folder", "ends with a name"}));
}

TEST_CASE("output folder: two at once do not meet") {
  const temporary_folder folder;
  output_folder a(folder / "out"), b(folder / "out");
  CHECK(a.path() != b.path());
  a.commit();
  CHECK(holds(error_of([&] { b.commit(); }), {"exists"}));
}

TEST_CASE("output folder: a kept one is taken up again until it is committed") {
  const temporary_folder folder;
  for (const char* text : {"first", "second"}) {
    output_folder out(folder / "out", false, true);
    CHECK(out.path() == folder / ".out.tersor-partial");
    CHECK(std::filesystem::exists(out.path() / "file") == (std::string(text) == "second"));
    write_text_file(out.path() / "file", text);
  }
  output_folder(folder / "out", false, true).commit();
  CHECK(read_text_file(folder / "out" / "file") == "second");
  CHECK(folder.count() == 1);
  CHECK(holds(error_of([&] { output_folder(folder / "out", false, true); }), {"out", "exists"}));
}

TEST_CASE("output folder: one that is kept is taken up again without what was being written") {
  const temporary_folder folder;
  const auto partial = folder / ".out.tersor-partial";
  {
    output_folder out(folder / "out", false, true);
    CHECK(out.path() == partial);
    for (const char* name : {"file", ".journal", ".file.tersor-12", ".tersor-x", "a.tersor-1"})
      write_text_file(out.path() / name, name);
  }
  CHECK(std::filesystem::exists(partial / "file"));
  output_folder out(folder / "out", false, true);
  CHECK_FALSE(std::filesystem::exists(partial / ".file.tersor-12"));
  out.commit(std::array{std::string(".journal"), std::string("none")});
  for (const char* name : {"file", ".tersor-x", "a.tersor-1"})
    CHECK(std::filesystem::exists(folder / "out" / name));
  CHECK_FALSE(std::filesystem::exists(folder / "out" / ".journal"));
  CHECK(folder.count() == 1);
}

TEST_CASE("output folder: one that is kept belongs to one run at a time") {
  const temporary_folder folder;
  const auto path = folder / "out";
  {
    output_folder first(path, false, true);
    CHECK(holds(error_of([&] { output_folder second(path, false, true); }), {path.string(), "another run"}));
    CHECK(holds(error_of([&] { output_folder second(path, true, true); }), {path.string(), "another run"}));
    write_text_file(first.path() / "file", "half");
  }
  output_folder(path, false, true).commit();
  CHECK(read_text_file(path / "file") == "half");
  CHECK(std::distance(std::filesystem::directory_iterator(path), {}) == 1);
  { output_folder unused(path, true, true); }
  CHECK(folder.count() == 1);
}

}  // namespace output_folder_tests
