// tersor - tests of kv/knorm.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/knorm.hpp>

#include "policies.hpp"

namespace knorm_tests {

using namespace tersor_test;

TEST_CASE("knorm: what every policy must do") { check_policy(kv::knorm{}); }

TEST_CASE("knorm: whatever the queries and values") {
  random_prompt x(4, 2, 50, 6, 1);
  const auto before = kv::knorm{}.scores(x.prompt());
  for (float& q : x.q.values) q = std::nanf("");
  for (float& v : x.v.values) v *= -3;
  CHECK(kv::knorm{}.scores(x.prompt()) == before);
  CHECK(kv::knorm{}.scores(x.with_queries(0)) == before);
}

TEST_CASE("knorm: minus the norm, by hand, and the longest keys go") {
  random_prompt x(1, 1, 4, 2, 1);
  const std::array<std::array<float, 2>, 4> keys{{{3, 4}, {0, 1}, {-6, 8}, {0, 0}}};
  for (index_t t = 0; t < 4; ++t)
    for (index_t c = 0; c < 2; ++c)
      x.k(0, t, c) = keys[static_cast<std::size_t>(t)][static_cast<std::size_t>(c)];
  const auto s = kv::knorm{}.scores(x.prompt());
  CHECK((s(0, 0) == -5 && s(0, 1) == -1 && s(0, 2) == -10 && s(0, 3) == 0));
  CHECK(kv::knorm{}.select(x.prompt()).kept.front() == std::vector<index_t>{1, 3});
}

}  // namespace knorm_tests
