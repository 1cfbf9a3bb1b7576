// tersor - the run that compresses a model block by block
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::ranges::find
#include <map>        // std::map
#include <optional>   // std::optional

#include <tersor/op/dense.hpp>
#include <tersor/op/release_pages.hpp>
#include <tersor/pipeline/recipe.hpp>
#include <tersor/pipeline/schedule.hpp>

namespace tersor::pipeline::detail {

/// One run over a model: calibration state and the steps of a block.
class block_schedule {
 public:
  block_schedule(model::block_model& m, const recipe& r, std::span<const std::vector<int>> calibration,
                 const schedule_options& options, const context& ctx, const block_progress& progress)
      : model_(m), options_(options), ctx_(ctx), progress_(progress) {
    std::vector<std::string> names;
    std::size_t finished = 0;
    for (index_t b = 0; b < m.block_count(); ++b) {
      if (b == progress.first_block) finished = names.size();
      for (const auto& stage : m.linear_stages(b)) names.insert(names.end(), stage.begin(), stage.end());
    }
    r.check_layers(names);
    for (const auto& name : names) {
      chains_[name] = r.chain_of(name);
      need_ = std::max(need_, chains_[name].needs());
      total_ += !chains_[name].empty();
      done_ += finished > 0 && !chains_[name].empty();
      finished -= finished > 0;
    }
    require(need_ == solve::calibration_need::none || !calibration.empty(),
            concat("calibration for ", r.text()), "empty", "at least one sequence");
    require(progress.first_block >= 0 && progress.first_block < std::max<index_t>(m.block_count(), 1),
            "first block", progress.first_block, "a block of the model");
    const auto& hidden = progress.hidden;
    require(progress.first_block == 0 ? hidden.empty() : hidden.size() == calibration.size(), "hidden states",
            hidden.size(), "one for each calibration sequence, before a later block");
    for (const auto& ids : calibration)
      states_.push_back({hidden.empty() ? m.embed(ids) : hidden[states_.size()], {}});
  }

  compression_report run() {
    for (index_t b = progress_.first_block; b < model_.block_count(); ++b) {
      const std::size_t reported = report_.layers.size();
      originals_.clear();
      transform(b);
      if (options_.true_sequential)
        compress_by_stages(b);
      else
        compress_at_once(b);
      if (progress_.finished)
        progress_.finished(b, std::span<const layer_report>(report_.layers).subspan(reported), states_);
      for (const auto& stage : model_.linear_stages(b))
        for (const auto& name : stage) release(name);
    }
    return std::move(report_);
  }

 private:
  using hidden_states = std::vector<matrix<float>>;

  // The calibration sequences walk through a block together, one stage of linears after the other.
  void begin(index_t block) {
    for_each_state([&](model::block_state& state) { model_.begin_block(block, state); });
  }
  void finish(index_t block, std::size_t stage) {
    for_each_state([&](model::block_state& state) {
      model_.finish_stage(block, static_cast<index_t>(stage), state, {.threads = 1});
    });
  }
  template <class F>
  void for_each_state(F&& f) {
    const solve::stopwatch clock;
    parallel_for(static_cast<index_t>(states_.size()), ctx_,
                 [&](index_t i) { f(states_[static_cast<std::size_t>(i)]); });
    count_calibration(clock);
  }
  hidden_states save() const {
    hidden_states hidden;
    for (const auto& state : states_) hidden.push_back(state.hidden);
    return hidden;
  }
  void restore(hidden_states hidden) {
    for (std::size_t i = 0; i < states_.size(); ++i) states_[i].hidden = std::move(hidden[i]);
  }
  /// Of the input that the linears of a stage read.
  std::optional<calib::statistics> statistics_of(const std::string& name, bool gram = true) {
    if (states_.empty()) return std::nullopt;
    const solve::stopwatch clock;
    calib::statistics inputs(states_.front().input.cols(), {.gram = gram});
    for (const auto& state : states_) inputs.add(state.input, concat("input of ", name), ctx_);
    count_calibration(clock);
    return inputs;
  }
  void count_calibration(const solve::stopwatch& clock) {
    if (need_ != solve::calibration_need::none) report_.seconds += clock.seconds();
  }

