// tersor - tests of io/awq_checkpoint.hpp: round trips, settings, what is refused
// SPDX-License-Identifier: MIT
#include <tersor/io/awq_checkpoint.hpp>

#include "io/layouts.hpp"

namespace tersor {
namespace awq_checkpoint_tests {

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

const io::awq_writer writer;

TEST_CASE("awq_checkpoint: every grid comes back as it was") {
  for (const index_t group_size : {16, 32, 96})
    for (const bool symmetric : {true, false})
      for (const index_t rows : {8, 40}) {
        const auto op = quantized_sample(rows, 96, {.group_size = group_size, .symmetric = symmetric});
        CHECK(stored(round_trip(writer, op)) == stored(op));
      }
}

TEST_CASE("awq_checkpoint: settings of quant_config.json are read as well") {
  const temporary_folder folder;
  const auto op = quantized_sample(16, 64, {});
  write_linears(folder, writer, {{"a.b", op}});
  folder.file("config.json", "{}");
  folder.file("quant_config.json",
              R"({"zero_point": true, "q_group_size": 32, "w_bit": 4, "version": "GEMM"})");
  CHECK(stored(read_linear(folder)) == stored(op));
}

TEST_CASE("awq_checkpoint: other versions and settings that do not fit are refused by name") {
  const temporary_folder folder;
  write_linears(folder, writer, {{"a.b", quantized_sample(16, 64, {})}}, {"lm_head"});
  CHECK(io::read_json_file(folder / "config.json")["quantization_config"]["modules_to_not_convert"] ==
        io::json{"lm_head"});
  const auto error_with = [&](const io::json& changes) {
    const std::string before = io::read_text_file(folder / "config.json");
    change_settings(folder, changes);
    auto text = read_error(folder);
    folder.file("config.json", before);
    return text;
  };
  for (const char* version : {"gemv", "gemv_fast", "exllama", "marlin"})
    CHECK(holds(error_with({{"version", version}}), {"version", version, "gemm"}));
  CHECK(holds(error_with({{"backend", "llm-awq"}}), {"backend", "llm-awq"}));
  CHECK(holds(error_with({{"bits", 3}}), {"bits", "3"}));
  CHECK(holds(error_with({{"zero_point", false}}), {"zero_point"}));
  CHECK(holds(error_with({{"group_size", 16}}), {"a.b", "qzeros"}));
  test::replace_tensor(folder, "a.b.scales", dtype::f32, {2, 16},
                       test::bytes_of(std::vector<float>(32, 0.1F)));
  CHECK(holds(read_error(folder), {"a.b.scales", "F16"}));
}

TEST_CASE("awq_checkpoint: what the layout cannot hold is refused by name") {
  CHECK(holds(refusal(writer, quantized_sample(16, 64, {.bits = 3})), {"a.b", "bits", "3"}));
  CHECK(holds(refusal(writer, quantized_sample(16, 64, {.act_order = true})), {"a.b", "g_idx"}));
  CHECK(holds(refusal(writer, quantized_sample(16, 60, {})), {"a.b", "in_features", "60"}));
  CHECK(holds(refusal(writer, quantized_sample(12, 64, {})), {"a.b", "out_features", "12"}));
  CHECK(holds(refusal(writer, op::dense(matrix<float>(16, 64).view())), {"a.b", "dense"}));
  const temporary_folder folder;
  const auto mixed = error_of([&] {
    write_linears(folder, writer,
                  {{"a", quantized_sample(16, 64, {})}, {"b", quantized_sample(16, 64, {.group_size = 16})}});
  });
  CHECK(holds(mixed, {"b: group_size", "16", "32", "compressed-tensors"}));
}

TEST_CASE("awq_checkpoint: each tensor of a linear calls for the others, and has elements") {
  for (const char* part : {"a.b.qweight", "a.b.qzeros", "a.b.scales"}) {
    const temporary_folder folder;
    write_linears(folder, writer, {{"a.b", quantized_sample(16, 64, {})}});
    test::replace_tensor(folder, part, dtype::i32, {0, index_t{1} << 61}, {});
    CHECK(holds(read_error(folder), {part, "at least one element"}));
    test::remove_tensor(folder, part);
    CHECK(holds(read_error(folder), {part}));
  }
}

}  // namespace awq_checkpoint_tests
}  // namespace tersor
