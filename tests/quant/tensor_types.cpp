// tersor - the same bits from every tensor type and layout, for quantizers
// SPDX-License-Identifier: MIT
#include <tersor/quant/gptq.hpp>
#include <tersor/quant/rtn.hpp>
#include <tersor/quant/w8a8.hpp>

#include "quant/tensor_types.hpp"

namespace tensor_types_tests {

using namespace tersor_test;
using namespace tersor::quant;

TEST_CASE("quantizers: the same bits for every tensor type and any number of threads", "[tensor_types]") {
  check_tensor_types(rtn{.bits = 3, .group_size = 8, .clip_search = true});
  check_tensor_types(gptq{.bits = 3, .group_size = 8, .act_order = true, .block_size = 16});
  check_tensor_types(w8a8{});
}

TEST_CASE("quantizers: calibration from every tensor type", "[tensor_types]") {
  const auto x = correlated_inputs(25, 12, 2), w = random_matrix<float>(6, 12, 1);
  const auto expected = statistics_of(x);
  const auto packed = gptq{.bits = 3, .group_size = 4}(w, expected).op.to_dense();
  for_each_tensor_type(x, [&](const char* name, const auto& tensor) {
    INFO(name);
    tersor::calib::statistics inputs(12);
    inputs.add(tensor);
    CHECK(inputs.gram() == expected.gram());
    CHECK(inputs.mean_abs() == expected.mean_abs());
    CHECK(gptq{.bits = 3, .group_size = 4}(w, inputs).op.to_dense() == packed);
  });
}

}  // namespace tensor_types_tests
