// tersor - tests of `tersor bench`: what a row says; speed itself is no test
// SPDX-License-Identifier: MIT
#include "command/program.hpp"

namespace tersor {
namespace bench_tests {

using test::check_refused;
using test::json_of;
using test::run;

TEST_CASE("command: bench kernel prints one row whose numbers agree with each other") {
  for (const std::string format : {"int4", "int3", "nf4", "f32"})
    for (const std::string activations : {"f32", "int8"}) {
      INFO(format << ", " << activations);
      const auto j = json_of({"bench", "kernel", "--format", format, "--group-size", "64", "--rows", "48",
                              "--cols", "256", "--activations", activations, "--path", "portable",
                              "--threads", "2", "--seconds", "0.001", "--json"});
      CHECK(j.at("path") == "portable");
      CHECK(j.at("threads") == 2);
      // NF4's levels have no common step, and f32 no codes: their activations stay floats
      CHECK(j.at("activations") == (format.starts_with("int") ? activations : "f32"));
      const double seconds = j.at("seconds_median"), bytes = j.at("bytes");
      CHECK(seconds >= j.at("seconds_best").get<double>());
      CHECK(std::abs(j.at("gb_per_s").get<double>() * 1e9 * seconds / bytes - 1) < 1e-9);
      CHECK(std::abs(j.at("gflop_s").get<double>() * 1e9 * seconds / (2.0 * 48 * 256) - 1) < 1e-9);
      CHECK(j.at("ratio_to_stream").get<double>() > 0);
      const double bits = format == "int3" ? 3 : format == "f32" ? 32 : 4;
      CHECK(bytes ==
            48 * 256 * bits / 8 + (format == "f32" ? 0 : 48 * 4 * 2));  // f16 scales of 4 groups a row
    }
}

TEST_CASE("command: bench kernel names what it does not know") {
  const auto bench = [](std::initializer_list<std::string> more) {
    std::vector<std::string> arguments{"bench", "kernel", "--rows", "16", "--cols", "32"};
    arguments.insert(arguments.end(), more);
    return run(arguments);
  };
  check_refused(bench({"--format", "int9"}), {"format", "int9", "nf4"});
  check_refused(bench({"--activations", "f64"}), {"--activations", "f64", "int8"});
  check_refused(bench({"--path", "sse"}), {"--path", "sse", "avx2"});
  check_refused(bench({"--op", "matvecs"}), {"--op", "matvec"});
  check_refused(bench({"--tokens", "17"}), {"--tokens", "17", "matmul"});
  for (const std::string option : {"--rows", "--cols", "--tokens"})
    check_refused(run({"bench", "kernel", option, "0"}), {option, "0", "at least 1"});
  for (const std::string size : {"0", "-7"})
    check_refused(bench({"--group-size=" + size}), {"--group-size", size, "-1"});
  for (const std::string density : {"nan", "7", "-1"})
    check_refused(bench({"--format", "csr", "--density=" + density}), {"--density", density, "0 .. 1"});
  for (const std::string seconds : {"nan", "-1", "0", "1e300"})
    check_refused(bench({"--seconds=" + seconds}), {"--seconds", "a number > 0"});
}

TEST_CASE("command: bench attention prints one row whose numbers agree with each other") {
  for (const auto& [kv, bits] :
       {std::pair<std::string, double>{"dense(type=bf16)", 16}, {"kivi(bits=2)", 0}}) {
    const auto j =
        json_of({"bench", "attention", "--kv", kv, "--context", "256", "--head-dim", "64", "--kv-heads", "2",
                 "--queries", "4", "--threads", "2", "--seconds", "0.001", "--json"});
    CHECK(j.at("op") == "attention");
    CHECK(
        (j.at("context") == 256 && j.at("head_dim") == 64 && j.at("kv_heads") == 2 && j.at("queries") == 4));
    CHECK(j.at("threads") == 2);
    CHECK(j.at("kv").get<std::string>().find(kv.substr(0, kv.find('('))) != std::string::npos);
    const double seconds = j.at("seconds_median"), bytes = j.at("bytes");
    CHECK(seconds >= j.at("seconds_best").get<double>());
    CHECK(std::abs(j.at("gb_per_s").get<double>() * 1e9 * seconds / bytes - 1) < 1e-9);
    CHECK((j.at("ratio_to_stream").get<double>() > 0 && j.at("speedup_over_f16").get<double>() > 0));
    const double numbers = 2 * 256 * 2 * 64;  // keys and values
    CHECK((bits == 0 ? bytes < numbers * 2 : bytes == numbers * bits / 8));
  }
  check_refused(run({"bench", "attention", "--context", "0"}), {"--context", "0"});
  check_refused(run({"bench", "attention", "--queries", "0"}), {"--queries", "0"});
  check_refused(run({"bench", "attention", "--kv", "kivy"}), {"kivy", "kivi"});
}

TEST_CASE("command: bench model gives a row for each context") {
  const test::small_model files;
  for (const std::string spec : {"", "rtn(bits=4,group_size=8)"}) {
    std::vector<std::string> arguments{"bench",     "model",         files.model(), "--kv",  "gear(bits=4)",
                                       "--context", "8,24",          "--decode",    "4",     "--runs",
                                       "1",         "--activations", "int8",        "--json"};
    if (!spec.empty()) arguments.insert(arguments.end(), {"--with", spec});
    const auto j = json_of(arguments);
    CHECK(j.at("spec") == spec);
    CHECK(j.at("prepared") == true);
    CHECK(j.at("peak_rss_bytes").get<double>() > 0);
    REQUIRE(j.at("contexts").size() == 2);
    CHECK(j.at("contexts")[1].at("context") == 24);
    for (const auto& row : j.at("contexts")) {
      const double n = row.at("context"), prefill = row.at("prefill_tokens_per_s");
      CHECK(row.at("seconds_to_first_token").get<double>() >= n / prefill);
      CHECK(row.at("decode_tokens_per_s").get<double>() > 0);
    }
    CHECK(j.at("contexts")[0].at("kv_bytes") < j.at("contexts")[1].at("kv_bytes"));
  }
  check_refused(run({"bench", "model", files.model(), "--context", "61"}), {"--context", "61", "32"});
  check_refused(run({"bench", "model", files.model(), "--decode", "0"}), {"--decode", "0"});
  check_refused(run({"bench", "model", files.model(), "--decode", "64"}), {"--decode", "64", "--context"});
  check_refused(run({"bench", "model", files.model(), "--activations", "int4"}), {"--activations", "int4"});
}

}  // namespace bench_tests
}  // namespace tersor
