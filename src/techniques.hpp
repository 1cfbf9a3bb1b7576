// tersor - the parts of the catalog, each compiled alone: an edit of one technique compiles one of them
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/pipeline/catalog.hpp>

namespace tersor::pipeline::compiled {

void add_quantizers(catalog& c);
void add_pruners(catalog& c);
void add_caches(catalog& c);
void add_adapters(catalog& c);

}  // namespace tersor::pipeline::compiled
