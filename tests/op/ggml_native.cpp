// tersor - tests of op/ggml_native.hpp: the same values and the same products
// SPDX-License-Identifier: MIT
#include <tersor/op/ggml_native.hpp>

#include "catch.hpp"
#include "kernel/targets.hpp"

#include <tersor/core/random.hpp>
#include <tersor/op/prepared.hpp>

namespace tersor {
namespace ggml_native_tests {

/// Where the scales of a block begin, of f16 but in Q8_K.
struct layout {
  ggml_type type;
  std::vector<std::size_t> scales;
  std::string_view kind;
};

const std::vector<layout> native_types{
    {ggml_type::q1_0, {0}, "binary_coded"}, {ggml_type::q2_0, {0}, "quantized"},
    {ggml_type::q4_0, {0}, "quantized"},    {ggml_type::q5_0, {0}, "quantized"},
    {ggml_type::q8_0, {0}, "quantized"},    {ggml_type::q8_1, {0}, "quantized"},
    {ggml_type::q8_k, {2}, "quantized"},    {ggml_type::q3_k, {108}, "quantized"},
    {ggml_type::q6_k, {208}, "quantized"},  {ggml_type::q4_1, {0, 2}, "sum"},
    {ggml_type::q5_1, {0, 2}, "sum"},       {ggml_type::q2_k, {80, 82}, "sum"},
    {ggml_type::q4_k, {0, 2}, "sum"},       {ggml_type::q5_k, {0, 2}, "sum"},
    {ggml_type::iq4_nl, {0}, "codebook"},   {ggml_type::iq4_xs, {0}, "codebook"},
    {ggml_type::mxfp4, {}, "codebook"},     {ggml_type::nvfp4, {}, "codebook"},
    {ggml_type::tq1_0, {52}, "ternary"},    {ggml_type::tq2_0, {64}, "ternary"}};

/// Random codes, scales of either sign within a factor of 4.
std::vector<std::byte> random_blocks(const layout& l, index_t count, std::uint64_t seed) {
  random_generator random(seed);
  const auto size = static_cast<std::size_t>(info(l.type).bytes);
  std::vector<std::byte> blocks(static_cast<std::size_t>(count) * size);
  for (auto& b : blocks) b = static_cast<std::byte>(random.uniform_index(256));
  for (std::size_t at = 0; at < blocks.size(); at += size) {
    // high bytes: of f16 0x20 .. 0x27, of the f32 0x3d20 .. 0x3d7f
    for (const auto place : l.scales)
      blocks[at + place + 1] = (blocks[at + place + 1] & std::byte{0x87}) | std::byte{0x20};
    if (l.type == ggml_type::q8_k) blocks[at + 3] = std::byte{0x3d};
    if (l.type == ggml_type::mxfp4) blocks[at] = (blocks[at] & std::byte{1}) | std::byte{0x7a};
    if (l.type == ggml_type::nvfp4)
      for (std::size_t g = 0; g < 4; ++g)
        blocks[at + g] = (blocks[at + g] & std::byte{0x8f}) | std::byte{0x30};
    if (l.type == ggml_type::tq2_0)  // no 3
      for (std::size_t i = 0; i < 64; ++i) blocks[at + i] &= ~(blocks[at + i] >> 1 & std::byte{0x55});
  }
  return blocks;
}
op::ggml_blocks random_operator(const layout& l, index_t rows, index_t cols, std::uint64_t seed) {
  const auto blocks = random_blocks(l, rows * cols / info(l.type).block, seed);
  return {l.type, rows, cols, blocks, nullptr};
}
matrix<float> normal(index_t rows, index_t cols, std::uint64_t seed) {
  random_generator random(seed);
  matrix<float> x(rows, cols);
  for (auto& v : x.values()) v = static_cast<float>(random.normal());
  return x;
}
double relative_difference(const matrix<float>& a, const matrix<float>& b) {
  double difference = 0, size = 0;
  for (index_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<double>(a.data()[i]), y = static_cast<double>(b.data()[i]);
    difference += (x - y) * (x - y);
    size += y * y;
  }
  return std::sqrt(difference / size);
}

/// Products of every target with x are those of the values of w.
void check_products(const op::any_operator& native, const op::ggml_blocks& w, const matrix<float>& x) {
  const auto dense = w.to_dense();
  for (const auto target : test::targets()) {
    INFO(option_text<kernel::target>::format(target));
    matrix<float> y(x.rows(), w.rows());
    op::prepare(native, {.target = target}).apply(x.view(), y.view());
    double difference = 0, size = 0;
    for (index_t t = 0; t < y.rows(); ++t)
      for (index_t r = 0; r < y.cols(); ++r) {
        double sum = 0, addends = 0;
        for (index_t j = 0; j < w.cols(); ++j) {
          const double product = static_cast<double>(x(t, j)) * static_cast<double>(dense(r, j));
          sum += product;
          addends += std::abs(product);
        }
        const double error = std::abs(static_cast<double>(y(t, r)) - sum);
        difference += error * error;
        size += sum * sum;
        // a sum of floats that happens to cancel has no relative precision: it is held against its addends
        CHECK(error < 5e-7 * addends);
      }
    if (w.rows() > 30) CHECK(std::sqrt(difference / size) < 1e-6);  // of so many, few cancel
  }
}

TEST_CASE("ggml native: values are equal, and products of what is prepared") {
  const auto l = GENERATE(from_range(native_types));
  INFO(name(l.type));
  for (const auto& [rows, blocks] : {std::pair<index_t, index_t>{1, 1}, {5, 2}, {33, 3}}) {
    const index_t cols = blocks * info(l.type).block;
    const auto w = random_operator(l, rows, cols, static_cast<std::uint64_t>(rows));
    const auto native = op::to_native(w);
    REQUIRE(native);
    CHECK(native->kind() == l.kind);
    CHECK(native->to_dense() == w.to_dense());
    const auto prepared = op::prepare(op::any_operator(w));
    CHECK(prepared.kind() == (l.kind == "sum" ? "ggml_blocks" : l.kind));  // prepared_ggml
    CHECK(prepared.as<op::ggml_blocks>() == nullptr);
    CHECK(prepared.to_dense() == w.to_dense());
    for (const index_t tokens : {1, 7}) check_products(*native, w, normal(tokens, cols, 7));
  }
}

TEST_CASE("ggml native: products with 8-bit activations") {
  const auto l = GENERATE(from_range(native_types));
  INFO(name(l.type));
  const auto w = random_operator(l, 40, 512, 3);
  const auto x = normal(3, 512, 4);
  matrix<float> expected(3, 40), y(3, 40);
  w.apply(x.view(), expected.view());
  op::prepare(op::any_operator(w), {.activations = op::activation_type::int8}).apply(x.view(), y.view());
  // largest of 128 normal numbers / 254 / sqrt(3) of the input's error, about 0.6 %
  const double difference = relative_difference(y, expected);
  CHECK(difference < 0.012);
  CHECK(difference > 1e-4);
}

TEST_CASE("ggml native: the scales of micro-scaled types are those of the blocks") {
  const layout mx{ggml_type::mxfp4, {}, "codebook"}, nv{ggml_type::nvfp4, {}, "codebook"};
  auto blocks = random_blocks(mx, 3, 1);
  blocks[0] = std::byte{0};
  blocks[17] = std::byte{254};
  const auto at_ends = op::ggml_blocks(ggml_type::mxfp4, 3, 32, blocks, nullptr);
  CHECK(op::to_native(at_ends)->to_dense() == at_ends.to_dense());
  blocks[34] = std::byte{255};  // 2^128 is no scale of E8M0
  CHECK_FALSE(op::to_native(op::ggml_blocks(ggml_type::mxfp4, 3, 32, blocks, nullptr)));

  auto fours = random_blocks(nv, 2, 1);
  fours[0] = std::byte{0x7f};  // zero
  fours[1] = std::byte{0x80};
  fours[2] = std::byte{0x01};
  const auto with_zero = op::ggml_blocks(ggml_type::nvfp4, 1, 128, fours, nullptr);
  const auto native = op::to_native(with_zero);
  REQUIRE(native);
  CHECK(native->to_dense() == with_zero.to_dense());
  const auto& scales = native->as<op::codebook>()->scales();
  CHECK(scales.reals().type() == dtype::f8_e4m3);
  CHECK(scales.factor() == 1.0F);
  fours[3] = std::byte{0xff};  // 480 is none of E4M3
  CHECK_FALSE(op::to_native(op::ggml_blocks(ggml_type::nvfp4, 1, 128, fours, nullptr)));
}

TEST_CASE("ggml native: TQ2_0 with weights of 2 is quantized") {
  auto blocks = random_blocks({ggml_type::tq2_0, {64}, ""}, 2, 1);
  blocks[70] = std::byte{0xff};
  const op::ggml_blocks w(ggml_type::tq2_0, 2, 256, blocks, nullptr);
  const auto native = op::to_native(w);
  REQUIRE(native);
  CHECK(native->kind() == "quantized");
  CHECK(native->to_dense() == w.to_dense());
}

TEST_CASE("ggml native: what has no equal form stays as it is") {
  for (const auto& t : ggml_types) {
    if (!op::can_decode(t.type) ||
        std::ranges::any_of(native_types, [&](const layout& l) { return l.type == t.type; }))
      continue;
    INFO(t.name);
    const std::vector<std::byte> bytes(static_cast<std::size_t>(t.bytes));
    const op::ggml_blocks w(t.type, 1, t.block, bytes, nullptr);
    CHECK_FALSE(op::to_native(w));
    CHECK(op::prepare(op::any_operator(w)).as<op::ggml_blocks>() != nullptr);
  }
  // infinite and NaN scales, or offsets; no weights at all
  for (const auto& l : native_types)
    for (const auto place : l.scales) {
      INFO(name(l.type));
      auto blocks = random_blocks(l, 1, 1);
      const index_t cols = info(l.type).block;
      REQUIRE(op::to_native(op::ggml_blocks(l.type, 1, cols, blocks, nullptr)));
      blocks[place + 1] = std::byte{static_cast<unsigned char>(l.type == ggml_type::q8_k ? 0x7f : 0x7c)};
      if (l.type == ggml_type::q8_k) blocks[place] = std::byte{0x80};
      CHECK_FALSE(op::to_native(op::ggml_blocks(l.type, 1, cols, blocks, nullptr)));
      CHECK_FALSE(op::to_native(op::ggml_blocks(l.type, 0, cols, {}, nullptr)));
    }
}

}  // namespace ggml_native_tests
}  // namespace tersor
