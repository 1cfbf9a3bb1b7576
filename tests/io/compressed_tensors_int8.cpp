// tersor - tests of io/compressed_tensors_int8.hpp: activations, zero points
// SPDX-License-Identifier: MIT
#include <tersor/io/compressed_tensors.hpp>

#include "io/layouts.hpp"

namespace tersor {
namespace compressed_tensors_int8_tests {

using test::raw_linear;
using test::read_linear;
using test::round_trip;
using test::stored;

const io::compressed_tensors_writer writer;

TEST_CASE("compressed_tensors_int8: 8-bit weights with the activations that w8a8 computes") {
  random_generator random(3);
  std::vector<std::int8_t> codes(5 * 24);
  for (auto& q : codes) q = static_cast<std::int8_t>(static_cast<int>(random.uniform_index(255)) - 127);
  for (const auto unit :
       {op::activation_unit::per_token, op::activation_unit::per_tensor, op::activation_unit::fixed_tensor})
    for (const std::size_t units : {std::size_t{1}, std::size_t{5}}) {
      const op::w8a8 op(5, 24, codes, std::vector<float>(units, 0.01F), unit, 0.25F);
      CHECK(stored(round_trip(writer, op)) == stored(op));
    }
  // without activations, or with zero points, they are codes on a grid
  raw_linear linear("int-quantized", {{"num_bits", 8}, {"symmetric", false}, {"strategy", "channel"}});
  linear.add<std::int8_t>("weight", {1, 3}, {-128, 0, 127});
  linear.add<float>("weight_scale", {1, 1}, {0.5F});
  linear.add<std::int8_t>("weight_zero_point", {1, 1}, {-2});
  linear.write();
  const auto w = read_linear(linear.folder).to_dense();
  CHECK(w(0, 0) == -63.0F);
  CHECK(w(0, 1) == 1.0F);
  CHECK(w(0, 2) == 64.5F);
}

}  // namespace compressed_tensors_int8_tests
}  // namespace tersor
