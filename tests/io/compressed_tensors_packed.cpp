// tersor - tests of io/compressed_tensors_packed.hpp: widths, the two packings, act-order
// SPDX-License-Identifier: MIT
#include <tersor/io/compressed_tensors.hpp>

#include "io/layouts.hpp"

namespace tersor {
namespace compressed_tensors_packed_tests {

using test::bytes_of;
using test::holds;
using test::quantized_sample;
using test::raw_linear;
using test::read_error;
using test::read_linear;
using test::refusal;
using test::round_trip;
using test::stored;
using test::temporary_folder;
using test::write_linears;

const io::compressed_tensors_writer writer;

TEST_CASE(
    "compressed_tensors_packed: packed integers of every width, strategy and grid come back as they were") {
  for (int bits = 1; bits <= 8; ++bits)
    for (const bool symmetric : {true, false})
      for (const auto type : {dtype::f16, dtype::bf16, dtype::f32})
        for (const auto& [rows, cols, group] :
             {std::array<index_t, 3>{33, 96, 32}, {6, 96, 96}, {5, 64, 16}, {1, 96, 48}, {64, 101, 101}}) {
          const auto op = quantized_sample(
              rows, cols, {.bits = bits, .group_size = group, .symmetric = symmetric, .scale_type = type});
          INFO(bits << " bits, " << rows << " x " << cols << " / " << group << ", symmetric " << symmetric);
          CHECK(stored(round_trip(writer, op)) == stored(op));
        }
}

TEST_CASE("compressed_tensors_packed: one scale for the whole tensor") {
  for (const bool symmetric : {true, false}) {
    const auto op = quantized_sample(
        6, 40,
        {.bits = 8, .group_size = 40, .symmetric = symmetric, .one_unit = true, .scale_type = dtype::f32});
    CHECK(stored(round_trip(writer, op)) == stored(op));
  }
}

TEST_CASE("compressed_tensors_packed: words by hand") {
  // 12 codes of 3 bits, 0 1 ... 7 0 1 2 3: two words either way
  const auto read_three = [](const std::vector<std::int32_t>& row, const char* version) {
    raw_linear linear("pack-quantized", {{"num_bits", 3}, {"strategy", "channel"}});
    linear.add<std::int32_t>("weight_packed", {1, 2}, row);
    linear.add<float>("weight_scale", {1, 1}, {0.5F});
    linear.add<index_t>("weight_shape", {2}, {1, 12});
    if (*version != '\0') linear.settings["version"] = version;
    linear.write();
    if (*version == '\0')
      CHECK(holds(read_error(linear.folder), {"a.b.weight_packed", "2", "tells its packing"}));
    else
      for (index_t j = 0; j < 12; ++j)
        CHECK(read_linear(linear.folder).to_dense()(0, j) == 0.5F * static_cast<float>(j % 8 - 4));
  };
  const std::vector<std::int32_t> dense{static_cast<std::int32_t>(0x88fac688), 0x6}, padded{0x08fac688, 0x1a};
  read_three(dense, "");
  read_three(dense, "0.17.1");
  read_three(dense, "1.0.0");
  read_three(padded, "0.9.4");

  // 32 codes of 4 bits: w = (code - 8) * scale, the first in the lowest bits
  raw_linear four("pack-quantized", {{"num_bits", 4}, {"strategy", "group"}, {"group_size", 8}});
  four.add<std::int32_t>("weight_packed", {1, 2}, {0x76543210, static_cast<std::int32_t>(0xfedcba98)});
  four.add<float>("weight_scale", {1, 2}, {1.0F, 2.0F});
  four.add<index_t>("weight_shape", {2}, {1, 16});
  four.write();
  const auto w = read_linear(four.folder).to_dense();
  for (index_t j = 0; j < 8; ++j) {
    CHECK(w(0, j) == static_cast<float>(j - 8));
    CHECK(w(0, j + 8) == static_cast<float>(2 * j));
  }
}

TEST_CASE("compressed_tensors_packed: before version 0.17 a word held whole codes") {
  for (const int bits : {3, 5, 6, 7}) {
    const index_t cols = 64, out = 3;
    const auto op = quantized_sample(
        out, cols, {.bits = bits, .group_size = 64, .symmetric = true, .scale_type = dtype::f32});
    const auto codes = op.codes();
    const index_t words = io::detail::padded_words(bits, cols);
    REQUIRE(words != io::detail::dense_words(bits, cols));
    std::vector<std::int32_t> packed(static_cast<std::size_t>(out * words));
    for (index_t r = 0; r < out; ++r)
      for (index_t j = 0; j < cols; ++j)
        packed[static_cast<std::size_t>(r * words + j / (32 / bits))] |=
            static_cast<std::int32_t>(static_cast<std::uint32_t>(codes(r, j)) << (j % (32 / bits) * bits));
    raw_linear linear("pack-quantized", {{"num_bits", bits}, {"strategy", "channel"}});
    linear.add<std::int32_t>("weight_packed", {out, words}, packed);
    linear.add<float>("weight_scale", {out, 1},
                      {op.grid().scale(0, 0), op.grid().scale(1, 0), op.grid().scale(2, 0)});
    linear.add<index_t>("weight_shape", {2}, {out, cols});
    linear.write();
    CHECK(stored(read_linear(linear.folder)) == stored(op));
  }
}

TEST_CASE("compressed_tensors_packed: act-order is read and not written") {
  const auto op = quantized_sample(8, 64, {.symmetric = true, .act_order = true});
  CHECK(holds(refusal(writer, op), {"a.b", "g_idx", "gptq"}));
  const temporary_folder folder;
  write_linears(folder, writer, {{"a.b", quantized_sample(8, 64, {.symmetric = true})}});
  test::replace_tensor(folder, "a.b.weight_g_idx", dtype::i32, {64}, bytes_of(op.grid().g_idx()));
  CHECK(stored(read_linear(folder)) == stored(op));
  test::replace_tensor(folder, "a.b.weight_g_idx", dtype::i32, {64},
                       bytes_of(std::vector<std::int32_t>(64, -1)));
  CHECK(read_linear(folder).as<op::quantized>()->grid().g_idx().empty());
  test::replace_tensor(folder, "a.b.weight_g_idx", dtype::i32, {64},
                       bytes_of(std::vector<std::int32_t>(64, 2)));
  CHECK(holds(read_error(folder), {"a.b", "g_idx"}));
}

TEST_CASE("compressed_tensors_packed: act-order of groups needs weight_g_idx, that of weights does not") {
  const temporary_folder folder;
  const auto op = quantized_sample(8, 64, {.symmetric = true});
  write_linears(folder, writer, {{"a.b", op}});
  const auto with = [&](const io::json& actorder) {
    test::change_settings(folder,
                          {{"config_groups", {{"group_0", {{"weights", {{"actorder", actorder}}}}}}}});
    return read_error(folder);
  };
  for (const io::json& order : {io::json("group"), io::json("dynamic"), io::json(true)})
    CHECK(holds(with(order), {"group_0: weights: actorder", "a.b.weight_g_idx"}));
  CHECK(holds(with("random"), {"actorder", "random"}));
  for (const io::json& order : {io::json("weight"), io::json("static"), io::json(false)}) {
    CHECK(with(order).empty());
    CHECK(stored(read_linear(folder)) == stored(op));
  }
}

}  // namespace compressed_tensors_packed_tests
}  // namespace tersor
