// tersor - tests of io/compressed_tensors.hpp: formats, schemes, the two packings, what is refused
// SPDX-License-Identifier: MIT
#include <tersor/io/compressed_tensors.hpp>

#include "io/layouts.hpp"

namespace tersor {
namespace compressed_tensors_tests {

using test::bytes_of;
using test::change_settings;
using test::error_of;
using test::holds;
using test::quantized_sample;
using test::read_error;
using test::read_linear;
using test::round_trip;
using test::stored;
using test::temporary_folder;
using test::write_linears;

const io::compressed_tensors_writer writer;

std::string refusal(const op::any_operator& op) {
  io::safetensors_writer file;
  return error_of([&] { writer.write(file, "a.b", op); });
}
/// A folder with the tensors of a linear "a.b" and one scheme for all.
struct raw_linear {
  temporary_folder folder;
  io::safetensors_writer file;
  io::json settings;
  raw_linear(const std::string& format, io::json weights)
      : settings{
            {"quant_method", "compressed-tensors"},
            {"format", format},
            {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", std::move(weights)}}}}}} {}
  template <class T>
  void add(const std::string& part, std::vector<index_t> shape, const std::vector<T>& values) {
    file.add("a.b." + part, dtype_of<T>, std::move(shape), bytes_of(values));
  }
  void write() {
    file.write(folder / "model.safetensors");
    folder.file("config.json", io::json{{"quantization_config", settings}}.dump());
  }
};

TEST_CASE("compressed_tensors: packed integers of every width, strategy and grid come back as they were") {
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

TEST_CASE("compressed_tensors: one scale for the whole tensor") {
  for (const bool symmetric : {true, false}) {
    const auto op = quantized_sample(
        6, 40,
        {.bits = 8, .group_size = 40, .symmetric = symmetric, .one_unit = true, .scale_type = dtype::f32});
    CHECK(stored(round_trip(writer, op)) == stored(op));
  }
}

TEST_CASE("compressed_tensors: words by hand") {
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

TEST_CASE("compressed_tensors: before version 0.17 a word held whole codes") {
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

TEST_CASE("compressed_tensors: act-order is read and not written") {
  const auto op = quantized_sample(8, 64, {.symmetric = true, .act_order = true});
  CHECK(holds(refusal(op), {"a.b", "g_idx", "gptq"}));
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

TEST_CASE("compressed_tensors: 8-bit weights with the activations that w8a8 computes") {
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

TEST_CASE("compressed_tensors: FP8 with scales of outputs, of the tensor and of blocks") {
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

op::codebook fp4(index_t rows, index_t cols, bool nvidia) {
  random_generator random(9);
  matrix<std::uint8_t> codes(rows, cols);
  for (auto& q : codes.values()) q = static_cast<std::uint8_t>(random.uniform_index(16));
  const index_t blocks = rows * cols / (nvidia ? 16 : 32);
  real_array scales(nvidia ? dtype::f8_e4m3 : dtype::f8_e8m0, blocks);
  for (index_t i = 0; i < blocks; ++i)
    scales.set(
        i, nvidia ? f8_e4m3(static_cast<float>(1 + i % 400)) : std::ldexp(1.0F, static_cast<int>(i % 9) - 4));
  return {codes, io::detail::e2m1_levels(), nvidia ? 16 : 32,
          nvidia ? op::block_scales::factored(scales, 1.0F / 1024) : op::block_scales::plain(scales)};
}

TEST_CASE("compressed_tensors: NVFP4 and MXFP4 come back as they were") {
  for (const bool nvidia : {true, false})
    for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 32}, {7, 96}, {16, 160}}) {
      const auto op = fp4(rows, cols, nvidia);
      CHECK(stored(round_trip(writer, op)) == stored(op));
    }
}

TEST_CASE("compressed_tensors: NVFP4 divides by the global scale") {
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

TEST_CASE("compressed_tensors: a scale of MXFP4 that is NaN is an error") {
  const temporary_folder folder;
  write_linears(folder, writer, {{"a.b", fp4(1, 64, false)}});
  test::replace_tensor(folder, "a.b.weight_scale", dtype::u8, {1, 2},
                       bytes_of(std::vector<std::uint8_t>{127, 255}));
  CHECK(holds(read_error(folder), {"a.b.weight_scale", "[1]"}));
}

TEST_CASE("compressed_tensors: 2:4 of reals under both names") {
  for (const std::string stem : {"", "weight."}) {
    raw_linear linear("dense", nullptr);
    linear.settings["sparsity_config"] = {{"format", "sparse-24-bitmask"}};
    linear.settings["config_groups"] = io::json::object();
    linear.add<index_t>(stem + "shape", {2, 1}, {2, 8});
    linear.add<float>(stem + "compressed", {2, 4}, {1, 0, 3, 4, 5, 6, 7, 8});  // a kept zero is stored
    linear.add<std::uint8_t>(stem + "bitmask", {2, 1}, {0b11000011, 0b10100101});
    linear.write();
    const auto op = read_linear(linear.folder);
    const auto w = op.to_dense();
    CHECK(op.kind() == "sparse_nm");
    CHECK(std::vector<float>(w.row(0).begin(), w.row(0).end()) == std::vector<float>{1, 0, 0, 0, 0, 0, 3, 4});
    CHECK(std::vector<float>(w.row(1).begin(), w.row(1).end()) == std::vector<float>{5, 0, 6, 0, 0, 7, 0, 8});
    test::replace_tensor(linear.folder, "a.b." + stem + "bitmask", dtype::u8, {2, 1},
                         bytes_of(std::vector<std::uint8_t>{0b11100001, 0b10100101}));
    CHECK(holds(read_error(linear.folder), {"a.b", "kept entries", "expected 2"}));
  }
}

TEST_CASE("compressed_tensors: the most special target decides, two of a kind are an error") {
  const temporary_folder folder;
  const auto a = quantized_sample(8, 64, {}), b = quantized_sample(8, 64, {.bits = 8, .group_size = 16}, 2);
  write_linears(folder, writer, {{"m.0.a", a}, {"m.0.b", b}}, {"lm_head"});
  CHECK(stored(read_linear(folder, "m.0.a")) == stored(a));
  CHECK(stored(read_linear(folder, "m.0.b")) == stored(b));
  change_settings(
      folder,
      {{"config_groups", {{"group_0", {{"targets", {"Linear"}}}}, {"group_1", {{"targets", {"re:.*b$"}}}}}}});
  CHECK(stored(read_linear(folder, "m.0.a")) == stored(a));
  CHECK(stored(read_linear(folder, "m.0.b")) == stored(b));
  change_settings(folder, {{"config_groups", {{"group_0", {{"targets", {"re:m.*"}}}}}}});
  CHECK(holds(read_error(folder, "m.0.b"), {"targets", "m.0.b", "group_0"}));
  change_settings(folder, {{"config_groups", {{"group_0", {{"targets", {"x"}}}}}}});
  CHECK(holds(read_error(folder, "m.0.a"), {"config_groups", "m.0.a"}));
  change_settings(folder, {{"ignore", {"re:.*b"}}});
  CHECK(holds(read_error(folder, "m.0.b"), {"ignore", "re:.*b", "m.0.b"}));
}

TEST_CASE("compressed_tensors: settings and tensors that do not fit are refused by name") {
  const temporary_folder folder;
  const auto begin = [&] { write_linears(folder, writer, {{"a.b", quantized_sample(33, 64, {})}}); };
  const auto error_with = [&](const io::json& weights, const io::json& others = io::json::object()) {
    begin();
    change_settings(folder, others);
    change_settings(folder, {{"config_groups", {{"group_0", {{"weights", weights}}}}}});
    return read_error(folder);
  };
  CHECK(holds(error_with({{"num_bits", 9}}), {"group_0: weights: num_bits", "9"}));
  CHECK(holds(error_with({{"num_bits", 8}}), {"a.b.weight_packed", "8", "16 words"}));
  CHECK(holds(error_with({{"type", "complex"}}), {"type", "complex"}));
  CHECK(holds(error_with({{"group_size", 16}}), {"a.b.weight_scale", "[33, 2]", "[33, 4]"}));
  CHECK(holds(error_with({{"strategy", "channel"}}), {"a.b.weight_scale", "[33, 2]", "[33, 1]"}));
  CHECK(holds(error_with({{"strategy", "diagonal"}}), {"strategy", "diagonal"}));
  CHECK(holds(error_with({{"dynamic", true}}), {"dynamic"}));
  const io::json marlin{{"config_groups", {{"group_0", {{"format", "marlin-24"}}}}}};
  CHECK(holds(error_with(io::json::object(), marlin), {"format", "marlin-24"}));
  CHECK(holds(error_with(io::json::object(), {{"transform_config", {{"r1", 1}}}}), {"transform_config"}));
  CHECK(holds(error_with(io::json::object(), {{"sparsity_config", {{"format", "sparse-bitmask"}}}}),
              {"sparsity_config", "sparse-bitmask"}));
  begin();
  test::replace_tensor(folder, "a.b.weight_shape", dtype::i64, {2}, bytes_of(std::vector<index_t>{33, -1}));
  CHECK(holds(read_error(folder), {"a.b.weight_shape"}));
  test::replace_tensor(folder, "a.b.weight_shape", dtype::i64, {2}, bytes_of(std::vector<index_t>{34, 64}));
  CHECK(holds(read_error(folder), {"a.b.weight_packed", "34 rows"}));
  begin();
  test::remove_tensor(folder, "a.b.weight_zero_point");
  CHECK(holds(read_error(folder), {"a.b.weight_zero_point"}));
  begin();
  test::replace_tensor(folder, "a.b.weight_zero_point", dtype::i32, {4, 2},
                       bytes_of(std::vector<std::int32_t>(8)));
  CHECK(holds(read_error(folder), {"a.b.weight_zero_point", "5 words"}));
}

TEST_CASE("compressed_tensors: what the layout cannot hold is refused by name") {
  CHECK(holds(refusal(op::dense(matrix<float>(4, 4).view())), {"a.b", "dense", "NVFP4"}));
  CHECK(holds(refusal(quantized_sample(4, 40, {.group_size = 16})), {"a.b", "in_features", "40", "16"}));
  auto other = fp4(2, 48, true);
  CHECK(holds(refusal(op::codebook(other.codes(), io::detail::e2m1_levels(), 32,
                                   op::block_scales::plain(real_array(dtype::f32, 3)))),
              {"a.b", "codebook"}));
}

}  // namespace compressed_tensors_tests
}  // namespace tersor
