// tersor - the pruners and low-rank factorizations of this library, for the catalog, compiled once
// SPDX-License-Identifier: MIT
#include "techniques.hpp"

#include <tersor/pipeline/techniques/pruners.hpp>

namespace tersor::pipeline::compiled {

void add_pruners(catalog& c) { pipeline::add_pruners(c); }

}  // namespace tersor::pipeline::compiled