  /// Every stage is calibrated on what the compressed stages before it return.
  void compress_by_stages(index_t block) {
    const auto stages = model_.linear_stages(block);
    const bool last = block + 1 == model_.block_count(), dense = options_.propagate == propagation::dense;
    hidden_states dense_outputs;
    if (dense && !last) {
      auto hidden = save();
      begin(block);
      for (std::size_t s = 0; s < stages.size(); ++s) finish(block, s);
      dense_outputs = save();
      restore(std::move(hidden));
    }
    begin(block);
    for (std::size_t s = 0; s < stages.size(); ++s) {
      const auto names = compressed_ones(stages[s]);
      if (!names.empty()) compress(names, statistics_of(names.front()));
      if (s + 1 < stages.size() || (!last && !dense)) finish(block, s);
    }
    if (dense && !last) restore(std::move(dense_outputs));
  }
  /// All stages are calibrated on one pass through the dense block.
  void compress_at_once(index_t block) {
    const auto stages = model_.linear_stages(block);
    const bool last = block + 1 == model_.block_count(), dense = options_.propagate == propagation::dense;
    auto hidden = dense || last ? hidden_states{} : save();
    std::vector<std::optional<calib::statistics>> inputs;
    begin(block);
    for (std::size_t s = 0; s < stages.size(); ++s) {
      const auto names = compressed_ones(stages[s]);
      inputs.push_back(names.empty() ? std::nullopt : statistics_of(names.front()));
      if (s + 1 < stages.size() || (!last && dense)) finish(block, s);
    }
    for (std::size_t s = 0; s < stages.size(); ++s) compress(compressed_ones(stages[s]), inputs[s]);
    if (dense || last) return;
    restore(std::move(hidden));
    begin(block);
    for (std::size_t s = 0; s < stages.size(); ++s) finish(block, s);
  }
  std::vector<std::string> compressed_ones(const std::vector<std::string>& stage) const {
    std::vector<std::string> names;
    std::ranges::copy_if(stage, std::back_inserter(names),
                         [&](const std::string& name) { return !chains_.at(name).empty(); });
    return names;
  }
  /// Dense weights of a mapped file need not stay in memory when they are worked through.
  void release(const std::string& name) const { op::release_pages(model_.linear(name)); }
  void compress(const std::vector<std::string>& names, const std::optional<calib::statistics>& inputs) {
    for (const auto& name : names) {
      ctx_.step(name, done_, total_);
      const solve::stopwatch clock;
      solve::layer l{.name = name, .weight = model_.linear(name).to_dense()};
      release(name);
      if (inputs) l.inputs = &*inputs;
      auto outcome = compress_layer(l);
      const double seconds = clock.seconds();
      report_.seconds += seconds;
      const auto original = originals_.find(name);
      const auto& w = original == originals_.end() ? l.weight : original->second;
      layer_report r{name, w.rows(), w.cols(), solve::measure(w.view(), outcome.op, l.inputs, ctx_)};
      r.report.seconds = seconds;
      r.report.notes = std::move(outcome.notes);
      report_.layers.push_back(std::move(r));
      model_.set_linear(name, std::move(outcome.op));
      if (++done_ == total_) ctx_.step(name, done_, total_);
    }
  }

  /// An error that does not name the layer itself is told which one it was.
  solve::outcome compress_layer(const solve::layer& l) const {
#if TERSOR_HAS_EXCEPTIONS
    try {
      return chains_.at(l.name).compress(l, ctx_);
    } catch (const error& e) {
      if (e.argument().find(l.name) != std::string::npos) throw;
      throw error(concat(l.name, ": ", e.argument()), e.value(), e.expected());
    }
#else
    return chains_.at(l.name).compress(l, ctx_);
#endif
  }

