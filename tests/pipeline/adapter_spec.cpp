// tersor - tests of pipeline/adapter_spec.hpp
// SPDX-License-Identifier: MIT
#include <tersor/pipeline/adapter_spec.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace {

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

    model::finetuner tuner(base, run.adapters, ids, options, {}, run.after_step);
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

}  // namespace
}  // namespace tersor
