// tersor - example: a checkpoint compressed from C++, layer by layer as you say, measured, written, read
// SPDX-License-Identifier: MIT
//
// Shows: a recipe in code with other stages for some layers; progress; perplexity, and how far the
// predictions are from the dense model's; a folder that loads again to the same predictions. Run it in the
// root of the repository, or give the folder of a model with two texts in it. Alone (nlohmann-json3-dev):
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/compress_model.cpp && ./a.out
#include <cstdio>

#include <tersor/model/evaluate.hpp>
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/pipeline/compress.hpp>
#include <tersor/quant/gptq.hpp>

int main(int argc, char** argv) {
  namespace model = tersor::model;
  namespace pipeline = tersor::pipeline;
  const std::filesystem::path folder = argc > 1 ? argv[1] : "examples/data/lm";
  const auto dense = model::load_llama(folder);
  const tersor::io::tokenizer tokenizer(folder);
  const auto ids_of = [&](const char* name) {
    auto ids = tokenizer.encode(tersor::io::read_text_file(folder / name));
    ids.insert(ids.begin(), dense.config().bos_token_id);
    return ids;
  };
  const auto calibration = pipeline::windows_of(ids_of("calibration.txt"), 512, 4);
  const auto text = ids_of("evaluation.txt");
  const model::evaluation_options evaluation{.max_windows = 2};

  // The last rule that matches a layer decides.
  auto recipe = pipeline::recipe(tersor::quant::gptq{.bits = 3, .group_size = 64});
  recipe.with("*.v_proj", tersor::quant::gptq{.bits = 8});
  std::printf("%s\n", recipe.text().c_str());

  auto small = dense;
  int steps = 0;
  tersor::context ctx;
  ctx.on_progress = [&](const tersor::progress_event&) { ++steps; };
  const auto report = pipeline::compress(small, recipe, calibration, {}, ctx);
  for (std::size_t i = 0; i < 3; ++i)
    std::printf("  %-32s %.3f bits, error of the outputs %.3f\n", report.layers[i].name.c_str(),
                report.layers[i].report.bits_per_weight, *report.layers[i].report.weighted_error);
  std::printf("  ... %zu layers in %d steps, %.3f bits per weight\n", report.layers.size(), steps,
              report.bits_per_weight());

  const auto before = model::perplexity(dense, text, evaluation),
             after = model::perplexity(small, text, evaluation);
  const auto distance = model::divergence(dense, small, text, evaluation);
  std::printf("perplexity %.2f -> %.2f, KL divergence %.3f nats, same top token %.0f %%\n", before.perplexity,
              after.perplexity, distance.kl_divergence, 100 * distance.same_top_token_rate);

  const auto destination = std::filesystem::temp_directory_path() / "tersor_compress_model";
  model::save_llama(model::llama_file(small), folder, destination, true);
  const auto again = model::perplexity(model::load_llama(destination), text, evaluation);
  std::printf("read back: the perplexity is %s\n",
              again.perplexity == after.perplexity ? "the same" : "ANOTHER ONE");
  std::filesystem::remove_all(destination);
}
