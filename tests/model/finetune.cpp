// tersor - tests of model/finetune.hpp and model/finetune_checkpoint.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/dora.hpp>
#include <tersor/adapters/lora.hpp>
#include <tersor/model/evaluate.hpp>
#include <tersor/model/finetune_checkpoint.hpp>
#include <tersor/quant/nf4.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace finetune_tests {

using model::adapter_map;
using model::finetuner;
using test::error_of;
using test::holds;

template <class Method>
adapter_map start(const model::llama& m, const Method& method) {
  adapter_map adapters;
  std::uint64_t stream = 0;
  for (const auto& l : m.linear_shapes())
    adapters.emplace(l.name,
                     method.template init<float>(m.linear(l.name), random_generator(1).fork(stream++)));
  return adapters;
}
/// A text with a pattern that can be learned.
std::vector<int> pattern(std::size_t n) {
  std::vector<int> ids(n);
  for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<int>(i * 7 % 13);
  return ids;
}
const model::finetune_options quick{
    .steps = 12, .batch = 2, .window = 16, .learning_rate = 2e-2, .warmup = 2};

std::vector<double> train(finetuner& run) {
  std::vector<double> losses;
  while (!run.done()) losses.push_back(run.step());
  return losses;
}
std::vector<matrix<float>> values(const adapter_map& adapters) {
  std::vector<matrix<float>> v;
  for (const auto& [name, a] : adapters)
    for (const auto& t : a.tensors()) v.push_back(t.value);
  return v;
}

TEST_CASE("finetune: the loss falls, and the adapted model has learned") {
  const auto m = tiny_llama();
  const auto ids = pattern(400);
  auto adapters = start(m, adapters::lora{.rank = 4, .alpha = 8});
  finetuner run(m, adapters, ids, quick);
  index_t expected = 0;
  for (const auto& l : m.linear_shapes()) expected += 4 * (l.out + l.in);
  CHECK(run.trainable_count() == expected);
  const auto losses = train(run);
  CHECK(losses.back() < 0.8 * losses.front());
  auto adapted = m;
  model::attach(adapted, adapters);
  const double before = model::perplexity(m, ids, {.window = 16}).perplexity,
               after = model::perplexity(adapted, ids, {.window = 16}).perplexity;
  CHECK(after < 0.7 * before);
  // merged is the same, and as_dense of the slot
  auto merged = m;
  for (const auto& [name, a] : adapters)
    merged.set_linear(name, op::dense(a.effective({m.linear(name).to_dense(), {}}).weight.view()));
  CHECK(std::abs(model::perplexity(merged, ids, {.window = 16}).perplexity - after) <= 1e-4 * after);
}

TEST_CASE("finetune: threads, checkpoints and an interruption change no bit") {
  const auto m = tiny_llama();
  const auto ids = pattern(300);
  auto expected = start(m, adapters::dora{.rank = 2, .alpha = 4});
  finetuner whole(m, expected, ids, quick, {.threads = 1});
  train(whole);
  for (const bool checkpoints : {false, true}) {
    auto options = quick;
    options.checkpoint = checkpoints;
    auto adapters = start(m, adapters::dora{.rank = 2, .alpha = 4});
    finetuner run(m, adapters, ids, options, {.threads = 3});
    train(run);
    CHECK(values(adapters) == values(expected));
  }
  const test::temporary_folder folder;
  const auto path = folder.path() / "state.safetensors";
  auto adapters = start(m, adapters::dora{.rank = 2, .alpha = 4});
  {
    finetuner run(m, adapters, ids, quick);
    for (int i = 0; i < 5; ++i) run.step();
    model::save_finetune_state(run.state(), path, "this run");
  }
  auto again = start(m, adapters::dora{.rank = 2, .alpha = 4});
  finetuner rest(m, again, ids, quick);
  rest.restore(model::load_finetune_state(path, "this run"));
  CHECK(rest.steps() == 5);
  CHECK(train(rest).size() == 7);
  CHECK(values(again) == values(expected));
  CHECK(
      holds(error_of([&] { model::load_finetune_state(path, "another run"); }), {"this run", "another run"}));
}

TEST_CASE("finetune: a quantized base is QLoRA, and stays as it is") {
  auto m = tiny_llama();
  for (const auto& l : m.linear_shapes()) m.set_linear(l.name, quant::nf4{}(m.linear(l.name).to_dense()).op);
  const auto before = m.linear("model.layers.0.mlp.up_proj").to_dense();
  auto adapters = start(m, adapters::lora{.rank = 4, .alpha = 8});
  finetuner run(m, adapters, pattern(200), quick);
  const auto losses = train(run);
  CHECK(losses.back() < 0.8 * losses.front());
  CHECK(m.linear("model.layers.0.mlp.up_proj").to_dense() == before);
}

