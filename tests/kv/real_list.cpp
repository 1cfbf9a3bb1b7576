// tersor - tests of kv/real_list.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/real_list.hpp>

#include <bit>

#include "catch.hpp"

#include <tersor/core/random.hpp>

namespace real_list_tests {

using tersor::dtype;
using tersor::index_t;
using tersor::kv::real_list;

TEST_CASE("real_list: what is appended comes back rounded to its type") {
  tersor::random_generator g(1);
  std::vector<float> x(300);
  for (float& v : x) v = static_cast<float>(g.normal());
  for (const auto type : {dtype::f32, dtype::f16, dtype::bf16, dtype::f8_e4m3, dtype::f8_e5m2}) {
    real_list list(type);
    list.append(std::span<const float>(x).first(100));
    for (std::size_t i = 100; i < x.size(); ++i) list.append(x[i]);
    CHECK(list.size() == 300);
    CHECK(list.bytes() == 300 * static_cast<std::size_t>(bits_of(type)) / 8);
    std::vector<float> y(200);
    list.read(50, y);
    for (std::size_t i = 0; i < y.size(); ++i) {
      const float v = x[50 + i];
      const float expected = type == dtype::f8_e4m3   ? static_cast<float>(tersor::f8_e4m3(v))
                             : type == dtype::f8_e5m2 ? static_cast<float>(tersor::f8_e5m2(v))
                                                      : tersor::round_to(type, v);
      CHECK(y[i] == expected);
      CHECK(list[50 + static_cast<index_t>(i)] == expected);
    }
    list.erase(10, 100);
    CHECK(list.size() == 200);
    CHECK(list[10] == y[60]);
  }
}

TEST_CASE("real_list: every f16 and bf16 code is read as its type says") {
  for (const auto type : {dtype::f16, dtype::bf16}) {
    real_list list(type);
    std::vector<float> expected;
    for (std::uint32_t code = 0; code < 65536; ++code) {
      const auto bits = static_cast<std::uint16_t>(code);
      const float x = type == dtype::f16 ? static_cast<float>(tersor::f16::from_bits(bits))
                                         : static_cast<float>(tersor::bf16::from_bits(bits));
      if (std::isnan(x)) continue;
      expected.push_back(x);
      list.append(x);
    }
    std::vector<float> read(expected.size());
    list.read(0, read);
    CHECK(std::ranges::equal(read, expected, [](float a, float b) {
      return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
    }));
  }
}

TEST_CASE("real_list: out of range is an error, but for FP8, which saturates") {
  real_list half(dtype::f16), small(dtype::f8_e4m3);
  CHECK_THROWS_AS(half.append(1e6F), tersor::error);
  small.append(1e6F);
  CHECK(small[0] == 448.0F);
  CHECK_THROWS_AS(real_list(dtype::i8), tersor::error);
}

TEST_CASE("real_list: rounding down and up encloses a number between neighbours") {
  using tersor::kv::round_down_to;
  using tersor::kv::round_up_to;
  tersor::random_generator g(2);
  for (int k = 0; k < 2000; ++k) {
    const auto x = static_cast<float>(g.normal() * std::pow(10.0, g.uniform() * 12 - 8));
    CHECK(round_down_to(dtype::f32, x, "x") == x);
    for (const auto type : {dtype::f16, dtype::bf16}) {
      if (type == dtype::f16 && std::abs(x) > 60000) continue;
      const float low = round_down_to(type, x, "x"), high = round_up_to(type, x, "x");
      CHECK(low <= x);
      CHECK(x <= high);
      CHECK(tersor::round_to(type, low) == low);
      CHECK(tersor::round_to(type, high) == high);
      // nothing of the type lies between
      const float middle = low + (high - low) / 2;
      CHECK((tersor::round_to(type, middle) == low || tersor::round_to(type, middle) == high));
    }
  }
  CHECK(round_down_to(dtype::f16, -1e-9F, "x") == -0x1p-24F);
  CHECK(round_up_to(dtype::f16, 1e-9F, "x") == 0x1p-24F);
  CHECK(round_down_to(dtype::f16, 1e-9F, "x") == 0.0F);
  CHECK_THROWS_AS(round_down_to(dtype::f16, -1e6F, "minimum"), tersor::error);
}

}  // namespace real_list_tests
