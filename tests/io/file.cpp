// tersor - tests of mapped files and whole-file writing
// SPDX-License-Identifier: MIT
#include <tersor/io/file.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace file_tests {

using namespace tersor;
using namespace tersor::io;
using tersor::test::error_of;
using tersor::test::holds;
using tersor::test::temporary_folder;

TEST_CASE("mapped file: bytes, empty, moved") {
  const temporary_folder folder;
  mapped_file a(folder.file("a", std::string_view("x\0y\n", 4)));
  const std::byte* const address = a.bytes().data();
  mapped_file b = std::move(a);
  CHECK(b.bytes().data() == address);
  CHECK(b.size() == 4);
  CHECK(b.bytes()[2] == std::byte{'y'});
  CHECK(b.path() == folder / "a");
  b = mapped_file(folder.file("empty", ""));
  CHECK(b.size() == 0);
  CHECK(read_text_file(folder / "a") == std::string_view("x\0y\n", 4));
  CHECK(read_text_file(folder / "empty").empty());
}

TEST_CASE("mapped file: errors name the file") {
  const temporary_folder folder;
  CHECK(holds(error_of([&] { mapped_file(folder / "none"); }),
              {(folder / "none").string(), "an existing file"}));
  CHECK(holds(error_of([&] { mapped_file(folder.path()); }), {folder.path().string(), "a regular file"}));
  CHECK(holds(error_of([&] { mapped_file(folder / std::string(300, 'x')); }),
              {"xxx", "a readable file", "too long"}));
}

TEST_CASE("file writer: whole or nothing") {
  const temporary_folder folder;
  folder.file("x", "old");
  {
    file_writer writer(folder / "x");
    writer.write("half");
    CHECK(writer.written() == 4);
    CHECK(read_text_file(folder / "x") == "old");
  }
  CHECK(read_text_file(folder / "x") == "old");
  CHECK(folder.count() == 1);
  {
    file_writer first(folder / "x");
    first.write("ne");
    file_writer writer(std::move(first));
    writer.write("w");
    writer.commit();
  }
  CHECK(read_text_file(folder / "x") == "new");
  write_text_file(folder / "y", "");
  CHECK(read_text_file(folder / "y").empty());
  CHECK(folder.count() == 2);
}

TEST_CASE("file writer: errors name the file") {
  const temporary_folder folder;
  CHECK(holds(error_of([&] { write_text_file(folder / "no" / "x", "x"); }),
              {(folder / "no" / "x").string(), "folder"}));
  CHECK(holds(error_of([&] { write_text_file(folder.path(), "x"); }),
              {folder.path().string(), "not a folder"}));
  CHECK(folder.count() == 0);
}

TEST_CASE("mapped file: released pages are read again") {
  const temporary_folder folder;
  std::string text(100'000, 'x');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
  const mapped_file file(folder.file("pages", text));
  for (const auto& [begin, size] :
       {std::pair<std::size_t, std::size_t>{0, 100'000}, {5, 0}, {5, 3}, {4095, 60'000}}) {
    file.release(file.bytes().subspan(begin, size));
    CHECK(std::ranges::equal(file.bytes(), std::as_bytes(std::span(text))));
  }
}

}  // namespace file_tests
