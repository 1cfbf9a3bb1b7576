// tersor - tests of `tersor convert`, of shards, and of runs that are killed and go on
// SPDX-License-Identifier: MIT
#include "command/program.hpp"

#include <sys/wait.h>

namespace tersor {
namespace convert_tests {

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

TEST_CASE("command: convert goes through the formats and eval reads each") {
  const small_model files;
  const auto integers = files.beside("integers"), normal = files.beside("normal");
  const auto lm = test::embedded_model.string();
  json_of({"compress", lm, "--with", "rtn(bits=4, group_size=64, scheme=sym_unsigned)", "--out", integers,
           "--json"});
  json_of({"compress", lm, "--with", "nf4", "--out", normal, "--json"});
  const auto perplexity = [&](const std::string& model) {
    auto arguments = files.eval(model);
    arguments.push_back("--json");
    return json_of(arguments)["perplexity"].get<double>();
  };
  const double expected = perplexity(integers);
  for (const std::string to : {"gptq", "gptq_v2", "awq", "compressed-tensors", "tersor"}) {
    const auto out = files.beside("as-" + to);
    const auto j = json_of({"convert", integers, out, "--to", to, "--json", "--shard-size", "2MB"});
    CHECK(j["from"] == "tersor");
    CHECK(j["to"] == to);
    CHECK(j["linears"] == 42);
    CHECK(j["peak_rss_bytes"].get<std::uint64_t>() > 0);
    CHECK(j["bytes_after"] == io::checkpoint(out).file_bytes());
    CHECK(io::checkpoint(out).files().size() > 1);
    CHECK(perplexity(out) == expected);
  }
  json_of({"convert", normal, files.beside("bnb"), "--to", "bnb-nf4", "--json"});
  CHECK(perplexity(files.beside("bnb")) == perplexity(normal));
  json_of(
      {"convert", files.beside("as-gptq"), files.beside("f32"), "--to", "dense", "--dtype", "f32", "--json"});
  CHECK(io::checkpoint(files.beside("f32")).entry("model.layers.0.mlp.up_proj.weight").dtype == dtype::f32);
  const auto text = run({"convert", integers, files.beside("text"), "--to", "gptq"});
  CHECK(text.out.starts_with("tersor -> gptq: 42 linears, 0 that stay dense; "));
}

TEST_CASE("command: convert refuses by name and writes nothing") {
  const small_model files;
  const auto out = files.beside("out"), three = files.beside("three");
  json_of(files.compress("rtn(bits=3, group_size=8)", {"--out", three, "--json"}));
  const auto entries = files.folder().count();
  check_refused(run({"convert", files.model(), out, "--to", "gptq"}),
                {files.model(), "dense linears", "tersor compress", "gptq"});
  check_refused(run({"convert", three, out, "--to", "awq"}), {"model.layers.0", "bits", "3"});
  check_refused(run({"convert", three, out, "--to", "bnb-nf4"}), {"model.layers.0", "quantized", "NF4"});
  check_refused(run({"convert", three, out, "--to", "tersor", "--dtype", "f16"}), {"--dtype", "--to dense"});
  check_refused(run({"convert", three, out, "--to", "dense", "--shard-size", "5XB"}),
                {"--shard-size", "5XB"});
  check_refused(run({"convert", three, three, "--to", "dense"}), {"OUT", three, "--force"});
  check_refused(run({"convert", files.beside("none"), out, "--to", "dense"}), {"none"});
  CHECK(run({"convert", three, out, "--to", "onnx"}).code != 0);
  CHECK(files.folder().count() == entries);
}

TEST_CASE("command: a compression that is killed after some blocks goes on to the same bytes") {
  const small_model files;
  const auto lm = test::embedded_model.string(), whole = files.beside("whole"), out = files.beside("part");
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
  const auto partial = files.beside(".part.tersor-partial");
  // until the journal has its settings and two blocks
  const auto killed = run_shell(test::command_line(arguments(out)) + " & p=$!; until [ \"$(cat " +
                                test::shell_word(partial + "/.journal") +
                                " 2>/dev/null | wc -l)\" -ge 3 ]; do :; done; kill -KILL $p; wait $p");
  CHECK(killed.code == 137);
  CHECK(std::filesystem::exists(partial));
  CHECK_FALSE(std::filesystem::exists(out));
  auto other = arguments(out);
  other[3] = "gptq(bits=3, group_size=64)";
  check_refused(run(other), {"--resume: with", "bits=3", "gptq"});
  const auto j = json_of(arguments(out));
  CHECK(j["layers"].size() == 42);
  CHECK_FALSE(std::filesystem::exists(partial));
  CHECK((content(out) == content(whole)));
}

/// A checkpoint of zeros that takes no room on the disk: `count` linears of 2048 x 2048 in F32.
void write_sparse(const std::filesystem::path& folder, int count) {
  std::filesystem::create_directory(folder);
  constexpr std::uint64_t bytes = 2048ULL * 2048 * 4;
  io::json header = io::json::object();
  for (int k = 0; k < count; ++k)
    header[concat("m.", k, ".weight")] = {
        {"dtype", "F32"},
        {"shape", {2048, 2048}},
        {"data_offsets", {static_cast<std::uint64_t>(k) * bytes, static_cast<std::uint64_t>(k + 1) * bytes}}};
  const std::string text = header.dump();
  io::write_text_file(folder / "model.safetensors", test::u64(text.size()) + text);
  std::filesystem::resize_file(folder / "model.safetensors",
                               8 + text.size() + static_cast<std::uint64_t>(count) * bytes);
}

// AddressSanitizer holds freed memory back for a while, which counts as the program's.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool freed_memory_is_kept = true;
#elif defined(__has_feature)
constexpr bool freed_memory_is_kept = __has_feature(address_sanitizer);
#else
constexpr bool freed_memory_is_kept = false;
#endif

TEST_CASE("command: convert holds one tensor in memory") {
  const small_model files;
  constexpr int count = 24;  // 403 MB, 17 MB each
  write_sparse(files.beside("big"), count);
  const auto j = json_of({"convert", files.beside("big"), files.beside("half"), "--to", "dense", "--dtype",
                          "bf16", "--shard-size", "100MB", "--json"});
  CHECK(j["bytes_before"].get<double>() > 4e8);
  if (!freed_memory_is_kept) CHECK(j["peak_rss_bytes"].get<double>() < 0.4 * j["bytes_before"].get<double>());
  CHECK(io::checkpoint(files.beside("half")).files().size() == 3);
}

}  // namespace convert_tests
}  // namespace tersor
