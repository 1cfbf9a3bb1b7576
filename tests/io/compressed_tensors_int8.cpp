// tersor - tests of io/compressed_tensors_int8.hpp: activations, zero points
// SPDX-License-Identifier: MIT
#include <tersor/io/compressed_tensors.hpp>

#include <limits>

#include "io/layouts.hpp"

namespace tersor {
namespace compressed_tensors_int8_tests {

using test::holds;
using test::raw_linear;
using test::read_error;
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

TEST_CASE("compressed_tensors_int8: the scale of a column is that of its group in weight_g_idx") {
  raw_linear linear("int-quantized",
                    {{"num_bits", 8}, {"strategy", "group"}, {"group_size", 2}, {"actorder", "group"}});
  linear.add<std::int8_t>("weight", {1, 4}, {1, 1, 1, 1});
  linear.add<float>("weight_scale", {1, 2}, {1.0F, 10.0F});
  linear.write();
  CHECK(holds(read_error(linear.folder), {"actorder", "a.b.weight_g_idx"}));
  linear.add<std::int32_t>("weight_g_idx", {4}, {1, 0, 1, 0});
  linear.write();
  const auto w = read_linear(linear.folder).to_dense();
  CHECK(std::vector<float>(w.row(0).begin(), w.row(0).end()) == std::vector<float>{10, 1, 10, 1});
}

TEST_CASE("compressed_tensors_int8: dynamic activations without a strategy are those of the tensor") {
  raw_linear linear("int-quantized", {{"num_bits", 8}, {"strategy", "channel"}});
  linear.settings["config_groups"]["group_0"]["input_activations"] = {{"num_bits", 8}, {"dynamic", true}};
  linear.add<std::int8_t>("weight", {1, 2}, {1, 2});
  linear.add<float>("weight_scale", {1, 1}, {1.0F});
  linear.write();
  const auto op = read_linear(linear.folder);
  REQUIRE(op.as<op::w8a8>() != nullptr);
  CHECK(op.as<op::w8a8>()->activations() == op::activation_unit::per_tensor);
  test::change_settings(linear.folder,
                        {{"config_groups", {{"group_0", {{"input_activations", {{"group_size", 2}}}}}}}});
  CHECK(read_linear(linear.folder).as<op::w8a8>() == nullptr);  // groups of inputs, which w8a8 does not have
}

TEST_CASE("compressed_tensors_int8: a zero point beyond the codes is an error") {
  raw_linear linear("int-quantized", {{"num_bits", 8}, {"symmetric", false}, {"strategy", "tensor"}});
  linear.add<std::int8_t>("weight", {1, 2}, {1, 2});
  linear.add<float>("weight_scale", {1}, {1.0F});
  linear.add<std::int32_t>("weight_zero_point", {1}, {std::numeric_limits<std::int32_t>::max()});
  linear.write();
  CHECK(holds(read_error(linear.folder), {"a.b", "zero_point", "255"}));
}

}  // namespace compressed_tensors_int8_tests
}  // namespace tersor
