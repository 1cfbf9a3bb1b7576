// tersor - the same bits from every tensor type and layout, for pruners
// SPDX-License-Identifier: MIT
#include <tersor/prune/magnitude.hpp>
#include <tersor/prune/nm_mask.hpp>
#include <tersor/prune/ria.hpp>
#include <tersor/prune/sp24_store.hpp>
#include <tersor/prune/sparsegpt.hpp>
#include <tersor/prune/wanda.hpp>

#include "quant/tensor_types.hpp"

namespace tensor_types_tests {

using namespace tersor_test;
using namespace tersor::prune;

TEST_CASE("pruners: the same bits for every tensor type and any number of threads", "[tensor_types]") {
  check_tensor_types(magnitude{.sparsity = 0.4});
  check_tensor_types(nm_mask{});
  check_tensor_types(
      wanda{.pattern = {2, 4}, .update = tersor::solve::weight_update::feedback, .block_size = 16});
  check_tensor_types(ria{.pattern = {2, 4}, .permute = true}, 4);
  check_tensor_types(sparsegpt{.sparsity = 0.5, .block_size = 16, .bits = 4});
  const auto sparse = nm_mask{}(random_matrix<float>(8, 16, 3)).op.to_dense();
  for_each_tensor_type(sparse, [&](const char* name, const auto& tensor) {
    INFO(name);
    CHECK(sp24_store{}(tensor).op.to_dense() == sparse);
  });
}

}  // namespace tensor_types_tests
