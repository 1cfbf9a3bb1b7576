// tersor - acceptance: perplexities on the embedded model, next to those of the official programs
// SPDX-License-Identifier: MIT
//
// Expectations: the official GPTQ, SparseGPT and Wanda programs and their baselines, run on this model with
// this calibration text (true-sequential, asymmetric grids, damping 0.01, panels of 128). All 111 windows of
// the evaluation.
#include <tersor/lowrank/svd.hpp>
#include <tersor/model/evaluate.hpp>
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/pipeline/compress.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace tersor {
namespace lm_tests {

const std::filesystem::path folder = std::filesystem::path(TERSOR_SOURCE_DIR) / "examples" / "data" / "lm";

std::vector<int> ids_of(const char* name) {
  std::vector<int> ids{0};
  const auto body = io::tokenizer(folder).encode(io::read_text_file(folder / name));
  ids.insert(ids.end(), body.begin(), body.end());
  return ids;
}
double perplexity_of(const model::llama& m, index_t windows = 0) {
  return model::perplexity(m, ids_of("evaluation.txt"), {.max_windows = windows}).perplexity;
}
pipeline::compression_report compress(model::llama& m, const std::string& spec) {
  return pipeline::compress(m, pipeline::recipe::parse(spec),
                            pipeline::windows_of(ids_of("calibration.txt"), 1024));
}
double perplexity_with(const std::string& spec) {
  auto m = model::load_llama(folder);
  compress(m, spec);
  return perplexity_of(m);
}
/// Where we are, relative to the official program.
double difference(const std::string& spec, double official) { return perplexity_with(spec) / official - 1; }

TEST_CASE("lm: dense") {
  const auto ids = ids_of("evaluation.txt");
  CHECK(ids.size() == 114316);
  const auto r = model::perplexity(model::load_llama(folder), ids);
  CHECK(r.nll_per_window.size() == 111);
  CHECK(std::abs(r.perplexity - 35.161) < 0.01);
  const auto reference =
      io::read_json_file(folder / "reference.json").at("nll_per_window").get<std::vector<double>>();
  for (std::size_t w = 0; w < reference.size(); ++w)
    CHECK(std::abs(r.nll_per_window[w] - reference[w]) < 1e-3);
}

// `bench/reference_table.cpp` measures every row of the table; these are the ones that say most.

TEST_CASE("lm: rounding to nearest within 0.1 per cent") {
  CHECK(std::abs(difference("rtn(bits=4,group_size=-1)", 36.5754)) < 1e-3);
  CHECK(std::abs(difference("rtn(bits=3,group_size=128)", 42.9323)) < 1e-3);
}

TEST_CASE("lm: GPTQ at most 1 per cent above") {
  CHECK(difference("gptq(bits=4,group_size=-1)", 36.4292) < 0.01);
  CHECK(difference("gptq(bits=3,group_size=128)", 39.8271) < 0.01);
  CHECK(difference("gptq(bits=3,group_size=128,act_order=true)", 39.6217) < 0.01);
}

TEST_CASE("lm: SparseGPT at most 1 per cent above") {
  CHECK(difference("sparsegpt(sparsity=0.5)", 41.9917) < 0.01);
  CHECK(difference("sparsegpt(pattern=2:4)", 54.5322) < 0.01);
}

TEST_CASE("lm: Wanda and magnitude within 0.5 per cent") {
  CHECK(std::abs(difference("wanda(pattern=2:4)", 69.9846)) < 5e-3);
  CHECK(std::abs(difference("magnitude(pattern=2:4)", 96.6036)) < 5e-3);
}

TEST_CASE("lm: SmoothQuant W8A8 within 1 per cent of dense") {
  CHECK(difference("smoothquant|w8a8", 35.1607) < 0.01);
}

TEST_CASE("lm: AWQ in front of rounding is no worse than rounding") {
  CHECK(perplexity_with("awq|rtn(bits=3,group_size=128)") <= 42.9323);
  CHECK(perplexity_with("awq|rtn(bits=4,group_size=128)") <= 36.0203);
}

TEST_CASE("lm: whitened SVD beats plain SVD of the same rank on every layer") {
  auto plain = model::load_llama(folder), whitened = plain;
  // One pass, so that both are judged by the same inputs of every block's layers.
  const auto calibration = pipeline::windows_of(ids_of("calibration.txt"), 1024);
  const pipeline::schedule_options same_inputs{.true_sequential = false,
                                               .propagate = pipeline::propagation::dense};
  const auto a = pipeline::compress(plain, lowrank::svd{.ratio = 0.6}, calibration, same_inputs);
  const auto b =
      pipeline::compress(whitened, lowrank::svd{.method = lowrank::svd_method::whitened, .ratio = 0.6},
                         calibration, same_inputs);
  REQUIRE(a.layers.size() == 42);
  for (std::size_t i = 0; i < a.layers.size(); ++i) {
    INFO(a.layers[i].name);
    CHECK(b.layers[i].report.bytes == a.layers[i].report.bytes);
    CHECK(b.layers[i].report.weighted_error.value() < a.layers[i].report.weighted_error.value());
  }
}

TEST_CASE("lm: a saved model reloads with the same perplexity") {
  const test::temporary_folder out;
  auto m = model::load_llama(folder);
  compress(m, "awq|gptq(bits=3)+svd(rank=8); *.o_proj: sparsegpt(pattern=2:4)");
  const model::llama_file file(m);
  model::save_llama(file, folder, out / "small");
  CHECK(std::filesystem::file_size(out / "small" / "model.safetensors") == file.file_size());
  const double before = perplexity_of(m, 4), after = perplexity_of(model::load_llama(out / "small"), 4);
  CHECK(std::abs(after / before - 1) < 1e-6);
}

}  // namespace lm_tests
}  // namespace tersor
