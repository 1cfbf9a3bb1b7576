// tersor - tests of the built command as its users run it
// SPDX-License-Identifier: MIT
#include "command/program.hpp"

#include <tersor/adapters/lora.hpp>
#include <tersor/io/peft_methods.hpp>
#include <tersor/model/evaluate.hpp>
#include <tersor/model/generate.hpp>
#include <tersor/model/peft_model.hpp>

namespace tersor {
namespace use_tests {

using test::holds;
using test::json_of;
using test::run;
using test::small_model;

std::vector<std::string> with(std::vector<std::string> arguments, std::initializer_list<std::string> more) {
  arguments.insert(arguments.end(), more);
  return arguments;
}

std::vector<int> encode(const model::llama& m, const small_model& files, std::string_view text) {
  auto ids = io::tokenizer(files.path()).encode(text);
  ids.insert(ids.begin(), m.config().bos_token_id);
  return ids;
}

TEST_CASE("command: methods lists the catalog") {
  const auto list = json_of({"methods", "--json"});
  REQUIRE(list.is_array());
  std::set<std::string> ids;
  for (const auto& m : list) {
    for (const char* key : {"id", "family", "title", "arxiv", "header", "guarantee"})
      CHECK(m.at(key).is_string());
    CHECK(std::filesystem::exists(std::filesystem::path(TERSOR_SOURCE_DIR) / "include" /
                                  m.at("header").get<std::string>()));
    for (const auto& option : m.at("options"))
      for (const char* key : {"name", "default", "range"}) CHECK(option.at(key).is_string());
    ids.insert(m.at("id"));
  }
  CHECK(ids.size() == list.size());
  for (const char* id : {"rtn", "gptq", "awq", "svd"}) CHECK(ids.contains(id));
  const auto text = run({"methods"});
  CHECK(text.code == 0);
  for (const auto& id : ids) CHECK(holds(text.out, {id}));
  CHECK(holds(run({"methods", "gptq"}).out, {"2210.17323", "bits", "group_size"}));
}

// Up to rounding: the command lets OpenBLAS choose other kernels than this program does.
TEST_CASE("command: eval, logits and generate give what the library gives") {
  const small_model files;
  const auto m = model::load_llama(files.path());
  const auto ids = encode(m, files, io::read_text_file(files.text_path()));
  const auto expected = model::perplexity(m, ids, {.window = 32, .max_windows = 2});
  for (const auto& path : {files.model(), files.weights().string()}) {
    const auto j = json_of(with(files.eval(path), {"--json"}));
    CHECK(std::abs(j.at("perplexity").get<double>() / expected.perplexity - 1) < 1e-6);
    CHECK(j.at("tokens") == 62);
    CHECK(j.at("windows") == 2);
    CHECK(j.at("seconds").is_number());
  }
  const auto itself = json_of(with(files.eval(files.model()), {"--json", "--against", files.model()}));
  CHECK(itself.at("kl_divergence") == 0.0);
  CHECK(itself.at("same_top_token_rate") == 1.0);

  const std::string prompt = "It was";
  const auto prompt_ids = encode(m, files, prompt);
  for (const bool bos : {true, false}) {
    auto arguments = std::vector<std::string>{"logits", files.model(), "--prompt", prompt, "--json"};
    if (!bos) arguments.push_back("--no-bos");
    const auto j = json_of(arguments);
    const std::vector<int> read(prompt_ids.begin() + (bos ? 0 : 1), prompt_ids.end());
    CHECK(j.at("ids") == read);
    const auto hidden = m.forward(read);
    const auto row = m.logits(hidden.view().rows(hidden.rows() - 1, 1));
    const auto logits = j.at("logits").get<std::vector<float>>();
    REQUIRE(logits.size() == row.values().size());
    float worst = 0, largest = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      worst = std::max(worst, std::abs(logits[i] - row.values()[i]));
      largest = std::max(largest, std::abs(row.values()[i]));
    }
    CHECK(worst < 1e-5F * largest);
  }
  const auto continued = model::generate(m, prompt_ids, {.tokens = 5});
  const auto generated = run({"generate", files.model(), "--prompt", prompt, "--tokens", "5"});
  CHECK(generated.code == 0);
  CHECK(generated.err.empty());
  CHECK(generated.out == prompt + io::tokenizer(files.path()).decode(continued) + "\n");
}

TEST_CASE("command: compress reports what it writes, and what it writes reloads to the same perplexity") {
  const small_model files;
  const auto before = json_of(with(files.eval(files.model()), {"--json"}));
  for (const std::string spec :
       {"rtn(bits=3,group_size=8)", "gptq(bits=3)+svd(rank=2); *.down_proj: rtn(bits=8); *.q_proj: dense",
        "awq|rtn(bits=4,group_size=8)"}) {
    INFO(spec);
    const auto out = files.beside("small");
    const auto report = json_of(
        files.compress(spec, {"--calibration", files.text(), "--calibration-windows", "2", "--evaluate",
                              files.text(), "--max-windows", "2", "--out", out, "--force", "--json"}));
    CHECK(report.at("spec").is_string());
    CHECK(report.at("bytes_before") == std::filesystem::file_size(files.weights()));
    CHECK(report.at("bytes_after") == std::filesystem::file_size(out + "/model.safetensors"));
    CHECK(report.at("perplexity_before") == before.at("perplexity"));
    CHECK(report.at("peak_rss_bytes") > 1 << 20);
    CHECK(report.at("seconds") > 0);
    const auto after = json_of(with(files.eval(out), {"--json"})).at("perplexity").get<double>();
    CHECK(std::abs(after / report.at("perplexity_after").get<double>() - 1) < 1e-6);

    // inspect finds the same operators, sizes and errors
    const auto listed = json_of({"inspect", out, "--json"});
    CHECK(listed.at("file_bytes") == report.at("bytes_after"));
    std::map<std::string, io::json> entries;
    std::size_t bytes = 0;
    for (const auto& e : listed.at("entries")) {
      entries[e.at("name")] = e;
      bytes += e.at("bytes").get<std::size_t>();
    }
    CHECK(listed.at("tensor_bytes") == bytes);
    CHECK(bytes == io::checkpoint(out).data_bytes());
    CHECK_FALSE(report.at("layers").empty());
    std::size_t layer_bytes = 0, weights = 0;
    for (const auto& l : report.at("layers")) {
      const auto& e = entries.at(l.at("name"));
      for (const char* key : {"shape", "bits_per_weight", "bytes", "relative_error", "weighted_error"})
        CHECK(e.at(key) == l.at(key));
      CHECK(l.at("seconds").is_number());
      layer_bytes += l.at("bytes").get<std::size_t>();
      weights += l.at("shape")[0].get<std::size_t>() * l.at("shape")[1].get<std::size_t>();
    }
    CHECK(std::abs(report.at("bits_per_weight").get<double>() -
                   8.0 * static_cast<double>(layer_bytes) / static_cast<double>(weights)) < 1e-9);
  }
}

TEST_CASE("command: without --json people read a table, and a pipe gets no progress line") {
  const small_model files;
  const auto compressed = run(files.compress("rtn", {"--out", files.beside("small")}));
  CHECK(compressed.code == 0);
  CHECK(compressed.err.empty());
  CHECK(holds(compressed.out, {"model.layers.0.mlp.up_proj", "bits per weight", "bytes"}));
  for (const auto& path : {files.model(), files.weights().string(), files.beside("small")}) {
    const auto listed = run({"inspect", path});
    CHECK(listed.code == 0);
    CHECK(listed.err.empty());
    CHECK(holds(listed.out, {"model.layers.0.mlp.up_proj", "model.embed_tokens.weight", "4096 x 24"}));
  }
  CHECK(holds(run(files.eval(files.model())).out, {"perplexity", "62 predictions in 2 windows"}));
  CHECK(run({"logits", files.model(), "--prompt", "It was"}).code == 0);
}

TEST_CASE("command: a table with more rows than the vocabulary predicts, without text, what it has not") {
  const small_model files;
  auto tokenizer = io::read_json_file(files.path() / "tokenizer.json");
  io::json bytes = io::json::object();
  for (const auto& item : tokenizer["model"]["vocab"].items())
    if (item.value().get<int>() <= 256) bytes[item.key()] = item.value();
  tokenizer["model"]["vocab"] = bytes;
  tokenizer["model"]["merges"] = io::json::array();
  io::write_text_file(files.path() / "tokenizer.json", tokenizer.dump());
  const auto generated = run({"generate", files.model(), "--prompt", "The", "--tokens", "20"});
  CHECK(generated.code == 0);
  CHECK(generated.out.starts_with("The"));
  CHECK(run({"logits", files.model(), "--prompt", "The"}).code == 0);
}

TEST_CASE("command: a model is replaced in its place with --force only") {
  const small_model files;
  const auto bytes = io::read_text_file(files.weights());
  test::check_refused(run(files.compress("rtn", {"--out", files.model()})),
                      {"--out", files.model(), "--force"});
  CHECK(io::read_text_file(files.weights()) == bytes);
  const auto report = json_of(files.compress("rtn", {"--out", files.model(), "--force", "--json"}));
  CHECK(report.at("bytes_before") == bytes.size());
  CHECK(report.at("bytes_after") == std::filesystem::file_size(files.weights()));
  CHECK(run(files.eval(files.model())).code == 0);
  CHECK(files.folder().count() == 2);  // the model and the text
}

TEST_CASE("command: merge stores dense layers, or compressed ones with their errors") {
  const small_model files;
  const auto base = files.beside("base"), adapter = files.beside("adapter");
  json_of(files.compress("rtn(bits=8,group_size=8)", {"--out", base, "--json"}));
  const auto m = model::load_llama(base);
  const adapters::lora method{.rank = 2, .alpha = 4};
  io::peft_adapter a{.config = io::make_peft_config(method, {"q_proj", "down_proj"}), .modules = {}};
  random_generator random(5);
  for (const auto& l : m.linear_shapes())
    if (l.name.ends_with("q_proj") || l.name.ends_with("down_proj")) {
      auto state = method.init<float>(m.linear(l.name), random);
      for (float& v : state.tensors()[1].value.values()) v = static_cast<float>(0.1 * random.normal());
      a.modules.emplace(l.name, std::move(state));
    }
  io::write_peft(a, adapter);
  const auto merge = [&](const std::string& out, std::initializer_list<std::string> more) {
    return json_of(with({"merge", base, "--adapter", adapter, "--out", files.beside(out), "--json"}, more));
  };
  const auto dense = merge("dense", {});
  CHECK(dense.at("worst_relative_error") == 0.0);
  CHECK(dense.at("layers").size() == a.modules.size());
  const auto unmerged = json_of(with(files.eval(base), {"--adapter", adapter, "--json"}));
  const auto merged = json_of(with(files.eval(files.beside("dense")), {"--json"}));
  CHECK(std::abs(merged.at("perplexity").get<double>() / unmerged.at("perplexity").get<double>() - 1) < 1e-4);

  const auto j = merge("small", {"--as", "rtn(bits=8,group_size=8); *.down_proj: rtn(bits=3,group_size=8)"});
  CHECK(j.at("bytes") == std::filesystem::file_size(files.beside("small") + "/model.safetensors"));
  CHECK(j.at("bytes") < dense.at("bytes"));
  CHECK(j.at("layers").size() == a.modules.size());
  const auto small = model::load_llama(files.beside("small"));
  std::map<std::string, io::json> inspected;
  const auto listed = json_of({"inspect", files.beside("small"), "--json"});
  for (const auto& e : listed.at("entries")) inspected[e.at("name")] = e;
  double worst = 0;
  for (const auto& l : j.at("layers")) {
    const auto name = l.at("name").get<std::string>();
    INFO(name);
    // the errors are those of the weights in the file
    const auto whole = a.modules.at(name).effective({m.linear(name).to_dense(), {}}).weight;
    error_statistics errors;
    errors.add(whole, small.linear(name).to_dense());
    CHECK(std::abs(l.at("relative_error").get<double>() - errors.relative_frobenius()) <= 1e-6);
    CHECK(l.at("change_kept").get<double>() < 1);
    CHECK(l.at("form") == small.linear(name).kind());
    CHECK(inspected.at(name).at("relative_error") == l.at("relative_error"));
    worst = std::max(worst, errors.relative_frobenius());
  }
  CHECK(j.at("worst_layer").get<std::string>().ends_with("down_proj"));
  CHECK(std::abs(j.at("worst_relative_error").get<double>() - worst) <= 1e-6);
  // layers without an adapter stay what they were
  CHECK(small.linear("model.layers.0.self_attn.k_proj").to_dense() ==
        m.linear("model.layers.0.self_attn.k_proj").to_dense());
  const auto text = run({"merge", base, "--adapter", adapter, "--out", files.beside("more"), "--as", "nf4"});
  CHECK(text.code == 0);
  CHECK(holds(text.out, {"model.layers.0.mlp.down_proj", "of the change kept", "largest error"}));
  for (const std::string spec : {"gptq", "awq|rtn"})
    test::check_refused(
        run({"merge", base, "--adapter", adapter, "--out", files.beside("none"), "--as", spec}),
        {"--as", "q_proj", spec, "no calibration"});
  test::check_refused(
      run({"merge", base, "--adapter", adapter, "--out", files.beside("none"), "--as", "nf4; *.k_proj: rtn"}),
      {"*.k_proj", "a pattern that matches a layer"});
  CHECK_FALSE(std::filesystem::exists(files.beside("none")));
}

}  // namespace use_tests
}  // namespace tersor
