// tersor - LoRA+: a larger learning rate for the factor that starts at zero
// SPDX-License-Identifier: MIT
#pragma once

#include <tuple>  // std::tuple

#include <tersor/adapters/parameter.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::adapters {

/// How an optimiser is to treat one tensor.
struct parameter_group {
  double learning_rate;
  double weight_decay;
};

/// LoRA+ (arXiv:2402.12354; official code nikhil-ghosh-berkeley/loraplus): no new tensors, but learning rates
/// for those of other adapters. LoRA's B and all vectors learn `ratio` times as fast as the other matrices,
/// embeddings at a rate of their own; biases and vectors of norms have no decay.
///
///     const tersor::adapters::lora_plus groups{.learning_rate = 2e-4, .ratio = 16};
///     for (const auto& p : adapter.tensors()) update(p, groups.group_of(p.kind));
struct lora_plus {
  double learning_rate = 1e-4;
  double ratio = 16;
  double embedding_learning_rate = 1e-6;
  double weight_decay = 0;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "lora_plus",
                                              .family = "adapters",
                                              .title = "Learning rates of LoRA's two factors",
                                              .arxiv = "2402.12354",
                                              .header = "tersor/adapters/lora_plus.hpp",
                                              .guarantee = "B moves exactly ratio times as far in SGD"};
  static constexpr auto options() {
    return std::tuple{
        option{"learning_rate", &lora_plus::learning_rate, {.help = "of A", .symbol = "eta_A", .min = 0}},
        option{
            "ratio", &lora_plus::ratio, {.help = "rate of B over that of A", .symbol = "lambda", .min = 1}},
        option{"embedding_learning_rate",
               &lora_plus::embedding_learning_rate,
               {.help = "of embedding factors", .min = 0}},
        option{"weight_decay", &lora_plus::weight_decay, {.help = "of all but biases", .min = 0}}};
  }
  void validate() const { validate_options(*this, info.id); }

  parameter_group group_of(parameter_kind tensor) const {
    validate();
    const double fast = learning_rate * ratio;
    if (tensor == parameter_kind::embedding) return {embedding_learning_rate, weight_decay};
    if (tensor == parameter_kind::bias) return {fast, 0};
    const bool is_fast = tensor == parameter_kind::up_projection || tensor == parameter_kind::vector;
    return {is_fast ? fast : learning_rate, weight_decay};
  }
};

}  // namespace tersor::adapters
