// tersor - what a method does in training besides the optimiser's updates: penalties, schedules
// SPDX-License-Identifier: MIT
#pragma once

// No paper: what the rules of all methods share.

#include <map>     // std::map
#include <string>  // std::string

#include <tersor/adapters/any_adapter.hpp>
#include <tersor/solve/importance.hpp>

namespace tersor::adapters {

/// Adapters of a model's linears, and their gradients, by the linear's name.
using adapter_map = std::map<std::string, any_adapter>;
using gradient_map = std::map<std::string, gradients<float>>;
/// The numbers that the rest of an interrupted run depends on, by name.
using rule_state = std::map<std::string, std::vector<double>>;

/// One object for a run; a method without schedule and penalty has none.
class training_rule {
 public:
  training_rule() = default;
  training_rule(const training_rule&) = delete;
  training_rule& operator=(const training_rule&) = delete;
  virtual ~training_rule() = default;

  /// Before an update: the gradients of a penalty in the method's loss; none by default.
  virtual gradient_map penalty_gradients(adapter_map&, const context&) { return {}; }
  /// After an update. It may change values and masks. @param step the updates so far. @param gradients that
  /// the update followed, penalty included; an empty matrix where nothing of a tensor trained.
  virtual void after_step(index_t step, adapter_map& adapters, const gradient_map& gradients) = 0;

  virtual rule_state save(const adapter_map& adapters) const = 0;
  /// Puts the rule, and the masks of `adapters`, where they were when `save` was called. @param step the
  /// updates until then. Values are the caller's to restore.
  virtual void restore(index_t step, const rule_state& saved, adapter_map& adapters) = 0;
};

/// Trackers of importance, as a part of a rule's state.
inline rule_state tracker_states(const std::vector<solve::importance_tracker>& trackers) {
  rule_state s;
  for (std::size_t i = 0; i < trackers.size(); ++i) s[concat("tracker ", i)] = trackers[i].state();
  return s;
}
inline std::vector<solve::importance_tracker> restored_trackers(const rule_state& s,
                                                                const solve::importance_options& options) {
  std::vector<solve::importance_tracker> trackers;
  for (auto at = s.find("tracker 0"); at != s.end(); at = s.find(concat("tracker ", trackers.size())))
    trackers.emplace_back(options).restore(at->second);
  return trackers;
}

}  // namespace tersor::adapters
