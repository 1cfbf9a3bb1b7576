// tersor - tests of kv/random.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/random.hpp>

#include "samples.hpp"

namespace random_tests {

using namespace tersor_test;

kv::selection select(const kv::random& r, index_t tokens, index_t layer, std::uint64_t seed) {
  auto layout = layout_of(4, 2, 2);
  layout.layers = 10;
  layout.layer = layer;
  const auto k = random_heads(2, tokens, 2, 1), q = random_heads(4, tokens, 2, 1);
  tersor::context ctx;
  ctx.seed = seed;
  return r.select({layout, k.view(), k.view(), q.view()}, ctx);
}

TEST_CASE("random: exact counts, the same tokens for the same seed, others elsewhere") {
  for (const index_t tokens : {1, 2, 17, 100})
    for (const double ratio : {0.0, 0.25, 0.5, 1.0}) {
      const auto s = select({.ratio = ratio}, tokens, 0, 3);
      s.check(2, tokens, "random");
      for (const auto& kept : s.kept)
        CHECK(static_cast<index_t>(kept.size()) == kv::kept_count(tokens, ratio));
      CHECK(select({.ratio = ratio}, tokens, 0, 3).kept == s.kept);
    }
  const auto s = select({}, 100, 0, 3);
  CHECK(s.kept[0] != s.kept[1]);
  CHECK(select({}, 100, 1, 3).kept != s.kept);
  CHECK(select({}, 100, 0, 4).kept != s.kept);
}

TEST_CASE("random: every token is as likely as another") {
  std::vector<int> count(20);
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const auto s = select({.ratio = 0.75}, 20, 0, seed);
    for (const index_t t : s.kept[0]) ++count[static_cast<std::size_t>(t)];
  }
  for (const int n : count) CHECK(std::abs(n - 500) < 100);  // five standard deviations
}

TEST_CASE("random: errors") { CHECK_THROWS_AS(kv::random{.ratio = 1.5}.validate(), tersor::error); }

}  // namespace random_tests
