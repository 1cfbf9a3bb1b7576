// tersor - tests of io/gptq_checkpoint.hpp: round trips, act-order, settings, what is refused
// SPDX-License-Identifier: MIT
#include <tersor/io/gptq_checkpoint.hpp>

#include "io/layouts.hpp"

namespace tersor {
namespace gptq_checkpoint_tests {

using test::change_settings;
using test::error_of;
using test::holds;
using test::quantized_sample;
using test::read_error;
using test::read_linear;
using test::refusal;
using test::round_trip;
using test::stored;
using test::temporary_folder;
using test::write_linears;

const io::gptq_writer v1(quant::gptq_variant::v1), v2(quant::gptq_variant::v2);

TEST_CASE("gptq_checkpoint: every width, version and grid comes back as it was") {
  for (const int bits : {2, 3, 4, 8})
    for (const bool symmetric : {true, false})
      for (const bool act_order : {true, false})
        for (const index_t group_size : {32, 48, 96})  // of 96 inputs: three groups, two, one
          for (const auto* writer : {&v1, &v2}) {
            if (act_order && group_size == 96) continue;  // one group has one order
            const auto op = quantized_sample(
                64, 96,
                {.bits = bits, .group_size = group_size, .symmetric = symmetric, .act_order = act_order});
            INFO(bits << " " << group_size << " " << symmetric << act_order);
            CHECK(stored(round_trip(*writer, op)) == stored(op));
          }
}

TEST_CASE("gptq_checkpoint: a last group may be shorter, scales of one unit become rows") {
  const auto ragged = quantized_sample(32, 96, {.group_size = 40});
  CHECK(stored(round_trip(v1, ragged)) == stored(ragged));
  const auto tensor = quantized_sample(32, 64, {.group_size = 64, .symmetric = true, .one_unit = true});
  CHECK(round_trip(v2, tensor).to_dense() == tensor.to_dense());
}

TEST_CASE("gptq_checkpoint: a missing g_idx means groups in order, unless the settings say otherwise") {
  const temporary_folder folder;
  const auto op = quantized_sample(32, 64, {});
  write_linears(folder, v1, {{"a.b", op}});
  test::remove_tensor(folder, "a.b.g_idx");
  CHECK(stored(read_linear(folder)) == stored(op));
  change_settings(folder, {{"desc_act", true}});
  CHECK(holds(read_error(folder), {"a.b.g_idx"}));
}

TEST_CASE("gptq_checkpoint: linears that differ are patterns, and dense ones are named") {
  const temporary_folder folder;
  const auto a = quantized_sample(32, 64, {}), b = quantized_sample(32, 64, {.bits = 8, .group_size = 16}, 2),
             c = quantized_sample(32, 32, {.group_size = 32}, 3);
  write_linears(folder, v2, {{"m.0.a", a}, {"m.0.b", b}, {"m.0.c", c}}, {"m.1.a", "lm_head"});
  const auto settings = io::read_json_file(folder / "config.json")["quantization_config"];
  CHECK(settings["bits"] == 4);
  CHECK(settings["group_size"] == 32);
  CHECK(settings["checkpoint_format"] == "gptq_v2");
  CHECK(settings["dynamic"].size() == 2);  // one row of one group fits the group size of all
  CHECK(settings["dynamic"].contains("-:^m\\.1\\.a$"));
  CHECK(stored(read_linear(folder, "m.0.a")) == stored(a));
  CHECK(stored(read_linear(folder, "m.0.b")) == stored(b));
  CHECK(read_linear(folder, "m.0.c").to_dense() == c.to_dense());
  change_settings(folder, {{"dynamic", {{"m.0", {{"bits", 3}}}}}});
  CHECK(holds(read_error(folder, "m.0.b"), {"dynamic", "m.0.b", "one pattern"}));
}

TEST_CASE("gptq_checkpoint: settings in quantize_config.json are read as well") {
  const temporary_folder folder;
  const auto op = quantized_sample(32, 64, {});
  write_linears(folder, v1, {{"a.b", op}});
  auto settings = io::read_json_file(folder / "config.json")["quantization_config"];
  settings.erase("quant_method");  // AutoGPTQ's own file has none
  settings.erase("checkpoint_format");
  folder.file("quantize_config.json", settings.dump());
  folder.file("config.json", "{}");
  CHECK(stored(read_linear(folder)) == stored(op));
}

TEST_CASE("gptq_checkpoint: other layouts, and settings that do not fit, are refused by name") {
  const temporary_folder folder;
  write_linears(folder, v1, {{"a.b", quantized_sample(32, 64, {})}});
  const auto error_with = [&](const io::json& changes) {
    const std::string before = io::read_text_file(folder / "config.json");
    change_settings(folder, changes);
    auto text = read_error(folder);
    folder.file("config.json", before);
    return text;
  };
  CHECK(holds(error_with({{"checkpoint_format", "gptq_p"}}), {"checkpoint_format", "gptq_p", "gptq_v2"}));
  CHECK(holds(error_with({{"checkpoint_format", "marlin"}}), {"checkpoint_format", "marlin"}));
  CHECK(holds(error_with({{"is_marlin_format", true}}), {"is_marlin_format"}));
  CHECK(holds(error_with({{"pack_dtype", "int16"}}), {"pack_dtype", "int16"}));
  CHECK(holds(error_with({{"bits", 5}}), {"bits", "5"}));
  CHECK(holds(error_with({{"bits", 8}}), {"a.b", "gptq layout"}));
  CHECK(holds(error_with({{"bits", nullptr}}), {"bits"}));
  CHECK(holds(error_with({{"group_size", 16}}), {"a.b", "scales"}));
  CHECK(holds(error_with({{"group_size", 0}}), {"group_size", "0"}));
  CHECK(holds(error_with({{"quant_method", "aqlm"}}), {"quant_method", "aqlm", "gptq"}));
  test::replace_tensor(folder, "a.b.g_idx", dtype::i32, {64},
                       test::bytes_of(std::vector<std::int32_t>(64, 2)));
  CHECK(holds(read_error(folder), {"a.b", "g_idx", "2"}));
  test::replace_tensor(folder, "a.b.qweight", dtype::f32, {8, 32}, test::bytes_of(std::vector<float>(256)));
  CHECK(holds(read_error(folder), {"a.b.qweight", "F32", "I32"}));
  write_linears(folder, v1, {{"a.b", quantized_sample(32, 64, {})}});
  test::remove_tensor(folder, "a.b.scales");
  CHECK(holds(read_error(folder), {"a.b.scales"}));
}

TEST_CASE("gptq_checkpoint: what the layout cannot hold is refused by name") {
  CHECK(holds(refusal(v1, quantized_sample(32, 64, {.bits = 5})), {"a.b", "bits", "5"}));
  CHECK(holds(refusal(v1, quantized_sample(32, 60, {})), {"a.b", "in_features", "60"}));
  CHECK(holds(refusal(v1, quantized_sample(30, 64, {})), {"a.b", "out_features", "30"}));
  CHECK(holds(refusal(v1, quantized_sample(32, 64, {.scale_type = dtype::f32})), {"a.b", "scale", "F16"}));
  CHECK(holds(refusal(v1, op::dense(matrix<float>(32, 64).view())), {"a.b", "dense", "quantized"}));
  matrix<std::uint8_t> codes(32, 32);
  matrix<float> one(32, 1), zero(32, 1);
  for (float& s : one.values()) s = 1;
  const op::quantized unsigned_grid(codes,
                                    op::affine_grid(4, 32, 32, 32, one.view(), zero.view(), dtype::f16));
  CHECK(holds(refusal(v1, unsigned_grid), {"a.b", "zero point", "v2"}));
  CHECK(stored(round_trip(v2, unsigned_grid)) == stored(unsigned_grid));
}

TEST_CASE("gptq_checkpoint: each tensor of a linear calls for the others") {
  for (const char* part : {"a.b.qweight", "a.b.qzeros", "a.b.scales"}) {
    const temporary_folder folder;
    write_linears(folder, v1, {{"a.b", quantized_sample(32, 64, {})}});
    test::remove_tensor(folder, part);
    CHECK(holds(read_error(folder), {part}));
  }
}

TEST_CASE("gptq_checkpoint: a linear that the settings leave out and that is quantized is an error") {
  const temporary_folder folder;
  write_linears(folder, v1, {{"a.b", quantized_sample(32, 64, {})}});
  change_settings(folder, {{"dynamic", {{"-:a", io::json::object()}}}});
  CHECK(holds(read_error(folder), {"dynamic", "-:a", "a.b"}));
}

TEST_CASE("gptq_checkpoint: tensors without elements are refused, whatever their other extent") {
  const temporary_folder folder;
  io::safetensors_writer file;
  file.add("a.b.qweight", dtype::i32, {index_t{1} << 60, 0}, std::vector<std::byte>());
  file.add("a.b.qzeros", dtype::i32, {1, 0}, std::vector<std::byte>());
  file.add("a.b.scales", dtype::f16, {1, 0}, std::vector<std::byte>());
  file.write(folder / "model.safetensors");
  folder.file("config.json",
              R"({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": -1}})");
  CHECK(holds(read_error(folder), {"a.b.qweight", "at least one element"}));
  CHECK(holds(error_of([] {
                quant::gptq_unpack({matrix<std::int32_t>(index_t{1} << 60, 0), {}, {}, {}}, 4, -1,
                                   quant::gptq_variant::v1);
              }),
              {"qweight", "at least one word"}));
}

}  // namespace gptq_checkpoint_tests
}  // namespace tersor
