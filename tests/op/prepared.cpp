// tersor - tests of op/prepared.hpp: every target, width, group and size
// SPDX-License-Identifier: MIT
#include <tersor/op/prepared.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "kernel/targets.hpp"

#include <tersor/core/random.hpp>

namespace tersor {
namespace prepared_tests {

using kernel::target;
using op::activation_type;
using test::error_of;
using test::holds;
using test::targets;

struct sample {
  int bits = 4;
  index_t rows = 0, cols = 0, group_size = 0;
  dtype scale_type = dtype::f32;
  bool zero_points = false, act_order = false, per_tensor = false;
};
std::ostream& operator<<(std::ostream& out, const sample& s) {
  return out << s.bits << " bit, " << s.rows << " x " << s.cols << ", groups of " << s.group_size << ", "
             << name(s.scale_type) << (s.zero_points ? ", zero points" : "")
             << (s.act_order ? ", act-order" : "") << (s.per_tensor ? ", per tensor" : "");
}
op::quantized make(const sample& s, std::uint64_t seed) {
  random_generator random(seed);
  matrix<std::uint8_t> codes(s.rows, s.cols);
  for (auto& q : codes.values())
    q = static_cast<std::uint8_t>(random.uniform_index(std::uint64_t{1} << s.bits));
  const index_t groups = (s.cols + s.group_size - 1) / s.group_size, units = s.per_tensor ? 1 : s.rows;
  matrix<float> scale(units, groups), zero(units, groups, static_cast<float>(1 << (s.bits - 1)));
  for (auto& x : scale.values()) x = static_cast<float>(0.01 + 0.1 * random.uniform());
  if (s.zero_points)
    for (auto& z : zero.values()) z = static_cast<float>(random.uniform_index(std::uint64_t{1} << s.bits));
  std::vector<std::int32_t> g_idx;
  if (s.act_order) {
    for (index_t j = 0; j < s.cols; ++j) g_idx.push_back(static_cast<std::int32_t>(j / s.group_size));
    for (std::size_t j = g_idx.size(); j > 1; --j) std::swap(g_idx[j - 1], g_idx[random.uniform_index(j)]);
  }
  return {codes, op::affine_grid(s.bits, s.rows, s.cols, s.group_size, scale.view(), zero.view(),
                                 s.scale_type, std::move(g_idx))};
}
std::vector<sample> samples() {
  std::vector<sample> all;
  for (int bits = 1; bits <= 8; ++bits)
    for (const auto& [rows, cols, group] : {std::array<index_t, 3>{16, 32, 32},
                                            {17, 64, 32},
                                            {33, 256, 128},
                                            {5, 100, 48},
                                            {40, 300, 64},
                                            {16, 700, 700},
                                            {1, 1, 1},
                                            {31, 129, 128}}) {
      all.push_back({.bits = bits, .rows = rows, .cols = cols, .group_size = group});
      all.push_back({.bits = bits,
                     .rows = rows,
                     .cols = cols,
                     .group_size = group,
                     .scale_type = dtype::f16,
                     .zero_points = true,
                     .act_order = true});
      all.push_back({.bits = bits,
                     .rows = rows,
                     .cols = cols,
                     .group_size = group,
                     .scale_type = dtype::bf16,
                     .zero_points = true,
                     .per_tensor = true});
    }
  return all;
}
matrix<float> activations(index_t tokens, index_t cols, std::uint64_t seed) {
  random_generator random(seed);
  matrix<float> x(tokens, cols);
  for (auto& v : x.values()) v = static_cast<float>(random.normal());
  return x;
}
/// max over outputs of |y - W x| / Σ |w x|, in double.
double relative_error(const matrix<float>& w, const matrix<float>& x, const matrix<float>& y) {
  double worst = 0;
  for (index_t t = 0; t < x.rows(); ++t)
    for (index_t r = 0; r < w.rows(); ++r) {
      double exact = 0, size = 0;
      for (index_t j = 0; j < w.cols(); ++j) {
        const double p = static_cast<double>(w(r, j)) * static_cast<double>(x(t, j));
        exact += p;
        size += std::abs(p);
      }
      worst = std::max(worst, std::abs(static_cast<double>(y(t, r)) - exact) / std::max(size, 1e-30));
    }
  return worst;
}

TEST_CASE("prepared: restoring gives the operator back, to the bit") {
  for (const auto& s : samples()) {
    INFO(s);
    const auto w = make(s, 1);
    const auto back = op::prepared_quantized(w).restore();
    CHECK(back.codes() == w.codes());
    CHECK(back.grid().g_idx() == w.grid().g_idx());
    CHECK(back.to_dense() == w.to_dense());
    CHECK(storage_of(back).bytes() == storage_of(w).bytes());
  }
}

TEST_CASE("prepared: products with float activations are exact to rounding") {
  for (const auto& s : samples()) {
    const auto w = make(s, 2);
    const auto dense = w.to_dense();
    for (const index_t tokens : {1, 2, 5, 16, 19, 40}) {
      const auto x = activations(tokens, s.cols, 3);
      for (const target t : targets()) {
        INFO(s << ", " << tokens << " tokens, target " << option_text<target>::format(t));
        matrix<float> y(tokens, s.rows);
        op::prepared_quantized(w, {.target = t}).apply(x.view(), y.view());
        // codes and zero points are summed apart: up to 2^bits times the size of the result's terms
        REQUIRE(relative_error(dense, x, y) <= (s.bits > 4 ? 3e-6 : 1e-6));
      }
    }
  }
}

TEST_CASE(
    "prepared: products with byte activations have the same bits on every target and number of threads") {
  for (const auto& s : samples()) {
    const auto w = make(s, 4);
    const auto dense = w.to_dense();
    for (const index_t tokens : {1, 3, 4, 17, 29}) {
      const auto x = activations(tokens, s.cols, 5);
      matrix<float> expected(tokens, s.rows);
      op::prepared_quantized(w, {.activations = activation_type::int8, .target = target::portable})
          .apply(x.view(), expected.view());
      // each activation is off by at most max |x| / 254 of its run
      float top = 0;
      for (const float v : x.values()) top = std::max(top, std::abs(v));
      for (index_t t = 0; t < tokens; ++t)
        for (index_t r = 0; r < s.rows; ++r) {
          double exact = 0, bound = 1e-6;
          for (index_t j = 0; j < s.cols; ++j) {
            exact += static_cast<double>(dense(r, j)) * static_cast<double>(x(t, j));
            bound += std::abs(static_cast<double>(dense(r, j))) * (static_cast<double>(top) / 253);
          }
          REQUIRE(std::abs(static_cast<double>(expected(t, r)) - exact) <= bound);
        }
      for (const target t : targets())
        for (const int threads : {1, 3}) {
          INFO(s << ", " << tokens << " tokens, target " << option_text<target>::format(t));
          matrix<float> y(tokens, s.rows);
          op::prepared_quantized(w, {.activations = activation_type::int8, .target = t})
              .apply(x.view(), y.view(), {.threads = threads});
          REQUIRE(y == expected);
        }
    }
  }
}

TEST_CASE("prepared: the largest codes and activations do not overflow") {
  for (const int bits : {4, 7, 8}) {
    const sample s{.bits = bits, .rows = 20, .cols = 1024, .group_size = 1024};
    matrix<std::uint8_t> codes(s.rows, s.cols, static_cast<std::uint8_t>((1 << bits) - 1));
    const matrix<float> scale(s.rows, 1, 1.0F), zero(s.rows, 1, 0.0F);
    const op::quantized w(
        codes, op::affine_grid(bits, s.rows, s.cols, s.group_size, scale.view(), zero.view(), dtype::f32));
    for (const float sign : {1.0F, -1.0F}) {
      const matrix<float> x(1, s.cols, 127.0F * sign);
      for (const target t : targets()) {
        INFO("target " << option_text<target>::format(t));
        matrix<float> y(1, s.rows);
        op::prepared_quantized(w, {.activations = activation_type::int8, .target = t})
            .apply(x.view(), y.view());
        for (const float v : y.values())
          CHECK(v == sign * 127.0F * static_cast<float>((1 << bits) - 1) * static_cast<float>(s.cols));
      }
    }
  }
}

TEST_CASE("prepared: strided operands, empty ones, and numbers that are not finite") {
  const auto w = make({.bits = 4, .rows = 24, .cols = 96, .group_size = 32}, 6);
  for (const auto type : {activation_type::f32, activation_type::int8}) {
    const op::prepared_quantized p(w, {.activations = type});
    const auto x = activations(3, 96, 7);
    matrix<float> expected(3, 24);
    p.apply(x.view(), expected.view());
    matrix<float> x_columns(96, 3), y_columns(24, 3);
    copy(x.view(), x_columns.view().transposed());
    p.apply(x_columns.view().transposed(), y_columns.view().transposed());
    CHECK(copy_as<float>(y_columns.view().transposed()) == expected);
    matrix<float> none(0, 96), nothing(0, 24);
    p.apply(none.view(), nothing.view());
    auto broken = x;
    broken(1, 50) = std::numeric_limits<float>::quiet_NaN();
    matrix<float> y(3, 24);
    p.apply(broken.view(), y.view());
    for (index_t r = 0; r < 24; ++r) {
      CHECK(std::isnan(y(1, r)));
      CHECK(y(0, r) == expected(0, r));
    }
    CHECK(holds(error_of([&] { p.apply(x.view(), nothing.view()); }), {"quantized", "shape of y"}));
  }
}

TEST_CASE("prepared: an operator like others, which in files is what it was made of") {
  const auto w = make({.bits = 3, .rows = 24, .cols = 96, .group_size = 32, .zero_points = true}, 8);
  const op::any_operator any = op::prepared_quantized(w);
  CHECK(any.kind() == "quantized");
  CHECK(any.to_dense() == w.to_dense());
  const auto x = activations(2, 24, 9);
  matrix<float> a(2, 96), b(2, 96);
  any.apply_transposed(x.view(), a.view());
  w.apply_transposed(x.view(), b.view());
  CHECK(a == b);
}

/// Random codes of normal or FP4 levels; blocks, and scales that are reals or codes themselves.
op::codebook make_codebook(index_t rows, index_t cols, index_t block, std::vector<float> levels,
                           const op::scale_rule& rule, std::uint64_t seed) {
  random_generator random(seed);
  matrix<std::uint8_t> codes(rows, cols);
  for (auto& q : codes.values()) q = static_cast<std::uint8_t>(random.uniform_index(levels.size()));
  std::vector<float> scales(static_cast<std::size_t>((rows * cols + block - 1) / block));
  for (float& s : scales) s = static_cast<float>(0.01 + 0.1 * random.uniform());
  return {codes, std::move(levels), block, op::block_scales(scales, rule)};
}
const std::vector<float> fp4{0, 0.5F, 1, 1.5F, 2, 3, 4, 6, -0.0F, -0.5F, -1, -1.5F, -2, -3, -4, -6};
std::vector<float> uneven(std::size_t n) {
  std::vector<float> l(n);
  for (std::size_t i = 0; i < n; ++i) l[i] = std::sin(static_cast<float>(i) - 3.3F);
  return l;
}

TEST_CASE("prepared: codebooks with every coding of scales equal what they were made of") {
  for (const auto& [rows, cols, block] :
       {std::array<index_t, 3>{16, 64, 64}, {33, 256, 64}, {20, 96, 32}, {18, 32, 64}, {7, 48, 16}})
    for (const std::size_t levels : {std::size_t{4}, std::size_t{8}, std::size_t{16}})
      for (const auto coding : {op::scale_coding::plain, op::scale_coding::dynamic, op::scale_coding::linear})
        for (const dtype type : {dtype::f32, dtype::bf16}) {
          if (block > cols && coding != op::scale_coding::plain) continue;
          const auto w = make_codebook(rows, cols, block, uneven(levels),
                                       {.coding = coding, .bits = 8, .block_size = 5, .type = type}, 1);
          const auto dense = w.to_dense();
          for (const target t : targets()) {
            INFO(rows << " x " << cols << ", blocks of " << block << ", " << levels << " levels, target "
                      << option_text<target>::format(t));
            const op::prepared_codebook p(w, {.target = t});
            CHECK(p.to_dense() == dense);
            for (const index_t tokens : {1, 6, 25}) {
              const auto x = activations(tokens, cols, 2);
              matrix<float> y(tokens, rows);
              p.apply(x.view(), y.view());
              REQUIRE(relative_error(dense, x, y) <= 1e-6);
            }
          }
        }
}

TEST_CASE("prepared: FP4 levels are exact with byte activations too, on every target") {
  const auto w = make_codebook(35, 160, 32, fp4, {.type = dtype::bf16}, 3);
  const auto dense = w.to_dense();
  // activations that are bytes already: nothing is rounded but the last sums
  random_generator random(4);
  matrix<float> x(5, 160);
  for (float& v : x.values()) v = static_cast<float>(random.uniform_index(255)) - 127;
  for (index_t t = 0; t < 5; ++t)
    for (index_t j = 0; j < 160; j += 32) x(t, j) = 127;
  matrix<float> expected(5, 35);
  op::prepared_codebook(w, {.activations = activation_type::int8, .target = target::portable})
      .apply(x.view(), expected.view());
  CHECK(relative_error(dense, x, expected) <= 1e-6);
  for (const target t : targets()) {
    matrix<float> y(5, 35);
    op::prepared_codebook(w, {.activations = activation_type::int8, .target = t}).apply(x.view(), y.view());
    CHECK(y == expected);
  }
}

/// A codebook whose scales are the bytes that `code` gives.
op::codebook with_scales(index_t rows, index_t cols, index_t block, dtype type, std::uint64_t seed,
                         const auto& code) {
  auto w = make_codebook(rows, cols, block, fp4, {}, seed);
  real_array scales(type, w.scales().size());
  for (auto& b : scales.bytes()) b = static_cast<std::byte>(code());
  return {w.codes(), fp4, block,
          type == dtype::f8_e4m3 ? op::block_scales::factored(std::move(scales), 0.01F)
                                 : op::block_scales::plain(std::move(scales))};
}

TEST_CASE("prepared: MXFP4 and NVFP4, whose scales stay bytes, on every target") {
  for (const auto& [rows, cols, block] : {std::array<index_t, 3>{16, 64, 32},
                                          {33, 96, 32},
                                          {32, 32, 16},
                                          {35, 176, 16},
                                          {5, 16, 16},
                                          {17, 48, 16}})
    for (const dtype type : {dtype::f8_e8m0, dtype::f8_e4m3, dtype::f8_e5m2}) {
      random_generator random(11);
      const auto w = with_scales(rows, cols, block, type, 12, [&] {
        return type == dtype::f8_e8m0 ? 120 + random.uniform_index(12) : 1 + random.uniform_index(120);
      });
      const auto dense = w.to_dense();
      for (const index_t tokens : {1, 3, 5, 18, 31}) {
        const auto x = activations(tokens, cols, 13);
        matrix<float> bytes(tokens, rows);
        op::prepared_codebook(w, {.activations = activation_type::int8, .target = target::portable})
            .apply(x.view(), bytes.view());
        CHECK(relative_error(dense, x, bytes) <= 0.02);
        for (const target t : targets()) {
          INFO(rows << " x " << cols << ", blocks of " << block << ", " << name(type) << ", target "
                    << option_text<target>::format(t));
          const op::prepared_codebook p(w, {.target = t});
          matrix<float> y(tokens, rows);
          p.apply(x.view(), y.view());
          REQUIRE(relative_error(dense, x, y) <= 1e-6);
          CHECK(p.to_dense() == dense);
          const index_t padded = (cols + 31) / 32 * 32, scale_bytes = block == 16 && cols > 16 ? 2 : 1;
          CHECK(p.stream_bytes() == (rows + 15) / 16 * 16 * padded / 32 * (16 + scale_bytes));
          op::prepared_codebook(w, {.activations = activation_type::int8, .target = t})
              .apply(x.view(), y.view(), {.threads = 2});
          REQUIRE(y == bytes);
        }
      }
    }
}

TEST_CASE("prepared: the smallest and largest scales of 8 bits, and NaN among them") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const index_t block : {16, 32})
    for (const index_t tokens : {1, 20})
      for (const target t : targets())
        for (const auto type : {activation_type::f32, activation_type::int8}) {
          INFO("blocks of " << block << ", " << tokens << " tokens, target "
                            << option_text<target>::format(t));
          // one weight of 1 in each row, in the last block; everything else is 0
          const index_t rows = 19, cols = 96;
          matrix<std::uint8_t> codes(rows, cols);
          for (index_t r = 0; r < rows; ++r) codes(r, cols - 1) = 2;
          const matrix<float> x(tokens, cols, 1.0F);
          const auto product = [&](dtype stored, std::uint8_t code, index_t changed) {
            real_array scales(stored, rows * cols / block);
            for (auto& b : scales.bytes())
              b = std::byte{stored == dtype::f8_e8m0 ? code : std::uint8_t{0x38}};
            scales.bytes()[static_cast<std::size_t>(changed)] = std::byte{code};
            matrix<float> y(tokens, rows);
            op::prepared_codebook({codes, fp4, block, op::block_scales::plain(scales)},
                                  {.activations = type, .target = t})
                .apply(x.view(), y.view());
            return y;
          };
          for (const int code : {0, 1, 127, 253}) {
            const auto y = product(dtype::f8_e8m0, static_cast<std::uint8_t>(code), 0);
            const float power = std::ldexp(1.0F, code - 127);
            for (const float v : y.values())
              REQUIRE(std::abs(v - power) <= (code < 3 ? 0x1p-149F : power * 1e-6F));
          }
          const index_t blocks = cols / block, row = 17, last = row * blocks + blocks - 1;
          const auto broken = product(dtype::f8_e8m0, 255, last);
          CHECK(std::isnan(broken(tokens - 1, row)));
          for (const std::uint8_t code : std::array<std::uint8_t, 5>{0x01, 0x07, 0x7e, 0x7f, 0xff}) {
            const auto y = product(dtype::f8_e4m3, code, last);
            const float s = f8_e4m3::from_bits(code), expected = std::isnan(s) ? nan : s;
            for (index_t r = 0; r < rows; ++r) {
              const float got = y(tokens - 1, r), want = r == row ? expected : 1.0F;
              if (std::isnan(want))
                CHECK(std::isnan(got));
              else
                CHECK(std::abs(got - want) <= std::abs(want) * 1e-6F);
            }
          }
        }
}

