// tersor - the same bits from every tensor type and layout, for low-rank factorizations
// SPDX-License-Identifier: MIT
#include <tersor/lowrank/svd.hpp>

#include "quant/tensor_types.hpp"

namespace tensor_types_tests {

using namespace tersor_test;
using namespace tersor::lowrank;

TEST_CASE("svd: the same bits for every tensor type and any number of threads", "[tensor_types]") {
  check_tensor_types(svd{.ratio = 0.6});
  check_tensor_types(svd{.method = svd_method::asvd, .ratio = 0.6});
  check_tensor_types(svd{.method = svd_method::whitened, .ratio = 0.6});
  check_tensor_types(svd{.method = svd_method::randomized, .ratio = 0.6});
}

}  // namespace tensor_types_tests
