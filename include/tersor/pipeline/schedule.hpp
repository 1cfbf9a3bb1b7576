// tersor - how a model is compressed block by block, and what is reported of it
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>  // std::function
#include <span>        // std::span
#include <string>      // std::string
#include <vector>      // std::vector

#include <tersor/model/block_model.hpp>
#include <tersor/solve/report.hpp>

namespace tersor::pipeline {

/// Which hidden states the next block is calibrated on.
enum class propagation {
  compressed,  ///< what the compressed blocks before it return: GPTQ, SparseGPT, Wanda
  dense        ///< what the dense blocks return: AWQ
};

struct schedule_options {
  /// Linears of a block in four stages, (k, v, q), (o), (up, gate), (down), each calibrated on the compressed
  /// stages before it; else all on one forward pass.
  bool true_sequential = true;
  propagation propagate = propagation::compressed;
};

struct layer_report {
  std::string name;
  index_t rows = 0, cols = 0;
  solve::report report;
};
struct compression_report {
  std::vector<layer_report> layers;  ///< compressed ones, in order
  double seconds =
      0;  ///< of the work, with the calibration that methods need; measuring errors is not counted

  std::size_t bytes() const {
    std::size_t n = 0;
    for (const auto& l : layers) n += l.report.bytes;
    return n;
  }
  /// Of the compressed layers together.
  double bits_per_weight() const {
    double weights = 0;
    for (const auto& l : layers) weights += static_cast<double>(l.rows) * static_cast<double>(l.cols);
    return weights == 0 ? 0 : 8.0 * static_cast<double>(bytes()) / weights;
  }
};

/// A run that is followed block by block: to write what is finished and let it leave memory, and to go on
/// with what an interrupted run had finished.
struct block_progress {
  /// Called when a block is finished: nothing in this run reads its linears and vectors again, and all slots
  /// may be set. @param layers reports of its compressed linears; @param hidden the calibration sequences as
  /// the next block will see them, [tokens, hidden] each (after the last block: unspecified)
  std::function<void(index_t block, std::span<const layer_report> layers,
                     std::span<const model::block_state> states)>
      finished{};
  index_t first_block = 0;  ///< earlier ones are finished
  std::vector<matrix<float>>
      hidden{};  ///< what `states` of the block before said, where there is calibration
};

}  // namespace tersor::pipeline
