// tersor - tests of io/folder_lock.hpp
// SPDX-License-Identifier: MIT
#include <tersor/io/folder_lock.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace tersor {
namespace folder_lock_tests {

using test::error_of;
using test::holds;
using test::temporary_folder;

TEST_CASE("folder_lock: a folder is held once, until the lock is gone") {
  const temporary_folder folder;
  const auto refused = [&] { return error_of([&] { io::folder_lock second(folder.path(), "OUT"); }); };
  {
    io::folder_lock first(folder.path(), "OUT");
    CHECK(holds(refused(), {"OUT", "another run"}));
    io::folder_lock moved(std::move(first));
    CHECK(holds(refused(), {"OUT", "another run"}));
  }
  io::folder_lock later;
  later = io::folder_lock(folder.path(), "OUT");
  CHECK(holds(refused(), {"OUT", "another run"}));
  later.remove_file(folder.path());
  CHECK(folder.count() == 0);
}

TEST_CASE("folder_lock: folders where no file can be made") {
  const temporary_folder folder;
  CHECK(holds(error_of([&] { io::folder_lock(folder / "gone", "OUT"); }), {"OUT", "another run"}));
  const auto file = folder.file("file", "");
  CHECK(holds(error_of([&] { io::folder_lock(file, "OUT"); }), {"OUT", "a folder that can be written to"}));
}

}  // namespace folder_lock_tests
}  // namespace tersor
