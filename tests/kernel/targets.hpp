// tersor - the targets that this processor has, for tests of every path
// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include <tersor/kernel/target.hpp>

namespace tersor::test {

inline std::vector<kernel::target> targets() {
  std::vector<kernel::target> supported;
  for (const auto& [name, t] : option_names(kernel::target{}))
    if (kernel::is_supported(t)) supported.push_back(t);
  return supported;
}

}  // namespace tersor::test
