// tersor - checkpoints: what the backward pass runs again instead of keeping it
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/grad/tape.hpp>

namespace tersor::grad {

namespace detail {

template <scalar T>
struct checkpoint_access {
  using variables = std::vector<variable<T>>;

  template <class F>
  static variable<T> run(tape<T>& t, F f, const variables& inputs) {
    if (!t.is_recording()) return f(t, inputs);
    auto outer = inputs;
    // Without inputs there is nothing to hang the node on; a constant does.
    if (outer.empty()) outer.push_back(t.constant(matrix<T>(0, 0)));
    operation<T> op("checkpoint", outer);

    tape<T> forward = t.child(false);
    std::shared_ptr<const matrix<T>> value;
    bool needs_gradient = false;
    {
      variables inner;
      for (const auto& x : inputs)
        inner.push_back(enter(forward, x.node().value, x.node().leaf, x.needs_gradient()));
      const variable<T> y = f(forward, std::as_const(inner));
      require(y.graph_ == forward.graph_, "checkpoint: result", "of another tape",
              "made from the inputs, with the tape that the function is given");
      value = y.node().value;
      needs_gradient = y.needs_gradient();
    }
    if (!needs_gradient) return op.result(std::move(value));
    op.has_parameters();

    std::vector<saved_tensor<T>> saved;
    std::vector<parameter<T>*> leaves;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      saved.push_back(op.save(i, "input"));
      leaves.push_back(inputs[i].node().leaf);
    }
    // The context of the outer tape, not the tape: nodes that refer to their own tape would never be freed.
    auto again = std::make_shared<tape<T>>(t.child(true));
    return op.result(std::move(value), [f, saved, leaves, again](backward_pass<T>& pass) {
      again->clear();
      graph<T>& g = *again->graph_;
      std::vector<index_t> entered;
      index_t last = 0;
      {
        variables inner;
        for (std::size_t i = 0; i < saved.size(); ++i) {
          inner.push_back(enter(*again, saved[i].load(), leaves[i], pass.needs(i)));
          entered.push_back(inner[i].index_);
          // The sum so far goes in and comes out with the block's share added, term by term as without
          // checkpoint.
          if (leaves[i] == nullptr) g.at(entered[i]).gradient = std::move(pass.node(i).gradient);
        }
        const variable<T> y = f(*again, std::as_const(inner));
        last = y.index_;
        g.accumulate(last, pass.take_gradient());
      }
      g.backward(last);
      for (std::size_t i = 0; i < entered.size(); ++i)
        if (leaves[i] == nullptr) pass.node(i).gradient = std::move(g.at(entered[i]).gradient);
      again->clear();
    });
  }

  static variable<T> enter(tape<T>& t, std::shared_ptr<const matrix<T>> value, parameter<T>* leaf,
                           bool needs_gradient) {
    const index_t i = t.graph_->add(std::move(value), needs_gradient);
    t.graph_->at(i).leaf = leaf;
    return {t.graph_, i};
  }
};

}  // namespace detail

/// f(tape, inputs), of which only the inputs are kept: the backward pass runs f again. The peak of memory
/// then grows with the inputs and one run of f, at the price of a second forward pass; checkpoints may
/// contain checkpoints. The gradients are the same bits as without.
///
///     h = checkpoint(tape, [&](auto& t, const auto& in) { return block(t, in[0]); }, {h});
///
/// @param f copied, and run twice with the same result: variables come from its arguments, parameters enter
/// by `use` of the tape that it is given. It returns one variable. What it refers to must outlive the
/// backward pass.
template <scalar T, class F>
variable<T> checkpoint(tape<T>& t, F f, const std::vector<variable<T>>& inputs) {
  return detail::checkpoint_access<T>::run(t, std::move(f), inputs);
}

}  // namespace tersor::grad
