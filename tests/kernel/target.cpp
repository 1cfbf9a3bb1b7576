// tersor - tests of kernel/target.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kernel/target.hpp>

#include "catch.hpp"

namespace tersor {
namespace target_tests {

struct triple {
  TERSOR_ALWAYS_INLINE static int run(int x) { return 3 * x; }
};

TEST_CASE("target: the best one is supported, and every supported one runs the same kernel") {
  CHECK(kernel::is_supported(kernel::target::portable));
  CHECK(kernel::is_supported(kernel::best_target()));
  for (const auto& [name, t] : option_names(kernel::target{}))
    if (kernel::is_supported(t)) CHECK(kernel::run<triple>(t, 14) == 42);
}

}  // namespace target_tests
}  // namespace tersor
