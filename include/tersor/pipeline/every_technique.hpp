// tersor - every technique of this library, in one catalog
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/pipeline/techniques/adapters.hpp>
#include <tersor/pipeline/techniques/caches.hpp>
#include <tersor/pipeline/techniques/pruners.hpp>
#include <tersor/pipeline/techniques/quantizers.hpp>

namespace tersor::pipeline {

/// What `standard_catalog()` returns.
inline catalog every_technique() {
  catalog c;
  add_quantizers(c);
  add_pruners(c);
  add_caches(c);
  add_adapters(c);
  return c;
}

}  // namespace tersor::pipeline
