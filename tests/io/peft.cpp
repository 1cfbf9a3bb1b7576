// tersor - tests of io/peft.hpp
// SPDX-License-Identifier: MIT
#include <tersor/io/peft.hpp>
#include <tersor/io/peft_methods.hpp>
#include <tersor/io/safetensors_writer.hpp>

#include "../adapters/contract_checks.hpp"
#include "temporary_folder.hpp"

namespace peft_tests {

namespace adapters = tersor::adapters;
using namespace tersor::io;
using namespace tersor_test;
using tersor::test::error_of;
using tersor::test::holds;
using tersor::test::temporary_folder;

const std::vector<peft_module> base{{.name = "model.embed", .out = 8, .in = 20, .embedding = true},
                                    {.name = "model.layers.0.q", .out = 8, .in = 6},
                                    {.name = "model.layers.0.up", .out = 12, .in = 8},
                                    {.name = "model.layers.1.q", .out = 8, .in = 6},
                                    {.name = "lm_head", .out = 20, .in = 8, .output_head = true}};

template <class Method, class Init>
peft_adapter make(const Method& method, const Init& init,
                  const std::vector<std::string>& targets = {"q", "up"}) {
  peft_adapter a{.config = make_peft_config(method, targets), .modules = {}};
  for (const auto& m : base) {
    if (!a.config.is_target(m) || m.embedding) continue;
    adapters::any_adapter state = init(matrix<float>(m.out, m.in, 0.5F));
    randomise(state, m.name.size() + static_cast<unsigned char>(m.name.back()), 0.3);
    a.modules.emplace(m.name, std::move(state));
  }
  return a;
}
peft_adapter some_lora(tersor::dtype type = tersor::dtype::f32) {
  const adapters::lora o{.rank = 2, .alpha = 3, .value_type = type};
  auto a = make(o, [&](const matrix<float>& w) { return o.init(w, random_generator(1)); });
  for (auto& [name, state] : a.modules)
    state.for_each_tensor([&](auto& p) {
      for (float& v : p.value.values()) v = tersor::round_to(type, v);
    });
  return a;
}
std::string bytes_of(const std::filesystem::path& folder) {
  return read_text_file(folder / "adapter_config.json") +
         read_text_file(folder / "adapter_model.safetensors");
}
/// Written, read and written again: the same values and the same bytes.
void check_round_trip(const peft_adapter& a) {
  const temporary_folder folder;
  write_peft(a, folder / "a");
  const auto b = read_peft(folder / "a", base);
  write_peft(b, folder / "b");
  CHECK(bytes_of(folder / "a") == bytes_of(folder / "b"));
  const safetensors_file file(folder / "a" / "adapter_model.safetensors");
  CHECK(static_cast<std::uint64_t>(a.stored_bytes()) == file.data_bytes());
  REQUIRE(a.modules.size() == b.modules.size());
  for (const auto& [name, state] : a.modules) {
    const auto& other = b.modules.at(name);
    CHECK(state.id() == other.id());
    CHECK(state.stored_bytes() == other.stored_bytes());
    for (std::size_t k = 0; k < state.tensors().size(); ++k)
      CHECK(state.tensors()[k].value == other.tensors()[k].value);
    const auto layer = random_layer<float>(state.out_features(), state.in_features(), 3);
    CHECK(state.effective(layer).weight == other.effective(layer).weight);
  }
}
/// Rewrites a folder's tensors: `change(name)` gives the new name, or "" to leave it out.
void rename_tensors(const std::filesystem::path& from, const std::filesystem::path& to,
                    const std::function<std::string(const std::string&)>& change) {
  std::filesystem::create_directory(to);
  const safetensors_file in(from / "adapter_model.safetensors");
  safetensors_writer out;
  for (const auto& t : in.tensors())
    if (const auto name = change(t.name); !name.empty()) out.add(name, t.dtype, t.shape, in.bytes(t.name));
  out.write(to / "adapter_model.safetensors");
  write_text_file(to / "adapter_config.json", read_text_file(from / "adapter_config.json"));
}

TEST_CASE("peft: every method survives writing and reading", "[peft]") {
  const random_generator random(1);
  for (const auto type : {tersor::dtype::f32, tersor::dtype::bf16, tersor::dtype::f16})
    check_round_trip(some_lora(type));
  const auto round_trip = [&](const auto& method) {
    check_round_trip(make(method, [&](const matrix<float>& w) { return method.init(w, random); }));
  };
  round_trip(adapters::lora{.rank = 2, .rslora = true, .bias = true});
  round_trip(adapters::dora{.rank = 2});
  round_trip(adapters::adalora{.rank = 3, .target_rank = 2});
  round_trip(adapters::loha{.rank = 2});
  round_trip(adapters::lokr{.rank = 1});
  round_trip(adapters::bone{.rank = 5});
  round_trip(adapters::bone{.rank = 5, .mini = 4});
  round_trip(adapters::bat{.rank = 2});
  for (const auto& o : {adapters::ia3{}, adapters::ia3{.feedforward = true}})
    check_round_trip(make(o, [&](const matrix<float>& w) { return o.init(w); }));
  for (const auto& o :
       {adapters::oft{.block_size = 2}, adapters::oft{.block_size = 2, .neumann = false, .shared = true}})
    check_round_trip(make(o, [&](const matrix<float>& w) { return o.init(w); }));
}

TEST_CASE("peft: the file's keys and metadata", "[peft]") {
  const temporary_folder folder;
  write_peft(some_lora(), folder / "a");
  const safetensors_file file(folder / "a" / "adapter_model.safetensors");
  CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "pt"}});
  CHECK(file.tensors().size() == 6);
  CHECK(file.entry("base_model.model.model.layers.0.q.lora_A.weight").shape == std::vector<index_t>{2, 6});
  const auto text = read_text_file(folder / "a" / "adapter_config.json");
  CHECK(holds(text, {"\"peft_type\": \"LORA\"", "\"inference_mode\": true", "\"lora_alpha\": 3,"}));
  CHECK(text.back() == '}');
  CHECK_THROWS_AS(write_peft(some_lora(), folder / "a"), tersor::error);  // exists
  CHECK_NOTHROW(write_peft(some_lora(), folder / "a", true));
}

