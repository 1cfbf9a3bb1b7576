// tersor - compressing a model block by block
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/pipeline/recipe.hpp>
#include <tersor/pipeline/schedule.hpp>
#if !defined(TERSOR_PRECOMPILED)
#include <tersor/pipeline/block_schedule.hpp>
#endif

namespace tersor::pipeline {

/// Compresses the linears of `m` in place, block after block. @param calibration token ids, one sequence
/// each; may be empty if no stage needs data. Where it is given, every layer's report has the weighted error.
/// Memory beside the model: for each calibration sequence its hidden states and the inputs of one stage of
/// linears; the statistics of one stage. On an error the model is left half compressed: load it again.
#if defined(TERSOR_PRECOMPILED)
compression_report compress(model::block_model& m, const recipe& r,
                            std::span<const std::vector<int>> calibration,
                            const schedule_options& options = {}, const context& ctx = {},
                            const block_progress& progress = {});
#else
inline compression_report compress(model::block_model& m, const recipe& r,
                                   std::span<const std::vector<int>> calibration,
                                   const schedule_options& options = {}, const context& ctx = {},
                                   const block_progress& progress = {}) {
  return detail::block_schedule(m, r, calibration, options, ctx, progress).run();
}
#endif

/// Full windows of a token stream, as calibration sequences; `max_windows` 0: all.
inline std::vector<std::vector<int>> windows_of(std::span<const int> ids, index_t window,
                                                index_t max_windows = 0) {
  require(window >= 1, "calibration window", window, "at least 1");
  std::vector<std::vector<int>> windows;
  for (index_t first = 0; first + window <= static_cast<index_t>(ids.size()); first += window) {
    if (max_windows > 0 && static_cast<index_t>(windows.size()) == max_windows) break;
    const auto w = ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(window));
    windows.emplace_back(w.begin(), w.end());
  }
  return windows;
}

}  // namespace tersor::pipeline
