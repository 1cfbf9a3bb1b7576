// tersor - letting weights in mapped files leave memory when they were worked through
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/any_operator.hpp>
#include <tersor/op/dense.hpp>
#include <tersor/op/ggml_blocks.hpp>

namespace tersor::op {

/// The pages of an operator whose weights lie in a mapped file are read again when they are next touched.
/// Others stay as they are.
inline void release_pages(const any_operator& w) {
  if (const auto* d = w.as<dense>()) d->values().release();
  if (const auto* b = w.as<ggml_blocks>()) b->release();
}

}  // namespace tersor::op