TEST_CASE("peft: VeRA with and without its projections", "[peft]") {
  const adapters::vera o{.rank = 4};
  const auto shared = adapters::vera_projections<float>::draw(4, 8, 12, 5);
  auto a = make(o, [&](const matrix<float>& w) { return o.init(w, shared); });
  a.shared.vera = shared;
  a.config.fields()["projection_prng_key"] = 5;
  check_round_trip(a);
  const temporary_folder folder;
  write_peft(a, folder / "a");
  CHECK(safetensors_file(folder / "a" / "adapter_model.safetensors").contains("base_model.vera_A"));
  a.config.fields()["save_projection"] = false;  // drawn again from the key
  check_round_trip(a);
  write_peft(a, folder / "b");
  CHECK_FALSE(safetensors_file(folder / "b" / "adapter_model.safetensors").contains("base_model.vera_A"));
  CHECK(read_peft(folder / "b", base).shared.vera->a == shared->a);
  CHECK(read_peft(folder / "b", base).shared.vera->b == shared->b);
  // promised but missing
  rename_tensors(folder / "a", folder / "c", [](const std::string& n) {
    return n.find("vera_A") == n.npos && n.find("vera_B") == n.npos ? n : "";
  });
  CHECK(holds(error_of([&] { read_peft(folder / "c", base); }), {"vera_A", "save_projection"}));
}

TEST_CASE("peft: AdaLoRA's compacted ranks", "[peft]") {
  const adapters::adalora o{.rank = 3, .target_rank = 2};
  auto a = make(o, [&](const matrix<float>& w) { return o.init(w, random_generator(1)); });
  compact_adalora(a, "model.layers.0.q", std::vector<std::uint8_t>{1, 0, 1});
  compact_adalora(a, "model.layers.1.q", std::vector<std::uint8_t>{0, 0, 0});
  check_round_trip(a);
  CHECK(a.config.fields()["rank_pattern"]["model.layers.0.q.lora_E"] == json({true, false, true}));
  CHECK_THROWS_AS(compact_adalora(a, "model.layers.7.q", std::vector<std::uint8_t>{1}), tersor::error);
}

TEST_CASE("peft: embeddings, biases and whole modules", "[peft]") {
  auto a = some_lora();
  a.config.fields()["target_modules"] = {"q", "up", "embed"};
  a.config.fields()["bias"] = "lora_only";
  a.config.fields()["modules_to_save"] = {"norm"};
  auto embedding = adapters::lora_embedding<float>::init({.rank = 2, .alpha = 3}, 20, 8, random_generator(4));
  embedding.tensors()[0].value = random_matrix<float>(2, 20, 5);
  a.embeddings.emplace("model.embed", embedding);
  const auto values = [](std::size_t n) {
    const std::vector<float> v(n, 1.5F);
    const auto b = std::as_bytes(std::span(v));
    return std::vector<std::byte>(b.begin(), b.end());
  };
  a.others["base_model.model.model.layers.0.q.base_layer.bias"] = {tersor::dtype::f32, {8}, values(8)};
  a.others["base_model.model.model.norm.weight"] = {tersor::dtype::f32, {8}, values(8)};
  a.others["base_model.model.lm_head.weight"] = {tersor::dtype::f32, {20, 8}, values(160)};  // resized
  check_round_trip(a);
  const temporary_folder folder;
  write_peft(a, folder / "a");
  const auto b = read_peft(folder / "a", base);
  CHECK(b.embeddings.at("model.embed").a() == embedding.a());
  CHECK(b.others.size() == 3);
  const auto merged = b.merged("model.layers.0.q", {matrix<float>(8, 6), std::vector<float>(8)});
  CHECK(merged.bias == std::vector<float>(8, 1.5F));
  // the same bias is not expected where the mode says "none"
  a.config.fields()["bias"] = "none";
  write_peft(a, folder / "b");
  CHECK(holds(error_of([&] { read_peft(folder / "b", base); }), {"base_layer.bias", "no such tensor"}));
}

