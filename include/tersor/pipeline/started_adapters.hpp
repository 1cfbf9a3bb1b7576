// tersor - adapters as a method starts them
// SPDX-License-Identifier: MIT
#pragma once

#include <map>     // std::map
#include <memory>  // std::shared_ptr

#include <tersor/adapters/training_rule.hpp>
#include <tersor/model/peft_model.hpp>
#include <tersor/pipeline/any_stage.hpp>

namespace tersor::pipeline {

/// Adapters at their start, and what a run needs to know of their method.
struct started_adapters {
  adapters::adapter_map adapters;
  std::map<std::string, matrix<float>> new_base;  ///< weights that the method changes at the start
  adapters::adapter_map initial;                  ///< the adapters of these, as they start
  std::shared_ptr<adapters::training_rule> rule;  ///< null: the method has no penalty and no schedule
};

}  // namespace tersor::pipeline
