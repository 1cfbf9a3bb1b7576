// tersor - tests of op/quantized.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/quantized.hpp>

#include "quantized_samples.hpp"

namespace quantized_tests {

using namespace tersor_test;
using tersor::index_t;

struct sample {
  grid_sample grid;
  matrix<std::uint8_t> codes;
  op::quantized o;
};
sample random_quantized(index_t rows, index_t cols, const grid_kind& k) {
  sample s{random_grid(rows, cols, k, 3), matrix<std::uint8_t>(rows, cols), {}};
  std::ranges::copy(random_codes(rows * cols, k.bits, 4), s.codes.values().begin());
  s.o = op::quantized(s.codes, s.grid.grid);
  return s;
}

TEST_CASE("quantized: by hand", "[quantized]") {
  // 3-bit codes 1 2 7 0 | 5 5 5 5: bits 100 010 111 000 | 101 101 101 101, lowest first
  matrix<std::uint8_t> codes(2, 4);
  const std::uint8_t q[] = {1, 2, 7, 0, 5, 5, 5, 5};
  std::ranges::copy(q, codes.values().begin());
  const float scale[] = {0.5F, 2, 1, 0.25F}, zero[] = {1, 0, 4, 7};
  const op::quantized o(codes, op::affine_grid(3, 2, 4, 2, tersor::as_view(scale, {2, 2}),
                                               tersor::as_view(zero, {2, 2}), dtype::f32));
  const float w[] = {0, 0.5F, 14, 0, 1, 1, -0.5F, -0.5F};
  CHECK(std::ranges::equal(o.to_dense().values(), w));
  CHECK(o.codes() == codes);
  const auto stored = save(o);
  const auto& bytes = stored.tensors.at("codes").bytes;
  REQUIRE(bytes.size() == 3);
  CHECK(bytes[0] == std::byte{0b11'010'001});
  CHECK(bytes[1] == std::byte{0b0'101'000'1 | 0b1000'0000});
  CHECK(bytes[2] == std::byte{0b101'101'10});
}

TEST_CASE("quantized: every width and kind of grid", "[quantized]") {
  for_each_grid_kind([](const grid_kind& k) {
    for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {1, 21}, {6, 1}, {5, 16}, {9, 23}}) {
      const auto s = random_quantized(rows, cols, k);
      INFO(k.bits << " bits, " << rows << " x " << cols);
      const auto w = s.o.to_dense();
      for (index_t r = 0; r < rows; ++r)
        for (index_t j = 0; j < cols; ++j) REQUIRE(w(r, j) == grid_value(s.grid, k, r, j, s.codes(r, j)));
      REQUIRE(s.o.codes() == s.codes);
      const auto packed = (static_cast<std::size_t>(rows * cols * k.bits) + 7) / 8;
      check_storage(s.o, packed + grid_bytes(s.grid, k));
    }
    check_products(random_quantized(9, 23, k).o, absolute(wide(random_quantized(9, 23, k).o.to_dense())), 1);
  });
}

TEST_CASE("quantized: products over many tiles, and of one row or column", "[quantized]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {1, 40}, {40, 1}, {150, 4099}}) {
    const grid_kind k{4, 128};
    const auto s = random_quantized(rows, cols, k);
    check_operator(s.o, (static_cast<std::size_t>(rows * cols) + 1) / 2 + grid_bytes(s.grid, k));
  }
}

TEST_CASE("quantized: errors", "[quantized]") {
  const auto s = random_quantized(6, 10, {.bits = 3, .group_size = 4});
  check_every_damage(s.o);
  auto bad = save(s.o);
  bad.attributes["rows"] = "7";
  check_damaged<op::quantized>(bad, "layer: units");
  bad = save(s.o);
  bad.attributes["bits"] = "4";
  check_damaged<op::quantized>(bad, "layer.");
  const auto scattered = random_quantized(6, 10, {.bits = 3, .group_size = 4, .scattered = true});
  bad = save(scattered.o);
  bad.tensors.erase("g_idx");
  check_damaged<op::quantized>(bad, "tensor g_idx");
  bad = save(scattered.o);
  bad.tensors["g_idx"].bytes[0] = std::byte{77};
  check_damaged<op::quantized>(bad, "layer: g_idx");
  auto codes = s.codes;
  codes(1, 1) = 8;
  CHECK_THROWS_AS(op::quantized(codes, s.grid.grid), tersor::error);
}

}  // namespace quantized_tests
