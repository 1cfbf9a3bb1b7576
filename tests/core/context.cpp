// tersor - tests of core/context.hpp
// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <string>
#include <vector>

#include <tersor/core/context.hpp>

namespace tersor::context_tests {

TEST_CASE("a context has at least one thread") {
  context ctx;
  CHECK(ctx.thread_count() >= 1);
  ctx.threads = 3;
  CHECK(ctx.thread_count() == 3);
  ctx.threads = -1;
  CHECK(ctx.thread_count() >= 1);
}

TEST_CASE("steps are reported in order") {
  std::vector<std::string> seen;
  context ctx;
  ctx.step("nobody listens", 0, 1);
  ctx.on_progress = [&](const progress_event& e) {
    seen.push_back(std::string(e.what) + " " + std::to_string(e.done) + "/" + std::to_string(e.total));
  };
  ctx.step("a", 1, 2);
  ctx.step("b", 2, 2);
  CHECK(seen == std::vector<std::string>{"a 1/2", "b 2/2"});
}

TEST_CASE("a cancelled run ends at the next step, after its report") {
  int asked = 0, reported = 0;
  context ctx;
  ctx.on_progress = [&](const progress_event&) { ++reported; };
  ctx.is_cancelled = [&] { return ++asked == 3; };
  ctx.step("a", 1, 9);
  ctx.step("a", 2, 9);
  CHECK_THROWS_AS(ctx.step("a", 3, 9), cancelled);
  CHECK(reported == 3);
}

}  // namespace tersor::context_tests