TEST_CASE("peft: weights that are stored as inputs by outputs", "[peft]") {
  auto a = some_lora();
  const auto layer = random_layer<float>(8, 6, 3);
  const auto plain = a.merged("model.layers.0.q", layer);
  a.config.fields()["fan_in_fan_out"] = true;
  const auto turned =
      a.merged("model.layers.0.q", {tersor::copy_as<float>(layer.weight.view().transposed()), layer.bias});
  CHECK(tersor::copy_as<float>(turned.weight.view().transposed()) == plain.weight);
  CHECK(holds(error_of([&] { a.merged("model.layers.0.k", layer); }), {"model.layers.0.k", "did you mean"}));
}

// As PEFT, and as ours that has twice the rank: LoRA for the unchanged base after PiSSA.
TEST_CASE("peft: LoRA of a rank above the extents of the matrix", "[peft]") {
  const adapters::lora o{.rank = 20};
  check_round_trip(make(o, [&](const matrix<float>& w) { return o.init(w, random_generator(1)); }));
}

// States were made by the configuration, before the file was asked: an allocation that failed, or did not.
TEST_CASE("peft: extents that the file does not have are errors before they take memory", "[peft]") {
  const temporary_folder folder;
  std::size_t count = 0;
  const auto error_with = [&](const peft_adapter& a, const json& fields) {
    const auto path = folder / std::to_string(count++);
    write_peft(a, path);
    auto all = read_json_file(path / "adapter_config.json");
    all.update(fields);
    write_text_file(path / "adapter_config.json", all.dump());
    return error_of([&] { read_peft(path, base); });
  };
  const index_t huge = 1000000000;
  const random_generator random(1);
  const auto some = [&](const auto& method) {
    return make(method, [&](const matrix<float>& w) { return method.init(w, random); });
  };
  CHECK(holds(error_with(some_lora(), {{"r", huge}}), {"lora_A.weight", "[2, 6]", "[1000000000, 6]"}));
  CHECK(holds(error_with(some(adapters::loha{.rank = 2}), {{"r", huge}}), {"hada_w1_a", "[8, 1000000000]"}));
  CHECK(holds(error_with(some(adapters::lokr{.rank = 1}), {{"r", huge}}), {"rank", "1000000000"}));
  CHECK(holds(error_with(some(adapters::bone{.rank = 5}), {{"r", huge}}), {"miss_block", "[1000000000, 8]"}));
  const auto adalora = some(adapters::adalora{.rank = 3, .target_rank = 2});
  CHECK(holds(error_with(adalora, {{"init_r", huge}}), {"lora_A", "[1000000000, 6]"}));
  CHECK(holds(error_with(adalora, {{"init_r", -1}}), {"init_r", "-1"}));
  const auto mini = some(adapters::bone{.rank = 5, .mini = 4});
  CHECK(holds(error_with(mini, {{"mini_r", huge}}), {"mini_r", "1000000000"}));
  CHECK(holds(error_with(mini, {{"mini_r", -3}}), {"mini_r", "-3"}));
  const adapters::oft oft{.block_size = 2};
  const auto rotations = make(oft, [&](const matrix<float>& w) { return oft.init(w); });
  CHECK(holds(error_with(rotations, {{"oft_block_size", -5}}), {"block_size", "-5"}));
  // of one block the file would have all pairs of inputs
  CHECK(holds(error_with(rotations, {{"oft_block_size", huge}}), {"oft_R.weight", "[1, 15]"}));
  const adapters::vera vera{.rank = 4};
  const auto shared = adapters::vera_projections<float>::draw(4, 8, 12, 5);
  auto vectors = make(vera, [&](const matrix<float>& w) { return vera.init(w, shared); });
  vectors.shared.vera = shared;
  CHECK(holds(error_with(vectors, {{"r", huge}}), {"vera_lambda_d", "[1000000000]"}));
  vectors.config.fields()["save_projection"] = false;
  CHECK(holds(error_with(vectors, {{"r", huge}}), {"vera_lambda_d", "[1000000000]"}));
}

