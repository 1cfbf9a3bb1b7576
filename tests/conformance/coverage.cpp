// tersor - every manifest in the vectors folder is tested, or reported as skipped
// SPDX-License-Identifier: MIT
#include "vectors.hpp"

namespace coverage_tests {

TEST_CASE("conformance: manifests found") {
  REQUIRE_FALSE(conformance::manifests().empty());
  for (const auto& path : conformance::manifests()) {
    const auto technique = conformance::technique_of(path.stem().string());
    if (technique.empty()) WARN("skipped: " << path.stem().string() << " (no technique of that name yet)");
  }
  SUCCEED();
}

}  // namespace coverage_tests
