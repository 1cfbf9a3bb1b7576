// tersor - tests of kv/codec.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/codec.hpp>
#include <tersor/kv/dense.hpp>
#include <tersor/kv/kivi.hpp>

#include "samples.hpp"

namespace codec_tests {

using namespace tersor_test;

static_assert(kv::codec<kv::dense> && kv::codec<kv::kivi>);
static_assert(!kv::codec<int>);

TEST_CASE("codec: rules of flushing") {
  const kv::flush_rule at_once{};
  CHECK(at_once.of_prompt(7) == 7);
  CHECK(at_once.of_tail(1) == 1);
  CHECK(at_once.of_tail(0) == 0);
  const kv::flush_rule lumps{.keep = 0, .prompt_lump = 4, .lump = 4};
  CHECK(lumps.of_prompt(0) == 0);
  CHECK(lumps.of_prompt(3) == 0);
  CHECK(lumps.of_prompt(11) == 8);
  CHECK(lumps.of_tail(3) == 0);
  CHECK(lumps.of_tail(5) == 4);
  const kv::flush_rule behind{.keep = 4};
  CHECK(behind.of_prompt(4) == 0);
  CHECK(behind.of_prompt(9) == 5);
  CHECK(behind.of_tail(4) == 0);
  CHECK(behind.of_tail(5) == 1);
}

TEST_CASE("codec: behind one type, as it is") {
  const kv::any_codec c = kv::kivi{.bits = 4, .group_size = 2, .residual = 6};
  CHECK(c.id() == "kivi");
  CHECK(c.rule(kv::side::keys).lump == 6);
  CHECK(c.rule(kv::side::values).keep == 6);
  CHECK(c.tail() == tersor::dtype::f16);
  CHECK_FALSE((c.drops() || c.joins_heads()));
  CHECK(c.open(kv::side::keys, 3, 4)->heads() == 3);
  CHECK(kv::any_codec(kv::dense{}).drops());
  CHECK_THROWS_AS(kv::any_codec(kv::kivi{.bits = 9}), tersor::error);
}

}  // namespace codec_tests
