// tersor - the output of tersor compress, written block by block
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/pipeline/report_json.hpp>

#include "block_output.hpp"
#include "loaded_model.hpp"

namespace command {

/// The output folder of a run while blocks are finished one by one.
class streamed_output {
 public:
  /// @param shard_bytes of a weight file; 0: one file. @param dense outlives this.
  streamed_output(const std::filesystem::path& folder, bool force, bool resume, std::uint64_t shard_bytes,
                  const loaded_model& dense)
      : dense_(dense), folder_(folder, force, resume), weights_(folder_.path(), shard_bytes) {}

  /// Keeps a journal from here on, and takes up that of an interrupted run.
  void keep_journal(const tersor::io::json& settings) {
    weights_.keep_journal(settings, [&](const tersor::io::json& entry, const std::string& where) {
      for (const auto& l : tersor::io::get<std::vector<tersor::io::json>>(entry, "layers", where))
        report.layers.push_back(tersor::pipeline::layer_report_from(l, where));
      report.seconds = tersor::io::get<double>(entry, "seconds", where);
    });
  }
  /// Blocks that an interrupted run had finished, and the calibration after the last of them.
  tersor::index_t blocks() const { return weights_.blocks(); }
  std::vector<tersor::matrix<float>> hidden(std::size_t sequences) const {
    std::vector<tersor::matrix<float>> result;
    if (blocks() == 0 || sequences == 0) return result;
    const tersor::io::safetensors_file file(states_path(blocks()));
    for (std::size_t i = 0; i < sequences; ++i) result.push_back(file.read_matrix<float>(tersor::concat(i)));
    return result;
  }

  /// Writes a finished block; its slots get the dense weights back, which take no memory.
  void add_block(tersor::model::llama& m, tersor::index_t block,
                 std::span<const tersor::pipeline::layer_report> layers,
                 std::span<const tersor::model::block_state> states) {
    report.layers.insert(report.layers.end(), layers.begin(), layers.end());
    if (weights_.has_journal()) {
      save_states(states, block + 1);
      tersor::io::json rows = tersor::io::json::array();
      for (const auto& l : layers) {
        rows.push_back(tersor::io::json::parse(tersor::pipeline::to_json(l).dump()));
        report.seconds += l.report.seconds;
      }
      weights_.add_block(m, {{"layers", rows}, {"seconds", report.seconds}});
      std::filesystem::remove(states_path(block));
    } else {
      weights_.add_block(m);
    }
    for (const auto& stage : m.linear_stages(block))
      for (const auto& name : stage) m.set_linear(name, dense_.model.linear(name));
  }
  /// Writes the rest. @return bytes of the weight files.
  std::uint64_t finish(const tersor::model::llama& m, const std::string& provenance) {
    weights_.metadata("tersor.report", provenance);
    return weights_.finish(m, [&] { dense_.write_beside(folder_.path()); });
  }
  const std::filesystem::path& path() const { return folder_.path(); }
  void commit() {
    weights_.close_journal();
    // a run that was killed may have left those of an earlier block
    for (tersor::index_t b = 0; b <= blocks(); ++b) std::filesystem::remove(states_path(b));
    folder_.commit(std::array{std::string(tersor::io::output_journal::file_name)});
  }

  tersor::pipeline::compression_report report;  ///< of all blocks

 private:
  std::filesystem::path states_path(tersor::index_t block) const {
    return folder_.path() / tersor::concat(".states-", block);
  }
  void save_states(std::span<const tersor::model::block_state> states, tersor::index_t finished) const {
    if (states.empty()) return;
    tersor::io::safetensors_writer file;
    for (std::size_t i = 0; i < states.size(); ++i) {
      const auto& x = states[i].hidden;
      file.add(tersor::concat(i), tersor::dtype::f32, {x.rows(), x.cols()}, std::as_bytes(x.values()));
    }
    file.write(states_path(finished));
  }

  const loaded_model& dense_;
  tersor::io::output_folder folder_;
  block_output weights_;
};

}  // namespace command
