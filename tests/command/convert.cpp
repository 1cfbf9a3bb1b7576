// tersor - tests of `tersor convert`: formats, shards and refusals
// SPDX-License-Identifier: MIT
#include "command/program.hpp"

namespace tersor {
namespace convert_tests {

using test::check_refused;
using test::json_of;
using test::run;
using test::small_model;

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

}  // namespace convert_tests
}  // namespace tersor
