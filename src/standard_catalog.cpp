// tersor - the catalog of the library's techniques, compiled once
// SPDX-License-Identifier: MIT
#include <tersor/pipeline/every_technique.hpp>
#include <tersor/pipeline/standard_catalog.hpp>

namespace tersor::pipeline {

catalog standard_catalog() { return every_technique(); }

}  // namespace tersor::pipeline
