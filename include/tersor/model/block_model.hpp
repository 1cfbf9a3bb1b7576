// tersor - what the compression schedule needs of a network made of blocks
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>  // std::function
#include <string>      // std::string
#include <vector>      // std::vector

#include <tersor/op/any_operator.hpp>

namespace tersor::model {

/// One sequence on its way through a block.
struct block_state {
  matrix<float> hidden;  ///< [tokens, hidden] residual stream
  matrix<float> input;   ///< [tokens, in_features] what the linears of the current stage read
};

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
  virtual index_t block_count() const = 0;
  /// Names of a block's linears, stage after stage. Those of one stage read the same input, which the stages
  /// before it decide.
  virtual std::vector<std::vector<std::string>> linear_stages(index_t block) const = 0;
  virtual std::vector<scale_group> scale_groups(index_t block) const = 0;
  /// First hidden states [tokens, hidden] of a sequence.
  virtual matrix<float> embed(std::span<const int> ids) const = 0;
  /// Makes `state.input` that of the block's first stage, from `state.hidden`.
  virtual void begin_block(index_t block, block_state& state) const = 0;
  /// Runs the linears of a stage: `state.input` becomes that of the next one, and after the last stage
  /// `state.hidden` is what the block returns.
  virtual void finish_stage(index_t block, index_t stage, block_state& state, const context& ctx) const = 0;
  /// May a linear's weights be clipped by its own output error? Not for queries and keys, whose product
  /// counts.
  virtual bool clips_weights(const std::string& name) const = 0;
  virtual const op::any_operator& linear(const std::string& name) const = 0;
  virtual void set_linear(const std::string& name, op::any_operator op) = 0;
  /// Divides the channels of a group's input by s where they are produced.
  virtual void divide_producer(const scale_group& group, std::span<const float> s) = 0;
};

}  // namespace tersor::model
