// tersor - tests of `tersor finetune`: adapters and whole models, runs that are interrupted or go wrong
// SPDX-License-Identifier: MIT
#include "command/program.hpp"

namespace tersor {
namespace finetune_tests {

using test::check_refused;
using test::holds;
using test::json_of;
using test::run;
using test::small_model;

/// A short run over the small model's own text.
std::vector<std::string> finetune(const small_model& files, const std::string& out,
                                  std::initializer_list<std::string> more) {
  std::vector<std::string> arguments{
      "finetune",        files.model(), "--data", files.text(), "--validate", files.text(), "--out",
      files.beside(out), "--window",    "32",     "--batch",    "1",          "--warmup",   "2"};
  arguments.insert(arguments.end(), more);
  return arguments;
}
std::string adapter_bytes(const small_model& files, const std::string& out) {
  return io::read_text_file(files.beside(out) + "/adapter_model.safetensors");
}

TEST_CASE("command: finetune lowers the perplexity that eval then finds with the adapter") {
  const small_model files;
  const auto j = json_of(
      finetune(files, "adapter",
               {"--adapter", "lora(rank=4,alpha=8)", "--steps", "30", "--learning-rate", "2e-2", "--json"}));
  CHECK(j.at("steps") == 30);
  CHECK(j.at("first_step") == 1);
  CHECK(j.at("losses").size() == 30);
  index_t expected = 0;
  for (const auto& l : model::load_llama(files.path()).linear_shapes()) expected += 4 * (l.in + l.out);
  CHECK(j.at("trainable") == expected);
  CHECK(j.at("perplexity_after").get<double>() < 0.9 * j.at("perplexity_before").get<double>());
  CHECK(j.at("tape_bytes").get<index_t>() > 0);
  CHECK(j.at("optimizer_bytes") == 8 * expected);
  const auto again = json_of({"eval", files.model(), "--text", files.text(), "--window", "32", "--adapter",
                              files.beside("adapter"), "--json"});
  CHECK(again.at("perplexity").get<double>() > 0);
}

TEST_CASE("command: finetune of all weights writes a model") {
  const small_model files;
  const auto j = json_of(
      finetune(files, "model2", {"--all-weights", "--steps", "20", "--learning-rate", "3e-3", "--json"}));
  CHECK(j.at("adapter") == "all weights");
  CHECK(j.at("perplexity_after").get<double>() < 0.9 * j.at("perplexity_before").get<double>());
  CHECK_NOTHROW(model::load_llama(files.beside("model2")));
  check_refused(run(finetune(files, "none", {"--all-weights", "--adapter", "lora"})), {"--adapter", "lora"});
  check_refused(run(finetune(files, "none", {})), {"--adapter", "--all-weights"});
}

TEST_CASE("command: an interrupted finetune goes on from its state to the same adapter") {
  const small_model files;
  const std::string spec = "adalora(rank=3,target_rank=1,warmup=5)";
  const auto with_state = [&](const std::string& out, const std::string& steps) {
    return finetune(
        files, out,
        {"--adapter", spec, "--steps", steps, "--state", files.beside("state"), "--save-every", "3"});
  };
  const auto line = test::command_line(with_state("adapter", "120"));
  const auto stopped =
      test::run_shell(line + " & p=$!; until [ -e " + test::shell_word(files.beside("state")) +
                      " ]; do :; done; kill -TERM $p; wait $p");
  CHECK(stopped.code == 143);
  CHECK(holds(stopped.err, {"interrupted", "go on from", files.beside("state")}));
  CHECK_FALSE(std::filesystem::exists(files.beside("adapter")));
  // a state is of one run only
  check_refused(run(with_state("other", "121")), {files.beside("state"), "121 steps", "as this one"});
  auto arguments = with_state("adapter", "120");
  arguments.emplace_back("--json");
  const auto j = json_of(arguments);
  CHECK(j.at("first_step").get<index_t>() > 3);
  CHECK(j.at("steps") == 120);
  CHECK(run(finetune(files, "whole", {"--adapter", spec, "--steps", "120"})).code == 0);
  CHECK(adapter_bytes(files, "adapter") == adapter_bytes(files, "whole"));
}

TEST_CASE("command: finetune refuses what cannot be trained, and keeps the last good adapter") {
  const small_model files;
  const auto refused = [&](std::initializer_list<std::string> more,
                           std::initializer_list<std::string_view> parts) {
    check_refused(run(finetune(files, "none", more)), parts);
    CHECK_FALSE(std::filesystem::exists(files.beside("none")));
  };
  refused({"--adapter", "lorra"}, {"lorra", "lora"});
  refused({"--adapter", "lora(rnk=4)"}, {"rnk", "rank"});
  refused({"--adapter", "lamda(rank=5000)"}, {"lamda: rank", "5000"});
  refused({"--adapter", "lora", "--targets", "q_prj"}, {"q_prj", "q_proj"});
  refused({"--adapter", "lora", "--steps", "0"}, {"steps"});
  refused({"--adapter", "lora", "--state", files.model()}, {files.model()});
  refused({"--adapter", "lora", "--state", files.beside("nowhere") + "/s"}, {"nowhere", "can be written to"});
  refused({"--adapter", "lora", "--state", files.text()}, {"--state", files.text(), "reads"});
  refused({"--adapter", "bone(mini=10000000)"}, {"bone: mini", "10000000", "a divisor"});
  check_refused(run({"finetune", files.model(), "--data", files.text(), "--validate", files.text(), "--out",
                     files.beside("none"), "--adapter", "lora", "--window", "32", "--batch", "999999999999"}),
                {"batch", "999999999999", "at most"});
  // a rate that drives the loss out of the numbers: the error names the step, the folder has what came before
  const auto result =
      run(finetune(files, "kept", {"--adapter", "lora(rank=2)", "--steps", "40", "--learning-rate", "1e30"}));
  check_refused(result, {"tersor: finetune: step", "finite", files.beside("kept")});
  CHECK(json_of(
            {"eval", files.model(), "--text", files.text(), "--window", "32", "--max-windows", "1", "--json"})
            .at("perplexity")
            .get<double>() > 0);
  CHECK(std::filesystem::exists(files.beside("kept") + "/adapter_model.safetensors"));
}

TEST_CASE("command: finetune and merge do not remove what they read") {
  const small_model files;
  const auto everything = files.folder().path().string(), adapter = files.beside("adapter");
  const auto weights = io::read_text_file(files.weights());
  const auto into = [&](const std::string& out, std::initializer_list<std::string> more) {
    std::vector<std::string> arguments{"finetune",   files.model(), "--data",   files.text(), "--validate",
                                       files.text(), "--out",       out,        "--force",    "--adapter",
                                       "lora",       "--window",    "32",       "--batch",    "1",
                                       "--steps",    "1",           "--warmup", "0"};
    arguments.insert(arguments.end(), more);
    return run(arguments);
  };
  check_refused(into(everything, {}), {"--out", everything, "which would be removed"});
  check_refused(into(files.model(), {}), {"--out", files.model(), "which would be removed"});
  std::filesystem::create_directory(adapter);
  check_refused(into(adapter, {"--state", adapter + "/state"}), {"--out", adapter, "/state"});
  CHECK(into(adapter, {}).code == 0);
  for (const auto& out : {everything, adapter})
    check_refused(run({"merge", files.model(), "--adapter", adapter, "--out", out, "--force"}),
                  {"--out", out, "which would be removed"});
  CHECK(io::read_text_file(files.weights()) == weights);
  // the model itself may be replaced by what it becomes
  CHECK(run({"merge", files.model(), "--adapter", adapter, "--out", files.model(), "--force"}).code == 0);
}

}  // namespace finetune_tests
}  // namespace tersor
