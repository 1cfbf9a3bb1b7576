// tersor - tests of io/compressed_tensors.hpp: schemes, and what is refused
// SPDX-License-Identifier: MIT
#include <tersor/io/compressed_tensors.hpp>

#include "io/layouts.hpp"

namespace tersor {
namespace compressed_tensors_tests {

using test::bytes_of;
using test::change_settings;
using test::fp4_sample;
using test::holds;
using test::quantized_sample;
using test::read_error;
using test::read_linear;
using test::refusal;
using test::stored;
using test::temporary_folder;
using test::write_linears;

const io::compressed_tensors_writer writer;

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
  CHECK(holds(refusal(writer, op::dense(matrix<float>(4, 4).view())), {"a.b", "dense", "NVFP4"}));
  CHECK(holds(refusal(writer, quantized_sample(4, 40, {.group_size = 16})),
              {"a.b", "in_features", "40", "16"}));
  auto other = fp4_sample(2, 48, true);
  CHECK(holds(refusal(writer, op::codebook(other.codes(), io::detail::e2m1_levels(), 32,
                                           op::block_scales::plain(real_array(dtype::f32, 3)))),
              {"a.b", "codebook"}));
}

TEST_CASE("compressed_tensors: each tensor of a linear calls for the others") {
  const temporary_folder folder;
  const auto error_without = [&](const op::any_operator& op, const std::string& tensor) {
    write_linears(folder, writer, {{"a.b", op}, {"c", quantized_sample(8, 64, {})}});
    test::remove_tensor(folder, tensor);
    return read_error(folder);
  };
  const op::w8a8 bytes(2, 4, std::vector<std::int8_t>(8), {1, 1}, op::activation_unit::per_token);
  const op::scaled<> floats(op::dense(2, 4, real_array(dtype::f8_e4m3, 8)), real_array(dtype::f32, 2), {});
  for (const char* part : {"weight_scale", "weight_packed", "weight_shape"}) {
    const auto tensor = concat("a.b.", part);
    CHECK(holds(error_without(quantized_sample(8, 64, {}), tensor), {tensor}));
  }
  for (const char* part : {"weight_scale", "weight"}) {
    const auto tensor = concat("a.b.", part);
    CHECK(holds(error_without(bytes, tensor), {tensor}));
    CHECK(holds(error_without(floats, tensor), {tensor}));
  }
  CHECK(holds(error_without(fp4_sample(2, 32, true), "a.b.weight_packed"), {"a.b.weight_packed"}));
}

TEST_CASE("compressed_tensors: a class among the targets holds for what has its kind of name") {
  const temporary_folder folder;
  const auto linear = quantized_sample(8, 64, {}), table = quantized_sample(8, 64, {.bits = 8}, 2);
  write_linears(folder, writer, {{"m.embed_tokens", table}, {"m.embedder", linear}, {"m.a", linear}});
  const auto target = [&](const char* first, const char* second) {
    change_settings(folder, {{"config_groups",
                              {{"group_0", {{"targets", {first}}}}, {"group_1", {{"targets", {second}}}}}}});
  };
  target("Embedding", "Linear");
  CHECK(stored(read_linear(folder, "m.embed_tokens")) == stored(table));
  CHECK(stored(read_linear(folder, "m.a")) == stored(linear));
  CHECK(holds(read_error(folder, "m.embedder"), {"config_groups", "m.embedder", "may be either"}));
  target("re:.*tokens", "Linear");
  CHECK(stored(read_linear(folder, "m.embedder")) == stored(linear));
  target("x", "Linear");
  CHECK(holds(read_error(folder, "m.embed_tokens"), {"config_groups", "m.embed_tokens"}));
}

}  // namespace compressed_tensors_tests
}  // namespace tersor