TEST_CASE("prepared: what a layout cannot hold is refused, and left as it is in whole models") {
  const auto eight = make_codebook(4, 64, 32, uneven(256), {}, 5),
             ragged = make_codebook(4, 60, 32, uneven(16), {}, 6),
             normal = make_codebook(4, 64, 32, uneven(16), {}, 7);
  CHECK(holds(error_of([&] { op::prepared_codebook{eight}; }), {"8 bits", "2 to 4"}));
  CHECK(holds(error_of([&] { op::prepared_codebook{ragged}; }), {"60 columns", "whole blocks"}));
  CHECK(holds(error_of([&] { op::prepared_codebook(normal, {.activations = activation_type::int8}); }),
              {"int8", "f32"}));
  CHECK(op::prepare(eight).as<op::codebook>() != nullptr);
  CHECK(op::prepare(ragged).as<op::codebook>() != nullptr);
  const auto p = op::prepare(normal, {.activations = activation_type::int8});
  CHECK(p.as<op::prepared_codebook>()->options().activations == activation_type::f32);
  const op::permuted<> turned(make({.bits = 4, .rows = 16, .cols = 32, .group_size = 32}, 8), [] {
    std::vector<std::int32_t> perm(32);
    for (std::size_t j = 0; j < 32; ++j) perm[j] = static_cast<std::int32_t>(31 - j);
    return perm;
  }());
  const auto inside = op::prepare(turned);
  CHECK(inside.as<op::permuted<>>()->inner().as<op::prepared_quantized>() != nullptr);
  CHECK(inside.to_dense() == turned.to_dense());
}

TEST_CASE("prepared: binary-coded and ternary weights have layouts of their own") {
  const auto w = make({.bits = 2, .rows = 16, .cols = 64, .group_size = 32, .scale_type = dtype::f16}, 8);
  const auto planes = op::prepare(op::binary_coded::from(w), {.activations = activation_type::int8});
  REQUIRE(planes.as<op::prepared_binary>() != nullptr);
  CHECK(planes.as<op::prepared_binary>()->options().activations == activation_type::int8);
  CHECK(planes.to_dense() == w.to_dense());
  const op::ternary t(matrix<std::uint8_t>(16, 64, 2), 64, matrix<float>(1, 1, 0.5F).view());
  const auto digits = op::prepare(t, {.activations = activation_type::int8});
  REQUIRE(digits.as<op::prepared_ternary>() != nullptr);
  CHECK(digits.as<op::prepared_ternary>()->options().activations == activation_type::int8);
  CHECK(digits.to_dense() == t.to_dense());
}

}  // namespace prepared_tests
}  // namespace tersor
