// tersor - the adapters of this library, for the catalog, compiled once
// SPDX-License-Identifier: MIT
#include "techniques.hpp"

#include <tersor/pipeline/techniques/adapters.hpp>

namespace tersor::pipeline::compiled {

void add_adapters(catalog& c) { pipeline::add_adapters(c); }

}  // namespace tersor::pipeline::compiled
