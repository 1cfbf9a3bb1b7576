// tersor - fuzz target: specs of recipes, caches and adapters
// SPDX-License-Identifier: MIT
#include <tersor/pipeline/adapter_spec.hpp>
#include <tersor/pipeline/cache_spec.hpp>

#include "fuzz/targets.hpp"

namespace tersor::fuzz {
namespace {

/// Reads what `parse` reads; the text of what was read is read again, and says the same.
template <class Parse>
void twice(std::string_view text, const Parse& parse) {
  std::string first;
  try {
    first = parse(text).text();
  } catch (const error&) {
    return;
  }
  if (parse(first).text() != first) std::abort();
}

}  // namespace

void spec(std::string_view bytes) {
  twice(bytes, [](std::string_view s) { return pipeline::recipe::parse(s); });
  twice(bytes, [](std::string_view s) { return pipeline::parse_cache_spec(s); });
  twice(bytes, [](std::string_view s) { return pipeline::parse_adapter_spec(s); });
  (void)pipeline::recipe::parse(bytes);
}

}  // namespace tersor::fuzz
