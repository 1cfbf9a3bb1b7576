// tersor - tests of the built command on GGUF files
// SPDX-License-Identifier: MIT
#include "command/program.hpp"

#include <tersor/io/safetensors.hpp>
#include <tersor/io/text_start.hpp>
#include <tersor/model/llama_gguf_writer.hpp>

namespace tersor {
namespace gguf_tests {

using test::check_refused;
using test::holds;
using test::json_of;
using test::run;
using test::small_model;

/// The small model beside itself as a GGUF file.
std::string gguf_of(const small_model& files, ggml_type type) {
  const auto path = files.beside("model.gguf");
  model::save_llama_gguf(model::load_llama(files.path()), io::read_json_file(files.path() / "tokenizer.json"),
                         "tokenizer.json", path, {.type = type});
  return path;
}

TEST_CASE("command: a GGUF file is a model") {
  const small_model files;
  const auto gguf = gguf_of(files, ggml_type::f32);
  auto of_folder = files.eval(files.model()), of_file = files.eval(gguf);
  of_folder.emplace_back("--json");
  of_file.emplace_back("--json");
  CHECK(json_of(of_folder).at("perplexity") == json_of(of_file).at("perplexity"));
  of_file.insert(of_file.end(), {"--against", files.model()});
  CHECK(json_of(of_file).at("kl_divergence") == 0.0);
  for (const std::vector<std::string>& options :
       {std::vector<std::string>{"generate", "--tokens", "5"}, std::vector<std::string>{"logits"}}) {
    const auto of = [&](const std::string& model) {
      auto arguments = options;
      arguments.insert(arguments.begin() + 1, {model, "--prompt", "It was"});
      return run(arguments);
    };
    const auto a = of(files.model()), b = of(gguf);
    CHECK(a.code == 0);
    CHECK(b.code == 0);
    CHECK(a.out == b.out);
  }
}

TEST_CASE("command: convert writes GGUF files and reads them back") {
  const small_model files;
  const auto lm = test::embedded_model.string();
  const auto perplexity = [&](const std::string& model) {
    auto arguments = files.eval(model);
    arguments.emplace_back("--json");
    return json_of(arguments)["perplexity"].get<double>();
  };
  const auto convert = [&](const std::string& in, const std::string& out, std::vector<std::string> options) {
    options.insert(options.begin(), {"convert", in, out, "--json", "--to"});
    return json_of(options);
  };
  // reals stay what they are
  const auto reals = files.beside("reals.gguf");
  const auto report = convert(lm, reals, {"gguf"});
  CHECK(report["bytes_after"] == std::filesystem::file_size(reals));
  CHECK(perplexity(reals) == perplexity(lm));
  // blocks that were made with importances are copied, whatever way they go
  const auto blocks = files.beside("blocks"), file = files.beside("blocks.gguf");
  json_of({"compress", lm, "--with", "ggml(type=Q4_K)", "--calibration", files.text(), "--window", "64",
           "--out", blocks, "--json"});
  const auto j = convert(blocks, file, {"gguf"});
  CHECK(j["linears"] == 42);
  const double expected = perplexity(blocks);
  CHECK(perplexity(file) == expected);
  const auto again = files.beside("again.gguf"), folder = files.beside("folder"),
             dense = files.beside("dense");
  CHECK(convert(file, again, {"gguf", "--type", "Q4_K"})["linears"] == 42);
  CHECK(convert(lm, files.beside("eight.gguf"), {"gguf", "--type", "Q8_0"})["dense_linears"] == 0);
  const io::gguf_file a(file), b(again);
  for (const auto& t : a.tensors())
    if (t.type == ggml_type::q4_k) CHECK(std::ranges::equal(a.bytes(t.name), b.bytes(t.name)));
  // without a type everything is copied, the table's blocks too
  const auto copy = files.beside("copy.gguf");
  convert(file, copy, {"gguf"});
  const io::gguf_file original(file), copied(copy);
  CHECK(copied.keys().size() == original.keys().size());
  for (const auto& e : original.keys()) {
    INFO(e.key);
    CHECK(std::ranges::equal(copied.entry(e.key).value, e.value));
  }
  for (const auto& t : original.tensors()) {
    INFO(t.name);
    CHECK(std::ranges::equal(copied.bytes(t.name), original.bytes(t.name)));
  }
  convert(file, folder, {"tersor"});
  CHECK(perplexity(folder) == expected);
  convert(file, dense, {"dense", "--dtype", "f32"});
  CHECK(std::abs(perplexity(dense) / expected - 1) < 1e-5);

  const auto normal = files.beside("normal"), none = files.beside("none");
  json_of(files.compress("nf4", {"--out", normal, "--json"}));
  check_refused(run({"convert", normal, none, "--to", "gguf"}), {"model.layers.0", "codebook", "blocks"});
  check_refused(run({"convert", lm, none, "--to", "gguf", "--type", "Q4_K_M"}), {"--type", "Q4_K_M"});
  check_refused(run({"convert", lm, none, "--to", "dense", "--type", "Q8_0"}), {"--type", "--to gguf"});
  check_refused(run({"convert", lm, reals, "--to", "gguf"}), {"OUT", reals, "--force"});
  check_refused(run({"convert", lm, none, "--to", "gguf", "--resume"}), {"--resume", "--to gguf"});
  check_refused(run({"convert", lm, none, "--to", "gguf", "--dtype", "f16"}), {"--dtype", "f16", "--type"});
  check_refused(run({"convert", file, none, "--to", "gptq"}), {"model.layers.0", "ggml_blocks"});
  CHECK_FALSE(std::filesystem::exists(none));
}

TEST_CASE("command: a beginning-of-text token stands before a text if the tokenizer wants one") {
  const small_model files;
  const auto logits = [&](const std::string& model, bool without = false) {
    std::vector<std::string> arguments{"logits", model, "--prompt", "It was"};
    if (without) arguments.emplace_back("--no-bos");
    const auto result = run(arguments);
    INFO(result.err);
    CHECK(result.code == 0);
    return result.out;
  };
  const auto with = logits(files.model()), without = logits(files.model(), true);
  CHECK(with != without);
  io::write_text_file(files.path() / "tokenizer_config.json", R"({"add_bos_token": false})");
  CHECK(logits(files.model()) == without);
  const auto gguf = files.beside("model.gguf"), folder = files.beside("folder");
  json_of({"convert", files.model(), gguf, "--to", "gguf", "--json"});
  CHECK_FALSE(io::gguf_file(gguf).get<bool>("tokenizer.ggml.add_bos_token"));
  CHECK(logits(gguf) == without);
  json_of({"convert", gguf, folder, "--to", "tersor", "--json"});
  CHECK(logits(folder) == without);
  // the token itself is not lost
  CHECK(io::read_json_file(std::filesystem::path(folder) / "config.json")["bos_token_id"] == 0);
  // a template decides before other files do
  auto tokenizer = io::read_json_file(files.path() / "tokenizer.json");
  tokenizer["post_processor"] = io::text_start_template({{"<|endoftext|>", 0}});
  io::write_text_file(files.path() / "tokenizer.json", tokenizer.dump());
  CHECK(logits(files.model()) == with);
}

TEST_CASE("command: blocks of a GGUF file become what other tools hold of the same values") {
  const small_model files;
  const auto perplexity = [&](const std::string& model) {
    auto arguments = files.eval(model);
    arguments.emplace_back("--json");
    return json_of(arguments)["perplexity"].get<double>();
  };
  const std::vector<std::pair<std::string, std::vector<std::string>>> formats{
      {"Q4_0", {"gptq", "gptq_v2", "awq", "compressed-tensors"}},
      {"Q5_0", {"compressed-tensors"}},
      {"Q6_K", {"compressed-tensors"}},
      {"Q8_0", {"gptq", "gptq_v2", "compressed-tensors"}},
      {"MXFP4", {"compressed-tensors"}}};
  const auto source = files.beside("source.gguf"), none = files.beside("none");
  for (const auto& [type, names] : formats) {
    json_of({"convert", test::embedded_model.string(), source, "--to", "gguf", "--type", type, "--force",
             "--json"});
    const double expected = perplexity(source);
    for (const auto& name : names) {
      INFO(type << " " << name);
      const auto out = files.beside(type + name), back = files.beside("back");
      CHECK(json_of({"convert", source, out, "--to", name, "--json"})["linears"] == 42);
      CHECK(std::abs(perplexity(out) / expected - 1) < 1e-5);
      // no value is rounded: the dense tensors are the same, whatever way they go
      json_of({"convert", source, back + "1", "--to", "dense", "--dtype", "f32", "--force", "--json"});
      json_of({"convert", out, back + "2", "--to", "dense", "--dtype", "f32", "--force", "--json"});
      const io::safetensors_file a(back + "1/model.safetensors"), b(back + "2/model.safetensors");
      for (const auto& tensor : a.names()) {
        INFO(tensor);
        CHECK(a.read_tensor<float>(tensor) == b.read_tensor<float>(tensor));
      }
    }
    check_refused(run({"convert", source, none, "--to", "bnb-nf4"}), {"model.layers.0", "operator"});
  }
  json_of({"convert", test::embedded_model.string(), source, "--to", "gguf", "--type", "F16", "--force",
           "--json"});
  check_refused(run({"convert", source, none, "--to", "awq"}), {"source.gguf", "dense", "tersor compress"});
  CHECK_FALSE(std::filesystem::exists(none));
}

TEST_CASE("command: inspect lists keys and tensors of a GGUF file") {
  const small_model files;
  const auto gguf = gguf_of(files, ggml_type::q8_0);
  const auto j = json_of({"inspect", gguf, "--json"});
  CHECK(j.at("file_bytes") == std::filesystem::file_size(gguf));
  CHECK(j.at("keys").at("general.architecture") == "llama");
  CHECK(j.at("keys").at("llama.block_count") == 2);
  CHECK(j.at("keys").at("tokenizer.ggml.tokens") == "4096 values of type string");
  CHECK(j.at("entries").size() == 20);
  CHECK(j.at("entries")[0].at("name") == "token_embd.weight");
  CHECK(j.at("entries")[0].at("shape") == std::vector<int>{4096, 24});
  CHECK(holds(run({"inspect", gguf}).out,
              {"general.architecture = \"llama\"", "blk.1.ffn_down.weight", "F16"}));
}

TEST_CASE("command: compress of a GGUF file writes a folder") {
  const small_model files;
  const auto gguf = gguf_of(files, ggml_type::f32), out = files.beside("small");
  const auto report = json_of({"compress", gguf, "--with", "rtn(bits=4,group_size=8)", "--evaluate",
                               files.text(), "--window", "32", "--max-windows", "2", "--out", out, "--json"});
  CHECK(report.at("bytes_before") == std::filesystem::file_size(gguf));
  auto eval = files.eval(out);
  eval.emplace_back("--json");
  const double after = json_of(eval).at("perplexity");
  CHECK(std::abs(after / report.at("perplexity_after").get<double>() - 1) < 1e-6);
  // the file itself is never inside what is replaced
  check_refused(run({"compress", gguf, "--with", "rtn", "--out", files.folder().path().string(), "--force"}),
                {"--out", "model.gguf"});
}

TEST_CASE("command: a broken GGUF file is named") {
  const small_model files;
  io::write_text_file(files.beside("x.gguf"), "GGUF");
  for (const char* command : {"eval", "inspect"}) {
    std::vector<std::string> arguments{command, files.beside("x.gguf")};
    if (std::string_view(command) == "eval") arguments.insert(arguments.end(), {"--text", files.text()});
    check_refused(run(arguments), {"x.gguf", "cut off"});
  }
}

}  // namespace gguf_tests
}  // namespace tersor
