// tersor - tests of io/convert.hpp: every way between formats, what is copied, interrupted runs
// SPDX-License-Identifier: MIT
#include <tersor/io/convert.hpp>

#include <tersor/quant/nf4.hpp>

#include "io/layouts.hpp"

namespace tersor {
namespace convert_tests {

using test::error_of;
using test::holds;
using test::quantized_sample;
using test::stored;
using test::temporary_folder;

/// A checkpoint of tersor with two linears, an embedding, a head and a norm.
void write_sample(const temporary_folder& folder, const op::any_operator& a, const op::any_operator& b) {
  io::safetensors_writer file;
  io::operator_writer operators(file);
  operators.add("m.0.a", a);
  operators.add("m.0.b", b);
  random_generator random(8);
  matrix<float> table(10, 64);
  for (float& x : table.values()) x = static_cast<float>(random.normal());
  const auto half = store_as(dtype::bf16, table.view());
  for (const char* name : {"m.embed_tokens.weight", "lm_head.weight"})
    file.add(name, dtype::bf16, {10, 64}, std::vector<std::byte>(half.bytes().begin(), half.bytes().end()));
  file.add_values<float>("m.norm.weight", {64}, table.row(1));
  operators.finish();
  file.write(folder / "model.safetensors");
  folder.file("config.json", R"({"model_type": "llama", "torch_dtype": "bfloat16"})");
  folder.file("tokenizer.json", "{}");
}
io::conversion_report convert(const std::filesystem::path& in, const std::filesystem::path& out,
                              const io::conversion& c, const context& ctx = {}) {
  std::filesystem::create_directories(out);
  const io::checkpoint files(in);
  return io::convert_checkpoint(files, c, out, ctx);
}
op::any_operator read(const std::filesystem::path& folder, const std::string& name) {
  const io::checkpoint files(folder);
  return io::layout_of(files)->read(files, name);
}
std::map<std::string, std::string> content(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& file : std::filesystem::directory_iterator(folder))
    files[file.path().filename().string()] = io::read_text_file(file.path());
  return files;
}

TEST_CASE("convert: from every format of integers to every other, and back to the same file") {
  const temporary_folder folder;
  const auto a = quantized_sample(32, 64, {}), b = quantized_sample(64, 64, {.symmetric = true}, 2);
  const temporary_folder source;
  write_sample(source, a, b);
  std::filesystem::path before = source.path();
  int step = 0;
  for (const char* to :
       {"gptq", "awq", "compressed-tensors", "gptq_v2", "tersor", "compressed-tensors", "gptq", "tersor"}) {
    const auto after = folder / concat(step++);
    const auto report = convert(before, after, {.to = to});
    CHECK(report.linears == 2);
    CHECK(report.dense_linears == 1);
    CHECK(report.to == to);
    CHECK(report.bytes_after == io::checkpoint(after).file_bytes());
    INFO(before << " -> " << to);
    CHECK(stored(read(after, "m.0.a")) == stored(a));
    CHECK(stored(read(after, "m.0.b")) == stored(b));
    CHECK(std::filesystem::exists(after / "tokenizer.json"));
    CHECK(io::read_json_file(after / "config.json").contains("quantization_config") ==
          (std::string(to) != "tersor"));
    const io::checkpoint files(after), first(source.path());
    for (const char* tensor : {"m.embed_tokens.weight", "lm_head.weight", "m.norm.weight"})
      CHECK(std::ranges::equal(files.bytes(tensor), first.bytes(tensor)));
    before = after;
  }
  CHECK(io::checkpoint(before).data_bytes() == io::checkpoint(source.path()).data_bytes());
}

TEST_CASE("convert: a tersor folder goes through bitsandbytes unchanged") {
  random_generator random(2);
  matrix<float> w(24, 64);
  for (float& x : w.values()) x = static_cast<float>(random.normal());
  const temporary_folder source, folder;
  write_sample(source, quant::nf4{}(w).op, quant::nf4{}(w).op);
  convert(source.path(), folder / "bnb", {.to = "bnb-nf4"});
  convert(folder / "bnb", folder / "back", {.to = "tersor"});
  CHECK(stored(read(folder / "back", "m.0.a")) == stored(quant::nf4{}(w).op));
  const auto settings = io::read_json_file(folder / "bnb" / "config.json")["quantization_config"];
  CHECK(settings["bnb_4bit_compute_dtype"] == "bfloat16");
}

TEST_CASE("convert: dense has the operators' values in the type that is asked for") {
  const auto a = quantized_sample(32, 64, {}), b = quantized_sample(64, 64, {}, 2);
  const temporary_folder source, folder;
  write_sample(source, a, b);
  convert(source.path(), folder / "as_config", {.to = "dense"});
  convert(source.path(), folder / "f32", {.to = "dense", .type = dtype::f32});
  const io::checkpoint as_config(folder / "as_config"), f32(folder / "f32");
  CHECK(as_config.entry("m.0.a.weight").dtype == dtype::bf16);
  CHECK(as_config.entry("m.norm.weight").dtype == dtype::f32);
  CHECK(f32.read_matrix<float>("m.0.a.weight") == a.to_dense());
  CHECK(f32.entry("lm_head.weight").dtype == dtype::f32);
  CHECK(io::read_json_file(folder / "f32" / "config.json")["torch_dtype"] == "float32");
  const auto rounded = store_as(dtype::bf16, a.to_dense().view());
  CHECK(std::ranges::equal(as_config.bytes("m.0.a.weight"), rounded.bytes()));
}

TEST_CASE("convert: a dense model is not quantized on the way") {
  const temporary_folder source, folder;
  const op::dense w(matrix<float>(32, 64).view());
  write_sample(source, w, w);
  for (const auto& l : io::written_layouts()) {
    const auto text = error_of([&] { convert(source.path(), folder / "x", {.to = std::string(l.name)}); });
    CHECK(holds(text, {"dense linears", "tersor compress", l.name}));
  }
  const auto report = convert(source.path(), folder / "copy", {.to = "tersor"});
  CHECK(report.from == "dense");
  CHECK(report.linears == 0);
  CHECK(report.dense_linears == 3);
}

TEST_CASE("convert: what a format does not hold is named, and options are checked") {
  const temporary_folder source, folder;
  write_sample(source, quantized_sample(32, 64, {}), quantized_sample(32, 64, {.bits = 3}));
  CHECK(
      holds(error_of([&] { convert(source.path(), folder / "x", {.to = "awq"}); }), {"m.0.b", "bits", "3"}));
  CHECK(holds(error_of([&] { convert(source.path(), folder / "x", {.to = "bnb-nf4"}); }),
              {"m.0.a", "quantized"}));
  CHECK(holds(error_of([&] { convert(source.path(), folder / "x", {.to = "onnx"}); }), {"onnx", "gptq_v2"}));
  CHECK(holds(error_of([&] { convert(source.path(), folder / "x", {.to = "gptq", .type = dtype::f16}); }),
              {"type", "F16", "dense"}));
}

TEST_CASE("convert: an interrupted run goes on to the same files") {
  const temporary_folder source, folder;
  write_sample(source, quantized_sample(32, 64, {}), quantized_sample(64, 64, {}, 2));
  for (const char* to : {"gptq", "tersor", "dense"}) {
    const io::conversion c{.to = to, .shard_bytes = 3000, .resume = true};
    const auto whole = folder / concat(to, "-whole");
    convert(source.path(), whole, c);
    const auto steps = static_cast<int>(io::checkpoint(source.path()).names().size());
    for (int stop = 1; stop <= steps; ++stop) {
      const auto part = folder / concat(to, stop);
      int step = 0;
      context ctx;
      ctx.is_cancelled = [&] { return ++step > stop; };
      bool interrupted = false;
      try {
        convert(source.path(), part, c, ctx);
      } catch (const cancelled&) {
        interrupted = true;
      }
      REQUIRE(interrupted);
      io::conversion other = c;
      other.shard_bytes = 2000;
      CHECK(holds(error_of([&] { convert(source.path(), part, other); }),
                  {"--resume: shard_size", "2000", "3000"}));
      convert(source.path(), part, c);
      INFO(to << " after " << stop);
      CHECK(content(part) == content(whole));
    }
  }
}

TEST_CASE("convert: a finished run whose folder was not renamed is taken up as it is") {
  const temporary_folder source, folder;
  write_sample(source, quantized_sample(32, 64, {}), quantized_sample(64, 64, {}, 2));
  for (const char* to : {"gptq", "tersor", "dense"}) {
    INFO(to);
    const auto out = folder / to;
    const io::conversion c{.to = to, .shard_bytes = 3000, .resume = true, .leave_journal = true};
    const auto first = convert(source.path(), out, c);
    auto expected = content(out);
    CHECK(expected.contains(io::output_journal::file_name));
    const auto written = std::filesystem::last_write_time(out / "config.json");
    // what an end before the removal would have left
    io::write_text_file(out / ".model.safetensors.tensors-00001", "x");
    const auto again = convert(source.path(), out, c);
    CHECK(content(out) == expected);
    CHECK(std::filesystem::last_write_time(out / "config.json") == written);
    CHECK(again.bytes_after == first.bytes_after);
    CHECK(again.linears == first.linears);
    CHECK(again.dense_linears == first.dense_linears);
    CHECK(again.tensors == first.tensors);
    convert(source.path(), out, {.to = to, .shard_bytes = 3000, .resume = true});
    expected.erase(io::output_journal::file_name);
    CHECK(content(out) == expected);
  }
}

}  // namespace convert_tests
}  // namespace tersor
