// tersor - tests of pipeline/any_stage.hpp
// SPDX-License-Identifier: MIT
#include <tersor/pipeline/any_stage.hpp>

#include "catch.hpp"

#include <tersor/quant/awq.hpp>
#include <tersor/quant/gptq.hpp>

namespace tersor {
namespace any_stage_tests {

TEST_CASE("any_stage: passes on what its technique is") {
  const pipeline::any_stage gptq(quant::gptq{.bits = 3, .group_size = 64});
  CHECK(gptq.id() == "gptq");
  CHECK(gptq.kind() == solve::stage_kind::compressor);
  CHECK(gptq.needs() == solve::calibration_need::gram);
  CHECK(gptq.text() == "gptq(bits=3,group_size=64)");
  REQUIRE(gptq.grid().has_value());
  CHECK(gptq.grid()->rule.bits == 3);
  CHECK(gptq.grid()->group_size == 64);
  CHECK_FALSE(gptq.adjusts());
  CHECK_THROWS_AS(gptq.scales({}, {}), error);

  const pipeline::any_stage awq(quant::awq{.search_sequences = 5});
  CHECK(awq.kind() == solve::stage_kind::transformation);
  CHECK(awq.adjusts());
  CHECK_FALSE(awq.grid().has_value());
  CHECK(awq.search_sequences() == 5);
  CHECK_THROWS_AS(awq.compress({}, {}), error);
}

}  // namespace any_stage_tests
}  // namespace tersor
