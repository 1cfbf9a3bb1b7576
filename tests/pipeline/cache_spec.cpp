// tersor - tests of pipeline/cache_spec.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/gear.hpp>
#include <tersor/kv/kivi.hpp>
#include <tersor/kv/random.hpp>
#include <tersor/pipeline/cache_spec.hpp>
#include <tersor/quant/rtn.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace tersor {
namespace cache_spec_tests {

using pipeline::parse_cache_spec;
using test::error_of;
using test::holds;

TEST_CASE("cache_spec: either part alone, both, options") {
  const auto normal = [](const char* text) { return parse_cache_spec(text).text(); };
  CHECK(normal("full") == "full|dense");
  CHECK(normal("dense(type=f8_e4m3)") == "full|dense(type=f8_e4m3)");
  CHECK(normal("gear( bits=4, backbone=kcvt, buffer=20 )") == "full|gear(bits=4,backbone=kcvt,buffer=20)");
  CHECK(normal("streaming(window=252) | group(bits=4)") == "streaming(window=252)|group");
  CHECK(normal("random(ratio=0.25)|kivi(bits=2)") == "random(ratio=0.25)|kivi");
  CHECK(normal("random|dense") == "random|dense");
  CHECK(normal("snapkv(capacity=256,window=32,kernel=7,pooling=max,reduce=max)|kivi") ==
        "snapkv(capacity=256,kernel=7,pooling=max,reduce=max)|kivi");
  CHECK(normal("adakv(ratio=0.7,alpha=0.1)|group") == "adakv(ratio=0.7,alpha=0.1)|group");
  CHECK(normal("h2o(capacity=512)") == "h2o(capacity=512)|dense");
  for (const char* text : {"streaming(sinks=2)|bfp(block=64)", "kivi", "random"})
    CHECK(normal(normal(text).c_str()) == normal(text));
}

TEST_CASE("cache_spec: the cache it opens does what the parts do") {
  const kv::attention_layout layout{.heads = 2, .kv_heads = 1, .head_dim = 32};
  std::vector<float> x(2 * 200 * 32);
  random_generator random(1);
  for (float& v : x) v = static_cast<float>(random.normal());
  const kv::heads_view<const float> k(x.data(), {1, 200, 32}), q(x.data(), {2, 200, 32});
  auto text = parse_cache_spec("random(ratio=0.3)|kivi(bits=4)").open(layout);
  kv::any_cache code(layout, kv::random{.ratio = 0.3} | kv::kivi{.bits = 4});
  text.prefill(k, k, q);
  code.prefill(k, k, q);
  CHECK(text.kept(0) == code.kept(0));
  CHECK(text.to_dense(kv::side::keys, 0) == code.to_dense(kv::side::keys, 0));
  CHECK(text.storage().bytes() == code.storage().bytes());
  CHECK(parse_cache_spec("streaming(contiguous=true)").keys() == kv::key_position::plain);
  CHECK(parse_cache_spec("streaming(contiguous=true,rolling=false)|gear").keys() ==
        kv::key_position::rotated);
  CHECK(holds(error_of([&] { parse_cache_spec("streaming|gear").open(layout); }), {"streaming", "gear"}));
}

TEST_CASE("cache_spec: mistakes say what and where") {
  const auto mistake = [](const char* text) { return error_of([&] { parse_cache_spec(text); }); };
  CHECK(holds(mistake("kiwi"), {"kiwi", "did you mean \"kivi\""}));
  CHECK(holds(mistake("gear(bit=2)"), {"gear", "bit", "bits"}));
  CHECK(holds(mistake("gear(bits=9)"), {"bits", "9", "1 .. 8"}));
  CHECK(holds(mistake("gear(buffer=20)"), {"gear: buffer", "20"}));
  CHECK(holds(mistake("snapkv(ratio=0.5)"), {"snapkv: ratio", "0.5", "capacity is 2048"}));
  CHECK(holds(mistake("gptq"), {"gptq", "KV caches"}));
  CHECK(holds(mistake("kivi|gear"), {"gear", "one codec"}));
  CHECK(holds(mistake("random|full"), {"full", "one eviction"}));
  CHECK(holds(mistake("kivi|random"), {"random", "before the codec"}));
  CHECK(holds(mistake("dense(type=f4)"), {"type", "f4", "f8_e4m3"}));
  for (const char* text : {"", "kivi|", "|kivi", "kivi+gear", "kivi; gear", "*: kivi", "kivi gear"})
    CHECK_FALSE(mistake(text).empty());
}

TEST_CASE("cache_spec: recipes for weights refuse methods for caches, in text and in code") {
  const auto mistake = [](const char* text) { return error_of([&] { pipeline::recipe::parse(text); }); };
  CHECK(holds(mistake("gear"), {"gear", "KV caches"}));
  CHECK(holds(mistake("rtn|kivi"), {"kivi", "KV caches"}));
  CHECK(holds(mistake("rtn+kivi"), {"kivi", "KV caches"}));
  CHECK(holds(mistake("streaming|rtn"), {"streaming", "KV caches"}));
  CHECK(holds(error_of([] { pipeline::recipe(kv::gear{}); }), {"gear", "KV caches"}));
  CHECK(pipeline::recipe::parse("dense").text() == "dense");  // there, a layer that is left alone
  // and the other way round
  CHECK(holds(error_of([] { pipeline::any_stage(quant::rtn{}).codec(); }), {"rtn", "codec"}));
  CHECK(holds(error_of([] { pipeline::any_stage(kv::gear{}).eviction(); }), {"gear", "eviction"}));
  CHECK_THROWS_AS(pipeline::any_stage(kv::gear{}).compress({.weight = matrix<float>(2, 2)}, {}), error);
}

}  // namespace cache_spec_tests
}  // namespace tersor
