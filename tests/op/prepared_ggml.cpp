// tersor - tests of op/prepared_ggml.hpp; products with 8-bit activations: tests/op/ggml_native.cpp
// SPDX-License-Identifier: MIT
#include <tersor/op/prepared_ggml.hpp>

#include <array>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "kernel/targets.hpp"
#include "op/prepared_checks.hpp"

namespace tersor {
namespace prepared_ggml_tests {

/// Random codes; scales and offsets of a block within a factor of 4 of each other.
op::ggml_blocks random_blocks(ggml_type type, index_t rows, index_t cols) {
  const auto& t = info(type);
  random_generator random(static_cast<std::uint64_t>(type));
  std::vector<std::byte> bytes(static_cast<std::size_t>(rows * cols / t.block * t.bytes));
  for (auto& b : bytes) b = static_cast<std::byte>(random.uniform_index(256));
  const std::size_t scale = type == ggml_type::q2_k ? 80 : 0;
  for (std::size_t at = scale; at < bytes.size(); at += static_cast<std::size_t>(t.bytes))
    for (const std::size_t high : {at + 1, at + 3})
      bytes[high] = (bytes[high] & std::byte{0x87}) | std::byte{0x20};
  return {type, rows, cols, bytes, nullptr};
}

constexpr std::array types{ggml_type::q4_1, ggml_type::q5_1, ggml_type::q2_k, ggml_type::q4_k,
                           ggml_type::q5_k};

TEST_CASE("prepared ggml: one block of Q4_1 by hand") {
  std::vector<std::byte> block(20);
  block[1] = std::byte{0x38};  // 0.5
  block[3] = std::byte{0xbc};  // -1
  block[4] = std::byte{0xf3};  // weight 0: 3, weight 16: 15
  const op::ggml_blocks w(ggml_type::q4_1, 1, 32, block, nullptr);
  matrix<float> x(1, 32), y(1, 1);
  x(0, 0) = 2;
  x(0, 1) = 10;
  x(0, 16) = 1;
  for (const auto t : test::targets()) {
    op::prepared_ggml(w, {.target = t}).apply(x.view(), y.view());
    CHECK(y(0, 0) == 2 * (0.5F * 3 - 1) + 10 * -1.0F + (0.5F * 15 - 1));
  }
}

TEST_CASE("prepared ggml: products of every type, the same bits for any threads, and the blocks come back") {
  for (const auto type : types)
    for (const auto target : test::targets()) {
      const auto w = random_blocks(type, 37, 512);
      INFO(name(type) << ", " << option_text<kernel::target>::format(target));
      const op::prepared_ggml p(w, {.target = target});
      CHECK(p.kind() == "ggml_blocks");
      CHECK(p.to_dense() == w.to_dense());
      CHECK(std::ranges::equal(p.restore().bytes(), w.bytes()));
      CHECK(storage_of(p).bytes() == storage_of(w).bytes());
      for (const index_t tokens : {0, 1, 5, 18}) {
        const auto x = test::random_matrix(tokens, 512, 32);
        matrix<float> y(tokens, 37), z(tokens, 37);
        p.apply(x.view(), y.view(), {.threads = 1});
        p.apply(x.view(), z.view(), {.threads = 3});
        REQUIRE(y == z);
        CHECK(test::error_of_product(w.to_dense(), x, y) <= 1e-5);  // offsets may be larger than the weights
      }
    }
}

TEST_CASE("prepared ggml: types without offsets are refused") {
  for (const auto type : {ggml_type::q4_0, ggml_type::q6_k, ggml_type::iq4_nl}) {
    const std::vector<std::byte> bytes(static_cast<std::size_t>(info(type).bytes));
    const op::ggml_blocks w(type, 1, info(type).block, bytes, nullptr);
    CHECK_FALSE(op::prepared_ggml::fits(w));
    CHECK(test::holds(test::error_of([&] { op::prepared_ggml{w}; }), {name(type), "Q4_K"}));
  }
}

}  // namespace prepared_ggml_tests
}  // namespace tersor
