// tersor - the library's own catalog, without including its techniques where they are precompiled
// SPDX-License-Identifier: MIT
#pragma once

#if defined(TERSOR_PRECOMPILED)
#include <tersor/pipeline/catalog.hpp>
#else
#include <tersor/pipeline/every_technique.hpp>
#endif

namespace tersor::pipeline {

/// The techniques of this library. With tersor::precompiled they are compiled there, so that a program that
/// names them in text only compiles none of them.
#if defined(TERSOR_PRECOMPILED)
catalog standard_catalog();
#else
inline catalog standard_catalog() { return every_technique(); }
#endif

}  // namespace tersor::pipeline
