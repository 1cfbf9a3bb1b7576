// tersor - tests of kernel/tile_format.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kernel/tile_format.hpp>

#include "catch.hpp"

#include <tersor/core/random.hpp>

namespace tersor {
namespace tile_format_tests {

using kernel::tile_format;

matrix<std::uint8_t> random_codes(int bits) {
  random_generator random(static_cast<std::uint64_t>(bits));
  matrix<std::uint8_t> codes(tile_format::tile_rows, tile_format::chunk_columns);
  for (auto& c : codes.values())
    c = static_cast<std::uint8_t>(random.uniform_index(std::uint64_t{1} << bits));
  return codes;
}

TEST_CASE("tile_format: chunks of every width are packed without loss, in their bytes alone") {
  for (int bits = 1; bits <= 8; ++bits) {
    const auto codes = random_codes(bits);
    std::vector<std::uint8_t> packed(static_cast<std::size_t>(64 * bits) + 1, 0xa5);
    kernel::pack_chunk(codes.view(), bits, packed.data());
    CHECK(packed.back() == 0xa5);
    matrix<std::uint8_t> back(tile_format::tile_rows, tile_format::chunk_columns);
    kernel::unpack_chunk(packed.data(), bits, back.view());
    CHECK(back == codes);
  }
}

TEST_CASE(
    "tile_format: bytes of a lane are neighbouring columns of its row, planes hold the low bits first") {
  const auto four = random_codes(4);
  std::vector<std::uint8_t> packed(64 * 8);
  kernel::pack_chunk(four.view(), 4, packed.data());
  for (index_t r = 0; r < 16; ++r)
    for (index_t b = 0; b < 4; ++b)  // block 1: columns 8 to 11 in the low nibbles, 12 to 15 in the high ones
      CHECK(packed[static_cast<std::size_t>(64 + 4 * r + b)] == (four(r, 8 + b) | four(r, 12 + b) << 4));
  const auto eight = random_codes(8);
  kernel::pack_chunk(eight.view(), 8, packed.data());
  CHECK(packed[64 * 3 + 4 * 5 + 2] == eight(5, 4 * 3 + 2));
  const auto three = random_codes(3);
  kernel::pack_chunk(three.view(), 3, packed.data());
  CHECK((packed[4 * 7] & 3) == (three(7, 0) & 3));
  CHECK((packed[2 * 64 + 4 * 7] & 1) == three(7, 0) >> 2);
}

TEST_CASE("tile_format: sizes") {
  const tile_format f{
      .rows = 33, .bits = 4, .scale_type = dtype::f16, .zero_points = true, .chunks = {4, 9, 1}};
  CHECK(f.tiles() == 3);
  CHECK(f.groups() == 3);
  CHECK(f.header_bytes() == 16 * 3);
  CHECK(f.chunk_bytes() == 256);
  CHECK(f.tile_bytes() == 3 * 48 + 14 * 256);
  CHECK(f.padded_columns() == 14 * 32);
  CHECK(f.segments() == 1 + 3 + 1);
}

}  // namespace tile_format_tests
}  // namespace tersor
