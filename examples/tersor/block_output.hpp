// tersor - weights of a model that are written block by block, by a run that can be taken up again
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <memory>

#include <tersor/io/output_journal.hpp>
#include <tersor/io/sharded_writer.hpp>
#include <tersor/model/llama_checkpoint.hpp>

namespace command {

/// The weight files of a folder while blocks are finished one by one.
class block_output {
 public:
  /// @param folder exists. @param shard_bytes of a weight file; 0: one file.
  block_output(std::filesystem::path folder, std::uint64_t shard_bytes)
      : folder_(std::move(folder)), weights_(folder_, shard_bytes), operators_(weights_) {
    weights_.metadata_of_all("format", "pt");
  }

  /// Keeps a journal from here on, and takes up that of an interrupted run. @param read is called with what
  /// `add_block` was given for each block that is finished, and the journal's name.
  void keep_journal(
      const tersor::io::json& settings,
      const std::function<void(const tersor::io::json& entry, const std::string& where)>& read = {}) {
    const auto path = folder_ / tersor::io::output_journal::file_name;
    const std::string where = path.string();
    journal_ = std::make_unique<tersor::io::output_journal>(path, settings);
    std::vector<tersor::io::json> tensors;
    for (const auto& entry : journal_->entries()) {
      if (entry.contains("finished")) {
        finished_bytes_ = tersor::io::get<std::uint64_t>(entry, "finished", where);
        continue;
      }
      tensors.push_back(tersor::io::get<tersor::io::json>(entry, "tensors", where));
      const auto operators = tersor::io::kept_json(entry, "operators", where);
      for (const auto& item : operators.items()) operators_.describe(item.key(), item.value());
      if (read) read(entry, where);
      ++blocks_;
    }
    if (finished_bytes_ == 0) weights_.restore(tensors, where);
  }
  bool has_journal() const { return journal_ != nullptr; }
  /// That are finished, an interrupted run's among them.
  tersor::index_t blocks() const { return blocks_; }

  /// Writes the next block. @param notes an object for the journal.
  void add_block(const tersor::model::llama& m, tersor::io::json notes = tersor::io::json::object()) {
    const auto known = operators_.descriptions().size();
    tersor::model::write_llama_block(m, blocks_++, weights_, operators_);
    if (!journal_) return;
    tersor::io::ordered_json operators = tersor::io::ordered_json::object();
    std::size_t k = 0;
    for (const auto& item : operators_.descriptions().items())
      if (k++ >= known) operators[item.key()] = item.value();
    notes["tensors"] = weights_.take_progress();
    notes["operators"] = operators.dump();
    journal_->append(notes);
  }
  /// Of the last file.
  void metadata(std::string key, std::string value) { weights_.metadata(std::move(key), std::move(value)); }
  /// Writes the rest, and with `write_beside` what else belongs into the folder. @return bytes of the weight
  /// files.
  std::uint64_t finish(const tersor::model::llama& m, const std::function<void()>& write_beside) {
    if (finished_bytes_ > 0) {
      weights_.remove_collected();
      return finished_bytes_;
    }
    tersor::model::write_llama_ends(m, weights_, operators_);
    operators_.finish();
    return weights_.finish([&](std::uint64_t bytes) {
      write_beside();
      if (journal_) journal_->append({{"finished", bytes}});
    });
  }
  /// The file stays, for whoever renames the folder.
  void close_journal() { journal_.reset(); }

 private:
  std::filesystem::path folder_;
  tersor::io::sharded_writer weights_;
  tersor::io::operator_writer operators_;
  std::unique_ptr<tersor::io::output_journal> journal_;
  tersor::index_t blocks_ = 0;
  std::uint64_t finished_bytes_ = 0;
};

}  // namespace command
