// tersor - compressing a model block by block
// SPDX-License-Identifier: MIT
#pragma once

#include <map>  // std::map

#include <tersor/model/block_model.hpp>
#include <tersor/pipeline/recipe.hpp>

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
  index rows = 0, cols = 0;
  solve::report report;
};
struct compression_report {
  std::vector<layer_report> layers;  ///< compressed ones, in order
  double seconds = 0;

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

namespace detail {

/// One run over a model: calibration state and the steps of a block.
class block_schedule {
 public:
  block_schedule(model::block_model& m, const recipe& r, std::span<const std::vector<int>> calibration,
                 const schedule_options& options, const context& ctx)
      : model_(m), options_(options), ctx_(ctx) {
    std::vector<std::string> names;
    for (index b = 0; b < m.block_count(); ++b)
      for (const auto& stage : m.linear_stages(b)) names.insert(names.end(), stage.begin(), stage.end());
    r.check_layers(names);
    for (const auto& name : names) {
      chains_[name] = r.chain_of(name);
      need_ = std::max(need_, chains_[name].needs());
      total_ += !chains_[name].empty();
    }
    if (need_ == solve::calibration_need::none) return;
    require(!calibration.empty(), concat("calibration for ", r.text()), "empty", "at least one sequence");
    for (const auto& ids : calibration) hidden_.push_back(m.embed(ids));
  }

  compression_report run() {
    const solve::stopwatch clock;
    compression_report report;
    for (index b = 0; b < model_.block_count(); ++b) {
      reference_.clear();
      transform(b);
      std::vector<matrix<float>> next;
      const bool calibrated = !hidden_.empty(), last = b + 1 == model_.block_count();
      if (calibrated && !last && options_.propagate == propagation::dense) next = outputs(b);
      const auto stages = model_.linear_stages(b);
      if (options_.true_sequential) {
        for (std::size_t s = 0; s < stages.size(); ++s) compress(b, stages[s], static_cast<index>(s), report);
      } else {
        std::vector<std::string> all;
        for (const auto& stage : stages) all.insert(all.end(), stage.begin(), stage.end());
        compress(b, all, static_cast<index>(stages.size()) - 1, report);
      }
      if (calibrated && !last) hidden_ = next.empty() ? outputs(b) : std::move(next);
    }
    report.seconds = clock.seconds();
    return report;
  }

 private:
  /// Sequences run at a time: their inputs are held until they are added up in order.
  static constexpr index batch = 4;

  std::vector<matrix<float>> outputs(index block) const {
    std::vector<matrix<float>> result = hidden_;
    parallel_for(static_cast<index>(result.size()), ctx_, [&](index i) {
      model_.run_block(block, result[static_cast<std::size_t>(i)], nullptr, -1, {.threads = 1});
    });
    return result;
  }

  /// Calls f(name, x) with the inputs of the named linears, sequence after sequence in order. Layers with the
  /// same input are called once, under the first one's name; `same_as` says whose input the others have.
  template <class F>
  void observe(index block, const std::vector<std::string>& names, index last_stage, index sequences,
               std::map<std::string, std::string>& same_as, F&& f) const {
    const index count = sequences == 0 ? static_cast<index>(hidden_.size())
                                       : std::min<index>(sequences, static_cast<index>(hidden_.size()));
    for (index first = 0; first < count; first += batch) {
      struct captured {
        std::string name;
        const float* data;
        matrix<float> x;
      };
      const index size = std::min(batch, count - first);
      std::vector<std::vector<captured>> inputs(static_cast<std::size_t>(size));
      std::vector<std::map<std::string, std::string>> same(inputs.size());
      parallel_for(size, ctx_, [&](index i) {
        const auto k = static_cast<std::size_t>(i);
        auto state = hidden_[static_cast<std::size_t>(first + i)];
        const model::input_observer observer = [&](const std::string& name, matrix_view<const float> x) {
          if (std::ranges::find(names, name) == names.end()) return;
          // the observer of one sequence is called in the order of the layers: a repeated input is the last
          // one
          const bool repeated = !inputs[k].empty() && inputs[k].back().data == x.data;
          same[k][name] = repeated ? inputs[k].back().name : name;
          if (!repeated) inputs[k].push_back({name, x.data, copy_as<float>(x)});
        };
        model_.run_block(block, state, &observer, last_stage, {.threads = 1});
      });
      same_as = same.front();
      for (auto& sequence : inputs)
        for (auto& input : sequence) f(input.name, std::move(input.x));
    }
  }

