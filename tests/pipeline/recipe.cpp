// tersor - tests of pipeline/recipe.hpp: the grammar of specs
// SPDX-License-Identifier: MIT
#include <tersor/lowrank/svd.hpp>
#include <tersor/pipeline/recipe.hpp>
#include <tersor/quant/awq.hpp>
#include <tersor/quant/gptq.hpp>
#include <tersor/quant/rtn.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace tersor {
namespace recipe_tests {

using pipeline::recipe;
using test::error_of;
using test::holds;

TEST_CASE("recipe: text comes back as its shortest form") {
  auto normal = [](const char* text) { return recipe::parse(text).text(); };
  CHECK(normal("gptq") == "gptq");
  CHECK(normal(" gptq( bits = 3 , group_size=128 ) ") == "gptq(bits=3)");
  CHECK(normal("gptq()") == "gptq");
  CHECK(normal("awq|gptq(bits=3)+svd(rank=16)") == "awq|gptq(bits=3)+svd(rank=16)");
  CHECK(normal("gptq(bits=4); *.down_proj: gptq(bits=8)") == "gptq; *.down_proj: gptq(bits=8)");
  CHECK(normal("gptq(bits=4)\n*.down_proj: gptq(bits=8)\n") == "gptq; *.down_proj: gptq(bits=8)");
  CHECK(normal("rtn, model.layers.?.mlp.*:dense") == "rtn; model.layers.?.mlp.*: dense");
  CHECK(normal("wanda(pattern=2:4)") == "wanda(pattern=2:4)");
  CHECK(normal("rtn(clip_search=true,scale_type=f32,scheme=sym_unsigned)") ==
        "rtn(scheme=sym_unsigned,clip_search=true,scale_type=f32)");
  for (const char* text :
       {"awq|gptq(bits=3)+svd(rank=16); *.o_proj: dense", "sparsegpt(pattern=2:4)|gptq(bits=8)"})
    CHECK(normal(normal(text).c_str()) == normal(text));
}

TEST_CASE("recipe: composed in code is the same as text") {
  const recipe code = quant::awq{} | (quant::gptq{.bits = 3} + lowrank::svd{.rank = 16});
  CHECK(code.text() == recipe::parse("awq|gptq(bits=3)+svd(rank=16)").text());
  recipe overridden = quant::rtn{.bits = 4};
  overridden.with("*.down_proj", quant::rtn{.bits = 8});
  CHECK(overridden.text() == "rtn; *.down_proj: rtn(bits=8)");
}

TEST_CASE("recipe: the last matching rule decides") {
  const auto r = recipe::parse("gptq(bits=4); *.down_proj: gptq(bits=8); model.layers.0.*: dense");
  CHECK(r.chain_of("model.layers.1.mlp.up_proj").text() == "gptq");
  CHECK(r.chain_of("model.layers.1.mlp.down_proj").text() == "gptq(bits=8)");
  CHECK(r.chain_of("model.layers.0.mlp.down_proj").empty());
  CHECK(recipe::parse("*.up_proj: rtn").chain_of("model.layers.1.mlp.down_proj").empty());
}

TEST_CASE("recipe: globs") {
  CHECK(pipeline::matches_glob("*", ""));
  CHECK(pipeline::matches_glob("a*c", "abc"));
  CHECK(pipeline::matches_glob("a*c", "ac"));
  CHECK(pipeline::matches_glob("*.q_proj", "model.layers.0.self_attn.q_proj"));
  CHECK(pipeline::matches_glob("*a*b*", "xxaxxbxx"));
  CHECK(pipeline::matches_glob("a?c", "abc"));
  CHECK_FALSE(pipeline::matches_glob("a?c", "ac"));
  CHECK_FALSE(pipeline::matches_glob("a*c", "acd"));
  CHECK_FALSE(pipeline::matches_glob("", "a"));
}

TEST_CASE("recipe: mistakes say where and suggest") {
  auto mistake = [](const char* text) { return error_of([&] { recipe::parse(text); }); };
  CHECK(holds(mistake("gptp(bits=4)"), {"gptp", "gptq"}));
  CHECK(holds(mistake("gtpq"), {"gtpq", "did you mean \"gptq\""}));
  CHECK(holds(mistake("rtn(bits=4,bits=3)"), {"bits", "once"}));
  CHECK(holds(mistake("svd(energy=3)"), {"energy", "one of method, rank, ratio"}));
  CHECK(holds(mistake("rtn,svd"), {"glob", "*", "one rule"}));
  CHECK(holds(mistake("rtn; *.up_proj: gptq; *.up_proj: dense"), {"*.up_proj", "one rule"}));
  CHECK(holds(mistake("gptq(bit=4)"), {"bit", "bits"}));
  CHECK(holds(mistake("gptq(bits=9)"), {"bits", "9", "2 .. 8"}));
  CHECK(holds(mistake("gptq(bits=four)"), {"bits", "four"}));
  CHECK(holds(mistake("gptq(group_size=0)"), {"group_size"}));
  CHECK(holds(mistake("gptq(act_order=maybe)"), {"act_order", "maybe", "true|false"}));
  CHECK(holds(mistake("rtn(scheme=affine)"), {"scheme", "affine0"}));
  CHECK_FALSE(mistake("").empty());
  CHECK_FALSE(mistake("gptq(bits=4").empty());
  CHECK_FALSE(mistake("gptq bits=4").empty());
  CHECK_FALSE(mistake("gptq|").empty());
  CHECK_FALSE(mistake("|gptq").empty());
  CHECK_FALSE(mistake("gptq++svd").empty());
  CHECK_FALSE(mistake(": gptq").empty());
  CHECK(holds(mistake("gptq|dense"), {"dense"}));
  CHECK(holds(mistake("gptq|awq"), {"awq"}));
  CHECK(holds(mistake("awq"), {"awq", "compressor"}));
  CHECK(holds(mistake("awq+rtn"), {"awq"}));
}

TEST_CASE("recipe: a rule that matches no layer is an error with the nearest name") {
  const std::vector<std::string> layers{"model.layers.0.mlp.down_proj", "model.layers.0.mlp.up_proj"};
  recipe::parse("rtn; *.down_proj: dense").check_layers(layers);
  CHECK(holds(error_of([&] { recipe::parse("rtn; *.dwn_proj: dense").check_layers(layers); }),
              {"*.dwn_proj", "did you mean \"*.down_proj\""}));
  CHECK(holds(error_of([&] { recipe::parse("model.layers.0.mlp.dwn_proj: rtn").check_layers(layers); }),
              {"dwn_proj", "model.layers.0.mlp.down_proj"}));
}

}  // namespace recipe_tests
}  // namespace tersor
