// tersor - tests of kernel/row_products.hpp: what fixed point is off by
// SPDX-License-Identifier: MIT
#include <tersor/kernel/row_products.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "kernel/targets.hpp"

#include <tersor/core/float16.hpp>
#include <tersor/core/matrix.hpp>
#include <tersor/core/random.hpp>

namespace tersor {
namespace row_products_fixed_tests {

using test::targets;

constexpr index_t rows = 150, columns = 128;

/// Rows of codes, the first of which are the largest, with f32 grids.
struct problem {
  matrix<std::uint8_t> codes{rows, columns};
  std::vector<std::uint8_t> data;
  matrix<float> scale, minimum;
  int bits;

  problem(int b, index_t grid_rows, index_t grid_columns)
      : data(static_cast<std::size_t>(rows * columns * b / 8)),
        scale(grid_rows, grid_columns, 0.5F),
        minimum(grid_rows, grid_columns, 0.0F),
        bits(b) {
    random_generator g(9);
    for (index_t r = 0; r < rows; ++r) {
      for (index_t c = 0; c < columns; ++c)
        codes(r, c) = static_cast<std::uint8_t>(
            r < 2 ? (1 << b) - 1 : static_cast<int>(g.uniform_index(std::uint64_t{1} << b)));
      kernel::pack_code_row(codes.row(r).data(), b, columns, data.data() + r * columns * b / 8);
    }
  }
  kernel::code_rows view() const { return {data.data(), bits, rows, columns}; }
  template <class Grids>
  Grids grids(index_t size) const {
    Grids g;
    g.scale = reinterpret_cast<const std::uint8_t*>(scale.data());
    g.minimum = reinterpret_cast<const std::uint8_t*>(minimum.data());
    g.type = dtype::f32;
    g.width = scale.cols();
    g.size = size;
    return g;
  }
};

/// A vector of n numbers: `kind` 0 all small, 1 one huge among many tiny ones, 2 zeros, 3 of both signs and
/// all sizes, 4 close to the smallest floats, 5 close to the largest whose sums are finite.
std::vector<float> numbers(index_t n, int kind) {
  random_generator g(static_cast<std::uint64_t>(kind) + 1);
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& v : x) {
    const auto y = static_cast<float>(g.normal());
    if (kind == 0) v = 1e-3F * y;
    if (kind == 1) v = 1e-6F * y;
    if (kind == 3) v = y * std::exp2(static_cast<float>(g.uniform_index(60)) - 30);
    if (kind == 4) v = 1e-38F * y;
    if (kind == 5) v = 1e33F * y;
  }
  if (kind == 1) x[static_cast<std::size_t>(n / 3)] = 1000;
  return x;
}

TEST_CASE("row_products: scores are off by rounding of the columns alone") {
  for (const auto t : targets())
    for (const int bits : {1, 2, 4})
      for (const int kind : {0, 1, 2, 3, 4, 5}) {
        const problem p(bits, (rows + 63) / 64, columns);
        const auto q = numbers(columns, kind);
        std::vector<float> out(static_cast<std::size_t>(rows));
        kernel::row_scores(t, p.view(), p.grids<kernel::column_grids>(64), {q.data(), columns, 1}, out.data(),
                           rows);
        double largest = 0, sum = 0;
        for (const float v : q) {
          largest = std::max(largest, 0.5 * std::abs(static_cast<double>(v)));
          sum += 0.5 * std::abs(static_cast<double>(v));
        }
        const double levels = (1 << bits) - 1;
        // half a unit of each column times its code, and float's own roundings
        const double unit = std::max(largest / 4161000, 0x1p-120);
        index_t wrong = 0;
        for (index_t r = 0; r < rows; ++r) {
          double expected = 0, codes = 0;
          for (index_t c = 0; c < columns; ++c) {
            expected += 0.5 * static_cast<double>(q[static_cast<std::size_t>(c)]) * p.codes(r, c);
            codes += p.codes(r, c);
          }
          const double bound = 0.5001 * unit * codes + 8 * 0x1p-24 * sum * levels;
          if (!(std::abs(static_cast<double>(out[static_cast<std::size_t>(r)]) - expected) <= bound)) ++wrong;
        }
        INFO(bits << " bits, kind " << kind);
        CHECK(wrong == 0);
      }
}

TEST_CASE("row_products: sums are off by rounding of the weights alone") {
  for (const auto t : targets())
    for (const int bits : {1, 2, 4, 8})
      for (const int kind : {0, 1, 2, 3, 4, 5}) {
        const problem p(bits, rows, 4);
        const auto a = numbers(rows, kind);
        std::vector<float> out(static_cast<std::size_t>(columns));
        kernel::row_sums(t, p.view(), p.grids<kernel::group_grids>(32), {a.data(), rows, 1}, out.data(),
                         columns);
        double largest = 0, sum = 0;
        for (const float v : a) {
          largest = std::max(largest, 0.5 * std::abs(static_cast<double>(v)));
          sum += 0.5 * std::abs(static_cast<double>(v));
        }
        const double levels = (1 << bits) - 1, unit = std::max(largest / 4161000, 0x1p-120);
        index_t wrong = 0;
        for (index_t c = 0; c < columns; ++c) {
          double expected = 0, codes = 0;
          for (index_t r = 0; r < rows; ++r) {
            expected += 0.5 * static_cast<double>(a[static_cast<std::size_t>(r)]) * p.codes(r, c);
            codes += p.codes(r, c);
          }
          const double bound = 0.5001 * unit * codes + 16 * 0x1p-24 * sum * levels;
          if (!(std::abs(static_cast<double>(out[static_cast<std::size_t>(c)]) - expected) <= bound)) ++wrong;
        }
        INFO(bits << " bits, kind " << kind);
        CHECK(wrong == 0);
      }
}

TEST_CASE("row_products: vectors of all sizes do not touch each other") {
  for (const auto t : targets())
    for (const int bits : {1, 2, 4, 8}) {
      const problem keys(bits, (rows + 31) / 32, columns), values(bits, rows, 4);
      matrix<float> q(6, columns), a(6, rows), s(6, rows), y(6, columns), own_s(6, rows), own_y(6, columns);
      for (int kind = 0; kind < 6; ++kind) {
        std::ranges::copy(numbers(columns, kind), q.row(kind).begin());
        std::ranges::copy(numbers(rows, kind), a.row(kind).begin());
      }
      const auto multiply = [&](index_t first, index_t count, matrix<float>& scores, matrix<float>& sums) {
        kernel::row_scores(t, keys.view(), keys.grids<kernel::column_grids>(32),
                           {q.row(first).data(), columns, count}, scores.row(first).data(), rows);
        kernel::row_sums(t, values.view(), values.grids<kernel::group_grids>(32),
                         {a.row(first).data(), rows, count}, sums.row(first).data(), columns);
      };
      multiply(0, 6, s, y);
      for (index_t j = 0; j < 6; ++j) multiply(j, 1, own_s, own_y);
      CHECK(std::ranges::equal(s.values(), own_s.values()));
      CHECK(std::ranges::equal(y.values(), own_y.values()));
    }
}

TEST_CASE("row_products: sums of the largest codes over long rows stay in 32 bits") {
  constexpr index_t n = 4096;
  const std::vector<std::uint8_t> data(16 * n / 2, 0xff);
  const std::vector<float> scale(n, 1.0F), minimum(n, 0.0F);
  kernel::column_grids g;
  g.scale = reinterpret_cast<const std::uint8_t*>(scale.data());
  g.minimum = reinterpret_cast<const std::uint8_t*>(minimum.data());
  g.type = dtype::f32;
  g.width = n;
  g.size = 16;
  for (const auto t : targets())
    // numbers whose low bytes are the largest, or the smallest, that there are
    for (const float rest : {32639.0F, -32896.0F, 127.0F, -128.0F}) {
      std::vector<float> q(n, rest), out(16);
      q[0] = 4161000.0F;
      kernel::row_scores(t, {data.data(), 4, 16, n}, g, {q.data(), n, 1}, out.data(), 16);
      const double expected = 15 * (4161000.0 + (n - 1) * static_cast<double>(rest));
      for (const float y : out)
        CHECK(std::abs(static_cast<double>(y) - expected) <= 1e-5 * (15 * 4161000.0 + std::abs(expected)));
    }
}

TEST_CASE("row_products: what is not finite does not look finite") {
  for (const auto t : targets())
    for (const float bad :
         {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      const problem keys(2, (rows + 63) / 64, columns), values(2, rows, 4);
      auto q = numbers(columns, 0), a = numbers(rows, 0);
      q[5] = bad;
      a[77] = bad;
      std::vector<float> s(static_cast<std::size_t>(rows)), y(static_cast<std::size_t>(columns));
      kernel::row_scores(t, keys.view(), keys.grids<kernel::column_grids>(64), {q.data(), columns, 1},
                         s.data(), rows);
      kernel::row_sums(t, values.view(), values.grids<kernel::group_grids>(32), {a.data(), rows, 1}, y.data(),
                       columns);
      CHECK((!std::isfinite(s[0]) && !std::isfinite(s[1])));  // of rows whose codes are not 0
      index_t finite = 0;
      for (index_t c = 0; c < columns; ++c)
        if (values.codes(77, c) != 0 && std::isfinite(y[static_cast<std::size_t>(c)])) ++finite;
      CHECK(finite == 0);
    }
}

}  // namespace row_products_fixed_tests
}  // namespace tersor
