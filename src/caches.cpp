// tersor - the codecs and policies of caches of this library, for the catalog, compiled once
// SPDX-License-Identifier: MIT
#include "techniques.hpp"

#include <tersor/pipeline/techniques/caches.hpp>

namespace tersor::pipeline::compiled {

void add_caches(catalog& c) { pipeline::add_caches(c); }

}  // namespace tersor::pipeline::compiled