  /// Function-preserving scales, then adjustments of single weights.
  void transform(index block) {
    for (const auto& group : model_.scale_groups(block)) {
      const auto transformations = chains_.at(group.consumers.front()).transformations();
      for (const auto& consumer : group.consumers) {
        std::string mine, first;
        for (const auto& t : chains_.at(consumer).transformations()) mine += t.text() + "|";
        for (const auto& t : transformations) first += t.text() + "|";
        require(mine == first, concat("spec: transformations of ", consumer), mine, first, ", as for ",
                group.consumers.front(), ", which has the same input");
      }
      for (const auto& t : transformations) scale(block, group, t);
    }
    for (const auto& stage : model_.linear_stages(block))
      for (const auto& name : stage)
        for (const auto& t : chains_.at(name).transformations())
          if (t.adjusts() && model_.clips_weights(name)) adjust(block, name, t);
  }
  void scale(index block, const model::scale_group& group, const any_stage& t) {
    solve::scale_site site;
    site.name = group.consumers.front();
    site.producer_is_norm = group.producer_is_norm;
    std::optional<calib::statistics> inputs;
    std::map<std::string, std::string> same;
    const auto wanted = t.search_sequences();
    observe(block, {site.name}, -1, 0, same, [&](const std::string& name, matrix<float> x) {
      if (!inputs) inputs.emplace(x.cols(), calib::statistics_options{.gram = false});
      inputs->add(x, concat("input of ", name), ctx_);
      if (wanted == 0 || static_cast<index>(site.samples.size()) < wanted)
        site.samples.push_back(std::move(x));
    });
    site.inputs = &*inputs;
    for (const auto& consumer : group.consumers) {
      site.weights.push_back(model_.linear(consumer).to_dense());
      site.targets.push_back(chains_.at(consumer).grid());
    }
    site.inspect = [&](matrix_view<const float> x, std::span<const matrix<float>> weights) {
      std::vector<op::any_operator> ops;
      for (const auto& w : weights) ops.push_back(op::dense(w.view()));
      return group.inspect(x, ops);
    };
    const auto s = t.scales(site, ctx_);
    if (s.empty()) return;
    model_.divide_producer(group, s);
    for (std::size_t k = 0; k < group.consumers.size(); ++k) {
      solve::scale_columns(site.weights[k], s);
      model_.set_linear(group.consumers[k], op::dense(site.weights[k].view()));
    }
  }
  void adjust(index block, const std::string& name, const any_stage& t) {
    std::vector<matrix<float>> samples;
    index tokens = 0;
    std::map<std::string, std::string> same;
    observe(block, {name}, -1, t.search_sequences(), same, [&](const std::string&, matrix<float> x) {
      tokens += x.rows();
      samples.push_back(std::move(x));
    });
    matrix<float> x(tokens, samples.front().cols());
    index row = 0;
    for (const auto& s : samples) {
      std::ranges::copy(s.values(), x.row(row).data());
      row += s.rows();
    }
    auto w = model_.linear(name).to_dense();
    reference_.try_emplace(name, w);
    t.adjust(w, x.view(), chains_.at(name).grid(), ctx_);
    model_.set_linear(name, op::dense(w.view()));
  }

  /// Calibrates and compresses the named linears, which are in `last_stage` of the block or before it.
  void compress(index block, const std::vector<std::string>& all, index last_stage,
                compression_report& report) {
    std::vector<std::string> names;
    for (const auto& name : all)
      if (!chains_.at(name).empty()) names.push_back(name);
    if (names.empty()) return;
    std::map<std::string, calib::statistics> statistics;
    std::map<std::string, std::string> same;
    if (!hidden_.empty())
      observe(block, names, last_stage, 0, same, [&](const std::string& name, const matrix<float>& x) {
        statistics.try_emplace(name, x.cols()).first->second.add(x, concat("input of ", name), ctx_);
      });
    for (const auto& name : names) {
      ctx_.step(name, done_++, total_);
      const solve::stopwatch clock;
      solve::layer l{.name = name, .weight = model_.linear(name).to_dense()};
      if (!statistics.empty()) l.inputs = &statistics.at(same.at(name));
      auto outcome = chains_.at(name).compress(l, ctx_);
      const double seconds = clock.seconds();
      const auto reference = reference_.find(name);
      const auto& w = reference == reference_.end() ? l.weight : reference->second;
      layer_report r{name, w.rows(), w.cols(), solve::measure(w.view(), outcome.op, l.inputs, ctx_)};
      r.report.seconds = seconds;
      r.report.notes = std::move(outcome.notes);
      report.layers.push_back(std::move(r));
      model_.set_linear(name, std::move(outcome.op));
    }
    if (done_ == total_) ctx_.step(names.back(), done_, total_);
  }

  model::block_model& model_;
  schedule_options options_;
  const context& ctx_;
  std::map<std::string, stage_chain> chains_;
  std::map<std::string, matrix<float>>
      reference_;  // weights before an adjustment, against which errors are measured
  solve::calibration_need need_ = solve::calibration_need::none;
  std::vector<matrix<float>> hidden_;  // inputs of the current block; empty: nothing asks for calibration
  long long done_ = 0, total_ = 0;
};

}  // namespace detail

/// Compresses the linears of `m` in place, block after block. @param calibration token ids, one sequence
/// each; may be empty if no stage needs data. Memory beside the model: the hidden states of the calibration
/// sequences (the inputs of one block) and the statistics of one stage. On an error the model is left half
/// compressed: load it again.
inline compression_report compress(model::block_model& m, const recipe& r,
                                   std::span<const std::vector<int>> calibration,
                                   const schedule_options& options = {}, const context& ctx = {}) {
  return detail::block_schedule(m, r, calibration, options, ctx).run();
}

/// Full windows of a token stream, as calibration sequences; `max_windows` 0: all.
inline std::vector<std::vector<int>> windows_of(std::span<const int> ids, index window,
                                                index max_windows = 0) {
  require(window >= 1, "calibration window", window, "at least 1");
  std::vector<std::vector<int>> windows;
  for (index first = 0; first + window <= static_cast<index>(ids.size()); first += window) {
    if (max_windows > 0 && static_cast<index>(windows.size()) == max_windows) break;
    const auto w = ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(window));
    windows.emplace_back(w.begin(), w.end());
  }
  return windows;
}

}  // namespace tersor::pipeline
