// tersor - tests of kv/keydiff.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/keydiff.hpp>

#include "policies.hpp"

namespace keydiff_tests {

using namespace tersor_test;

TEST_CASE("keydiff: what every policy must do") { check_policy(kv::keydiff{}); }

TEST_CASE("keydiff: whatever the queries and values") {
  random_prompt x(4, 2, 50, 6, 1);
  const auto before = kv::keydiff{}.scores(x.prompt());
  for (float& q : x.q.values) q = std::nanf("");
  for (float& v : x.v.values) v *= -3;
  CHECK(kv::keydiff{}.scores(x.prompt()) == before);
  CHECK(kv::keydiff{}.scores(x.with_queries(0)) == before);
}

TEST_CASE("keydiff: minus the cosine with the mean direction, by hand") {
  random_prompt x(1, 1, 4, 2, 1);
  const std::array<std::array<float, 2>, 4> keys{{{5, 0}, {0.5F, 0}, {0, 2}, {0, 0}}};
  for (index_t t = 0; t < 4; ++t)
    for (index_t c = 0; c < 2; ++c)
      x.k(0, t, c) = keys[static_cast<std::size_t>(t)][static_cast<std::size_t>(c)];
  const auto s = kv::keydiff{}.scores(x.prompt());  // the anchor points along (2, 1)
  CHECK(std::abs(s(0, 0) + 2 / std::sqrt(5.0F)) < 1e-6F);
  CHECK(std::abs(s(0, 1) + 2 / std::sqrt(5.0F)) < 1e-6F);
  CHECK(std::abs(s(0, 2) + 1 / std::sqrt(5.0F)) < 1e-6F);
  CHECK(s(0, 3) == 0);
  CHECK(kv::keydiff{}.select(x.prompt()).kept.front() == std::vector<index_t>{2, 3});
  for (float& v : x.k.values) v = 0;
  CHECK(kv::keydiff{}.scores(x.prompt()) == matrix<float>(1, 4));
}

TEST_CASE("keydiff: the length of a key does not matter") {
  random_prompt x(2, 2, 40, 6, 3);
  const auto before = kv::keydiff{}.scores(x.prompt());
  for (index_t t = 0; t < 40; ++t)
    for (index_t h = 0; h < 2; ++h)
      for (index_t c = 0; c < 6; ++c) x.k(h, t, c) *= static_cast<float>(1 + t);
  CHECK(largest_difference(kv::keydiff{}.scores(x.prompt()).values(), before.values()) < 1e-5);
}

}  // namespace keydiff_tests
