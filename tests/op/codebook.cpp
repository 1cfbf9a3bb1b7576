// tersor - tests of op/codebook.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/codebook.hpp>

#include "quantized_samples.hpp"

namespace codebook_tests {

using namespace tersor_test;
using op::scale_coding;
using tersor::index_t;

struct sample {
  matrix<std::uint8_t> codes;
  std::vector<float> levels, scales;
  op::codebook o;
};
sample random_codebook(index_t rows, index_t cols, int bits, index_t block_size, scale_coding coding) {
  sample s{matrix<std::uint8_t>(rows, cols), {}, {}, {}};
  std::ranges::copy(random_codes(rows * cols, bits, 4), s.codes.values().begin());
  tersor::random_generator g(5);
  for (int i = 0; i < 1 << bits; ++i) s.levels.push_back(static_cast<float>(2 * g.uniform() - 1));
  s.scales.resize(static_cast<std::size_t>((rows * cols + block_size - 1) / block_size));
  for (float& v : s.scales) v = static_cast<float>(0.1 + g.uniform());
  const op::block_scales stored(s.scales, {.coding = coding, .block_size = 7});
  stored.read(0, s.scales);
  s.o = op::codebook(s.codes, s.levels, block_size, stored);
  return s;
}

TEST_CASE("codebook: by hand, blocks go on in the next row", "[codebook]") {
  matrix<std::uint8_t> codes(2, 3);
  const std::uint8_t q[] = {0, 1, 3, 2, 3, 1};
  std::ranges::copy(q, codes.values().begin());
  const std::vector<float> scales{2, 10};
  const op::codebook o(codes, {-1, 0, 0.5F, 1}, 4, op::block_scales(scales, {}));
  const float w[] = {-2, 0, 2, 1, 10, 0};
  CHECK(std::ranges::equal(o.to_dense().values(), w));
  CHECK(o.bits() == 2);
  CHECK(o.codes() == codes);
  const auto stored = save(o);
  const auto& bytes = stored.tensors.at("codes").bytes;
  REQUIRE(bytes.size() == 2);
  CHECK(bytes[0] == std::byte{0b10'11'01'00});
  CHECK(bytes[1] == std::byte{0b01'11});
}

/// E2M1.
const std::vector<float> fp4{0, 0.5F, 1, 1.5F, 2, 3, 4, 6, -0.0F, -0.5F, -1, -1.5F, -2, -3, -4, -6};

TEST_CASE("codebook: MXFP4 and NVFP4 store 4.25 and 4.5 bits", "[codebook]") {
  matrix<std::uint8_t> codes(8, 64);
  std::ranges::copy(random_codes(8 * 64, 4, 4), codes.values().begin());
  std::vector<float> powers(8 * 2), scales(8 * 4);
  for (std::size_t i = 0; i < powers.size(); ++i) powers[i] = std::ldexp(1.0F, static_cast<int>(i) - 8);
  for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = 0.01F * static_cast<float>(i + 1);
  const op::codebook mx(codes, fp4, 32, {powers, {.type = dtype::f8_e8m0}});
  const op::codebook nv(codes, fp4, 16, {scales, {.coding = scale_coding::factored, .type = dtype::f8_e4m3}});
  const std::size_t levels = 16 * 4, factor = 4;
  check_operator(mx, 8 * 64 * 17 / 32 + levels);
  check_operator(nv, 8 * 64 * 9 / 16 + levels + factor);
  check_every_damage(nv);
  const auto w = mx.to_dense();
  for (index_t i = 0; i < w.size(); ++i)
    CHECK(w.data()[i] == fp4[codes.data()[i]] * powers[static_cast<std::size_t>(i / 32)]);
}

TEST_CASE("codebook: every width, block and coding of the scales", "[codebook]") {
  for (const int bits : {1, 2, 3, 4, 5, 8})
    for (const index_t block : {1, 5, 16, 64, 1000})
      for (const auto coding : {scale_coding::plain, scale_coding::dynamic, scale_coding::linear})
        for (const auto& [rows, cols] :
             {std::pair<index_t, index_t>{1, 1}, {1, 21}, {6, 1}, {5, 16}, {9, 23}}) {
          const auto s = random_codebook(rows, cols, bits, block, coding);
          INFO(bits << " bits, blocks of " << block << ", " << rows << " x " << cols);
          const auto w = s.o.to_dense();
          for (index_t i = 0; i < w.size(); ++i)
            REQUIRE(w.data()[i] ==
                    s.levels[s.codes.data()[i]] * s.scales[static_cast<std::size_t>(i / block)]);
          REQUIRE(s.o.codes() == s.codes);
          const auto n = s.scales.size();
          const std::size_t scale_bytes = coding == scale_coding::plain ? 4 * n : n + 4 * ((n + 6) / 7) + 4;
          check_storage(s.o, (static_cast<std::size_t>(rows * cols * bits) + 7) / 8 +
                                 4 * (std::size_t{1} << bits) + scale_bytes);
        }
  check_products(random_codebook(9, 23, 4, 16, scale_coding::dynamic).o,
                 absolute(wide(random_codebook(9, 23, 4, 16, scale_coding::dynamic).o.to_dense())), 1);
  check_products(random_codebook(150, 4099, 3, 64, scale_coding::plain).o,
                 absolute(wide(random_codebook(150, 4099, 3, 64, scale_coding::plain).o.to_dense())), 1);
}

TEST_CASE("codebook: empty matrices, damaged files, errors", "[codebook]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{0, 0}, {0, 5}, {5, 0}})
    CHECK(random_codebook(rows, cols, 4, 8, scale_coding::dynamic).o.to_dense() == matrix<float>(rows, cols));
  for (const auto coding : {scale_coding::plain, scale_coding::dynamic, scale_coding::linear})
    check_every_damage(random_codebook(4, 30, 4, 8, coding).o);
  const matrix<std::uint8_t> codes(2, 4);
  const std::vector<float> scales{1, 1};
  const op::block_scales two(scales, {});
  CHECK_THROWS_AS(op::codebook(codes, {0, 1, 2}, 4, two), tersor::error);  // not a power of two
  CHECK_THROWS_AS(op::codebook(codes, {0, 1}, 8, two), tersor::error);     // one block, two scales
  CHECK_THROWS_AS(op::codebook(codes, {0, 1}, 0, two), tersor::error);
  CHECK_THROWS_AS(op::codebook(codes, {0, std::numeric_limits<float>::infinity()}, 4, two), tersor::error);
  CHECK_THROWS_AS(op::codebook(matrix<std::uint8_t>(2, 4, 2), {0, 1}, 4, two), tersor::error);
}

}  // namespace codebook_tests
