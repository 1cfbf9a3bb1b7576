// tersor - tests of io/peft_config.hpp
// SPDX-License-Identifier: MIT
#include <tersor/io/peft_config.hpp>

#include "../catch.hpp"
#include "temporary_folder.hpp"

namespace peft_config_tests {

using tersor::index_t;
using tersor::io::json;
using tersor::io::peft_config;
using tersor::io::peft_module;
using tersor::test::error_of;
using tersor::test::holds;

using names = std::vector<std::string>;

/// A decoder of three layers with an embedding and a head.
std::vector<peft_module> decoder() {
  std::vector<peft_module> m{{.name = "model.embed_tokens", .out = 8, .in = 20, .embedding = true}};
  for (int l = 0; l < 3; ++l)
    for (const char* part : {"self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"})
      m.push_back({.name = tersor::concat("model.layers.", l, ".", part), .out = 8, .in = 8});
  m.push_back({.name = "lm_head", .out = 20, .in = 8, .output_head = true});
  return m;
}
peft_config with(json fields) {
  fields["peft_type"] = "LORA";
  return peft_config(std::move(fields));
}
names targets(json fields) { return with(std::move(fields)).targets(decoder()); }

TEST_CASE("peft config: target modules as suffixes, expressions and all-linear", "[peft_config]") {
  CHECK(targets({{"target_modules", {"q_proj"}}}) == names{"model.layers.0.self_attn.q_proj",
                                                           "model.layers.1.self_attn.q_proj",
                                                           "model.layers.2.self_attn.q_proj"});
  // whole components only
  CHECK_THROWS_AS(targets({{"target_modules", {"proj"}}}), tersor::error);
  CHECK(targets({{"target_modules", {"lm_head"}}}) == names{"lm_head"});
  CHECK(targets({{"target_modules", {"1.mlp.up_proj", "embed_tokens"}}}) ==
        names{"model.embed_tokens", "model.layers.1.mlp.up_proj"});
  // the whole name must match
  CHECK(targets({{"target_modules", ".*\\.[02]\\..*v_proj"}}).size() == 2);
  CHECK_THROWS_AS(targets({{"target_modules", "q_proj"}}), tersor::error);
  CHECK(targets({{"target_modules", "all-linear"}}).size() == 9);
}

TEST_CASE("peft config: exclusions and layers", "[peft_config]") {
  CHECK(targets({{"target_modules", {"q_proj", "v_proj"}}, {"exclude_modules", {"v_proj"}}}).size() == 3);
  CHECK(targets({{"target_modules", "all-linear"}, {"exclude_modules", ".*mlp.*"}}).size() == 6);
  CHECK(targets({{"target_modules", {"q_proj"}}, {"layers_to_transform", {0, 2}}}) ==
        names{"model.layers.0.self_attn.q_proj", "model.layers.2.self_attn.q_proj"});
  CHECK(targets({{"target_modules", {"q_proj"}}, {"layers_to_transform", 1}, {"layers_pattern", "layers"}}) ==
        names{"model.layers.1.self_attn.q_proj"});
  CHECK_THROWS_AS(
      targets({{"target_modules", {"q_proj"}}, {"layers_to_transform", 1}, {"layers_pattern", {"blocks"}}}),
      tersor::error);
  // a group in the pattern takes the place of the index
  CHECK(holds(
      error_of([] {
        targets({{"target_modules", {"q_proj"}}, {"layers_to_transform", 1}, {"layers_pattern", "(layers)"}});
      }),
      {"layers_pattern", "layers", "the index of a layer"}));
  // modules outside layers are not in any of them; a whole name in the list is
  CHECK_THROWS_AS(targets({{"target_modules", {"embed_tokens"}}, {"layers_to_transform", 1}}), tersor::error);
  CHECK(targets({{"target_modules", {"lm_head"}}, {"layers_to_transform", 1}}) == names{"lm_head"});
  CHECK(targets({{"target_modules", {"q_proj"}}, {"layers_to_transform", nullptr}}).size() == 3);
}

TEST_CASE("peft config: ranks and alphas by pattern", "[peft_config]") {
  const auto c = with({{"r", 4},
                       {"lora_alpha", 6},
                       {"rank_pattern", {{"q_proj", 2}, {".*\\.2\\.mlp\\.up_proj", 16}}},
                       {"alpha_pattern", {{"layers.0.self_attn.q_proj", 1.5}}}});
  CHECK(c.rank("model.layers.1.self_attn.q_proj") == 2);
  CHECK(c.rank("model.layers.1.self_attn.xq_proj") == 4);
  CHECK(c.rank("model.layers.2.mlp.up_proj") == 16);
  CHECK(c.rank("model.layers.1.mlp.up_proj") == 4);
  CHECK(c.alpha("model.layers.0.self_attn.q_proj") == 1.5);
  CHECK(c.alpha("model.layers.1.self_attn.q_proj") == 6);
  CHECK(with({}).rank("x") == 8);
  CHECK_THROWS_AS(with({{"r", 0}}).rank("x"), tersor::error);
  CHECK_THROWS_AS(with({{"rank_pattern", {{"x", "four"}}}}).rank("x"), tersor::error);
}

TEST_CASE("peft config: feed-forward modules", "[peft_config]") {
  CHECK(with({{"feedforward_modules", {"down_proj"}}}).is_feedforward("layers.0.mlp.down_proj"));
  CHECK_FALSE(with({{"feedforward_modules", {"down_proj"}}}).is_feedforward("layers.0.mlp.up_proj"));
  CHECK(with({{"feedforward_modules", ".*mlp.*"}}).is_feedforward("layers.0.mlp.up_proj"));
  CHECK_FALSE(with({}).is_feedforward("x"));
}

TEST_CASE("peft config: the text keeps unknown fields and adds those that every file has", "[peft_config]") {
  const auto c =
      with({{"zeta", {{"b", 1}, {"a", {2, 3}}}}, {"r", 4}, {"lora_dropout", 0.0}, {"note", "\u00e9"}});
  const auto text = c.text();
  CHECK(
      holds(text, {"{\n  \"auto_mapping\": null,\n", "\"inference_mode\": true", "\"lora_dropout\": 0.0",
                   "\"zeta\": {\n    \"a\": [\n      2,\n      3\n    ],\n    \"b\": 1\n  }\n}", "\\u00e9"}));
  CHECK(peft_config(tersor::io::parse_json(text, "text")).text() == text);
  CHECK(text.find("\"bias\"") < text.find("\"r\""));
  // PEFT's configurations of these methods have no such field, and it warns of those that it does not know
  for (const char* type : {"LOHA", "LOKR", "IA3"})
    CHECK(peft_config(json{{"peft_type", type}}).text().find("\"bias\"") == std::string::npos);
}

TEST_CASE("peft config: errors name the field and what is nearest", "[peft_config]") {
  CHECK(holds(error_of([] {
                peft_config(json{{"peft_typ", "LORA"}});
              }),
              {"peft_type", "did you mean \"peft_typ\""}));
  CHECK(holds(error_of([] {
                targets({{"target_modules", {"q_prj"}}});
              }),
              {"target_modules", "q_prj", "did you mean \"q_proj\""}));
  CHECK(holds(error_of([] {
                targets({{"target_modules", "(("}});
              }),
              {"target_modules", "regular expression"}));
  CHECK(holds(error_of([] { targets({{"target_modules", nullptr}}); }), {"target_modules", "null"}));
  CHECK(holds(error_of([] { targets({{"target_modules", {1}}}); }), {"target_modules", "a string"}));
  CHECK(holds(error_of([] { targets({}); }), {"target_modules"}));
  CHECK(holds(error_of([] { with({{"bias", 3}}).bias(); }), {"bias", "a string"}));
}

}  // namespace peft_config_tests
