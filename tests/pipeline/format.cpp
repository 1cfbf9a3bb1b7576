// tersor - tests of pipeline/format.hpp
// SPDX-License-Identifier: MIT
#include <tersor/pipeline/format.hpp>

#include "catch.hpp"

namespace format_tests {

TEST_CASE("format: a report in one line") {
  tersor::solve::report r;
  r.relative_error = 0.0793;
  r.bytes = 26200;
  r.bits_per_weight = 4.156;
  r.seconds = 0.12;
  CHECK(fmt::format("{}", r) == "4.156 bits per weight, 26.2 KB, error 0.0793, 0.12 s");
  r.weighted_error = 0.0457;
  CHECK(fmt::format("{}", r) == "4.156 bits per weight, 26.2 KB, error 0.0793 (weighted 0.0457), 0.12 s");
}

}  // namespace format_tests
