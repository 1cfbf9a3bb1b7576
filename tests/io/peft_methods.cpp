// tersor - tests of io/peft_methods.hpp
// SPDX-License-Identifier: MIT
#include <tersor/io/peft_methods.hpp>
#include <tersor/io/safetensors.hpp>

#include "../catch.hpp"
#include "temporary_folder.hpp"

namespace peft_methods_tests {

namespace adapters = tersor::adapters;
using namespace tersor::io;
using tersor::index_t;
using tersor::matrix;
using tersor::test::error_of;
using tersor::test::holds;

struct tensor_shape {
  std::string key;
  std::vector<index_t> shape;
  friend bool operator==(const tensor_shape&, const tensor_shape&) = default;
};
std::ostream& operator<<(std::ostream& out, const tensor_shape& s) {
  return out << s.key << detail::shape_text(s.shape);
}
using table = std::vector<tensor_shape>;

table shapes_of(const adapters::any_adapter& a) {
  table t;
  a.for_each_tensor([&](const auto& p) { t.push_back({p.key, p.shape}); });
  return t;
}
table shapes(json fields, const peft_module& m) {
  peft_shared shared;
  if (fields["peft_type"] == "VERA")
    shared.vera = adapters::vera_projections<float>::draw(fields["r"].get<index_t>(), 30, 30);
  const peft_config config(std::move(fields));
  const table made = shapes_of(make_peft_state(config, m, shared));
  table told;
  for (auto& s : peft_shapes_of(config, m)) told.push_back({s.key, s.shape});
  CHECK(told == made);
  return made;
}

// The table of names and shapes of the file format, method by method.
TEST_CASE("peft methods: names and shapes of linear layers", "[peft_methods]") {
  const peft_module m{.name = "lin", .out = 12, .in = 24};
  CHECK(shapes({{"peft_type", "LORA"}, {"r", 3}}, m) ==
        table{{"lora_A.weight", {3, 24}}, {"lora_B.weight", {12, 3}}});
  CHECK(shapes({{"peft_type", "LORA"}, {"r", 3}, {"lora_bias", true}}, m) ==
        table{{"lora_A.weight", {3, 24}}, {"lora_B.weight", {12, 3}}, {"lora_B.bias", {12}}});
  CHECK(shapes({{"peft_type", "LORA"}, {"r", 3}, {"use_dora", true}}, m) ==
        table{{"lora_A.weight", {3, 24}}, {"lora_B.weight", {12, 3}}, {"lora_magnitude_vector", {12}}});
  CHECK(shapes({{"peft_type", "ADALORA"}, {"init_r", 4}}, m) ==
        table{{"lora_A", {4, 24}}, {"lora_E", {4, 1}}, {"lora_B", {12, 4}}});
  CHECK(shapes({{"peft_type", "ADALORA"},
                {"init_r", 4},
                {"rank_pattern", {{"lin.lora_E", {true, false, false, true}}}}},
               m) == table{{"lora_A", {2, 24}}, {"lora_E", {2, 1}}, {"lora_B", {12, 2}}});
  CHECK(shapes({{"peft_type", "VERA"}, {"r", 7}}, m) ==
        table{{"vera_lambda_b", {12}}, {"vera_lambda_d", {7}}});
  CHECK(
      shapes({{"peft_type", "LOHA"}, {"r", 2}}, m) ==
      table{{"hada_w1_a", {12, 2}}, {"hada_w1_b", {2, 24}}, {"hada_w2_a", {12, 2}}, {"hada_w2_b", {2, 24}}});
  CHECK(shapes({{"peft_type", "LOKR"}, {"r", 2}}, m) ==
        table{{"lokr_w1", {3, 4}}, {"lokr_w2_a", {4, 2}}, {"lokr_w2_b", {2, 6}}});
  CHECK(shapes({{"peft_type", "LOKR"}, {"r", 9}}, m) == table{{"lokr_w1", {3, 4}}, {"lokr_w2", {4, 6}}});
  CHECK(shapes({{"peft_type", "IA3"}}, m) == table{{"ia3_l", {12, 1}}});
  CHECK(shapes({{"peft_type", "IA3"}, {"feedforward_modules", {"lin"}}}, m) == table{{"ia3_l", {1, 24}}});
  CHECK(shapes({{"peft_type", "OFT"}, {"oft_block_size", 4}, {"r", 0}}, m) ==
        table{{"oft_R.weight", {6, 6}}});
  CHECK(shapes({{"peft_type", "OFT"}, {"oft_block_size", 4}, {"block_share", true}}, m) ==
        table{{"oft_R.weight", {1, 6}}});
  CHECK(shapes({{"peft_type", "MISS"}, {"r", 5}, {"init_weights", true}}, m) ==
        table{{"miss_block", {5, 12}}});
  CHECK(shapes({{"peft_type", "MISS"}, {"r", 4}, {"init_weights", "bat"}}, m) ==
        table{{"miss_block", {3, 4, 4}}});
  CHECK(shapes({{"peft_type", "MISS"}, {"r", 5}, {"mini_r", 3}, {"init_weights", "mini"}}, m) ==
        table{{"miss_block", {5, 3}}});
  CHECK(shapes({{"peft_type", "BONE"}, {"r", 5}}, m) == table{{"bone_block", {5, 12}}});
}

TEST_CASE("peft methods: names and shapes of convolutions and embeddings", "[peft_methods]") {
  const peft_module m{.name = "conv", .out = 12, .in = 8, .kernel_rows = 3, .kernel_cols = 2};
  CHECK(shapes({{"peft_type", "LORA"}, {"r", 3}, {"use_dora", true}}, m) ==
        table{{"lora_A.weight", {3, 8, 3, 2}},
              {"lora_B.weight", {12, 3, 1, 1}},
              {"lora_magnitude_vector", {1, 12, 1, 1}}});
  CHECK(shapes({{"peft_type", "LOHA"}, {"r", 2}, {"use_effective_conv2d", true}}, m)[2] ==
        tensor_shape{"hada_t1", {2, 2, 3, 2}});
  CHECK(shapes({{"peft_type", "LOKR"}, {"r", 8}}, m)[1] == tensor_shape{"lokr_w2", {4, 4, 3, 2}});
  const auto e = make_peft_embedding(peft_config(json{{"peft_type", "LORA"}, {"r", 3}}),
                                     {.name = "emb", .out = 5, .in = 9, .embedding = true});
  CHECK(e.tensors()[0].shape == std::vector<index_t>{3, 9});
  CHECK(e.tensors()[1].shape == std::vector<index_t>{5, 3});
}

TEST_CASE("peft methods: the options of a method survive its configuration", "[peft_methods]") {
  const matrix<float> w(12, 24);
  const peft_module m{.name = "a.lin", .out = 12, .in = 24};
  const tersor::random_generator random(1);
  const auto same = [&](const auto& method, const adapters::any_adapter& state,
                        const peft_shared& shared = {}) {
    const auto config = make_peft_config(method, {"lin"});
    CHECK(config.is_target(m));
    CHECK(shapes_of(make_peft_state(config, m, shared)) == shapes_of(state));
  };
  const adapters::lora lora{.rank = 3, .alpha = 5, .rslora = true, .bias = true};
  same(lora, lora.init(w, random));
  CHECK(make_peft_state(make_peft_config(lora, {"lin"}), m, {}).as<adapters::lora_state<float>>()->scale() ==
        lora.scale());
  CHECK(make_peft_config(lora, {"lin"}).fields()["lora_alpha"].dump() == "5");
  same(adapters::dora{.rank = 3},
       adapters::dora_state<float>(matrix<float>(3, 24), matrix<float>(12, 3), std::vector<float>(12), 1));
  const adapters::adalora adalora{.rank = 3, .target_rank = 2};
  same(adalora, adalora.init(w, random));
  const peft_shared shared{adapters::vera_projections<float>::draw(6, 24, 12)};
  same(adapters::vera{.rank = 6}, adapters::vera{.rank = 6}.init(w, shared.vera), shared);
  same(adapters::loha{.rank = 2}, adapters::loha{.rank = 2}.init(w, random));
  const adapters::lokr lokr{.rank = 1, .factor = 4, .decompose_both = true};
  same(lokr, lokr.init(w, random));
  same(adapters::ia3{}, adapters::ia3{}.init(w));
  same(adapters::ia3{.feedforward = true}, adapters::ia3{.feedforward = true}.init(w));
  const adapters::oft oft{.block_size = 0, .blocks = 4, .shared = true};
  same(oft, oft.init(w));
  const adapters::bone mini{.rank = 5, .mini = 3};
  same(mini, mini.init(w, random));
  same(adapters::bat{.rank = 4}, adapters::bat{.rank = 4}.init(w, random));
}

// PEFT takes the start of these out of the base, which the given one still has: the merged weights were
// wrong.
TEST_CASE("peft methods: initializations that change the base are refused", "[peft_methods]") {
  const peft_module m{.name = "lin", .out = 12, .in = 24},
      table{.name = "emb", .out = 5, .in = 9, .embedding = true};
  const auto with = [](const json& start) {
    return peft_config(json{{"peft_type", "LORA"}, {"r", 2}, {"init_lora_weights", start}});
  };
  for (const json& start : {json(true), json(false), json(nullptr), json("gaussian"), json("Gaussian"),
                            json("eva"), json("orthogonal"), json("mica")})
    CHECK(peft_shapes_of(with(start), m).size() == 2);
  for (const char* start :
       {"pissa", "pissa_niter_16", "olora", "OLoRA", "corda", "lora_ga", "loftq", "unheard-of"}) {
    CAPTURE(start);
    for (const auto& module : {m, table})
      CHECK(holds(error_of([&] { peft_shapes_of(with(start), module); }),
                  {"init_lora_weights", start, "path_initial_model_for_weight_conversion"}));
  }
}

// A configuration costs no memory: what it says is first compared with the file.
TEST_CASE("peft methods: shapes of any rank", "[peft_methods]") {
  const peft_module m{.name = "lin", .out = 12, .in = 24};
  const index_t huge = index_t{1} << 40;
  for (const char* type : {"LORA", "VERA", "LOHA", "MISS", "BONE"})
    CHECK(peft_shapes_of(peft_config(json{{"peft_type", type}, {"r", huge}}), m).size() > 0);
  CHECK(peft_shapes_of(peft_config(json{{"peft_type", "ADALORA"}, {"init_r", huge}}), m)[0].shape ==
        std::vector<index_t>{huge, 24});
  CHECK(shapes({{"peft_type", "LORA"}, {"r", 30}}, m)[0] == tensor_shape{"lora_A.weight", {30, 24}});
}

TEST_CASE("peft methods: errors", "[peft_methods]") {
  const peft_module m{.name = "lin", .out = 12, .in = 24};
  CHECK(holds(error_of([&] {
                shapes({{"peft_type", "LORRA"}}, m);
              }),
              {"peft_type", "LORRA", "did you mean \"LORA\""}));
  CHECK(holds(error_of([&] {
                shapes({{"peft_type", "MISS"}, {"init_weights", "bats"}}, m);
              }),
              {"init_weights", "bats"}));
  CHECK(holds(error_of([&] {
                shapes({{"peft_type", "MISS"}, {"r", 5}, {"init_weights", "bat"}}, m);
              }),
              {"rank of lin = 5"}));
  for (const index_t columns : {-3, 0, 5})
    CHECK(holds(error_of([&] {
                  shapes({{"peft_type", "MISS"}, {"mini_r", columns}, {"init_weights", "mini"}}, m);
                }),
                {"mini_r", tersor::to_text(columns), "a divisor of 12"}));
  CHECK(holds(error_of([&] {
                shapes({{"peft_type", "ADALORA"}, {"init_r", -1}}, m);
              }),
              {"init_r", "-1", "at least 1"}));
  const peft_module conv{.name = "conv", .out = 12, .in = 8, .kernel_rows = 3, .kernel_cols = 3};
  CHECK(holds(error_of([&] { shapes({{"peft_type", "IA3"}}, conv); }), {"convolution conv", "IA3"}));
  CHECK_THROWS_AS(make_peft_embedding(peft_config(json{{"peft_type", "IA3"}}), m), tersor::error);
}

}  // namespace peft_methods_tests
