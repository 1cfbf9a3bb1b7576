// tersor - tests of pipeline/adapter_spec.hpp
// SPDX-License-Identifier: MIT
#include <tersor/model/finetune_checkpoint.hpp>
#include <tersor/pipeline/adapter_spec.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace adapter_spec_tests {

using test::error_of;
using test::holds;

const std::vector<std::string> all{"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                   "gate_proj", "up_proj", "down_proj"};

TEST_CASE("adapter_spec: one method, no other kind") {
  CHECK(pipeline::parse_adapter_spec("lora(rank=4,alpha=16)").text() == "lora(rank=4,alpha=16)");
  CHECK(holds(error_of([] { pipeline::parse_adapter_spec("gptq"); }), {"gptq", "adapter"}));
  CHECK(holds(error_of([] { pipeline::parse_adapter_spec("lora|dora"); }), {"lora|dora"}));
  CHECK(holds(error_of([] { pipeline::parse_adapter_spec("lorra"); }), {"lorra", "lora"}));
  CHECK(holds(error_of([] { pipeline::parse_adapter_spec("lora(rnk=4)"); }), {"rnk", "rank"}));
  CHECK(holds(error_of([] { pipeline::recipe::parse("lora"); }), {"lora", "adapter"}));
}

TEST_CASE("adapter_spec: targets are ends of names, and one that matches nothing is an error") {
  const auto m = tiny_llama();
  CHECK(pipeline::target_linears(m, all).size() == 14);
  CHECK(pipeline::target_linears(m, {"q_proj", "mlp.up_proj"}).size() == 4);
  CHECK(pipeline::target_linears(m, {"model.layers.1.mlp.up_proj"}).size() == 1);
  CHECK(holds(error_of([&] { pipeline::target_linears(m, {"q_prj"}); }), {"q_prj", "q_proj"}));
  CHECK(holds(error_of([&] { pipeline::target_linears(m, {"proj"}); }), {"proj"}));
}

TEST_CASE("adapter_spec: IA3 scales the inputs of down_proj and the outputs of the others") {
  const auto m = tiny_llama();
  const auto run =
      pipeline::start_adapters(pipeline::parse_adapter_spec("ia3"), m, pipeline::target_linears(m, all), 1);
  index_t expected = 0, count = 0;
  for (const auto& l : m.linear_shapes()) expected += l.name.ends_with("down_proj") ? l.in : l.out;
  for (const auto& [name, a] : run.adapters) count += a.trainable_count();
  CHECK(count == expected);
}

TEST_CASE("adapter_spec: every method starts at the model, trains, and comes back from its folder") {
  const auto m = tiny_llama();
  const auto ids = random_ids(200, 50);
  const model::finetune_options options{
      .steps = 6, .batch = 1, .window = 16, .learning_rate = 1e-2, .warmup = 1};
  const auto whole = m.logits(m.forward(std::span(ids).first(16)).view());
  const auto worst = [](const matrix<float>& a, const matrix<float>& b) {
    float w = 0;
    for (index_t i = 0; i < a.size(); ++i) w = std::max(w, std::abs(a.data()[i] - b.data()[i]));
    return w;
  };
  for (const std::string spec :
       {"lora(rank=2)", "lora(rank=2,rslora=true)", "dora(rank=2)", "pissa(rank=2)", "olora(rank=2)",
        "vera(rank=4)", "adalora(rank=3,target_rank=2)", "loha(rank=2)", "lokr(rank=2)", "ia3",
        "oft(block_size=2)", "bone(rank=4)", "bat(rank=2)", "lamda(rank=3)", "lamda(rank=3,residual=true)",
        "aflora(rank=2,epochs=6,warmup_epochs=1,final_epochs=2)"}) {
    INFO(spec);
    const auto method = pipeline::parse_adapter_spec(spec);
    const auto names = pipeline::target_linears(m, all);
    auto run = pipeline::start_adapters(method, m, names, options.steps);
    CHECK(run.adapters.size() == names.size());
    auto base = m;
    for (const auto& [name, w] : run.new_base) base.set_linear(name, op::dense(w.view()));
    auto attached = base;
    model::attach(attached, run.adapters);
    CHECK(worst(attached.logits(attached.forward(std::span(ids).first(16)).view()), whole) <= 1e-3F);

    model::finetuner tuner(base, run.adapters, ids, options, {}, run.rule);
    while (!tuner.done()) tuner.step();
    attached = base;
    model::attach(attached, run.adapters);
    const auto trained = attached.logits(attached.forward(std::span(ids).first(16)).view());
    CHECK(worst(trained, whole) > 1e-4F);

    const test::temporary_folder folder;
    io::write_peft(pipeline::to_peft(method, run, all), folder.path() / "adapter");
    auto again = m;
    model::attach(again, io::read_peft(folder.path() / "adapter", model::peft_modules(m)));
    CHECK(worst(again.logits(again.forward(std::span(ids).first(16)).view()), trained) <= 2e-3F);
  }
}

TEST_CASE("adapter_spec: runs with a penalty or a schedule go on from a file to the same bits") {
  const auto m = tiny_llama();
  const auto ids = random_ids(200, 50);
  const model::finetune_options options{
      .steps = 8, .batch = 1, .window = 16, .learning_rate = 1e-2, .warmup = 1};
  const auto names = pipeline::target_linears(m, all);
  for (const std::string spec : {"adalora(rank=3,target_rank=1,warmup=2,final_steps=1)",
                                 "adalora(rank=3,target_rank=1,interval=3)", "lamda(rank=3,freeze_share=0.6)",
                                 "aflora(rank=2,epochs=8,warmup_epochs=1,final_epochs=2,window=2)"}) {
    const auto method = pipeline::parse_adapter_spec(spec);
    const auto values = [](const pipeline::started_adapters& run) {
      std::vector<matrix<float>> v;
      std::vector<freeze_mask> masks;
      for (const auto& [name, a] : run.adapters)
        for (const auto& t : a.tensors()) {
          v.push_back(t.value);
          masks.push_back(t.frozen);
        }
      return std::pair(std::move(v), std::move(masks));
    };
    auto whole = pipeline::start_adapters(method, m, names, options.steps);
    model::finetuner uninterrupted(m, whole.adapters, ids, options, {}, whole.rule);
    while (!uninterrupted.done()) uninterrupted.step();
    for (const index_t stop : {1, 4, 7}) {
      INFO(spec << ", interrupted after step " << stop);
      const test::temporary_folder folder;
      const auto path = folder.path() / "state.safetensors";
      {
        auto part = pipeline::start_adapters(method, m, names, options.steps);
        model::finetuner tuner(m, part.adapters, ids, options, {}, part.rule);
        while (tuner.steps() < stop) tuner.step();
        model::save_finetune_state(tuner.state(), path, "run");
      }
      auto rest = pipeline::start_adapters(method, m, names, options.steps);
      model::finetuner tuner(m, rest.adapters, ids, options, {}, rest.rule);
      tuner.restore(model::load_finetune_state(path, "run"));
      REQUIRE(tuner.steps() == stop);
      while (!tuner.done()) tuner.step();
      CHECK(values(rest) == values(whole));
    }
  }
}

TEST_CASE("adapter_spec: AdaLoRA's penalty keeps its factors nearer to orthogonal") {
  const auto m = tiny_llama();
  const auto ids = random_ids(200, 50);
  const model::finetune_options options{
      .steps = 40, .batch = 1, .window = 16, .learning_rate = 2e-2, .warmup = 1};
  const auto distance = [&](const std::string& spec) {
    const auto names = pipeline::target_linears(m, all);
    auto run = pipeline::start_adapters(pipeline::parse_adapter_spec(spec), m, names, options.steps);
    model::finetuner tuner(m, run.adapters, ids, options, {}, run.rule);
    while (!tuner.done()) tuner.step();
    double sum = 0;
    for (const auto& [name, a] : run.adapters) {
      const auto& rows = a.tensors()[0].value;
      const auto gram = linalg::multiply(rows.view(), rows.view().transposed());
      for (index_t i = 0; i < gram.rows(); ++i)
        for (index_t j = 0; j < gram.cols(); ++j) sum += std::pow(gram(i, j) - (i == j ? 1.0F : 0.0F), 2.0);
    }
    return std::sqrt(sum);
  };
  CHECK(distance("adalora(rank=3,target_rank=2,orthogonality=50)") <
        0.7 * distance("adalora(rank=3,target_rank=2,orthogonality=0)"));
}

}  // namespace adapter_spec_tests
}  // namespace tersor
