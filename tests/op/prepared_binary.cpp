// tersor - tests of op/prepared_binary.hpp: every target, number of planes, group and size
// SPDX-License-Identifier: MIT
#include <tersor/op/prepared_binary.hpp>

#include "catch.hpp"
#include "kernel/targets.hpp"

#include <tersor/core/random.hpp>
#include <tersor/op/any_operator.hpp>

namespace tersor {
namespace prepared_binary_tests {

using kernel::target;
using op::activation_type;
using test::targets;

struct sample {
  int planes = 2;
  index_t rows = 0, cols = 0, group_size = 0;
  dtype scale_type = dtype::f16;
  bool offsets = false;
};
std::ostream& operator<<(std::ostream& out, const sample& s) {
  return out << s.planes << " planes, " << s.rows << " x " << s.cols << ", groups of " << s.group_size << ", "
             << name(s.scale_type) << (s.offsets ? ", offsets" : "");
}
op::binary_coded make(const sample& s, std::uint64_t seed) {
  random_generator random(seed);
  matrix<std::uint8_t> codes(s.rows, s.cols);
  for (auto& q : codes.values())
    q = static_cast<std::uint8_t>(random.uniform_index(std::uint64_t{1} << s.planes));
  const index_t groups = s.rows * ((s.cols + s.group_size - 1) / s.group_size);
  real_array scales(s.scale_type, groups * s.planes), offsets(dtype::f32, s.offsets ? groups : 0);
  for (index_t i = 0; i < scales.size(); ++i)
    scales.set(i, static_cast<float>(0.01 + 0.1 * random.uniform()));
  for (index_t i = 0; i < offsets.size(); ++i)
    offsets.set(i, static_cast<float>(0.1 * random.uniform() - 0.05));
  return {codes, s.planes, s.group_size, std::move(scales), std::move(offsets)};
}
std::vector<sample> samples() {
  std::vector<sample> all;
  for (const int planes : {1, 2, 3, 4, 8})
    for (const auto& [rows, cols, group] : {std::array<index_t, 3>{16, 32, 32},
                                            {17, 64, 32},
                                            {33, 256, 128},
                                            {5, 101, 48},
                                            {40, 302, 64},
                                            {16, 700, 700},
                                            {1, 1, 1},
                                            {31, 129, 128}})
      all.push_back({.planes = planes,
                     .rows = rows,
                     .cols = cols,
                     .group_size = group,
                     .scale_type = all.size() % 3 == 0   ? dtype::f16
                                   : all.size() % 3 == 1 ? dtype::f32
                                                         : dtype::bf16,
                     .offsets = all.size() % 2 == 0});
  return all;
}
matrix<float> activations(index_t tokens, index_t cols, std::uint64_t seed) {
  random_generator random(seed);
  matrix<float> x(tokens, cols);
  for (auto& v : x.values()) v = static_cast<float>(random.normal());
  return x;
}
matrix<double> exact(const matrix<float>& w, const matrix<float>& x) {
  matrix<double> y(x.rows(), w.rows());
  for (index_t t = 0; t < x.rows(); ++t)
    for (index_t r = 0; r < w.rows(); ++r)
      for (index_t j = 0; j < w.cols(); ++j)
        y(t, r) += static_cast<double>(w(r, j)) * static_cast<double>(x(t, j));
  return y;
}
matrix<float> product(const op::binary_coded& w, const op::prepare_options& options, const matrix<float>& x) {
  matrix<float> y(x.rows(), w.rows(), -1.0F);
  op::prepared_binary(w, options).apply(x.view(), y.view());
  return y;
}

TEST_CASE("prepared binary: one weight by hand, and its place in the stream") {
  matrix<std::uint8_t> codes(1, 32);
  codes(0, 5) = 1;
  codes(0, 18) = 3;
  const std::vector<float> scales{2, 0.5F};
  const op::binary_coded w(codes, 2, 32, store_as(dtype::f32, std::span<const float>(scales)));
  matrix<float> x(1, 32);
  x(0, 5) = 1;
  x(0, 18) = 10;
  for (const target t : targets())
    for (const auto type : {activation_type::f32, activation_type::int8})  // 2 - 0.5 + 10 (2 + 0.5)
      CHECK(std::abs(product(w, {.activations = type, .target = t}, x)(0, 0) - 26.5F) <=
            (type == activation_type::f32 ? 0.0F : 2.5F * 5 / 127));
  // columns 4 to 7 are table 1, columns 16 to 19 the high half of table 0
  matrix<std::uint8_t> chunk(16, 32);
  chunk(3, 5) = 1;
  chunk(3, 18) = 1;
  std::uint8_t bytes[64];
  kernel::pack_signs(std::as_const(chunk).view(), 0, bytes);
  for (int i = 0; i < 64; ++i) CHECK(bytes[i] == (i == 3 ? 0b0100'0000 : i == 16 + 3 ? 0b0010 : 0));
}

TEST_CASE("prepared binary: indices are signs, and come back") {
  random_generator random(3);
  for (int planes = 1; planes <= 8; ++planes) {
    matrix<std::uint8_t> codes(16, 32), back(16, 32);
    for (auto& c : codes.values())
      c = static_cast<std::uint8_t>(random.uniform_index(std::uint64_t{1} << planes));
    for (int i = 0; i < planes; ++i) {
      std::uint8_t bytes[64];
      kernel::pack_signs(std::as_const(codes).view(), i, bytes);
      kernel::unpack_signs(bytes, i, back.view());
      for (index_t r = 0; r < 16; ++r)
        for (index_t c = 0; c < 32; ++c)
          REQUIRE((bytes[16 * (c % 16 / 4) + r] >> (c / 16 * 4 + c % 4) & 1) == (codes(r, c) >> i & 1));
    }
    CHECK(back == codes);
  }
}

TEST_CASE("prepared binary: tables are signed sums, and mirror themselves") {
  const auto x = activations(1, 12, 4);
  for (const target t : targets()) {
    INFO(option_text<target>::format(t));
    float sums[48];
    std::uint8_t bytes[48];
    kernel::fill_sign_tables(t, x.data(), 3, sums);
    const float scale = kernel::fill_sign_tables(t, x.data(), 3, bytes);
    float top = 0;
    for (index_t j = 0; j < 3; ++j)
      for (index_t n = 0; n < 16; ++n) {
        float sum = 0;
        for (index_t b = 0; b < 4; ++b) sum += (n >> b & 1) != 0 ? x(0, 4 * j + b) : -x(0, 4 * j + b);
        const index_t at = 16 * j + n, mirror = 16 * j + 15 - n;
        CHECK(std::abs(sums[at] - sum) <= 1e-6F);
        CHECK(sums[mirror] == -sums[at]);
        CHECK(int{bytes[mirror]} - 128 == 128 - int{bytes[at]});
        CHECK(std::abs(scale * static_cast<float>(int{bytes[at]} - 128) - sums[at]) <= scale * 0.50001F);
        top = std::max(top, sums[at]);
      }
    CHECK(scale == top / 127.0F);
    const std::vector<float> zeros(8);
    CHECK(kernel::fill_sign_tables(t, zeros.data(), 2, bytes) == 0);
    for (int i = 0; i < 32; ++i) CHECK(bytes[i] == 128);
  }
}

TEST_CASE("prepared binary: restoring gives the operator back, to the bit") {
  for (const auto& s : samples()) {
    INFO(s);
    const auto w = make(s, 1);
    const auto back = op::prepared_binary(w).restore();
    CHECK(back.codes() == w.codes());
    CHECK(back.scales() == w.scales());
    CHECK(back.offsets() == w.offsets());
    CHECK(back.to_dense() == w.to_dense());
  }
}

TEST_CASE(
    "prepared binary: tables of floats are exact to rounding, tables of bytes the same bits everywhere") {
  for (const auto& s : samples()) {
    const auto w = make(s, 2);
    const auto dense = w.to_dense();
    for (const index_t tokens : {1, 4, 19}) {
      INFO(s << ", " << tokens << " tokens");
      const auto x = activations(tokens, s.cols, 3);
      const auto y = exact(dense, x);
      // the largest sum of a table, on which the error of its entries depends
      float top = 0;
      for (index_t t = 0; t < tokens; ++t)
        for (index_t j = 0; j < s.cols; ++j) top = std::max(top, std::abs(x(t, j)));
      matrix<double> size(tokens, s.rows), entries(1, s.rows);
      const auto scale = w.scales();
      for (index_t r = 0; r < s.rows; ++r)
        for (index_t j = 0; j < s.cols; ++j) {
          const index_t at = r * w.groups() + j / s.group_size;
          double sum = s.offsets ? std::abs(static_cast<double>(w.offsets()[at])) : 0;
          for (int i = 0; i < s.planes; ++i) sum += static_cast<double>(scale[at * s.planes + i]);
          for (index_t t = 0; t < tokens; ++t) size(t, r) += sum * std::abs(static_cast<double>(x(t, j)));
          entries(0, r) += sum;  // at least one entry for each column that begins one
        }
      const auto expected = product(w, {.activations = activation_type::int8, .target = target::portable}, x);
      for (index_t t = 0; t < tokens; ++t)
        for (index_t r = 0; r < s.rows; ++r)
          REQUIRE(std::abs(static_cast<double>(expected(t, r)) - y(t, r)) <=
                  entries(0, r) * static_cast<double>(top) * 4 / 254 + 1e-5 * size(t, r));
      for (const target t : targets()) {
        INFO(option_text<target>::format(t));
        const auto floats = product(w, {.target = t}, x);
        for (index_t k = 0; k < tokens; ++k)
          for (index_t r = 0; r < s.rows; ++r)
            REQUIRE(std::abs(static_cast<double>(floats(k, r)) - y(k, r)) <= 1e-6 * size(k, r) + 1e-30);
        REQUIRE(product(w, {.activations = activation_type::int8, .target = t}, x) == expected);
      }
    }
  }
}

TEST_CASE("prepared binary: the error of tables of bytes is below that of quantizing activations first") {
  const auto w = make({.planes = 4, .rows = 64, .cols = 512, .group_size = 128}, 5);
  const auto x = activations(4, 512, 6);
  const auto y = exact(w.to_dense(), x);
  const auto some = product(w, {.activations = activation_type::int8}, x);
  double error = 0, size = 0;
  for (index_t i = 0; i < y.size(); ++i) {
    const double d = static_cast<double>(some.data()[i]) - y.data()[i];
    error += d * d;
    size += y.data()[i] * y.data()[i];
  }
  CHECK(error <= 5e-4 * size);
}

TEST_CASE("prepared binary: layouts of the operands, threads, zeros, what is not finite") {
  const sample s{.planes = 3, .rows = 150, .cols = 257, .group_size = 64, .offsets = true};
  const auto w = make(s, 7);
  const auto x = activations(5, s.cols, 8);
  for (const target t : targets())
    for (const auto type : {activation_type::f32, activation_type::int8}) {
      const op::prepared_binary p(w, {.activations = type, .target = t});
      const auto expected = product(w, {.activations = type, .target = t}, x);
      for (const int threads : {1, 2, 5}) {
        context ctx;
        ctx.threads = threads;
        matrix<float> y(5, s.rows);
        p.apply(x.view(), y.view(), ctx);
        CHECK(y == expected);
      }
      for (index_t first = 0; first < 5; ++first) {  // tokens do not touch each other
        matrix<float> y(1, s.rows);
        p.apply(x.view().block(first, 0, 1, s.cols), y.view());
        for (index_t r = 0; type == activation_type::int8 && r < s.rows; ++r)
          REQUIRE(y(0, r) == expected(first, r));
      }
      matrix<float> wide(5, s.cols + 3), tall(5, s.rows + 5);
      copy(x.view(), wide.view().block(0, 1, 5, s.cols));
      p.apply(wide.view().block(0, 1, 5, s.cols), tall.view().block(0, 3, 5, s.rows));
      CHECK(copy_as<float>(tall.view().block(0, 3, 5, s.rows)) == expected);
      const auto columns = copy_as<float>(x.view().transposed());
      matrix<float> y_columns(s.rows, 5);
      p.apply(columns.view().transposed(), y_columns.view().transposed());
      CHECK(copy_as<float>(y_columns.view().transposed()) == expected);
      matrix<float> none(0, s.cols), nothing(0, s.rows), zeros(2, s.cols), y(2, s.rows, 1.0F);
      p.apply(none.view(), nothing.view());
      p.apply(zeros.view(), y.view());
      CHECK(y == matrix<float>(2, s.rows));
      auto broken = x;
      broken(1, 50) = std::numeric_limits<float>::quiet_NaN();
      matrix<float> spoiled(5, s.rows);
      p.apply(broken.view(), spoiled.view());
      for (index_t r = 0; r < s.rows; ++r) {
        REQUIRE(std::isnan(spoiled(1, r)));
        REQUIRE(spoiled(0, r) == expected(0, r));
      }
      CHECK_THROWS_AS(p.apply(x.view(), nothing.view()), error);
    }
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{0, 32}, {16, 0}}) {
    const op::prepared_binary p(make({.planes = 2, .rows = rows, .cols = cols, .group_size = 32}, 9));
    matrix<float> in(2, cols), out(2, rows, 1.0F);
    p.apply(in.view(), out.view());
    CHECK(out == matrix<float>(2, rows));
  }
}

TEST_CASE("prepared binary: an operator like others, which in files is what it was made of") {
  const auto w = make({.planes = 3, .rows = 24, .cols = 96, .group_size = 32}, 8);
  const op::any_operator any = op::prepared_binary(w);
  CHECK(any.kind() == "binary_coded");
  CHECK(any.to_dense() == w.to_dense());
  CHECK(any.storage().bytes() == w.storage().bytes());
  const auto x = activations(2, 24, 9);
  matrix<float> a(2, 96), b(2, 96);
  any.apply_transposed(x.view(), a.view());
  w.apply_transposed(x.view(), b.view());
  CHECK(a == b);
  // per weight: 3 bits, and 3 scales of 16 bits for 32 weights
  CHECK(any.as<op::prepared_binary>()->stream_bytes() == 32 * 96 * 3 / 8 + 32 * 3 * 3 * 2);
}

}  // namespace prepared_binary_tests
}  // namespace tersor
