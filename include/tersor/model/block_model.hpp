// tersor - what the compression schedule needs of a network made of blocks
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>  // std::function
#include <string>      // std::string
#include <vector>      // std::vector

#include <tersor/op/any_operator.hpp>

namespace tersor::model {

/// Called with the input x [tokens, in_features] of a linear layer, before the layer is applied.
using input_observer = std::function<void(const std::string& linear, matrix_view<const float> x)>;

/// Linear layers that read the same input, and what produces it: a place where a per-channel scale can be
/// moved from the activations into the weights without changing the function.
struct scale_group {
  std::string producer;  ///< a norm, or a linear whose last in_features outputs are the input's channels
  bool producer_is_norm = true;
  std::vector<std::string> consumers;  ///< linears with a common input
  /// Output of the function that a search inspects, with `consumers` replaced: x [tokens, in] of one
  /// sequence.
  std::function<matrix<float>(matrix_view<const float> x, std::span<const op::any_operator> consumers)>
      inspect;
};

/// A network as a sequence of blocks with named linear layers in operator slots.
class block_model {
 public:
  virtual ~block_model() = default;
  virtual index block_count() const = 0;
  /// Names of a block's linears in the order in which their inputs become known; those of one stage share no
  /// data dependence.
  virtual std::vector<std::vector<std::string>> linear_stages(index block) const = 0;
  virtual std::vector<scale_group> scale_groups(index block) const = 0;
  /// First hidden states [tokens, hidden] of a sequence.
  virtual matrix<float> embed(std::span<const int> ids) const = 0;
  /// Runs a block on the hidden states of one sequence, in place. With `last_stage` >= 0 it returns as soon
  /// as the inputs of that stage of linears have been observed; `hidden` is then of no use.
  virtual void run_block(index block, matrix<float>& hidden, const input_observer* observer, index last_stage,
                         const context& ctx) const = 0;
  /// May a linear's weights be clipped by its own output error? Not for queries and keys, whose product
  /// counts.
  virtual bool clips_weights(const std::string& name) const = 0;
  virtual const op::any_operator& linear(const std::string& name) const = 0;
  virtual void set_linear(const std::string& name, op::any_operator op) = 0;
  /// Divides the channels of a group's input by s where they are produced.
  virtual void divide_producer(const scale_group& group, std::span<const float> s) = 0;
};

}  // namespace tersor::model
