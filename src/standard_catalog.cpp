// tersor - the catalog of the library's techniques, compiled once
// SPDX-License-Identifier: MIT
#include <tersor/pipeline/standard_catalog.hpp>

#include "techniques.hpp"

namespace tersor::pipeline {

catalog standard_catalog() {
  catalog c;
  compiled::add_quantizers(c);
  compiled::add_pruners(c);
  compiled::add_caches(c);
  compiled::add_adapters(c);
  return c;
}

}  // namespace tersor::pipeline
