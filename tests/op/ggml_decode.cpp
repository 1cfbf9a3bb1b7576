// tersor - tests of op/ggml_decode.hpp: by hand, and against the reference package
// SPDX-License-Identifier: MIT
#include <tersor/op/ggml_decode.hpp>

#include "catch.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <map>

#include <tersor/core/float16.hpp>
#include <tersor/io/safetensors.hpp>

namespace tersor {
namespace ggml_decode_tests {

std::vector<float> decoded(ggml_type type, std::span<const std::byte> blocks) {
  const auto& t = info(type);
  std::vector<float> values(blocks.size() / static_cast<std::size_t>(t.bytes) *
                            static_cast<std::size_t>(t.block));
  op::decode_ggml(type, blocks, values);
  return values;
}

TEST_CASE("ggml decode: a block of each simple type by hand") {
  // d = 2, m = 1, codes 0x21: low nibbles 1 and high ones 2; of 5 bits, only value 0 has the fifth
  const auto four = [](ggml_type type, std::vector<int> bytes) {
    std::vector<std::byte> block;
    for (const int b : bytes) block.push_back(static_cast<std::byte>(b));
    block.resize(static_cast<std::size_t>(info(type).bytes), std::byte{0x21});
    const auto values = decoded(type, block);
    return std::vector<float>{values[0], values[1], values[16], values[31]};
  };
  using row = std::vector<float>;
  CHECK(four(ggml_type::q4_0, {0x00, 0x40}) == row{-14, -14, -12, -12});
  CHECK(four(ggml_type::q4_1, {0x00, 0x40, 0x00, 0x3C}) == row{3, 3, 5, 5});
  CHECK(four(ggml_type::q5_0, {0x00, 0x40, 1, 0, 0, 0}) == row{2, -30, -28, -28});
  CHECK(four(ggml_type::q5_1, {0x00, 0x40, 0x00, 0x3C, 1, 0, 0, 0}) == row{35, 3, 5, 5});
  CHECK(four(ggml_type::q8_0, {0x00, 0x40, 0xFF}) == row{-2, 66, 66, 66});
  CHECK(four(ggml_type::iq4_nl, {0x00, 0x40}) == row{-208, -208, -166, -166});
  CHECK(four(ggml_type::mxfp4, {129}) == row{2, 2, 4, 4});
}

TEST_CASE("ggml decode: all types that are stored in blocks, and their names") {
  for (const auto& t : ggml_types) CHECK(op::can_decode(t.type) == (t.block > 1));
  const auto names = op::decodable_types();
  CHECK(names.starts_with("Q4_0, Q4_1, Q5_0, "));
  CHECK(names.ends_with(", NVFP4, Q1_0, Q2_0"));
  CHECK(std::ranges::count(names, ',') == 26);
}

// The package gguf does not know these; layouts: ggml-org/ggml, src/ggml-common.h and src/ggml-quants.c.
TEST_CASE("ggml decode: each bit of the types that the reference package lacks") {
  struct layout {
    ggml_type type;
    std::size_t scale, codes, bits;
    float zero;
  };
  // values follow each other from the lowest bit
  const auto l = GENERATE(layout{ggml_type::q8_1, 0, 4, 8, 0}, layout{ggml_type::q8_k, 0, 4, 8, 0},
                          layout{ggml_type::q1_0, 0, 2, 1, 0.5F}, layout{ggml_type::q2_0, 0, 2, 2, 1});
  INFO(name(l.type));
  const auto bytes = static_cast<std::size_t>(info(l.type).bytes);
  const auto count = static_cast<std::size_t>(info(l.type).block);
  std::vector<std::byte> block(bytes);
  // d = -1.5, of Q1_0 -0.75, so that a step is 1.5
  if (l.type == ggml_type::q8_k) {
    const float d = -1.5F;
    std::memcpy(block.data(), &d, 4);
  } else {
    const std::uint16_t d = f16(l.type == ggml_type::q1_0 ? -0.75F : -1.5F).bits;
    std::memcpy(block.data(), &d, 2);
  }
  std::vector<float> expected(count, l.zero * 1.5F);
  CHECK(decoded(l.type, block) == expected);
  for (std::size_t bit = 8 * l.codes; bit < 8 * bytes; ++bit) {
    auto toggled = block;
    toggled[bit / 8] ^= std::byte{1} << (bit % 8);
    const std::size_t place = bit - 8 * l.codes, value = place / l.bits, weight = place % l.bits;
    auto changed = expected;
    // the sums behind the codes of Q8_K do not count
    if (value < count)
      changed[value] += -1.5F * (l.bits == 8 && weight == 7 ? -128.0F : static_cast<float>(1 << weight));
    REQUIRE(decoded(l.type, toggled) == changed);
  }
  if (l.type == ggml_type::q8_1) {  // nor does the sum between scale and codes
    block[2] = block[3] = std::byte{0x77};
    CHECK(decoded(l.type, block) == expected);
  }
}

TEST_CASE("ggml decode: scales of micro-scaled types at the ends of their range") {
  std::vector<std::byte> block(17, std::byte{0x12});  // low codes 2: twice the level 1; high ones 1
  const auto with = [&](int e) {
    block[0] = static_cast<std::byte>(e);
    const auto values = decoded(ggml_type::mxfp4, block);
    return std::vector<double>{static_cast<double>(values[0]), static_cast<double>(values[31])};
  };
  for (const int e : {0, 1, 2, 127, 254})
    CHECK(with(e) == std::vector{std::ldexp(1.0, e - 127), std::ldexp(0.5, e - 127)});
  CHECK(with(255) == std::vector{std::numeric_limits<double>::infinity(), 0x1p127});  // no NaN
  std::vector<std::byte> nv(36, std::byte{0x22});
  nv[0] = std::byte{1};     // 2^-9
  nv[1] = std::byte{0x7f};  // zero
  nv[2] = std::byte{0xB8};  // 1: the sign does not count
  nv[3] = std::byte{0xff};  // 1.875 * 2^8
  const auto values = decoded(ggml_type::nvfp4, nv);
  CHECK(std::vector{values[0], values[16], values[32], values[48]} ==
        std::vector{0x1p-9F, 0.0F, 1.0F, 480.0F});
}

/// Where the f16 scales of a block begin; of IQ1_M the highest bits of the scale are in its last byte.
const std::map<ggml_type, std::vector<std::size_t>> scale_places{
    {ggml_type::q4_0, {0}},    {ggml_type::q4_1, {0, 2}}, {ggml_type::q5_0, {0}},
    {ggml_type::q5_1, {0, 2}}, {ggml_type::q8_0, {0}},    {ggml_type::iq4_nl, {0}},
    {ggml_type::mxfp4, {}},    {ggml_type::nvfp4, {}},    {ggml_type::q2_k, {80, 82}},
    {ggml_type::q3_k, {108}},  {ggml_type::q4_k, {0, 2}}, {ggml_type::q5_k, {0, 2}},
    {ggml_type::q6_k, {208}},  {ggml_type::iq4_xs, {0}},  {ggml_type::tq1_0, {52}},
    {ggml_type::tq2_0, {64}},  {ggml_type::iq2_xxs, {0}}, {ggml_type::iq2_xs, {0}},
    {ggml_type::iq2_s, {0}},   {ggml_type::iq3_xxs, {0}}, {ggml_type::iq3_s, {0}},
    {ggml_type::iq1_s, {0}},   {ggml_type::iq1_m, {54}}};

// Expected: the package gguf 0.19.0, see tests/interop/gguf_files.py.
TEST_CASE("ggml decode: pseudorandom bytes as the reference package decodes them, bit by bit") {
  const io::safetensors_file data(std::filesystem::path(TERSOR_SOURCE_DIR) /
                                  "tests/data/gguf/blocks.safetensors");
  for (const auto& [type, places] : scale_places) {
    INFO(name(type));
    const auto size = static_cast<std::size_t>(info(type).bytes);
    std::uint64_t state = 1;
    std::vector<std::byte> blocks(1024 * size);
    for (auto& b : blocks) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      b = static_cast<std::byte>(state >> 56);
    }
    for (std::size_t b = 0; b < blocks.size(); b += size)
      for (const auto place : places) blocks[b + place + 1] &= std::byte{0xBF};
    const auto values = decoded(type, blocks);

    const auto first_blocks = data.bytes(concat(name(type), ".blocks"));
    REQUIRE(std::ranges::equal(first_blocks, std::span(blocks).first(2 * size)));
    const auto first = data.read_tensor<float>(concat(name(type), ".values"));
    REQUIRE(first.size() == 2 * static_cast<std::size_t>(info(type).block));
    for (std::size_t i = 0; i < first.size(); ++i)
      REQUIRE(std::bit_cast<std::uint32_t>(values[i]) == std::bit_cast<std::uint32_t>(first[i]));

    std::uint64_t digest = 14695981039346656037U, expected = 0;
    for (const float v : values) digest = (digest ^ std::bit_cast<std::uint32_t>(v)) * 1099511628211U;
    const auto stored = data.bytes(concat(name(type), ".digest"));
    std::memcpy(&expected, stored.data(), sizeof expected);
    CHECK(digest == expected);
  }
}

}  // namespace ggml_decode_tests
}  // namespace tersor