  /// Function-preserving scales, then adjustments of single weights.
  void transform(index_t block) {
    const auto stages = model_.linear_stages(block);
    bool scales = false, adjusts = false;
    for (const auto& stage : stages)
      for (const auto& name : stage)
        for (const auto& t : chains_.at(name).transformations()) {
          scales = true;
          adjusts = adjusts || (t.adjusts() && model_.clips_weights(name));
        }
    if (!scales) return;
    const auto groups = model_.scale_groups(block);
    for (const auto& group : groups) check_agreement(group);
    auto hidden = save();
    begin(block);
    for (std::size_t s = 0; s < stages.size(); ++s) {
      for (const auto& group : groups)
        if (std::ranges::find(stages[s], group.consumers.front()) != stages[s].end())
          for (const auto& t : chains_.at(group.consumers.front()).transformations()) scale(group, t);
      if (s + 1 < stages.size()) finish(block, s);
    }
    restore(std::move(hidden));
    if (adjusts) adjust(block, stages);
  }
  /// Layers with a common input are scaled together, so they must ask for the same.
  void check_agreement(const model::scale_group& group) const {
    const auto text_of = [&](const std::string& name) {
      std::string text;
      for (const auto& t : chains_.at(name).transformations()) text += t.text() + "|";
      return text;
    };
    const auto first = text_of(group.consumers.front());
    for (const auto& consumer : group.consumers)
      require(text_of(consumer) == first, concat("spec: transformations of ", consumer), text_of(consumer),
              first, ", as for ", group.consumers.front(), ", which has the same input");
  }
  void scale(const model::scale_group& group, const any_stage& t) {
    solve::scale_site site;
    site.name = group.consumers.front();
    site.producer_is_norm = group.producer_is_norm;
    const auto inputs = statistics_of(site.name, false);
    const solve::stopwatch clock;
    site.inputs = &*inputs;
    for (const auto& state : searched_states(t)) site.samples.push_back(state.input);
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
    if (!s.empty()) {
      model_.divide_producer(group, s);
      for (std::size_t k = 0; k < group.consumers.size(); ++k) {
        solve::scale_columns(site.weights[k], s);
        model_.set_linear(group.consumers[k], op::dense(site.weights[k].view()));
      }
      for (auto& state : states_)
        for (index_t row = 0; row < state.input.rows(); ++row)
          solve::divide_channels(state.input.row(row), s);
    }
    report_.seconds += clock.seconds();
  }
  /// Each weight is adjusted on the inputs of the block as it was before any adjustment.
  void adjust(index_t block, const std::vector<std::vector<std::string>>& stages) {
    auto hidden = save();
    std::map<std::string, matrix<float>> adjusted;
    begin(block);
    for (std::size_t s = 0; s < stages.size(); ++s) {
      const solve::stopwatch clock;
      for (const auto& name : stages[s]) {
        if (!model_.clips_weights(name)) continue;
        for (const auto& t : chains_.at(name).transformations()) {
          if (!t.adjusts()) continue;
          auto& w = adjusted.try_emplace(name, model_.linear(name).to_dense()).first->second;
          originals_.try_emplace(name, w);
          t.adjust(w, stacked_inputs(searched_states(t)).view(), chains_.at(name).grid(), ctx_);
        }
      }
      report_.seconds += clock.seconds();
      if (s + 1 < stages.size()) finish(block, s);
    }
    restore(std::move(hidden));
    for (const auto& [name, w] : adjusted) model_.set_linear(name, op::dense(w.view()));
  }
  /// The first calibration sequences, as many as a transformation wants to see.
  std::span<const model::block_state> searched_states(const any_stage& t) const {
    const auto wanted = static_cast<std::size_t>(t.search_sequences());
    return std::span(states_).first(wanted == 0 ? states_.size() : std::min(wanted, states_.size()));
  }
  static matrix<float> stacked_inputs(std::span<const model::block_state> states) {
    index_t tokens = 0, row = 0;
    for (const auto& state : states) tokens += state.input.rows();
    matrix<float> x(tokens, states.front().input.cols());
    for (const auto& state : states) {
      std::ranges::copy(state.input.values(), x.row(row).data());
      row += state.input.rows();
    }
    return x;
  }

  model::block_model& model_;
  schedule_options options_;
  const context& ctx_;
  const block_progress& progress_;
  std::map<std::string, stage_chain> chains_;
  std::map<std::string, matrix<float>> originals_;  // weights before an adjustment: errors are against these
  solve::calibration_need need_ = solve::calibration_need::none;
  std::vector<model::block_state> states_;  // one per calibration sequence
  compression_report report_;
  long long done_ = 0, total_ = 0;
};

}  // namespace tersor::pipeline::detail
