// tersor - tests of io/compressed_tensors_fp8.hpp: scales of outputs, of the tensor, of groups and of blocks
// SPDX-License-Identifier: MIT
#include <tersor/io/compressed_tensors.hpp>

#include <limits>

#include "io/layouts.hpp"

namespace tersor {
namespace compressed_tensors_fp8_tests {

using test::holds;
using test::raw_linear;
using test::read_error;
using test::read_linear;
using test::refusal;
using test::round_trip;
using test::stored;
using test::temporary_folder;
using test::write_linears;

const io::compressed_tensors_writer writer;

TEST_CASE("compressed_tensors_fp8: FP8 with scales of outputs, of the tensor and of blocks") {
  real_array values(dtype::f8_e4m3, 6 * 8), scales(dtype::bf16, 6);
  random_generator random(4);
  for (index_t i = 0; i < values.size(); ++i)
    values.set(i, f8_e4m3(static_cast<float>(100 * random.normal())));
  for (index_t i = 0; i < 6; ++i) scales.set(i, static_cast<float>(0.01 * (1.0 + random.uniform())));
  const op::scaled<> op(op::dense(6, 8, values), scales, {});
  CHECK(stored(round_trip(writer, op)) == stored(op));

  const auto read_with = [&](io::json weights, std::vector<index_t> shape, const std::vector<float>& s) {
    raw_linear linear("float-quantized", std::move(weights));
    linear.file.add("a.b.weight", dtype::f8_e4m3, {6, 8}, values.bytes());
    linear.add<float>("weight_scale", std::move(shape), s);
    linear.write();
    return read_linear(linear.folder).to_dense();
  };
  const auto tensor = read_with({{"type", "float"}, {"strategy", "tensor"}}, {1}, {0.5F});
  const std::vector<float> s{1, 2, 3, 4};
  const auto block =
      read_with({{"type", "float"}, {"strategy", "block"}, {"block_structure", {4, 4}}}, {2, 2}, s);
  for (index_t r = 0; r < 6; ++r)
    for (index_t j = 0; j < 8; ++j) {
      CHECK(tensor(r, j) == 0.5F * values[r * 8 + j]);
      CHECK(block(r, j) == s[static_cast<std::size_t>(r / 4 * 2 + j / 4)] * values[r * 8 + j]);
    }
  std::vector<std::byte> with_nan(values.bytes().begin(), values.bytes().end());
  with_nan[3] = std::byte{0x7f};
  raw_linear broken("float-quantized", {{"type", "float"}, {"strategy", "tensor"}});
  broken.file.add("a.b.weight", dtype::f8_e4m3, {6, 8}, std::span<const std::byte>(with_nan));
  broken.add<float>("weight_scale", {1}, {1.0F});
  broken.write();
  CHECK(holds(read_error(broken.folder), {"a.b.weight", "[3]", "nan"}));
}

TEST_CASE("compressed_tensors_fp8: runs of rows and blocks come back as they were") {
  random_generator random(6);
  for (const auto& [rows, cols, height, run] : {std::array<index_t, 4>{6, 8, 4, 4},
                                                {12, 96, 8, 32},
                                                {64, 64, 32, 32},
                                                {5, 64, 5, 16},
                                                {1, 32, 1, 16},
                                                {7, 48, 1, 16},
                                                {8, 40, 1, 40}}) {
    INFO(rows << " x " << cols << " in " << height << " x " << run);
    matrix<std::uint8_t> codes(rows, cols);
    for (auto& q : codes.values()) q = static_cast<std::uint8_t>(random.uniform_index(0x7f));
    const index_t groups = cols / run;
    real_array scale(dtype::bf16, rows * groups);
    for (index_t r = 0; r < rows; ++r)
      for (index_t k = 0; k < groups; ++k)
        scale.set(r * groups + k, static_cast<float>(1 + r / height * groups + k) / 64);
    const op::codebook op(codes, io::detail::e4m3_levels(), run, op::block_scales::plain(scale));
    const temporary_folder folder;
    write_linears(folder, writer, {{"a.b", op}});
    CHECK(stored(read_linear(folder)) == stored(op));
    const bool blocks = height > 1 || rows == 1;
    CHECK(io::checkpoint(folder.path()).entry("a.b.weight_scale").shape[0] ==
          (blocks ? (rows + height - 1) / height : rows));
    const auto settings = io::read_json_file(folder / "config.json")["quantization_config"];
    const auto& weights = settings["config_groups"]["group_0"]["weights"];
    CHECK(weights["strategy"] == (blocks ? "block" : "group"));
  }
  const auto with = [](std::uint8_t code, op::block_scales scales) {
    matrix<std::uint8_t> codes(1, 32);
    codes(0, 3) = code;
    return op::codebook(codes, io::detail::e4m3_levels(), 16, std::move(scales));
  };
  CHECK(holds(refusal(writer, with(0xff, op::block_scales::plain(real_array(dtype::f32, 2)))),
              {"a.b: code", "255"}));
  CHECK(holds(refusal(writer, with(1, op::block_scales::plain(real_array(dtype::f8_e8m0, 2)))),
              {"a.b: scales", "F8_E8M0", "BF16"}));
}

TEST_CASE("compressed_tensors_fp8: the scale of a column is that of its group in weight_g_idx") {
  raw_linear linear("float-quantized", {{"type", "float"}, {"strategy", "group"}, {"group_size", 2}});
  const real_array ones = store_as(dtype::f8_e4m3, std::span<const float>(std::vector<float>{1, 2, 3, 4}));
  linear.file.add("a.b.weight", dtype::f8_e4m3, {1, 4}, ones.bytes());
  linear.add<float>("weight_scale", {1, 2}, {1.0F, 10.0F});
  linear.add<std::int32_t>("weight_g_idx", {4}, {1, 0, 1, 0});
  linear.write();
  const auto w = read_linear(linear.folder).to_dense();
  CHECK(std::vector<float>(w.row(0).begin(), w.row(0).end()) == std::vector<float>{10, 2, 30, 4});
  const auto error_with = [&](const std::vector<std::int32_t>& g_idx) {
    test::replace_tensor(linear.folder, "a.b.weight_g_idx", dtype::i32, {4}, test::bytes_of(g_idx));
    return read_error(linear.folder);
  };
  CHECK(holds(error_with({1, 1, 1, 0}), {"a.b.weight_g_idx", "2 inputs in each group"}));
  CHECK(holds(error_with({1, 0, 2, 0}), {"a.b.weight_g_idx[2]", "2", "0 .. 1"}));
}

TEST_CASE("compressed_tensors_fp8: extents and blocks that no weight has") {
  const auto error_with = [](io::json weights, std::vector<index_t> shape, std::vector<index_t> scales) {
    raw_linear linear("float-quantized", std::move(weights));
    index_t size = 1;
    for (const index_t n : shape) size *= n;
    linear.file.add("a.b.weight", dtype::f8_e4m3, std::move(shape),
                    std::vector<std::byte>(static_cast<std::size_t>(size)));
    linear.add<float>("weight_scale", scales, std::vector<float>(scales[0] * scales[1] > 0 ? 1 : 0, 1.0F));
    linear.write();
    return read_error(linear.folder);
  };
  const io::json group{{"type", "float"}, {"strategy", "group"}, {"group_size", 128}},
      channel{{"type", "float"}, {"strategy", "tensor"}};
  CHECK(holds(error_with(group, {4, 0}, {4, 0}), {"a.b.weight", "at least one element"}));
  CHECK(holds(error_with(channel, {index_t{1} << 36, 0}, {1, 1}), {"a.b.weight", "at least one element"}));
  const index_t most = std::numeric_limits<index_t>::max();
  CHECK(error_with({{"type", "float"}, {"strategy", "block"}, {"block_structure", {most, most}}}, {4, 4},
                   {1, 1})
            .empty());
}

TEST_CASE("compressed_tensors_fp8: weights alone are written as weights alone") {
  io::safetensors_writer file;
  real_array values(dtype::f8_e4m3, 32), scales(dtype::f32, 2);
  const auto note = writer.write(file, "a", op::scaled<>(op::dense(2, 16, values), scales, {}));
  CHECK(note["input_activations"].is_null());
  const auto blocks = writer.write(file, "b",
                                   op::codebook(matrix<std::uint8_t>(2, 16), io::detail::e4m3_levels(), 16,
                                                op::block_scales::plain(real_array(dtype::f32, 2))));
  CHECK(blocks["weights"]["strategy"] == "block");
  CHECK(blocks["input_activations"].is_null());
}

}  // namespace compressed_tensors_fp8_tests
}  // namespace tersor
