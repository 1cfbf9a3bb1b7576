// tersor - loading models, and the run that compresses them, compiled once
// SPDX-License-Identifier: MIT
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/model/llama_reader.hpp>
#include <tersor/pipeline/block_schedule.hpp>
#include <tersor/pipeline/compress.hpp>

namespace tersor::model {

index_t llama::block_count() const { return config_.num_hidden_layers; }

llama load_llama(const std::filesystem::path& folder) { return read_llama_folder(folder); }

}  // namespace tersor::model

namespace tersor::pipeline {

compression_report compress(model::block_model& m, const recipe& r,
                            std::span<const std::vector<int>> calibration, const schedule_options& options,
                            const context& ctx, const block_progress& progress) {
  return detail::block_schedule(m, r, calibration, options, ctx, progress).run();
}

}  // namespace tersor::pipeline
