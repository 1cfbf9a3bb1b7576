// tersor - acceptance: adapters on the embedded model, trained, merged, counted, and the memory that it takes
// SPDX-License-Identifier: MIT
//
// Expectations of trainable values: Hugging Face PEFT on this model.
#include <tersor/model/evaluate.hpp>
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/pipeline/adapter_spec.hpp>
#include <tersor/quant/nf4.hpp>

#include "catch.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace finetune_tests {

const std::filesystem::path data = std::filesystem::path(TERSOR_SOURCE_DIR) / "examples" / "data";
const std::vector<std::string> all{"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                   "gate_proj", "up_proj", "down_proj"};

/// The text that adapters are trained on, without and with its last tenth, which is held back.
struct texts {
  std::vector<int> train, held_back;
  texts() {
    train = io::tokenizer(data / "lm").encode(io::read_text_file(data / "wikitext2" / "excerpt.txt"));
    const auto split = train.begin() + static_cast<std::ptrdiff_t>(train.size() * 9 / 10);
    held_back.assign(split, train.end());
    train.erase(split, train.end());
  }
};
double perplexity_of(const model::llama& m, const texts& t) {
  return model::perplexity(m, t.held_back, {.window = 256, .max_windows = 8}).perplexity;
}
adapters::adapter_map start(const std::string& spec, const model::llama& m,
                            const std::vector<std::string>& targets = all) {
  return pipeline::start_adapters(pipeline::parse_adapter_spec(spec), m, pipeline::target_linears(m, targets),
                                  200)
      .adapters;
}
model::llama nf4_of(model::llama m) {
  for (const auto& l : m.linear_shapes()) m.set_linear(l.name, quant::nf4{}(m.linear(l.name).to_dense()).op);
  return m;
}
std::vector<matrix<float>> weights_of(const model::llama& m) {
  std::vector<matrix<float>> w;
  for (const auto& l : m.linear_shapes()) w.push_back(m.linear(l.name).to_dense());
  return w;
}

/// Trains LoRA over the base for 12 small updates and checks all that must hold; returns the share of the
/// perplexity that is left, which is 0.15 for either base.
double trained_share(const model::llama& base) {
  const texts t;
  const auto weights = weights_of(base);
  auto adapters = start("lora(rank=8,alpha=16)", base);
  model::finetuner run(base, adapters, t.train,
                       {.steps = 12, .batch = 2, .window = 128, .learning_rate = 2e-3, .warmup = 2});
  while (!run.done()) run.step();
  CHECK(weights_of(base) == weights);

  auto adapted = base;
  model::attach(adapted, adapters);
  auto merged = adapted;
  model::merge_adapters(merged);
  const auto ids = std::span(t.held_back).first(128);
  const auto a = adapted.logits(adapted.forward(ids).view()), b = merged.logits(merged.forward(ids).view());
  float worst = 0;
  for (index_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a.data()[i] - b.data()[i]));
  CHECK(worst <= 1e-4F);
  return perplexity_of(adapted, t) / perplexity_of(base, t);
}

TEST_CASE("finetune: LoRA adapts the model to another text and leaves the dense base alone") {
  CHECK(trained_share(model::load_llama(data / "lm")) < 0.2);
}

TEST_CASE("finetune: and so over an NF4 base") {
  CHECK(trained_share(nf4_of(model::load_llama(data / "lm"))) < 0.2);
}

TEST_CASE("finetune: as many trainable values as PEFT") {
  const auto m = model::load_llama(data / "lm");
  const auto count = [&](const std::string& spec, const std::vector<std::string>& targets = all) {
    index_t n = 0;
    for (const auto& [name, a] : start(spec, m, targets)) n += a.trainable_count();
    return n;
  };
  CHECK(count("lora(rank=8,alpha=16)") == 233472);
  CHECK(count("lora(rank=8,alpha=16,rslora=true)") == 233472);
  CHECK(count("pissa(rank=8,alpha=8)") == 233472);
  CHECK(count("olora(rank=8,alpha=8)") == 233472);
  CHECK(count("dora(rank=8,alpha=16)") == 248832);
  CHECK(count("adalora(rank=12,target_rank=8,alpha=16)") == 350712);
  CHECK(count("vera(rank=64,d_initial=0.1)", {"q_proj", "o_proj"}) == 3840);
  CHECK(count("loha(rank=8)") == 466944);
  CHECK(count("lokr(rank=8,alpha=16)") == 24576);
  CHECK(count("ia3") == 18432);
  CHECK(count("oft(block_size=16)") == 103680);
}

TEST_CASE("finetune: AdaLoRA's ranks come down to the budget") {
  const auto m = model::load_llama(data / "lm");
  const texts t;
  constexpr index_t steps = 10;
  auto run = pipeline::start_adapters(pipeline::parse_adapter_spec("adalora(rank=12,target_rank=8)"), m,
                                      pipeline::target_linears(m, all), steps);
  model::finetuner tuner(m, run.adapters, t.train, {.steps = steps, .batch = 1, .window = 64, .warmup = 0},
                         {}, run.rule);
  while (!tuner.done()) tuner.step();
  index_t ranks = 0;
  for (const auto& [name, a] : run.adapters)
    for (const float e : a.as<adapters::adalora_state<float>>()->e().values()) ranks += e != 0;
  CHECK(ranks == 8 * 42);
}

/// The most that the tape holds in an update.
index_t peak_of(const model::llama& m, std::vector<int> ids, bool checkpoint, index_t batch, index_t window) {
  auto adapters = start("lora(rank=8,alpha=16)", m);
  model::finetuner run(m, adapters, std::move(ids),
                       {.steps = 1, .batch = batch, .window = window, .warmup = 0, .checkpoint = checkpoint});
  run.step();
  return run.peak_bytes();
}

TEST_CASE("finetune: checkpoints take less than half of the tape's memory") {
  const auto m = model::load_llama(data / "lm");
  const auto ids = texts().train;
  const auto kept = peak_of(m, ids, false, 2, 256), again = peak_of(m, ids, true, 2, 256);
  INFO(kept << ' ' << again);
  CHECK(2 * again < kept);
}

TEST_CASE("finetune: with checkpoints a block more costs the memory of its input") {
  const auto with_blocks = [](index_t blocks) {
    auto config = tiny_config();
    config["num_hidden_layers"] = blocks;
    return tiny_llama(1, config);
  };
  const auto two = with_blocks(2), four = with_blocks(4);
  const auto ids = random_ids(200, 50);
  constexpr index_t batch = 2, window = 32;
  const index_t input = batch * window * two.config().hidden_size * static_cast<index_t>(sizeof(float));
  const auto growth = [&](bool checkpoint) {
    return peak_of(four, ids, checkpoint, batch, window) - peak_of(two, ids, checkpoint, batch, window);
  };
  INFO(growth(true) << ' ' << growth(false) << ' ' << input);
  CHECK(growth(true) <= 2 * input);
  CHECK(growth(false) > 10 * input);
}

}  // namespace finetune_tests
}  // namespace tersor
