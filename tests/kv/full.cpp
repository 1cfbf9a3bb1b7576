// tersor - tests of kv/full.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/full.hpp>

#include "samples.hpp"

namespace full_tests {

using namespace tersor_test;

TEST_CASE("full: keeps everything") {
  const auto layout = layout_of(4, 2, 4);
  for (const index_t tokens : {0, 1, 9}) {
    const auto k = random_heads(2, tokens, 4, 1);
    const auto q = random_heads(4, tokens, 4, 1);
    const auto s = kv::full{}.select({layout, k.view(), k.view(), q.view()});
    CHECK(s.kept == kv::selection::all(2, tokens).kept);
  }
}

}  // namespace full_tests
