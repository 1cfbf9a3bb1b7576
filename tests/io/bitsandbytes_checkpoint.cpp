// tersor - tests of io/bitsandbytes_checkpoint.hpp: round trips, tails, settings, what is refused
// SPDX-License-Identifier: MIT
#include <tersor/io/bitsandbytes_checkpoint.hpp>

#include <tersor/quant/nf4.hpp>

#include "io/layouts.hpp"

namespace tersor {
namespace bitsandbytes_checkpoint_tests {

using test::change_settings;
using test::error_of;
using test::holds;
using test::read_error;
using test::read_linear;
using test::refusal;
using test::round_trip;
using test::stored;
using test::temporary_folder;
using test::write_linears;

const io::bitsandbytes_writer writer;

op::codebook sample(index_t rows, index_t cols, const quant::nf4& technique) {
  random_generator random(5);
  matrix<float> w(rows, cols);
  for (float& x : w.values()) x = static_cast<float>(random.normal());
  return technique(w).op;
}

TEST_CASE("bitsandbytes_checkpoint: every kind comes back as it was, tails and odd sizes included") {
  for (const auto levels : {quant::level_kind::normal, quant::level_kind::fp4})
    for (const bool nested : {true, false})
      for (const index_t block : {32, 64, 256})
        for (const auto& [rows, cols] : {std::pair<index_t, index_t>{16, 64}, {7, 33}, {130, 129}}) {
          const auto op =
              sample(rows, cols, {.block_size = block, .double_quantization = nested, .levels = levels});
          INFO(block << " " << nested << " " << rows);
          CHECK(stored(round_trip(writer, op)) == stored(op));
        }
}

TEST_CASE("bitsandbytes_checkpoint: another table of double quantization is kept") {
  const temporary_folder folder;
  const auto op = sample(16, 64, {});
  write_linears(folder, writer, {{"a.b", op}});
  auto table = dynamic_levels(true).values();
  table[3] =
      std::nextafter(table[3], 0.0F);  // a code that is not among those of 16 blocks, or hardly changes
  test::replace_tensor(folder, "a.b.weight.nested_quant_map", dtype::f32, {256}, test::bytes_of(table));
  const auto read = read_linear(folder);
  const auto& scales = read.as<op::codebook>()->scales();
  CHECK(scales.rule().coding == op::scale_coding::table);
  CHECK(scales.levels() == table);
  const auto a = read.to_dense(), b = op.to_dense();
  for (index_t i = 0; i < a.size(); ++i)
    CHECK(std::abs(a.data()[i] - b.data()[i]) <= 0x1p-22F * std::abs(b.data()[i]));
}

TEST_CASE("bitsandbytes_checkpoint: the settings say what the linears are") {
  const temporary_folder folder;
  write_linears(folder, writer, {{"a.b", sample(16, 64, {})}}, {"lm_head"});
  const auto settings = io::read_json_file(folder / "config.json")["quantization_config"];
  CHECK(settings["quant_method"] == "bitsandbytes");
  CHECK(settings["load_in_4bit"] == true);
  CHECK(settings["bnb_4bit_quant_type"] == "nf4");
  CHECK(settings["bnb_4bit_use_double_quant"] == true);
  CHECK(settings["llm_int8_skip_modules"] == io::json{"lm_head"});
}

TEST_CASE("bitsandbytes_checkpoint: broken states and other kinds are refused by name") {
  const temporary_folder folder;
  const auto begin = [&] { write_linears(folder, writer, {{"a.b", sample(16, 64, {})}}); };
  begin();
  change_settings(folder, {{"load_in_8bit", true}});
  CHECK(holds(read_error(folder), {"load_in_8bit"}));
  begin();
  change_settings(folder, {{"bnb_4bit_quant_type", "int4"}});
  CHECK(holds(read_error(folder), {"bnb_4bit_quant_type", "int4"}));
  const std::string state = "a.b.weight.quant_state.bitsandbytes__nf4";
  const auto error_with = [&](const std::string& text) {
    begin();
    test::replace_tensor(folder, state, dtype::u8, {static_cast<index_t>(text.size())},
                         test::bytes_of(std::vector<char>(text.begin(), text.end())));
    return read_error(folder);
  };
  CHECK(holds(error_with("{"), {state}));
  CHECK(holds(error_with("[1]"), {state, "object"}));
  CHECK(holds(error_with(R"({"quant_type": "fp4", "blocksize": 64, "shape": [16, 64]})"), {state, "fp4"}));
  CHECK(
      holds(error_with(R"({"quant_type": "nf4", "blocksize": 0, "shape": [16, 64]})"), {state, "blocksize"}));
  CHECK(holds(error_with(R"({"quant_type": "nf4", "blocksize": 64, "shape": [16]})"), {state, "shape"}));
  CHECK(holds(error_with(R"({"quant_type": "nf4", "blocksize": 64, "shape": [4294967296, 4294967296]})"),
              {state, "shape"}));
  CHECK(holds(error_with(R"({"quant_type": "nf4", "blocksize": 64, "shape": [16, 65]})"),
              {"a.b.weight", "512 bytes", "520"}));
  CHECK(
      holds(error_with(R"({"quant_type": "nf4", "blocksize": 32, "shape": [16, 64]})"), {"absmax", "[32]"}));
  CHECK(holds(error_with(R"({"quant_type": "nf4", "blocksize": 64, "shape": [16, 64]})"), {"nested_offset"}));
  begin();
  test::replace_tensor(folder, "a.b.weight.nested_quant_map", dtype::f32, {255},
                       test::bytes_of(std::vector<float>(255)));
  CHECK(holds(read_error(folder), {"nested_quant_map", "256"}));
  begin();
  test::remove_tensor(folder, state);
  CHECK(holds(read_error(folder), {"a.b", "quant_state"}));
}

TEST_CASE("bitsandbytes_checkpoint: what the layout cannot hold is refused by name") {
  CHECK(holds(refusal(writer, sample(16, 64, {.bits = 3})), {"a.b", "codebook", "NF4"}));
  CHECK(holds(refusal(writer, sample(16, 64, {.block_size = 48})), {"a.b", "block_size", "48"}));
  CHECK(holds(refusal(writer, test::quantized_sample(16, 64, {})), {"a.b", "quantized", "NF4"}));
  const temporary_folder folder;
  const auto mixed = error_of([&] {
    write_linears(folder, writer, {{"a", sample(16, 64, {})}, {"b", sample(16, 64, {.block_size = 128})}});
  });
  CHECK(holds(mixed, {"b: form", "128", "as of a"}));
}

TEST_CASE("bitsandbytes_checkpoint: each tensor of a linear calls for the others") {
  const std::string w = "a.b.weight";
  for (const auto& part : {w, w + ".absmax", w + ".quant_map", w + ".nested_quant_map"}) {
    const temporary_folder folder;
    write_linears(folder, writer, {{"a.b", sample(16, 64, {})}});
    test::remove_tensor(folder, part);
    CHECK(holds(read_error(folder), {part}));
  }
}

TEST_CASE("bitsandbytes_checkpoint: LLM.int8 is an error whatever the settings say") {
  const temporary_folder folder;
  write_linears(folder, writer, {{"a.b", sample(16, 64, {})}});
  test::replace_tensor(folder, "a.c.weight", dtype::i8, {2, 4}, std::vector<std::byte>(8));
  CHECK(holds(read_error(folder, "a.c"), {"a.c", "quant_state"}));
  test::replace_tensor(folder, "a.c.SCB", dtype::f32, {2}, test::bytes_of(std::vector<float>(2)));
  CHECK(holds(read_error(folder, "a.c"), {"a.c.SCB", "LLM.int8"}));
}

TEST_CASE("bitsandbytes_checkpoint: scales below zero are those of the file") {
  const temporary_folder folder;
  write_linears(folder, writer, {{"a.b", sample(1, 64, {})}});
  std::vector<float> table(256);
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<float>(i) / 128 - 1;
  test::replace_tensor(folder, "a.b.weight.nested_quant_map", dtype::f32, {256}, test::bytes_of(table));
  test::replace_tensor(folder, "a.b.weight.nested_absmax", dtype::f32, {1},
                       test::bytes_of(std::vector<float>{1}));
  test::replace_tensor(folder, "a.b.weight.absmax", dtype::u8, {1},
                       test::bytes_of(std::vector<std::uint8_t>{64}));
  const std::string state =
      "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"shape\": [1, 64], "
      "\"nested_blocksize\": 256, \"nested_offset\": 0.125}";
  test::replace_tensor(folder, "a.b.weight.quant_state.bitsandbytes__nf4", dtype::u8,
                       {static_cast<index_t>(state.size())},
                       test::bytes_of(std::vector<char>(state.begin(), state.end())));
  test::replace_tensor(folder, "a.b.weight", dtype::u8, {32, 1}, std::vector<std::byte>(32));
  CHECK(read_linear(folder).to_dense()(0, 0) == 0.375F);  // level -1 of scale -0.375
}

}  // namespace bitsandbytes_checkpoint_tests
}  // namespace tersor
