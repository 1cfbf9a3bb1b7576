// tersor - the output of tersor compress, written block by block
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/io/output_journal.hpp>
#include <tersor/io/sharded_writer.hpp>
#include <tersor/pipeline/report_json.hpp>

#include "loaded_model.hpp"

namespace command {

/// The output folder of a run while blocks are finished one by one.
class streamed_output {
 public:
  /// @param shard_bytes of a weight file; 0: one file. @param dense outlives this.
  streamed_output(const std::filesystem::path& folder, bool force, bool resume, std::uint64_t shard_bytes,
                  const loaded_model& dense)
      : dense_(dense),
        folder_(folder, force, resume),
        weights_(folder_.path(), shard_bytes),
        operators_(weights_) {
    weights_.metadata_of_all("format", "pt");
  }

  /// Keeps a journal from here on, and takes up that of an interrupted run.
  void keep_journal(const tersor::io::json& settings) {
    const auto path = folder_.path() / tersor::io::output_journal::file_name;
    journal_ = std::make_unique<tersor::io::output_journal>(path, settings);
    std::vector<tersor::io::json> tensors;
    for (const auto& entry : journal_->entries()) {
      if (entry.contains("finished")) {
        finished_bytes_ = tersor::io::get<std::uint64_t>(entry, "finished", path.string());
        continue;
      }
      tensors.push_back(tersor::io::get<tersor::io::json>(entry, "tensors", path.string()));
      for (const auto& l : tersor::io::get<std::vector<tersor::io::json>>(entry, "layers", path.string()))
        report.layers.push_back(tersor::pipeline::layer_report_from(l, path.string()));
      const auto operators =
          tersor::io::ordered_json::parse(tersor::io::get<std::string>(entry, "operators", path.string()));
      for (const auto& item : operators.items()) operators_.describe(item.key(), item.value());
      report.seconds = tersor::io::get<double>(entry, "seconds", path.string());
      ++blocks_;
    }
    if (finished_bytes_ == 0) weights_.restore(tensors, path.string());
  }
  /// Blocks that an interrupted run had finished, and the calibration after the last of them.
  tersor::index_t blocks() const { return blocks_; }
  std::vector<tersor::matrix<float>> hidden(std::size_t sequences) const {
    std::vector<tersor::matrix<float>> result;
    if (blocks_ == 0 || sequences == 0) return result;
    const tersor::io::safetensors_file file(states_path(blocks_));
    for (std::size_t i = 0; i < sequences; ++i) result.push_back(file.read_matrix<float>(tersor::concat(i)));
    return result;
  }

  /// Writes a finished block; its slots get the dense weights back, which take no memory.
  void add_block(tersor::model::llama& m, tersor::index_t block,
                 std::span<const tersor::pipeline::layer_report> layers,
                 std::span<const tersor::model::block_state> states) {
    const auto known = operators_.descriptions().size();
    tersor::model::write_llama_block(m, block, weights_, operators_);
    report.layers.insert(report.layers.end(), layers.begin(), layers.end());
    if (journal_) {
      ++blocks_;
      save_states(states);
      tersor::io::ordered_json operators = tersor::io::ordered_json::object();
      std::size_t k = 0;
      for (const auto& item : operators_.descriptions().items())
        if (k++ >= known) operators[item.key()] = item.value();
      tersor::io::json rows = tersor::io::json::array();
      for (const auto& l : layers)
        rows.push_back(tersor::io::json::parse(tersor::pipeline::to_json(l).dump()));
      for (const auto& l : layers) report.seconds += l.report.seconds;
      journal_->append({{"tensors", weights_.take_progress()},
                        {"operators", operators.dump()},
                        {"layers", rows},
                        {"seconds", report.seconds}});
      std::filesystem::remove(states_path(blocks_ - 1));
    }
    for (const auto& stage : m.linear_stages(block))
      for (const auto& name : stage) m.set_linear(name, dense_.model.linear(name));
  }
  /// Writes the rest. @return bytes of the weight files.
  std::uint64_t finish(const tersor::model::llama& m, const std::string& provenance) {
    if (finished_bytes_ > 0) {
      weights_.remove_collected();
      return finished_bytes_;
    }
    tersor::model::write_llama_ends(m, weights_, operators_);
    weights_.metadata("tersor.report", provenance);
    operators_.finish();
    return weights_.finish([&](std::uint64_t bytes) {
      dense_.write_beside(folder_.path());
      if (journal_) journal_->append({{"finished", bytes}});
    });
  }
  const std::filesystem::path& path() const { return folder_.path(); }
  void commit() {
    journal_.reset();
    // a run that was killed may have left those of an earlier block
    for (tersor::index_t b = 0; b <= blocks_; ++b) std::filesystem::remove(states_path(b));
    folder_.commit(std::array{std::string(tersor::io::output_journal::file_name)});
  }

  tersor::pipeline::compression_report report;  ///< of all blocks

 private:
  std::filesystem::path states_path(tersor::index_t block) const {
    return folder_.path() / tersor::concat(".states-", block);
  }
  void save_states(std::span<const tersor::model::block_state> states) const {
    if (states.empty()) return;
    tersor::io::safetensors_writer file;
    for (std::size_t i = 0; i < states.size(); ++i) {
      const auto& x = states[i].hidden;
      file.add(tersor::concat(i), tersor::dtype::f32, {x.rows(), x.cols()}, std::as_bytes(x.values()));
    }
    file.write(states_path(blocks_));
  }

  const loaded_model& dense_;
  tersor::io::output_folder folder_;
  tersor::io::sharded_writer weights_;
  tersor::io::operator_writer operators_;
  std::unique_ptr<tersor::io::output_journal> journal_;
  tersor::index_t blocks_ = 0;
  std::uint64_t finished_bytes_ = 0;
};

}  // namespace command
