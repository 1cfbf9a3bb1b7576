// tersor - the quantizers of this library, for the catalog, compiled once
// SPDX-License-Identifier: MIT
#include "techniques.hpp"

#include <tersor/pipeline/techniques/quantizers.hpp>

namespace tersor::pipeline::compiled {

void add_quantizers(catalog& c) { pipeline::add_quantizers(c); }

}  // namespace tersor::pipeline::compiled
