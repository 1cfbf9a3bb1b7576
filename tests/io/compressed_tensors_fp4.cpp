// tersor - tests of io/compressed_tensors_fp4.hpp: NVFP4 and MXFP4
// SPDX-License-Identifier: MIT
#include <tersor/io/compressed_tensors.hpp>

#include "io/layouts.hpp"

namespace tersor {
namespace compressed_tensors_fp4_tests {

using test::bytes_of;
using test::fp4_sample;
using test::holds;
using test::raw_linear;
using test::read_error;
using test::read_linear;
using test::round_trip;
using test::stored;
using test::temporary_folder;
using test::write_linears;

const io::compressed_tensors_writer writer;

TEST_CASE("compressed_tensors_fp4: NVFP4 and MXFP4 come back as they were") {
  for (const bool nvidia : {true, false})
    for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 32}, {7, 96}, {16, 160}}) {
      const auto op = fp4_sample(rows, cols, nvidia);
      CHECK(stored(round_trip(writer, op)) == stored(op));
    }
}

TEST_CASE("compressed_tensors_fp4: NVFP4 divides by the global scale") {
  raw_linear linear("nvfp4-pack-quantized",
                    {{"num_bits", 4}, {"type", "float"}, {"strategy", "tensor_group"}, {"group_size", 16}});
  linear.add<std::uint8_t>("weight_packed", {1, 8}, {0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe});
  linear.file.add("a.b.weight_scale", dtype::f8_e4m3, {1, 1},
                  bytes_of(std::vector<std::uint8_t>{f8_e4m3(2.0F).bits}));
  linear.add<float>("weight_global_scale", {1}, {4.0F});
  linear.write();
  const auto w = read_linear(linear.folder).to_dense();
  const auto levels = io::detail::e2m1_levels();
  for (index_t j = 0; j < 16; ++j) CHECK(w(0, j) == 0.5F * levels[static_cast<std::size_t>(j)]);
  test::replace_tensor(linear.folder, "a.b.weight_global_scale", dtype::f32, {1},
                       bytes_of(std::vector<float>{0.0F}));
  CHECK(holds(read_error(linear.folder), {"a.b.weight_global_scale"}));
}

TEST_CASE("compressed_tensors_fp4: a scale of MXFP4 that is NaN is an error") {
  const temporary_folder folder;
  write_linears(folder, writer, {{"a.b", fp4_sample(1, 64, false)}});
  test::replace_tensor(folder, "a.b.weight_scale", dtype::u8, {1, 2},
                       bytes_of(std::vector<std::uint8_t>{127, 255}));
  CHECK(holds(read_error(folder), {"a.b.weight_scale", "[1]"}));
}

}  // namespace compressed_tensors_fp4_tests
}  // namespace tersor
