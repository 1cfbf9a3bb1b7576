// tersor - tests of op/prepared_ternary.hpp: every target, group and size
// SPDX-License-Identifier: MIT
#include <tersor/op/prepared_ternary.hpp>

#include "catch.hpp"
#include "kernel/targets.hpp"

#include <tersor/core/random.hpp>
#include <tersor/op/any_operator.hpp>

namespace tersor {
namespace prepared_ternary_tests {

using kernel::target;
using op::activation_type;
using test::targets;

struct sample {
  index_t rows = 0, cols = 0, group_size = 0;
  bool tensor = false;
  dtype scale_type = dtype::f32;
};
std::ostream& operator<<(std::ostream& out, const sample& s) {
  return out << s.rows << " x " << s.cols << ", groups of " << s.group_size << ", " << name(s.scale_type)
             << (s.tensor ? ", one row of scales" : "");
}
op::ternary make(const sample& s, std::uint64_t seed) {
  random_generator random(seed);
  matrix<std::uint8_t> digits(s.rows, s.cols);
  for (auto& d : digits.values()) d = static_cast<std::uint8_t>(random.uniform_index(3));
  matrix<float> scales(s.tensor ? 1 : s.rows, (s.cols + s.group_size - 1) / s.group_size);
  for (auto& v : scales.values()) v = static_cast<float>(0.01 + 0.1 * random.uniform());
  return {digits, s.group_size, scales.view(), s.scale_type};
}
std::vector<sample> samples() {
  std::vector<sample> all;
  for (const auto& [rows, cols, group] : {std::array<index_t, 3>{16, 20, 20},
                                          {17, 64, 32},
                                          {33, 256, 128},
                                          {5, 101, 48},
                                          {40, 302, 64},
                                          {16, 700, 700},
                                          {1, 1, 1},
                                          {7, 31, 3},
                                          {20, 129, 128},
                                          {18, 500, 250}})
    for (const bool tensor : {false, true})
      all.push_back({.rows = rows,
                     .cols = cols,
                     .group_size = group,
                     .tensor = tensor,
                     .scale_type = all.size() % 3 == 0   ? dtype::f16
                                   : all.size() % 3 == 1 ? dtype::f32
                                                         : dtype::bf16});
  return all;
}
matrix<float> activations(index_t tokens, index_t cols, std::uint64_t seed) {
  random_generator random(seed);
  matrix<float> x(tokens, cols);
  for (auto& v : x.values()) v = static_cast<float>(random.normal());
  return x;
}
matrix<float> product(const op::ternary& w, const op::prepare_options& options, const matrix<float>& x) {
  matrix<float> y(x.rows(), w.rows(), -1.0F);
  op::prepared_ternary(w, options).apply(x.view(), y.view());
  return y;
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
      worst = std::max(worst, std::abs(static_cast<double>(y(t, r)) - exact) / std::max(size, 1e-6));
    }
  return worst;
}

TEST_CASE("prepared ternary: blocks are shared by groups, not padded") {
  const kernel::ternary_format f(16, 256, 128, dtype::f16);
  REQUIRE(f.segments.size() == 2);
  CHECK(f.tile_bytes == 13 * 64 + 2 * 32);
  CHECK(f.segments[0].shared == -1);
  CHECK(f.segments[0].blocks == 7);
  CHECK(f.segments[0].codes == 32);
  CHECK(f.segments[1].shared == 32 + 6 * 64);  // columns 120 to 139
  CHECK(f.segments[1].blocks == 7);
  CHECK(f.segments[1].codes == 64 + 7 * 64);
  CHECK(f.activations == 14 * 20);
  const kernel::ternary_format row(16, 14336, 14336, dtype::f16);
  CHECK(row.tile_bytes == 32 + 717 * 64);  // 1.6 bits a weight and a scale
  for (const auto& s : row.segments) CHECK(s.shared == -1);
}

TEST_CASE("prepared ternary: a block by hand") {
  matrix<std::uint8_t> digits(16, 20), back(16, 20);
  digits(2, 1) = 1;   // digit 0 of byte 1
  digits(2, 18) = 2;  // digit 4 of byte 2
  std::uint8_t bytes[64];
  kernel::pack_trit_block(std::as_const(digits).view(), bytes);
  for (int i = 0; i < 64; ++i) CHECK(bytes[i] == (i == 9 ? 86 : i == 10 ? 3 : 0));
  kernel::unpack_trit_block(bytes, back.view());
  CHECK(back == digits);
}

TEST_CASE("prepared ternary: restoring gives the operator back, to the bit") {
  for (const auto& s : samples()) {
    INFO(s);
    const auto w = make(s, 1);
    const auto back = op::prepared_ternary(w).restore();
    CHECK(back.digits() == w.digits());
    CHECK(back.scales() == w.scales());
    CHECK(back.units() == w.units());
    CHECK(back.to_dense() == w.to_dense());
  }
}

TEST_CASE("prepared ternary: floats are exact to rounding, bytes the same bits everywhere") {
  for (const auto& s : samples()) {
    const auto w = make(s, 2);
    const auto dense = w.to_dense();
    for (const index_t tokens : {1, 4, 19}) {
      INFO(s << ", " << tokens << " tokens");
      const auto x = activations(tokens, s.cols, 3);
      const auto expected = product(w, {.activations = activation_type::int8, .target = target::portable}, x);
      for (const target t : targets()) {
        INFO(option_text<target>::format(t));
        REQUIRE(relative_error(dense, x, product(w, {.target = t}, x)) <= 2e-6);
        REQUIRE(product(w, {.activations = activation_type::int8, .target = t}, x) == expected);
      }
    }
  }
}

TEST_CASE("prepared ternary: extreme digits and activations, integers are exact") {
  // activations that are bytes already: nothing is rounded but the last sums
  for (const int kind : {0, 1, 2, 3}) {
    matrix<std::uint8_t> digits(19, 128);
    matrix<float> x(5, 128);
    random_generator random(4);
    for (auto& d : digits.values())
      d = static_cast<std::uint8_t>(kind < 3 ? static_cast<std::uint64_t>(kind) : random.uniform_index(3));
    for (float& v : x.values()) v = kind < 3 ? 127 : static_cast<float>(random.uniform_index(255)) - 127;
    for (index_t t = 0; t < 5; ++t) x(t, 7) = -127;
    const op::ternary w(digits, 128, matrix<float>(1, 1, 1.0F).view());
    for (const target t : targets())
      for (const auto type : {activation_type::f32, activation_type::int8}) {
        const auto y = product(w, {.activations = type, .target = t}, x);
        for (index_t k = 0; k < 5; ++k)
          for (index_t r = 0; r < 19; ++r) {
            float exact = 0;
            for (index_t j = 0; j < 128; ++j) exact += (static_cast<float>(digits(r, j)) - 1) * x(k, j);
            REQUIRE(y(k, r) == exact);
          }
      }
  }
}

TEST_CASE("prepared ternary: layouts of the operands, threads, zeros, what is not finite") {
  const sample s{.rows = 150, .cols = 257, .group_size = 64};
  const auto w = make(s, 7);
  const auto x = activations(5, s.cols, 8);
  for (const target t : targets())
    for (const auto type : {activation_type::f32, activation_type::int8}) {
      const op::prepared_ternary p(w, {.activations = type, .target = t});
      const auto expected = product(w, {.activations = type, .target = t}, x);
      for (const int threads : {1, 2, 5}) {
        context ctx;
        ctx.threads = threads;
        matrix<float> y(5, s.rows);
        p.apply(x.view(), y.view(), ctx);
        CHECK(y == expected);
      }
      matrix<float> wide(5, s.cols + 3), tall(5, s.rows + 5);
      copy(x.view(), wide.view().block(0, 1, 5, s.cols));
      p.apply(wide.view().block(0, 1, 5, s.cols), tall.view().block(0, 3, 5, s.rows));
      CHECK(copy_as<float>(tall.view().block(0, 3, 5, s.rows)) == expected);
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
    const op::prepared_ternary p(make({.rows = rows, .cols = cols, .group_size = 32}, 9));
    matrix<float> in(2, cols), out(2, rows, 1.0F);
    p.apply(in.view(), out.view());
    CHECK(out == matrix<float>(2, rows));
  }
}

TEST_CASE("prepared ternary: an operator like others, which in files is what it was made of") {
  const auto w = make({.rows = 24, .cols = 96, .group_size = 32}, 8);
  const op::any_operator any = op::prepared_ternary(w);
  CHECK(any.kind() == "ternary");
  CHECK(any.to_dense() == w.to_dense());
  CHECK(any.storage().bytes() == w.storage().bytes());
  const auto x = activations(2, 24, 9);
  matrix<float> a(2, 96), b(2, 96);
  any.apply_transposed(x.view(), a.view());
  w.apply_transposed(x.view(), b.view());
  CHECK(a == b);
}

}  // namespace prepared_ternary_tests
}  // namespace tersor
