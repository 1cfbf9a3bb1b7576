// tersor - tests of model/peft_model.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/lora.hpp>
#include <tersor/io/peft_methods.hpp>
#include <tersor/model/peft_model.hpp>
#include <tersor/quant/rtn.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace peft_model_tests {

using test::error_of;
using test::holds;

io::peft_adapter random_lora(const model::llama& m, const std::vector<std::string>& targets) {
  const adapters::lora method{.rank = 3, .alpha = 6};
  io::peft_adapter a{.config = io::make_peft_config(method, targets), .modules = {}};
  random_generator random(4);
  for (const auto& l : m.linear_shapes())
    for (const auto& t : targets)
      if (l.name.ends_with(t)) {
        auto state = method.init<float>(m.linear(l.name), random);
        for (float& v : state.tensors()[1].value.values()) v = static_cast<float>(0.1 * random.normal());
        a.modules.emplace(l.name, std::move(state));
      }
  return a;
}

TEST_CASE("peft_model: an adapter from a folder, attached and merged, gives the same logits") {
  const auto m = tiny_llama();
  const test::temporary_folder folder;
  const auto a = random_lora(m, {"q_proj", "down_proj"});
  io::write_peft(a, folder.path() / "adapter");
  const auto ids = random_ids(20, 50);
  auto attached = m;
  model::attach(attached, io::read_peft(folder.path() / "adapter", model::peft_modules(m)));
  const auto logits = attached.logits(attached.forward(ids).view());
  CHECK(logits != m.logits(m.forward(ids).view()));
  auto merged = attached;
  model::merge_adapters(merged);
  const auto expected = merged.logits(merged.forward(ids).view());
  for (index_t i = 0; i < logits.size(); ++i)
    REQUIRE(std::abs(logits.data()[i] - expected.data()[i]) <= 1e-4F);
  CHECK(merged.linear("model.layers.0.self_attn.q_proj").as<op::dense>() != nullptr);
  CHECK(attached.linear("model.layers.0.self_attn.q_proj").as<model::adapted_linear>() != nullptr);
}

TEST_CASE("peft_model: biases of adapters are added once, and merged where the model has some") {
  auto config = tiny_config();
  config["attention_bias"] = true;
  const auto m = tiny_llama(1, config);
  const adapters::lora method{.rank = 2, .alpha = 4, .bias = true};
  model::adapter_map map;
  random_generator random(4);
  const auto add = [&](const std::string& name) {
    auto state = method.init<float>(m.linear(name), random);
    for (auto& t : state.tensors())
      for (float& v : t.value.values()) v = static_cast<float>(0.2 * random.normal());
    map.emplace(name, std::move(state));
  };
  const std::string k = "model.layers.1.self_attn.k_proj";
  add(k);
  auto expected = m;  // by the definition: W + s B A and b + s bias
  const auto whole = map.at(k).effective({m.linear(k).to_dense(), m.vector(k + ".bias")});
  expected.set_linear(k, op::dense(whole.weight.view()));
  expected.set_vector(k + ".bias", whole.bias);
  const auto ids = random_ids(20, 50);
  const auto logits = expected.logits(expected.forward(ids).view());
  auto model = m;
  attach(model, map);
  const auto unmerged = model.logits(model.forward(ids).view());
  model::merge_adapters(model);
  const auto merged = model.logits(model.forward(ids).view());
  for (index_t i = 0; i < logits.size(); ++i) {
    REQUIRE(std::abs(unmerged.data()[i] - logits.data()[i]) <= 1e-4F);
    REQUIRE(std::abs(merged.data()[i] - logits.data()[i]) <= 1e-4F);
  }
  // a linear without a bias takes one in its slot, but has no place for it once merged
  add("model.layers.0.mlp.up_proj");
  auto other = m;
  attach(other, map);
  CHECK(holds(error_of([&] { model::merge_adapters(other); }), {"merge", "bias", "up_proj"}));
}

TEST_CASE("peft_model: merged layers are stored as asked, with what that costs") {
  const auto m = tiny_llama();
  auto attached = m;
  model::attach(attached, random_lora(m, {"q_proj", "down_proj"}));
  auto dense = attached;
  for (const auto& l : model::merge_adapters(dense)) {
    CHECK(l.relative_error == 0);
    CHECK(l.change_kept == 1);
  }
  const quant::rtn coarse{.bits = 3, .group_size = 4};
  const auto layers = model::merge_adapters(attached, [&](const solve::layer& l) {
    return l.name.ends_with("q_proj") ? model::store_dense(l) : coarse.compress(l);
  });
  REQUIRE(layers.size() == 4);
  for (const auto& l : layers) {
    INFO(l.name);
    const bool whole = l.name.ends_with("q_proj");
    CHECK(attached.linear(l.name).kind() == (whole ? "dense" : "quantized"));
    error_statistics errors;
    errors.add(dense.linear(l.name).to_dense(), attached.linear(l.name).to_dense());
    CHECK(l.relative_error == errors.relative_frobenius());
    CHECK((l.relative_error == 0) == whole);
    CHECK((l.change_kept < 1) == !whole);
  }
}

TEST_CASE("peft_model: adapters of another base, and what slots cannot hold") {
  const auto m = tiny_llama();
  const test::temporary_folder folder;
  io::write_peft(random_lora(m, {"q_proj"}), folder.path() / "adapter");
  auto config = tiny_config();
  config["hidden_size"] = 30;
  const auto other = tiny_llama(1, config);
  CHECK(holds(error_of([&] { io::read_peft(folder.path() / "adapter", model::peft_modules(other)); }),
              {"q_proj", "lora_A"}));
  auto broken = random_lora(m, {"q_proj"});
  broken.others.emplace("base_model.model.model.norm.weight",
                        io::peft_tensor{dtype::f32, {24}, std::vector<std::byte>(96)});
  auto copy = m;
  CHECK(holds(error_of([&] { model::attach(copy, broken); }), {"model.norm.weight"}));
}

}  // namespace peft_model_tests
}  // namespace tersor
