// tersor - tests of op/parts.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/every_operator.hpp>

#include "operator_checks.hpp"

namespace parts_tests {

using namespace tersor_test;
using tersor::index_t;

TEST_CASE("operator_parts: typed and erased parts, in order", "[parts]") {
  const op::dense a(random_matrix<float>(2, 3, 1).view());
  const op::low_rank b(random_matrix<float>(2, 1, 2).view(), random_matrix<float>(1, 3, 3).view());
  const op::operator_parts<op::dense, op::low_rank> typed(a, b);
  static_assert(decltype(typed)::size() == 2);
  CHECK(typed.get<1>().rank() == 1);
  const op::operator_parts<> erased({a, b});
  REQUIRE(erased.size() == 2);
  CHECK(erased[1].kind() == "low_rank");
  std::string kinds;
  typed.for_each([&](const auto& op) { kinds += std::string(op.kind()) + " "; });
  erased.for_each([&](const auto& op) { kinds += std::string(op.kind()) + " "; });
  CHECK(kinds == "dense low_rank dense low_rank ");

  stored_operator from_typed, from_erased;
  memory_writer typed_out(from_typed), erased_out(from_erased);
  op::detail::save_parts(typed, typed_out);
  op::detail::save_parts(erased, erased_out);
  CHECK(from_typed == from_erased);
  CHECK(from_typed.attributes.at("parts") == "2");
  memory_reader in(from_typed);
  const auto again = op::detail::load_parts(in);
  REQUIRE(again.size() == 2);
  CHECK(again[0].to_dense() == a.to_dense());
  CHECK(again[1].to_dense() == b.to_dense());
}

TEST_CASE("operator_parts: the number of parts is checked", "[parts]") {
  for (const char* n : {"0", "-1", "65", "1e3", ""}) {
    stored_operator stored;
    stored.attributes["parts"] = n;
    memory_reader in(stored);
    CHECK_THROWS_AS(op::detail::load_parts(in), tersor::error);
  }
}

}  // namespace parts_tests
