// tersor - tests of op/ggml_decode.hpp: by hand, and against the reference package
// SPDX-License-Identifier: MIT
#include <tersor/op/ggml_decode.hpp>

#include "catch.hpp"

#include <tersor/io/safetensors.hpp>

namespace tersor {
namespace {

TEST_CASE("ggml decode: a block of each simple type by hand") {
  // d = 2, m = 1, codes 0x21: low nibbles 1 and high ones 2; of 5 bits, only value 0 has the fifth
  const auto decoded = [](ggml_type type, std::vector<int> bytes) {
    std::vector<std::byte> block;
    for (const int b : bytes) block.push_back(static_cast<std::byte>(b));
    block.resize(static_cast<std::size_t>(info(type).bytes), std::byte{0x21});
    std::vector<float> values(32);
    op::decode_ggml(type, block, values);
    return std::vector<float>{values[0], values[1], values[16], values[31]};
  };
  using row = std::vector<float>;
  CHECK(decoded(ggml_type::q4_0, {0x00, 0x40}) == row{-14, -14, -12, -12});
  CHECK(decoded(ggml_type::q4_1, {0x00, 0x40, 0x00, 0x3C}) == row{3, 3, 5, 5});
  CHECK(decoded(ggml_type::q5_0, {0x00, 0x40, 1, 0, 0, 0}) == row{2, -30, -28, -28});
  CHECK(decoded(ggml_type::q5_1, {0x00, 0x40, 0x00, 0x3C, 1, 0, 0, 0}) == row{35, 3, 5, 5});
  CHECK(decoded(ggml_type::q8_0, {0x00, 0x40, 0xFF}) == row{-2, 66, 66, 66});
}

// Expected: the package gguf 0.19.0, see tests/interop/gguf_files.py.
TEST_CASE("ggml decode: k-quants of random bytes") {
  const io::safetensors_file data(std::filesystem::path(TERSOR_SOURCE_DIR) /
                                  "tests/data/gguf/blocks.safetensors");
  for (const auto type : {ggml_type::q4_k, ggml_type::q5_k, ggml_type::q6_k}) {
    INFO(name(type));
    const auto expected = data.read_tensor<float>(concat(name(type), ".values"));
    std::vector<float> values(expected.size());
    op::decode_ggml(type, data.bytes(concat(name(type), ".blocks")), values);
    CHECK(values == expected);
  }
}

}  // namespace
}  // namespace tersor
