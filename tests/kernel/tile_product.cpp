// tersor - tests of kernel/tile_product.hpp: operands at the end of memory (results: tests/op/prepared.cpp)
// SPDX-License-Identifier: MIT
#include <tersor/core/options.hpp>
#include <tersor/core/random.hpp>
#include <tersor/kernel/tile_product.hpp>

#include "catch.hpp"
#include "kernel/guarded.hpp"
#include "kernel/targets.hpp"

namespace tersor {
namespace tile_product_tests {

using namespace kernel;
using test::guarded;

/// A stream of random codes whose scales are numbers, and where its groups are.
struct random_stream {
  tile_format format;
  std::vector<std::uint8_t> bytes;

  random_stream(index_t rows, int bits, dtype scale_type, bool zero_points, std::vector<std::int32_t> chunks)
      : format{rows, bits, scale_type, zero_points, std::move(chunks)} {
    random_generator random(static_cast<std::uint64_t>(rows * 10 + bits));
    bytes.resize(static_cast<std::size_t>(format.tiles() * format.tile_bytes()));
    for (auto& b : bytes) b = static_cast<std::uint8_t>(random.uniform_index(256));
    std::uint8_t* p = bytes.data();
    for (index_t t = 0; t < format.tiles(); ++t)
      for (const auto n : format.chunks) {
        for (index_t r = 0; r < tile_format::tile_rows; ++r) {
          const auto scale = static_cast<float>(random.uniform());
          const std::uint16_t half = scale_type == dtype::f16 ? f16(scale).bits : bf16(scale).bits;
          if (scale_type == dtype::f32)
            std::memcpy(p + 4 * r, &scale, 4);
          else
            std::memcpy(p + 2 * r, &half, 2);
        }
        p += format.header_bytes() + n * format.chunk_bytes();
      }
  }
  tile_operand operand(const std::uint8_t* stream) const {
    static constexpr std::array<float, 16> numbers{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static constexpr std::array<std::uint8_t, 16> levels{0, 1, 2, 3, 4, 6, 8, 12, 0, 1, 2, 3, 4, 6, 8, 12};
    tile_operand w;
    w.stream = stream;
    w.tile_bytes = format.tile_bytes();
    w.rows = format.rows;
    w.chunks = format.chunks.data();
    w.groups = format.groups();
    w.bits = format.bits;
    w.scale_type = format.scale_type;
    w.has_zeros = format.zero_points;
    w.levels = numbers.data();
    w.byte_levels = levels.data();
    return w;
  }
};

std::vector<float> random_floats(index_t n, std::uint64_t seed) {
  random_generator random(seed);
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& v : x) v = static_cast<float>(random.normal());
  return x;
}

TEST_CASE("tile_product: nothing behind an operand is touched") {
  const std::vector<std::vector<std::int32_t>> groups{{1}, {4, 4}, {5, 1, 3}};
  for (const auto target : test::targets())
    for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8})
      for (const auto& chunks : groups)
        for (const index_t rows : {1, 16, 19})
          for (const index_t tokens : {1, 3, 16}) {
            INFO(option_text<kernel::target>::format(target)
                 << ", " << bits << " bits, " << rows << " rows, " << tokens << " tokens");
            const dtype scale_type = rows == 1 ? dtype::f32 : rows == 16 ? dtype::f16 : dtype::bf16;
            const random_stream stream(rows, bits, scale_type, bits % 2 == 0, chunks);
            const auto& f = stream.format;
            const auto x = random_floats(tokens * f.padded_columns(), 1),
                       sums = random_floats(tokens * f.groups(), 2),
                       scales = random_floats(tokens * f.segments(), 3);
            std::vector<std::int8_t> codes;
            for (const float v : x) codes.push_back(static_cast<std::int8_t>(v * 30));
            const std::vector<float> nothing(static_cast<std::size_t>(tokens * rows));

            // the same product in the middle of memory, and at its end
            guarded g_stream(stream.bytes);
            guarded g_x(x), g_sums(sums), g_scales(scales);
            guarded g_codes(codes);
            const auto product = [&](bool at_end, bool in_bytes, float* y) {
              const auto w = stream.operand(at_end ? g_stream.data() : stream.bytes.data());
              if (in_bytes) {
                byte_activations a;
                a.codes = at_end ? g_codes.data() : codes.data();
                a.stride = f.padded_columns();
                a.scales = at_end ? g_scales.data() : scales.data();
                a.segments = f.segments();
                a.sums = at_end ? g_sums.data() : sums.data();
                a.tokens = tokens;
                a.groups = f.groups();
                tile_product(target, w, a, 0, f.tiles(), y, rows);
              } else {
                float_activations a;
                a.values = at_end ? g_x.data() : x.data();
                a.stride = f.padded_columns();
                a.sums = at_end ? g_sums.data() : sums.data();
                a.tokens = tokens;
                a.groups = f.groups();
                tile_product(target, w, a, 0, f.tiles(), y, rows);
              }
            };
            for (const bool in_bytes : {false, true}) {
              std::vector<float> expected = nothing;
              product(false, in_bytes, expected.data());
              guarded<float> y(nothing);
              product(true, in_bytes, y.data());
              CHECK(std::ranges::equal(y.values(), expected));
            }
          }
}

}  // namespace tile_product_tests
}  // namespace tersor
