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

TEST_CASE("convert: activations and caches that no operator holds go from compressed-tensors to itself") {
  const io::json activations{{"num_bits", 8}, {"type", "float"}, {"strategy", "tensor"}, {"dynamic", false}};
  const io::json cache{{"num_bits", 8}, {"type", "float"}};
  test::raw_linear linear("float-quantized", {{"num_bits", 8}, {"type", "float"}, {"strategy", "tensor"}});
  linear.settings["config_groups"]["group_0"]["input_activations"] = activations;
  linear.settings["kv_cache_scheme"] = cache;
  linear.file.add("a.b.weight", dtype::f8_e4m3, {2, 4}, std::vector<std::byte>(8));
  linear.add<float>("weight_scale", {1}, {0.5F});
  linear.add<float>("input_scale", {1}, {0.25F});
  linear.file.add_values<float>("a.k_scale", {1}, std::array{0.75F});
  linear.write();
  const temporary_folder folder;
  const io::conversion c{.to = "compressed-tensors", .resume = true};
  convert(linear.folder.path(), folder / "same", c);
  const auto settings = io::read_json_file(folder / "same" / "config.json")["quantization_config"];
  CHECK(settings["config_groups"]["group_0"]["input_activations"] == activations);
  CHECK(settings["kv_cache_scheme"] == cache);
  const io::checkpoint same(folder / "same");
  CHECK(same.read_tensor<float>("a.b.input_scale") == std::vector<float>{0.25F});
  CHECK(same.read_tensor<float>("a.k_scale") == std::vector<float>{0.75F});

  convert(linear.folder.path(), folder / "ours", {.to = "tersor"});
  CHECK_FALSE(io::checkpoint(folder / "ours").contains("a.b.input_scale"));
  convert(folder / "ours", folder / "back", c);
  const auto back = io::read_json_file(folder / "back" / "config.json")["quantization_config"];
  CHECK(back["config_groups"]["group_0"]["input_activations"].is_null());
  CHECK(back["kv_cache_scheme"].is_null());
}

TEST_CASE("convert: tensors of compressed linears without their settings are never dense ones") {
  const auto error_of_format = [](const std::string& to, const op::any_operator& op) {
    const temporary_folder source, folder;
    write_sample(source, op, op);
    convert(source.path(), folder / "in", {.to = to});
    std::filesystem::remove(folder / "in" / "quantize_config.json");
    io::write_text_file(folder / "in" / "config.json", R"({"torch_dtype": "float16"})");
    return error_of([&] { convert(folder / "in", folder / "out", {.to = "dense"}); });
  };
  const auto integers = quantized_sample(32, 64, {});
  const auto normal = quant::nf4{}(matrix<float>(32, 64)).op;
  for (const char* to : {"gptq", "awq"})
    CHECK(holds(error_of_format(to, integers), {"m.0.a.q", "quantization_config", "gptq or awq"}));
  CHECK(holds(error_of_format("compressed-tensors", integers), {"m.0.a.weight_", "compressed-tensors"}));
  CHECK(holds(error_of_format("bnb-nf4", normal), {"m.0.a.weight.", "bitsandbytes"}));
}

TEST_CASE("convert: settings that have no config.json to be in are an error") {
  const auto op = quantized_sample(32, 64, {});
  const temporary_folder source, folder;
  write_sample(source, op, op);
  std::filesystem::remove(source / "config.json");
  for (const char* to : {"awq", "compressed-tensors"}) {
    const auto out = folder / to;
    CHECK(holds(error_of([&] { convert(source.path(), out, {.to = to}); }), {"config.json", to}));
    CHECK(content(out).empty());
  }
  convert(source.path(), folder / "gptq", {.to = "gptq"});  // whose settings have a file of their own
  CHECK(stored(read(folder / "gptq", "m.0.a")) == stored(op));
  CHECK(std::filesystem::exists(folder / "gptq" / "tokenizer.json"));
}

TEST_CASE("convert: what lies beside the weights goes along, other weights and old settings do not") {
  const auto op = quantized_sample(32, 64, {});
  const temporary_folder source, folder;
  write_sample(source, op, op);
  for (const char* name :
       {"vocab.txt", "spiece.model", "tekken.json", "a.tiktoken", "modeling.py", "README.md"})
    source.file(name, concat("this is ", name));
  for (const char* name : {"pytorch_model.bin", "old.safetensors", "old.safetensors.index.json", ".hidden",
                           "quant_config.json", "quantize_config.json"})
    source.file(name, "{}");
  std::filesystem::create_directory(source / "code");
  convert(source.path(), folder / "out", {.to = "awq"});
  const auto files = content(folder / "out");
  CHECK(files.size() == 9);
  for (const char* name :
       {"vocab.txt", "spiece.model", "tekken.json", "a.tiktoken", "modeling.py", "README.md"}) {
    REQUIRE(files.contains(name));
    CHECK(files.at(name) == concat("this is ", name));
  }
  std::filesystem::remove(source / "config.json");  // the folder may be any
  convert(source.path(), folder / "any", {.to = "tersor"});
  CHECK(content(folder / "any").size() == 2);
}

TEST_CASE("convert: a run does not go on with other settings than it began with") {
  const auto op = quantized_sample(32, 64, {});
  const temporary_folder source, folder;
  write_sample(source, op, op);
  convert(source.path(), folder / "in", {.to = "gptq"});
  const io::conversion c{.to = "tersor", .resume = true, .leave_journal = true};
  convert(folder / "in", folder / "out", c);
  auto config = io::read_json_file(folder / "in" / "config.json");
  config["quantization_config"]["checkpoint_format"] = "gptq_v2";
  io::write_text_file(folder / "in" / "config.json", config.dump());
  CHECK(holds(error_of([&] { convert(folder / "in", folder / "out", c); }), {"--resume: input"}));
}

TEST_CASE("convert: a linear beside embeddings is none of their tables") {
  const op::any_operator op = quantized_sample(32, 64, {});
  const temporary_folder source, folder;
  io::safetensors_writer file;
  io::operator_writer operators(file);
  operators.add("a", op);
  operators.finish();
  for (const char* name : {"embed_vision.embedding_projection.weight", "m.embed_tokens.weight"})
    file.add_values<float>(name, {2, 2}, std::array{1.0F, 2.0F, 3.0F, 4.0F});
  file.write(source / "model.safetensors");
  source.file("config.json", "{}");
  convert(source.path(), folder / "out", {.to = "compressed-tensors"});
  CHECK(io::read_json_file(folder / "out" / "config.json")["quantization_config"]["ignore"] ==
        io::json{"embed_vision.embedding_projection", "lm_head"});
}

}  // namespace convert_tests
}  // namespace tersor
