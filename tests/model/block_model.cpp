// tersor - tests of model/block_model.hpp: the contract, on the decoder
// SPDX-License-Identifier: MIT
#include <tersor/model/block_model.hpp>

#include "catch.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace block_model_tests {

TEST_CASE("block_model: blocks one after the other are the forward pass") {
  const auto m = tiny_llama();
  const model::block_model& blocks = m;
  const auto ids = random_ids(12, 50);
  model::block_state state{blocks.embed(ids), {}};
  for (index_t b = 0; b < blocks.block_count(); ++b) {
    blocks.begin_block(b, state);
    for (std::size_t s = 0; s < blocks.linear_stages(b).size(); ++s)
      blocks.finish_stage(b, static_cast<index_t>(s), state, {});
  }
  CHECK(state.hidden == m.forward(ids));
}

TEST_CASE("block_model: stages and scale groups name linears that exist") {
  const auto m = tiny_llama();
  for (index_t b = 0; b < m.block_count(); ++b) {
    std::vector<std::string> staged;
    for (const auto& stage : m.linear_stages(b))
      for (const auto& name : stage) {
        CHECK(m.linear(name).rows() > 0);
        staged.push_back(name);
      }
    for (const auto& group : m.scale_groups(b)) {
      for (const auto& consumer : group.consumers) CHECK(std::ranges::find(staged, consumer) != staged.end());
      // with its own weights, a group's function is a finite function of the input
      std::vector<op::any_operator> ops;
      for (const auto& consumer : group.consumers) ops.push_back(m.linear(consumer));
      const matrix<float> x(5, ops.front().cols(), 0.1F);
      const auto y = group.inspect(x.view(), ops);
      CHECK(y.rows() == 5);
      require_finite(y.view(), group.producer);
    }
  }
}

}  // namespace block_model_tests
}  // namespace tersor
