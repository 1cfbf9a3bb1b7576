// tersor - models whose linear layers are laid out for fast products
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/model/llama.hpp>
#include <tersor/op/prepared.hpp>

namespace tersor::model {

/// Replaces every linear of the blocks, and the head, by what `op::prepare` makes of it. Memory: the packed
/// weights with their padding, in the place of the weights; of tied embeddings the table once more. Saving
/// the model writes what it was made of.
inline void prepare(llama& m, const op::prepare_options& options = {}) {
  for (const auto& l : m.linear_shapes()) m.set_linear(l.name, op::prepare(m.linear(l.name), options));
  m.set_head(
      op::prepare(m.config().tie_word_embeddings ? op::any_operator(m.embedding()) : m.head(), options));
}

}  // namespace tersor::model
