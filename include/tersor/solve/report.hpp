// tersor - what a compression did: error and bytes of one layer
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>  // std::optional
#include <string>    // std::string
#include <vector>    // std::vector

namespace tersor::solve {

/// The uniform report of every compressor.
struct report {
  double relative_error = 0;  ///< ‖W − Ŵ‖_F / ‖W‖_F
  double max_error = 0;       ///< max |W − Ŵ|
  std::optional<double>
      weighted_error;  ///< ‖(W − Ŵ) Xᵀ‖_F / ‖W Xᵀ‖_F on the calibration data, if there is any
  std::size_t bytes = 0;  ///< stored, all parts
  double bits_per_weight = 0;
  double seconds = 0;
  std::vector<std::string> notes;  ///< what a reader should know: damping raised, dead columns, fall-backs
};

/// A compressed weight and what it cost. `Op` is a linear operator.
template <class Op>
struct compressed {
  Op op;
  solve::report report;
};

}  // namespace tersor::solve