TEST_CASE("finetune: frozen elements keep every bit, under decay too") {
  const auto m = tiny_llama();
  auto adapters = start(m, adapters::lora{.rank = 4, .alpha = 8});
  const auto initial = values(adapters);
  for (auto& [name, a] : adapters) {
    a.tensors()[0].frozen.freeze_all();
    a.tensors()[1].frozen.freeze_columns(0, 2);
  }
  auto options = quick;
  options.weight_decay = 0.1;
  finetuner run(m, adapters, pattern(200), options);
  train(run);
  std::size_t i = 0;
  for (const auto& [name, a] : adapters) {
    CHECK(a.tensors()[0].value == initial[i++]);
    const auto& b = a.tensors()[1].value;
    const auto& was = initial[i++];
    bool moved = false;
    for (index_t o = 0; o < b.rows(); ++o)
      for (index_t k = 0; k < 4; ++k) {
        if (k < 2) CHECK(b(o, k) == was(o, k));
        moved = moved || b(o, k) != was(o, k);
      }
    CHECK(moved);
  }
}

TEST_CASE("finetune: all weights of a model train, and an interruption changes no bit") {
  const auto m = tiny_llama();
  const auto names = model::llama_graph(m).tensor_names();
  const auto ids = pattern(300);
  auto options = quick;
  options.learning_rate = 3e-3;
  finetuner whole(m, names, ids, options);
  CHECK(whole.trainable_count() == m.embedding().rows() * m.embedding().cols() + [&] {
    index_t n = 0;
    for (const auto& l : m.linear_shapes()) n += l.out * l.in;
    for (const auto& [name, length] : m.vector_shapes()) n += length;
    return n + (m.config().tie_word_embeddings ? 0 : m.head().rows() * m.head().cols());
  }());
  train(whole);
  auto trained = m;
  whole.store_weights(trained);
  CHECK(model::perplexity(trained, ids, {.window = 16}).perplexity <
        0.7 * model::perplexity(m, ids, {.window = 16}).perplexity);

  finetuner part(m, names, ids, options), rest(m, names, ids, options);
  for (int i = 0; i < 5; ++i) part.step();
  rest.restore(part.state());
  train(rest);
  for (const auto& [name, value] : rest.state().tensors) {
    INFO(name);
    CHECK(value == model::llama_graph(trained).value(name));
  }

  auto in_bf16 = options;
  in_bf16.weight_type = dtype::bf16;
  finetuner narrow(m, names, ids, in_bf16);
  train(narrow);
  narrow.store_weights(trained);
  CHECK(model::perplexity(trained, ids, {.window = 16}).perplexity <
        0.8 * model::perplexity(m, ids, {.window = 16}).perplexity);
  for (const auto& [name, value] : narrow.state().tensors)
    for (const float x : value.values()) CHECK(x == static_cast<float>(bf16(x)));
  CHECK(holds(error_of([&] { finetuner(m, std::vector<std::string>{"model.nrm.weight"}, ids, options); }),
              {"model.nrm.weight", "model.norm.weight"}));
}

TEST_CASE("finetune: LoRA+ moves B faster by the ratio") {
  const auto m = tiny_llama();
  const auto moved = [&](double ratio) {
    auto adapters = start(m, adapters::lora{.rank = 2, .alpha = 4});
    auto options = quick;
    options.steps = 1;
    options.warmup = 0;
    options.decay = grad::decay_form::constant;
    options.up_ratio = ratio;
    finetuner run(m, adapters, pattern(200), options);
    run.step();
    return adapters.at("model.layers.0.mlp.up_proj").tensors()[1].value;
  };
  const auto one = moved(1), four = moved(4);
  for (index_t i = 0; i < one.size(); ++i)
    CHECK(std::abs(four.data()[i] - 4 * one.data()[i]) <= 1e-5F * std::abs(four.data()[i]) + 1e-9F);
}

TEST_CASE("finetune: a loss that is not finite names the step and the layer, and keeps the adapters") {
  const auto m = tiny_llama();
  auto adapters = start(m, adapters::lora{.rank = 2, .alpha = 4});
  finetuner run(m, adapters, pattern(200), quick);
  run.step();
  auto& broken = adapters.at("model.layers.1.mlp.gate_proj").tensors()[0].value;
  broken(0, 0) = std::numeric_limits<float>::quiet_NaN();
  const auto before = values(adapters);
  CHECK(holds(error_of([&] { run.step(); }), {"step 2", "model.layers.1.mlp.gate_proj"}));
  CHECK(run.steps() == 1);
}

TEST_CASE("finetune: errors") {
  const auto m = tiny_llama();
  auto adapters = start(m, adapters::lora{.rank = 2, .alpha = 4});
  adapter_map none;
  const auto with = [&](auto change) {
    auto o = quick;
    change(o);
    return error_of([&] { finetuner(m, adapters, pattern(200), o); });
  };
  CHECK(holds(with([](auto& o) { o.steps = 0; }), {"steps", "0"}));
  CHECK(holds(with([](auto& o) { o.warmup = 12; }), {"warmup", "12"}));
  CHECK(holds(with([](auto& o) { o.weight_type = dtype::i8; }), {"weight_type", "I8"}));
  CHECK(holds(with([](auto& o) { o.window = 1; }), {"window", "1"}));
  CHECK(holds(with([](auto& o) { o.learning_rate = -1; }), {"learning_rate", "-1"}));
  CHECK(holds(error_of([&] { finetuner(m, adapters, pattern(10), quick); }), {"tokens", "10", "16"}));
  CHECK(holds(error_of([&] { finetuner(m, none, pattern(200), quick); }), {"adapters"}));
}

}  // namespace finetune_tests
}  // namespace tersor
