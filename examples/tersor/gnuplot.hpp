// tersor - plots by the program gnuplot
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>

namespace command {

/// Runs gnuplot on `script` and returns what the script prints: with the SVG terminal and no `set output` a
/// drawing. Settings of the user's own files are not read.
/// Errors: gnuplot is not in PATH; it refuses the script, with the first line that it said.
std::string gnuplot(std::string_view script);

/// The error of a missing gnuplot, or of one that draws no SVG, before any work is done.
/// @param option what the error names as asking for it.
void require_gnuplot(std::string_view option);

}  // namespace command