TEST_CASE("peft: errors name the key and what is nearest", "[peft]") {
  const temporary_folder folder;
  write_peft(some_lora(), folder / "good");
  const std::string q = "base_model.model.model.layers.0.q.lora_A.weight";
  const auto changed = [&](const char* name, const std::function<std::string(const std::string&)>& change) {
    rename_tensors(folder / "good", folder / name, change);
    return error_of([&] { read_peft(folder / name, base); });
  };
  CHECK(changed("same", [](const std::string& n) { return n; }).empty());
  CHECK(holds(changed("missing", [&](const std::string& n) { return n == q ? "" : n; }), {q}));
  CHECK(holds(changed("misspelt",
                      [&](const std::string& n) {
                        return n == q ? "base_model.model.model.layers.0.q.lora_A.wieght" : n;
                      }),
              {q, "did you mean \"base_model.model.model.layers.0.q.lora_A.wieght\""}));
  CHECK(holds(
      changed("prefix", [&](const std::string& n) { return n == q ? "model.layers.0.q.lora_A.weight" : n; }),
      {"a key that begins with base_model.model.", "did you mean \"" + q + "\"?"}));
  // a part of the path is missing, as where the model was saved without its head
  CHECK(holds(
      changed("short",
              [&](const std::string& n) { return n == q ? "base_model.model.layers.0.q.lora_A.weight" : n; }),
      {q, "did you mean \"base_model.model.layers.0.q.lora_A.weight\"?"}));
  CHECK(holds(changed("named",
                      [&](const std::string& n) {
                        return n == q ? "base_model.model.model.layers.0.q.lora_A.default.weight" : n;
                      }),
              {q, "default"}));
  // one too many
  {
    const safetensors_file in(folder / "good" / "adapter_model.safetensors");
    std::filesystem::create_directory(folder / "extra");
    safetensors_writer out;
    for (const auto& t : in.tensors()) out.add(t.name, t.dtype, t.shape, in.bytes(t.name));
    out.add("base_model.model.model.layers.2.q.lora_A.weight", tersor::dtype::f32, {2, 6}, in.bytes(q));
    out.write(folder / "extra" / "adapter_model.safetensors");
    write_text_file(folder / "extra" / "adapter_config.json",
                    read_text_file(folder / "good" / "adapter_config.json"));
    CHECK(holds(error_of([&] { read_peft(folder / "extra", base); }),
                {"layers.2.q", "no such tensor", "did you mean"}));
  }
  // another base, another type, another rank
  auto other = base;
  other[1].in = 7;
  CHECK(holds(error_of([&] { read_peft(folder / "good", other); }), {q, "[2, 6]", "[2, 7]"}));
  const auto with_config = [&](const char* name, const char* key, const json& value) {
    std::filesystem::create_directory(folder / name);
    auto fields = read_json_file(folder / "good" / "adapter_config.json");
    fields[key] = value;
    write_text_file(folder / name / "adapter_config.json", fields.dump());
    std::filesystem::copy_file(folder / "good" / "adapter_model.safetensors",
                               folder / name / "adapter_model.safetensors");
    return error_of([&] { read_peft(folder / name, base); });
  };
  CHECK(holds(with_config("type", "peft_type", "LORRA"), {"peft_type", "LORRA", "did you mean \"LORA\""}));
  CHECK(holds(with_config("rank", "r", 3), {"[2, 6]", "[3, 6]"}));
  CHECK(holds(with_config("start", "init_lora_weights", "pissa"), {"init_lora_weights", "pissa"}));
  CHECK(holds(with_config("nothing", "target_modules", json::array({"queue"})), {"target_modules", "queue"}));
  CHECK(holds(with_config("later", "alora_invocation_tokens", json{5, 6}), {"alora_invocation_tokens"}));
  CHECK(with_config("unknown", "some_new_key", json{{"x", 1}}).empty());
  CHECK(read_peft(folder / "unknown", base).config.fields()["some_new_key"]["x"] == 1);
  // no file, a pickle, no numbers
  CHECK_THROWS_AS(read_peft(folder / "none", base), tersor::error);
  std::filesystem::create_directory(folder / "pickle");
  std::filesystem::copy_file(folder / "good" / "adapter_config.json",
                             folder / "pickle" / "adapter_config.json");
  write_text_file(folder / "pickle" / "adapter_model.bin", "x");
  CHECK(holds(error_of([&] { read_peft(folder / "pickle", base); }), {"adapter_model.bin", "safetensors"}));
  auto broken = some_lora();
  broken.modules.begin()->second.tensors()[0].value(0, 0) = std::numeric_limits<float>::quiet_NaN();
  write_peft(broken, folder / "broken");
  CHECK(holds(error_of([&] { read_peft(folder / "broken", base); }), {"[0, 0]", "finite"}));
}

}  // namespace peft_tests
