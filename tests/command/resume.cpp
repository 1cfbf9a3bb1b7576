// tersor - tests of runs of the built command that end early and go on
// SPDX-License-Identifier: MIT
#include "command/program.hpp"

#include <tersor/model/llama_gguf_writer.hpp>

namespace tersor {
namespace resume_tests {

using test::check_refused;
using test::holds;
using test::json_of;
using test::run;
using test::run_shell;
using test::small_model;

/// Every file of a folder with its bytes.
std::map<std::string, std::string> content(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& file : std::filesystem::directory_iterator(folder))
    files[file.path().filename().string()] = io::read_text_file(file.path());
  return files;
}

/// The embedded model as a GGUF file whose linears are Q8_0.
std::string embedded_gguf(const small_model& files) {
  const auto path = files.beside("lm.gguf");
  model::save_llama_gguf(model::load_llama(test::embedded_model),
                         io::read_json_file(test::embedded_model / "tokenizer.json"), "tokenizer.json", path);
  return path;
}

/// The folder that a run with --resume works in.
std::filesystem::path partial_of(const std::filesystem::path& out) {
  return out.parent_path() / concat(".", out.filename().string(), ".tersor-partial");
}

/// Begins `tersor ARGUMENTS...`, and runs `then` in the shell when the journal has its settings and `parts`
/// finished parts; the shell knows the command as $p.
test::outcome run_until(const std::vector<std::string>& arguments, const std::filesystem::path& journal,
                        int parts, const std::string& then) {
  return run_shell(concat(test::command_line(arguments), " & p=$!; until [ \"$(cat ",
                          test::shell_word(journal.string()), " 2>/dev/null | wc -l)\" -ge ", parts + 1,
                          " ]; do :; done; ", then, "; wait $p"));
}

TEST_CASE("command: a compression that is killed after some blocks goes on to the same bytes") {
  const small_model files;
  const bool of_gguf = GENERATE(false, true);
  const auto lm = of_gguf ? embedded_gguf(files) : files.beside("lm");
  if (!of_gguf) std::filesystem::copy(test::embedded_model, lm);
  const auto whole = files.beside("whole"), out = files.beside("part");
  const auto arguments = [&](const std::string& folder) {
    return std::vector<std::string>{"compress",
                                    lm,
                                    "--with",
                                    "gptq(bits=4, group_size=64)",
                                    "--calibration",
                                    files.text(),
                                    "--window",
                                    "64",
                                    "--calibration-windows",
                                    "4",
                                    "--resume",
                                    "--shard-size",
                                    "1MB",
                                    "--json",
                                    "--out",
                                    folder};
  };
  json_of(arguments(whole));
  const auto partial = partial_of(out);
  const auto killed = run_until(arguments(out), partial / ".journal", 2, "kill -KILL $p");
  CHECK(killed.code == 137);
  CHECK(std::filesystem::exists(partial));
  CHECK_FALSE(std::filesystem::exists(out));
  auto other = arguments(out);
  other[3] = "gptq(bits=3, group_size=64)";
  check_refused(run(other), {"--resume: with", "bits=3", "gptq"});
  // a file that was written anew is another input
  const auto changed = of_gguf ? lm : (std::filesystem::path(lm) / "config.json").string();
  const auto time = std::filesystem::last_write_time(changed);
  std::filesystem::last_write_time(changed, time + std::chrono::seconds(5));
  check_refused(run(arguments(out)), {"--resume: inputs", changed});
  std::filesystem::last_write_time(changed, time);
  const auto j = json_of(arguments(out));
  CHECK(j["layers"].size() == 42);
  CHECK_FALSE(std::filesystem::exists(partial));
  CHECK((content(out) == content(whole)));
}

TEST_CASE("command: a data-free compression of a GGUF file that is killed goes on to the same bytes") {
  const small_model files;
  const auto gguf = embedded_gguf(files), whole = files.beside("whole"), out = files.beside("part");
  const auto arguments = [&](const std::string& folder) {
    return std::vector<std::string>{"compress", gguf,           "--with", "rtn(bits=3,group_size=32)",
                                    "--resume", "--shard-size", "1MB",    "--json",
                                    "--out",    folder};
  };
  const auto expected = json_of(arguments(whole));
  CHECK(run_until(arguments(out), partial_of(out) / ".journal", 1, "kill -KILL $p").code == 137);
  // what was being written is not part of the result
  io::write_text_file(partial_of(out) / ".shard-00001.tersor-0", "half");
  const auto j = json_of(arguments(out));
  CHECK(j["bytes_after"] == expected["bytes_after"]);
  CHECK((content(out) == content(whole)));
  CHECK(run(files.eval(out)).code == 0);
}

TEST_CASE("command: a conversion of a GGUF file that is killed goes on to the same bytes") {
  const small_model files;
  const auto gguf = embedded_gguf(files), whole = files.beside("whole"), out = files.beside("part");
  // other formats are written from what was unpacked before, each with a journal
  const auto [to, journal] = GENERATE(table<std::string, std::string>(
      {{"tersor", ".journal"}, {"dense", ".unpacked/.journal"}, {"dense", ".journal"}}));
  const auto arguments = [&, to = to](const std::string& folder) {
    return std::vector<std::string>{"convert",  gguf,           folder, "--to",  to,
                                    "--resume", "--shard-size", "1MB",  "--json"};
  };
  const auto expected = json_of(arguments(whole));
  CHECK(run_until(arguments(out), partial_of(out) / journal, 2, "kill -KILL $p").code == 137);
  CHECK(std::filesystem::exists(partial_of(out)));
  auto other = arguments(out);
  other[7] = "2MB";
  check_refused(run(other), {"--resume: shard_size", "2"});
  CHECK(json_of(arguments(out))["bytes_after"] == expected["bytes_after"]);
  CHECK_FALSE(std::filesystem::exists(partial_of(out)));
  CHECK((content(out) == content(whole)));
}

TEST_CASE("command: two runs do not work in one folder") {
  const small_model files;
  const auto out = files.beside("part");
  const std::vector<std::string> arguments{
      "convert", test::embedded_model.string(), out, "--to", "dense", "--dtype", "f32", "--resume", "--json"};
  const auto both = run_until(arguments, partial_of(out) / ".journal", 1,
                              "kill -STOP $p; " + test::command_line(arguments) + "; kill -CONT $p");
  CHECK(both.code == 0);
  CHECK(holds(both.err, {"tersor: ", out, "another run writes to it"}));
  CHECK_FALSE(std::filesystem::exists(std::filesystem::path(out) / ".lock"));
  CHECK(run(files.eval(out)).code == 0);
}

TEST_CASE("command: a journal is believed only where the folder agrees with it") {
  const small_model files;
  const auto out = files.beside("part"), lm = files.beside("caf\xE9");  // a path that is not UTF-8
  std::filesystem::copy(test::embedded_model, lm);
  const std::vector<std::string> arguments{"convert", lm, out, "--to", "dense", "--dtype", "f32", "--resume"};
  const auto journal = partial_of(out) / ".journal";
  CHECK(run_until(arguments, journal, 1, "kill -KILL $p").code == 137);
  const auto text = io::read_text_file(journal);
  io::write_text_file(journal, text.substr(0, text.find('\n') + 1) + "{\"finished\":123}\n");
  check_refused(run(arguments), {".journal", "123", "weight files"});
  io::write_text_file(journal, text);
  CHECK(run(arguments).code == 0);
}

TEST_CASE("command: a run that could not be renamed is finished by the same command") {
  const small_model files;
  const auto lm = test::embedded_model.string(), small = files.beside("small");
  const auto whole = files.beside("whole"), out = files.beside("part");
  std::vector<std::string> arguments;
  SECTION("compress") {
    arguments = {"compress",   lm,         "--with", "gptq(bits=4, group_size=64)", "--calibration",
                 files.text(), "--window", "64",     "--calibration-windows",       "4",
                 "--resume",   "--json",   "--out"};
  }
  SECTION("convert") {
    json_of({"compress", lm, "--with", "rtn(bits=4, group_size=64)", "--out", small, "--json"});
    arguments = {"convert", small, "--to", "dense", "--dtype", "f32", "--resume", "--json"};
  }
  const auto to = [&](const std::string& folder) {
    auto all = arguments;
    all.push_back(folder);
    return all;
  };
  const auto first = json_of(to(whole));
  // a folder that appears in the last moment stops the rename
  const auto partial = partial_of(out);
  const auto stopped = run_until(to(out), partial / ".journal", 1,
                                 "kill -STOP $p; mkdir " + test::shell_word(out) + "; kill -CONT $p");
  check_refused(stopped, {out, "exists"});
  CHECK(holds(io::read_text_file(partial / ".journal"), {"finished"}));
  std::filesystem::remove(out);
  const auto written = std::filesystem::last_write_time(partial / "model.safetensors");
  const auto j = json_of(to(out));
  CHECK(j["bytes_after"] == first["bytes_after"]);
  CHECK(std::filesystem::last_write_time(out + "/model.safetensors") == written);
  CHECK_FALSE(std::filesystem::exists(partial));
  CHECK((content(out) == content(whole)));
}

}  // namespace resume_tests
}  // namespace tersor
