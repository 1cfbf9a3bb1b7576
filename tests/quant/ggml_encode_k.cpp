// tersor - tests of quant/ggml_encode_k.hpp: where the bits of super-blocks are
// SPDX-License-Identifier: MIT
#include <tersor/quant/ggml_encode_k.hpp>

#include "catch.hpp"
#include "ggml_reference.hpp"

#include <tersor/core/random.hpp>

namespace tersor {
namespace ggml_encode_k_tests {

// Expected: the decoder of the tests, which reads one value at a time from the description of the format.
TEST_CASE("ggml encode k: packed codes and scales are found where the format has them", "[ggml]") {
  random_generator random(1);
  std::array<std::uint8_t, 256> codes{};
  for (int top : {3, 15}) {
    for (auto& q : codes)
      q = static_cast<std::uint8_t>(random.uniform_index(static_cast<std::uint64_t>(top) + 1));
    std::array<std::byte, 256> block{};
    const f16 one(1.0F);
    if (top == 3) {  // Q2_K with scales of 1
      std::fill_n(block.begin(), 16, std::byte{1});
      quant::detail::put_two_bits(codes.data(), block.data() + 16);
      std::memcpy(block.data() + 80, &one.bits, 2);
    } else {  // Q4_K
      const std::array<std::uint8_t, 8> scales{1, 1, 1, 1, 1, 1, 1, 1}, minima{};
      std::memcpy(block.data(), &one.bits, 2);
      quant::detail::put_scales_and_minima(scales.data(), minima.data(), block.data() + 4);
      quant::detail::put_nibble_runs(codes.data(), block.data() + 16);
    }
    const auto type = top == 3 ? ggml_type::q2_k : ggml_type::q4_k;
    for (int e = 0; e < 256; ++e)
      REQUIRE(tersor_test::ggml_value(type, {block.data()}, e) == codes[static_cast<std::size_t>(e)]);
  }
  // scales and minima of 6 bits: value e of Q4_K with code 1 is scale - minimum of its group
  std::array<std::uint8_t, 8> scales{}, minima{};
  for (auto& s : scales) s = static_cast<std::uint8_t>(random.uniform_index(64));
  for (auto& m : minima) m = static_cast<std::uint8_t>(random.uniform_index(64));
  std::array<std::byte, 144> block{};
  const f16 one(1.0F);
  std::memcpy(block.data(), &one.bits, 2);
  std::memcpy(block.data() + 2, &one.bits, 2);
  quant::detail::put_scales_and_minima(scales.data(), minima.data(), block.data() + 4);
  std::fill(block.begin() + 16, block.end(), std::byte{0x11});
  for (int e = 0; e < 256; ++e)
    REQUIRE(tersor_test::ggml_value(ggml_type::q4_k, {block.data()}, e) ==
            scales[static_cast<std::size_t>(e / 32)] - minima[static_cast<std::size_t>(e / 32)]);
  // Q3_K: code 0 without high bits is -4
  std::array<std::uint8_t, 16> signed_scales{};
  for (auto& s : signed_scales) s = static_cast<std::uint8_t>(random.uniform_index(64));
  std::array<std::byte, 110> three{};
  std::memcpy(three.data() + 108, &one.bits, 2);
  quant::detail::put_six_bit_scales(signed_scales.data(), three.data() + 96);
  for (int e = 0; e < 256; ++e)
    REQUIRE(tersor_test::ggml_value(ggml_type::q3_k, {three.data()}, e) ==
            -4 * (signed_scales[static_cast<std::size_t>(e / 16)] - 32));
}

// By hand: groups on the grid of their type, whose scales are on the grid of the super-block.
TEST_CASE("ggml encode k: blocks on the grid are exact", "[ggml]") {
  std::array<float, 256> x{};
  const auto check = [&](ggml_type type, double tolerance) {
    INFO(name(type));
    std::array<std::byte, 256> block{};
    const std::span<const float> none;
    if (type == ggml_type::q3_k)
      quant::detail::encode_q3_k(x, none, block.data());
    else if (type == ggml_type::q6_k)
      quant::detail::encode_q6_k(x, none, block.data());
    else
      quant::detail::encode_affine_k(type, x, none, block.data());
    for (int e = 0; e < 256; ++e)
      REQUIRE(std::abs(tersor_test::ggml_value(type, {block.data()}, e) -
                       static_cast<double>(x[static_cast<std::size_t>(e)])) <= tolerance);
  };
  for (std::size_t i = 0; i < 256; ++i) {
    const auto scale = static_cast<float>(i % 128 < 64 ? 63 : 21);  // of 32 values
    x[i] = scale / 64.0F * static_cast<float>(i % 16);
  }
  // the unit of the minima is 0, of the scales 63 / 64 / 63 = 1 / 64: but for the last bits of the fit
  check(ggml_type::q4_k, 1e-5);
  for (std::size_t i = 0; i < 256; ++i)  // scale codes -128 and 64 times 1 / 128
    x[i] = (i < 128 ? -1.0F : 0.5F) * static_cast<float>(static_cast<int>(2 * i % 32) * 2 - 32);
  check(ggml_type::q6_k, 0.0);
  for (std::size_t i = 0; i < 256; ++i)  // scale codes -32 and 16 times 1 / 32
    x[i] = (i < 128 ? -1.0F : 0.5F) * static_cast<float>(static_cast<int>(i % 8) - 4);
  check(ggml_type::q3_k, 0.0);
}

TEST_CASE("ggml encode k: levels of IQ4 are their own nearest, and ties go up", "[ggml]") {
  for (int q = 0; q < 16; ++q) {
    const float level = quant::detail::iq4_level(q);
    CHECK(static_cast<double>(level) == tersor_test::iq4_value(q));
    CHECK(quant::detail::nearest_iq4(level) == q);
    if (q == 0) continue;
    const float middle = (level + quant::detail::iq4_level(q - 1)) / 2;
    CHECK(quant::detail::nearest_iq4(middle) == q);
    CHECK(quant::detail::nearest_iq4(middle - 0.25F) == q - 1);
  }
  CHECK(quant::detail::nearest_iq4(-1e9F) == 0);
  CHECK(quant::detail::nearest_iq4(1e9F) == 15);
}

TEST_CASE("ggml encode k: every run of five trits survives its byte", "[ggml]") {
  std::array<float, 256> x{};
  for (int v = 0; v < 243; ++v) {
    int rest = v;
    for (std::size_t n = 0; n < 5; ++n, rest /= 3) x[32 * n] = static_cast<float>(rest % 3 - 1);
    x[255] = 1.0F;
    std::array<std::byte, 54> block{};
    quant::detail::encode_ternary(ggml_type::tq1_0, x, block.data());
    for (int e = 0; e < 256; ++e)
      REQUIRE(tersor_test::ggml_value(ggml_type::tq1_0, {block.data()}, e) ==
              static_cast<double>(x[static_cast<std::size_t>(e)]));
  }
}

}  // namespace ggml_encode_k_tests
}  // namespace tersor
