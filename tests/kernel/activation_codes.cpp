// tersor - tests of kernel/activation_codes.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kernel/activation_codes.hpp>

#include "catch.hpp"
#include "kernel/targets.hpp"

#include <tersor/core/random.hpp>

namespace tersor {
namespace activation_codes_tests {

using kernel::target;
using test::targets;

TEST_CASE("activation_codes: nearest codes, half a step off at most, and their sum") {
  for (const target t : targets())
    for (const std::size_t n : {1U, 15U, 16U, 17U, 100U, 128U}) {
      random_generator random(n);
      std::vector<float> x(n);
      for (float& v : x) v = static_cast<float>(random.normal());
      std::vector<std::int8_t> codes(n + 1, 77);
      const auto run = kernel::quantize_run(x.data(), static_cast<index_t>(n), codes.data(), t);
      CHECK(codes[n] == 77);
      float top = 0;
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < n; ++i) {
        top = std::max(top, std::abs(x[i]));
        sum += codes[i];
        CHECK(std::abs(x[i] - run.scale * static_cast<float>(codes[i])) <= 0.5001F * run.scale);
      }
      CHECK(run.scale == top / 127.0F);
      CHECK(run.sum == sum);
    }
}

TEST_CASE("activation_codes: ties go to even, the ends are 127, zeros have no scale") {
  for (const target t : targets()) {
    std::vector<float> x{127, -127, 0.5F, 1.5F, -0.5F, -2.5F, 0, 3};
    std::vector<std::int8_t> codes(x.size());
    const auto run = kernel::quantize_run(x.data(), 8, codes.data(), t);
    CHECK(run.scale == 1.0F);
    CHECK(codes == std::vector<std::int8_t>{127, -127, 0, 2, 0, -2, 0, 3});
    x.assign(8, 0.0F);
    const auto none = kernel::quantize_run(x.data(), 8, codes.data(), t);
    CHECK(none.scale == 0.0F);
    CHECK(none.sum == 0);
    CHECK(codes == std::vector<std::int8_t>(8, 0));
  }
}

TEST_CASE("activation_codes: what is not finite shows in the scale") {
  for (const target t : targets())
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
      for (const std::size_t at : {0U, 20U, 39U}) {
        std::vector<float> x(40, 1.0F);
        x[at] = bad;
        std::vector<std::int8_t> codes(40);
        CHECK_FALSE(std::isfinite(kernel::quantize_run(x.data(), 40, codes.data(), t).scale));
      }
}

TEST_CASE("activation_codes: runs that follow each other are quantized each by itself") {
  const std::vector<index_t> lengths{32, 128, 1, 0, 40};
  random_generator random(5);
  std::vector<float> x(201);
  for (float& v : x) v = static_cast<float>(random.normal());
  for (const target t : targets()) {
    std::vector<std::int8_t> codes(x.size()), expected(x.size());
    std::vector<kernel::code_run> runs(lengths.size());
    kernel::quantize_runs(x.data(), lengths, codes.data(), runs.data(), t);
    index_t first = 0;
    for (std::size_t i = 0; i < lengths.size(); first += lengths[i++]) {
      const auto run = kernel::quantize_run(x.data() + first, lengths[i], expected.data() + first, t);
      CHECK(runs[i].scale == run.scale);
      CHECK(runs[i].sum == run.sum);
    }
    CHECK(codes == expected);
  }
}

}  // namespace activation_codes_tests
}  // namespace tersor
