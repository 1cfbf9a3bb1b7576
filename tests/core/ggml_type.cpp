// tersor - tests of core/ggml_type.hpp
// SPDX-License-Identifier: MIT
#include <tersor/core/ggml_type.hpp>

#include <set>

#include "catch.hpp"

namespace ggml_type_tests {

using tersor::find_ggml_type;
using tersor::ggml_type;

TEST_CASE("ggml types: every number and name is found and is one", "[core][gguf]") {
  std::set<std::uint32_t> numbers;
  std::set<std::string_view> names;
  for (const auto& t : tersor::ggml_types) {
    CAPTURE(t.name);
    CHECK(numbers.insert(static_cast<std::uint32_t>(t.type)).second);
    CHECK(names.insert(t.name).second);
    CHECK(find_ggml_type(static_cast<std::uint32_t>(t.type)) == &t);
    CHECK(find_ggml_type(t.name) == &t);
  }
  for (const std::uint32_t retired : {4U, 5U, 31U, 32U, 33U, 36U, 37U, 38U, 43U})
    CHECK(find_ggml_type(retired) == nullptr);
  CHECK(find_ggml_type("q4_k") == &info(ggml_type::q4_k));
  CHECK(find_ggml_type("q4_k_m") == nullptr);
}

TEST_CASE("ggml types: bits per value", "[core][gguf]") {
  const auto bits = [](ggml_type t) { return 8.0 * info(t).bytes / info(t).block; };
  CHECK(bits(ggml_type::q4_0) == 4.5);
  CHECK(bits(ggml_type::q2_k) == 2.625);
  CHECK(bits(ggml_type::q3_k) == 3.4375);
  CHECK(bits(ggml_type::q6_k) == 6.5625);
  CHECK(bits(ggml_type::iq1_s) == 1.5625);
  CHECK(bits(ggml_type::tq1_0) == 1.6875);
  CHECK(bits(ggml_type::mxfp4) == 4.25);
  CHECK(bits(ggml_type::nvfp4) == 4.5);
  CHECK(bits(ggml_type::q1_0) == 1.125);
}

}  // namespace ggml_type_tests
