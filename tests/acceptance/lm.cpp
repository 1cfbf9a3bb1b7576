// tersor - acceptance: perplexities on the embedded model, next to those of the official programs
// SPDX-License-Identifier: MIT
//
// Expectations: the official GPTQ, SparseGPT and Wanda programs and their baselines, run on this model with
// this calibration text (true-sequential, asymmetric grids, damping 0.01, panels of 128). All 111 windows of
// the evaluation.
#include <tersor/model/evaluate.hpp>
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/pipeline/compress.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace tersor {
namespace {

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
model::llama compressed(const char* spec) {
  auto m = model::load_llama(folder);
  pipeline::compress(m, pipeline::recipe::parse(spec), pipeline::windows_of(ids_of("calibration.txt"), 1024));
  return m;
}

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

TEST_CASE("lm: rounding to nearest within 0.1 per cent") {
  CHECK(std::abs(perplexity_of(compressed("rtn(bits=3,group_size=128)")) / 42.9323 - 1) < 1e-3);
}

TEST_CASE("lm: GPTQ at most 1 per cent above") {
  CHECK(perplexity_of(compressed("gptq(bits=3,group_size=128)")) < 1.01 * 39.8271);
}

TEST_CASE("lm: SparseGPT at most 1 per cent above") {
  CHECK(perplexity_of(compressed("sparsegpt(pattern=2:4)")) < 1.01 * 54.5322);
}

TEST_CASE("lm: Wanda within 0.5 per cent") {
  CHECK(std::abs(perplexity_of(compressed("wanda(sparsity=0.5)")) / 44.3358 - 1) < 5e-3);
}

TEST_CASE("lm: SmoothQuant W8A8 within 1 per cent of dense") {
  CHECK(perplexity_of(compressed("smoothquant|w8a8")) < 1.01 * 35.1607);
}

TEST_CASE("lm: AWQ in front of rounding is no worse than rounding") {
  CHECK(perplexity_of(compressed("awq|rtn(bits=3,group_size=128)")) <= 42.9323);
}

TEST_CASE("lm: a saved model reloads with the same perplexity") {
  const test::temporary_folder out;
  const auto m = compressed("awq|gptq(bits=3)+svd(rank=8); *.o_proj: sparsegpt(pattern=2:4)");
  const model::llama_file file(m);
  model::save_llama(file, folder, out / "small");
  CHECK(std::filesystem::file_size(out / "small" / "model.safetensors") == file.file_size());
  const double before = perplexity_of(m, 4), after = perplexity_of(model::load_llama(out / "small"), 4);
  CHECK(std::abs(after / before - 1) < 1e-6);
}

}  // namespace
}  // namespace tersor
