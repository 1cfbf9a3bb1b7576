// tersor - tests of kernel/row_products.hpp: every target, type, width and size
// SPDX-License-Identifier: MIT
#include <tersor/kernel/row_products.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "kernel/targets.hpp"

#include <tersor/core/matrix.hpp>
#include <tersor/core/random.hpp>

namespace tersor {
namespace row_products_tests {

using kernel::code_rows;
using kernel::real_rows;
using test::targets;

/// Bytes whose first lies at an odd address, so that nothing may count on alignment.
struct bytes {
  std::vector<std::uint8_t> all;
  explicit bytes(index_t size) : all(static_cast<std::size_t>(size) + 1) {}
  std::uint8_t* data() { return all.data() + 1; }
};
float value_of(dtype type, const std::uint8_t* p) {
  std::uint16_t half = 0;
  float x = 0;
  switch (type) {
    case dtype::f8_e4m3:
      return f8_e4m3::from_bits(*p);
    case dtype::f8_e5m2:
      return f8_e5m2::from_bits(*p);
    case dtype::f32:
      std::memcpy(&x, p, 4);
      return x;
    default:
      std::memcpy(&half, p, 2);
      break;
  }
  return type == dtype::f16 ? static_cast<float>(f16::from_bits(half))
                            : static_cast<float>(bf16::from_bits(half));
}
void store(dtype type, float x, std::uint8_t* p) {
  const std::uint16_t half = type == dtype::f16 ? f16(x).bits : bf16(x).bits;
  if (type == dtype::f32)
    std::memcpy(p, &x, 4);
  else if (type == dtype::f8_e4m3)
    *p = f8_e4m3(x).bits;
  else if (type == dtype::f8_e5m2)
    *p = f8_e5m2(x).bits;
  else
    std::memcpy(p, &half, 2);
}
matrix<float> random(index_t rows, index_t cols, std::uint64_t seed) {
  random_generator g(seed);
  matrix<float> x(rows, cols);
  for (float& v : x.values()) v = static_cast<float>(g.normal());
  return x;
}

/// Both products with x, in double.
void check_products(const matrix<float>& x, const auto& scores, const auto& sums) {
  const index_t rows = x.rows(), columns = x.cols();
  double size = 1;
  for (const float v : x.values()) size += static_cast<double>(v) * static_cast<double>(v);
  size = std::sqrt(size);
  matrix<float> first_scores, first_sums;
  for (const index_t count : {1, 3, 4, 6}) {
    const auto q = random(count, columns + 3, 5), a = random(count, rows + 2, 6);
    matrix<float> s(count, rows + 5, 9.0F), y(count, columns + 1, 0.25F);
    scores(kernel::row_vectors{q.data(), q.cols(), count}, s);
    sums(kernel::row_vectors{a.data(), a.cols(), count}, y);
    double worst = 0;
    for (index_t j = 0; j < count; ++j) {
      for (index_t t = 0; t < rows; ++t) {
        double expected = 0;
        for (index_t c = 0; c < columns; ++c)
          expected += static_cast<double>(q(j, c)) * static_cast<double>(x(t, c));
        worst = std::max(worst, std::abs(static_cast<double>(s(j, t)) - expected));
      }
      for (index_t c = 0; c < columns; ++c) {
        double expected = 0.25;
        for (index_t t = 0; t < rows; ++t)
          expected += static_cast<double>(a(j, t)) * static_cast<double>(x(t, c));
        worst = std::max(worst, std::abs(static_cast<double>(y(j, c)) - expected));
      }
      CHECK((s(j, rows) == 9.0F && y(j, columns) == 0.25F));  // nothing is written behind the ends
    }
    CHECK(worst <= 3e-6 * size);
    if (count == 1) first_scores = s, first_sums = y;
    if (count == 4) {  // random(4, ...) begins as random(1, ...): the same vector among others
      for (index_t t = 0; t < rows; ++t) CHECK(s(0, t) == first_scores(0, t));
      for (index_t c = 0; c < columns; ++c) CHECK(y(0, c) == first_sums(0, c));
    }
  }
}

TEST_CASE("row_products: rows of reals of every type") {
  for (const auto t : targets())
    for (const auto type : {dtype::f32, dtype::f16, dtype::bf16, dtype::f8_e4m3, dtype::f8_e5m2})
      for (const auto& [rows, columns] :
           {std::pair<index_t, index_t>{1, 16}, {17, 80}, {16, 128}, {33, 144}, {70, 96}}) {
        const index_t width = bits_of(type) / 8;
        bytes data(rows * columns * width);
        auto x = random(rows, columns, 3);
        for (index_t i = 0; i < x.size(); ++i) {
          store(type, x.data()[i], data.data() + i * width);
          x.data()[i] = value_of(type, data.data() + i * width);
        }
        const real_rows r{data.data(), type, rows, columns};
        check_products(
            x, [&](auto q, auto& out) { kernel::row_scores(t, r, q, out.data(), out.cols()); },
            [&](auto a, auto& out) { kernel::row_sums(t, r, a, out.data(), out.cols()); });
        matrix<float> some(1, 19, -1.0F);
        const index_t n = std::min<index_t>(18, x.size());
        kernel::read_reals(t, type, data.data(), n, some.data());
        for (index_t i = 0; i < n; ++i) CHECK(some(0, i) == x.data()[i]);
        CHECK(some(0, n) == -1.0F);
      }
}

TEST_CASE("row_products: every code of 8 and 16 bits is read as its type says") {
  for (const auto t : targets())
    for (const auto type : {dtype::f16, dtype::bf16, dtype::f8_e4m3, dtype::f8_e5m2}) {
      const index_t width = bits_of(type) / 8, n = index_t{1} << bits_of(type);
      bytes data(n * width);
      for (index_t i = 0; i < n; ++i) {
        data.data()[i * width] = static_cast<std::uint8_t>(i);
        if (width == 2) data.data()[i * 2 + 1] = static_cast<std::uint8_t>(i >> 8);
      }
      std::vector<float> out(static_cast<std::size_t>(n));
      kernel::read_reals(t, type, data.data(), n, out.data());
      index_t wrong = 0;
      for (index_t i = 0; i < n; ++i) {
        const float expected = value_of(type, data.data() + i * width),
                    mine = out[static_cast<std::size_t>(i)];
        if (std::isnan(expected) ? !std::isnan(mine)
                                 : mine != expected || std::signbit(mine) != std::signbit(expected))
          ++wrong;
      }
      CHECK(wrong == 0);
    }
}

TEST_CASE("row_products: a row of codes keeps every code in its place") {
  for (const int bits : {1, 2, 4, 8})
    for (const index_t columns : {16, 80, 96, 128, 256}) {
      if (!code_rows::fits(bits, columns)) continue;
      std::vector<std::uint8_t> codes(static_cast<std::size_t>(columns)), packed(codes.size()),
          back(codes.size());
      random_generator g(1);
      for (auto& c : codes) c = static_cast<std::uint8_t>(g.uniform_index(std::uint64_t{1} << bits));
      kernel::pack_code_row(codes.data(), bits, columns, packed.data());
      kernel::unpack_code_row(packed.data(), bits, columns, back.data());
      CHECK(back == codes);
    }
  // column k words + w is field k of word w
  std::vector<std::uint8_t> codes(64), packed(16);
  codes[4 * 3 + 2] = 3;
  kernel::pack_code_row(codes.data(), 2, 64, packed.data());
  CHECK(packed[4 * 2] == 3U << 6);
  CHECK((!code_rows::fits(3, 128) && !code_rows::fits(2, 24) && !code_rows::fits(2, 32)));
}

/// Codes with grids of both kinds.
void check_codes(kernel::target t, int bits, index_t rows, index_t columns, index_t size, index_t offset,
                 dtype type) {
  random_generator g(7);
  const index_t row_bytes = columns * bits / 8, width = bits_of(type) / 8;
  matrix<std::uint8_t> codes(rows, columns);
  bytes data(rows * row_bytes);
  for (index_t r = 0; r < rows; ++r) {
    for (index_t c = 0; c < columns; ++c)
      codes(r, c) = static_cast<std::uint8_t>(
          r == 0 ? (1 << bits) - 1 : static_cast<int>(g.uniform_index(std::uint64_t{1} << bits)));
    kernel::pack_code_row(codes.row(r).data(), bits, columns, data.data() + r * row_bytes);
  }
  const code_rows x{data.data(), bits, rows, columns};
  const auto grids_of = [&](index_t n, float unit, std::vector<float>& values) {
    bytes b(n * width);
    for (index_t i = 0; i < n; ++i) {
      store(type, unit * static_cast<float>(g.normal()), b.data() + i * width);
      values.push_back(value_of(type, b.data() + i * width));
    }
    return b;
  };
  {  // a grid for each column and `size` rows
    const index_t groups = (offset + rows - 1) / size + 1;
    std::vector<float> scale, minimum;
    auto a = grids_of(groups * columns, 0.3F, scale), b = grids_of(groups * columns, 1, minimum);
    kernel::column_grids grids;
    grids.scale = a.data();
    grids.minimum = b.data();
    grids.type = type;
    grids.width = columns;
    grids.size = size;
    grids.offset = offset;
    matrix<float> expected(rows, columns), mine(rows, columns);
    for (index_t r = 0; r < rows; ++r)
      for (index_t c = 0; c < columns; ++c) {
        const auto at = static_cast<std::size_t>((offset + r) / size * columns + c);
        expected(r, c) = static_cast<float>(codes(r, c)) * scale[at] + minimum[at];
      }
    kernel::decode_rows(t, x, grids, mine.data());
    double worst = 0;
    for (index_t i = 0; i < mine.size(); ++i)
      worst = std::max(worst, std::abs(static_cast<double>(mine.data()[i] - expected.data()[i])));
    CHECK(worst <= 1e-5 * (1 << bits));
    check_products(
        mine, [&](auto q, auto& out) { kernel::row_scores(t, x, grids, q, out.data(), out.cols()); },
        [&](auto v, auto& out) {
          kernel::row_sums(
              t, real_rows{reinterpret_cast<const std::uint8_t*>(mine.data()), dtype::f32, rows, columns}, v,
              out.data(), out.cols());
        });
  }
  {  // a grid for each row and `size` columns
    kernel::group_grids grids;
    grids.type = type;
    grids.size = size;
    grids.offset = offset;
    grids.first = 1;
    grids.width = grids.groups(columns) + 2;
    if (!grids.fits(x)) return;
    std::vector<float> scale, minimum;
    auto a = grids_of(rows * grids.width, 0.3F, scale), b = grids_of(rows * grids.width, 1, minimum);
    grids.scale = a.data();
    grids.minimum = b.data();
    matrix<float> expected(rows, columns), mine(rows, columns);
    for (index_t r = 0; r < rows; ++r)
      for (index_t c = 0; c < columns; ++c) {
        const auto at = static_cast<std::size_t>(r * grids.width + 1 + (offset + c) / size);
        expected(r, c) = static_cast<float>(codes(r, c)) * scale[at] + minimum[at];
      }
    kernel::decode_rows(t, x, grids, mine.data());
    double worst = 0;
    for (index_t i = 0; i < mine.size(); ++i)
      worst = std::max(worst, std::abs(static_cast<double>(mine.data()[i] - expected.data()[i])));
    CHECK(worst <= 1e-5 * (1 << bits));
    check_products(
        mine,
        [&](auto q, auto& out) {
          kernel::row_scores(
              t, real_rows{reinterpret_cast<const std::uint8_t*>(mine.data()), dtype::f32, rows, columns}, q,
              out.data(), out.cols());
        },
        [&](auto v, auto& out) { kernel::row_sums(t, x, grids, v, out.data(), out.cols()); });
  }
}

TEST_CASE("row_products: rows of codes of every width, with grids of columns and of groups") {
  for (const auto t : targets())
    for (const int bits : {1, 2, 4, 8})
      for (const index_t columns : {32, 64, 80, 96, 128, 192, 256}) {
        if (!code_rows::fits(bits, columns)) continue;
        check_codes(t, bits, 1, columns, 32, 0, dtype::f16);
        check_codes(t, bits, 70, columns, 32, 7, dtype::f16);
        check_codes(t, bits, 33, columns, columns / 2, 0, dtype::f32);
        check_codes(t, bits, 48, columns, 16 * 1024, 64, dtype::bf16);
        check_codes(t, bits, 300, columns, 32, 0, dtype::f16);
      }
}

TEST_CASE("row_products: no rows, no vectors") {
  for (const auto t : targets()) {
    float out = 3;
    const float q[16] = {};
    kernel::row_scores(t, real_rows{nullptr, dtype::f16, 0, 16}, {q, 16, 1}, &out, 1);
    kernel::row_sums(t, real_rows{nullptr, dtype::f16, 0, 16}, {q, 16, 0}, &out, 1);
    kernel::row_scores(t, code_rows{nullptr, 2, 0, 128}, kernel::column_grids{}, {q, 16, 1}, &out, 1);
    kernel::decode_rows(t, code_rows{nullptr, 2, 0, 128}, kernel::column_grids{}, &out);
    CHECK(out == 3.0F);
  }
}

}  // namespace row_products_tests
}  // namespace tersor
