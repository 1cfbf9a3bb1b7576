// tersor - JSON values: the one header that includes nlohmann/json
// SPDX-License-Identifier: MIT
#pragma once

#include <nlohmann/json.hpp>  // nlohmann::json

namespace tersor::io {

using json = nlohmann::json;
/// Keeps its keys in the order in which they were set: for files that people read.
using ordered_json = nlohmann::ordered_json;

/// What to do with an object that has the same key twice: keep the last value, as most readers do, or refuse
/// it.
enum class duplicate_keys { last_wins, refuse };

}  // namespace tersor::io
