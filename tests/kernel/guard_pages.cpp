// tersor - tests that kernels stay inside operands at the end of memory; also in tile_product.cpp
// SPDX-License-Identifier: MIT
//
// Every operand is given in the middle of memory, and so that it ends where a page begins that nobody may
// touch: the same bits. Streams are random bytes, NaN among their scales: what is computed does not matter
// here.
#include <tersor/core/random.hpp>
#include <tersor/kernel/binary_product.hpp>
#include <tersor/kernel/row_products.hpp>
#include <tersor/kernel/sparse_tile_product.hpp>
#include <tersor/kernel/ternary_product.hpp>

#include <cstring>
#include <vector>

#include "catch.hpp"
#include "kernel/guarded.hpp"
#include "kernel/targets.hpp"

namespace tersor {
namespace guard_pages_tests {

using namespace kernel;
using test::guarded;

std::vector<std::uint8_t> random_bytes(index_t n, std::uint64_t seed) {
  random_generator random(seed);
  std::vector<std::uint8_t> x(static_cast<std::size_t>(n));
  for (auto& v : x) v = static_cast<std::uint8_t>(random.uniform_index(256));
  return x;
}
std::vector<float> random_floats(index_t n, std::uint64_t seed) {
  random_generator random(seed);
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& v : x) v = static_cast<float>(random.normal());
  return x;
}

/// product(pointers..., y) with the operands in the middle of memory and at its end, for all targets.
template <class Product, class... T>
void check_at_end(index_t outputs, const Product& product, const std::vector<T>&... operands) {
  for (const auto target : test::targets()) {
    CAPTURE(static_cast<int>(target));
    const std::vector<float> zeros(static_cast<std::size_t>(outputs));
    std::vector<float> expected = zeros;
    product(target, operands.data()..., expected.data());
    guarded<float> y(zeros);
    [&](auto&&... at_end) { product(target, at_end.data()..., y.data()); }(guarded<T>(operands)...);
    CHECK(std::memcmp(y.data(), expected.data(), expected.size() * sizeof(float)) == 0);
  }
}

TEST_CASE("binary_product: nothing behind an operand is touched") {
  for (const int planes : {1, 2, 3, 4})
    for (const index_t rows : {1, 16, 19})
      for (const std::vector<std::int32_t>& chunks : {std::vector<std::int32_t>{1}, {4, 4}, {5, 1}}) {
        const index_t tokens = 2;
        const binary_format f{rows, planes, dtype::f16, dtype::bf16, planes % 2 == 0, chunks};
        const index_t tables = f.total_chunks() * 8;
        CAPTURE(planes, rows, chunks.size());
        const auto run = [&](target t, auto values_of, const std::uint8_t* stream, const float* sums,
                             float* y) {
          auto a = values_of;
          a.stride = 16 * tables;
          a.sums = sums;
          a.tokens = tokens;
          a.groups = f.groups();
          sign_product(t, operand_of(f, stream), a, 0, f.tiles(), y, rows);
        };
        const auto stream = random_bytes(f.tiles() * f.tile_bytes(), 1);
        const auto sums = random_floats(tokens * f.groups(), 2),
                   scales = random_floats(tokens * f.segments(), 3);
        check_at_end(
            tokens * rows,
            [&](target t, const std::uint8_t* w, const float* v, const float* s, float* y) {
              float_tables a;
              a.values = v;
              run(t, a, w, s, y);
            },
            stream, random_floats(tokens * 16 * tables, 4), sums);
        check_at_end(
            tokens * rows,
            [&](target t, const std::uint8_t* w, const std::uint8_t* v, const float* s, const float* scale,
                float* y) {
              byte_tables a;
              a.values = v;
              a.scales = scale;
              a.segments = f.segments();
              run(t, a, w, s, y);
            },
            stream, random_bytes(tokens * 16 * tables, 5), sums, scales);
      }
  for (const index_t count : {1, 3, 8})
    check_at_end(
        16 * count, [&](target t, const float* x, float* out) { fill_sign_tables(t, x, count, out); },
        random_floats(4 * count, 6));
}

TEST_CASE("ternary_product: nothing behind an operand is touched") {
  for (const index_t rows : {1, 16, 19})
    for (const auto& [cols, group] : {std::pair<index_t, index_t>{20, 20}, {64, 32}, {130, 130}, {300, 64}}) {
      const index_t tokens = 2;
      const ternary_format f(rows, cols, group, rows == 16 ? dtype::f32 : dtype::f16);
      CAPTURE(rows, cols, group);
      const auto segments = static_cast<index_t>(f.segments.size());
      const auto operand = [&](const std::uint8_t* stream) {
        return ternary_operand{stream, f.tile_bytes, rows, f.segments.data(), segments, f.scale_type};
      };
      const auto stream = random_bytes(f.tiles() * f.tile_bytes, 1);
      const auto sums = random_floats(tokens * segments, 2), scales = random_floats(tokens * segments, 3);
      check_at_end(
          tokens * rows,
          [&](target t, const std::uint8_t* w, const float* x, const float* s, float* y) {
            trit_product(t, operand(w), ternary_floats{x, f.activations, s, tokens, segments}, 0, f.tiles(),
                         y, rows);
          },
          stream, random_floats(tokens * f.activations, 4), sums);
      const auto bytes = random_bytes(tokens * f.activations, 5);
      check_at_end(
          tokens * rows,
          [&](target t, const std::uint8_t* w, const std::int8_t* x, const float* s, const float* scale,
              float* y) {
            trit_product(t, operand(w), ternary_bytes{x, f.activations, s, scale, tokens, segments}, 0,
                         f.tiles(), y, rows);
          },
          stream, std::vector<std::int8_t>(bytes.begin(), bytes.end()), sums, scales);
    }
}

TEST_CASE("sparse_tile_product: nothing behind reals of a thin weight is touched") {
  for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16})
    for (const index_t rows : {1, 16, 19})
      for (const index_t tokens : {1, 3}) {
        const index_t columns = 64, tiles = (rows + 15) / 16, tile_bytes = columns * 16 * bits_of(type) / 8;
        CAPTURE(static_cast<int>(type), rows, tokens);
        check_at_end(
            tokens * rows,
            [&](target t, const std::uint8_t* w, const float* x, float* y) {
              float_activations a;
              a.values = x;
              a.stride = columns;
              a.tokens = tokens;
              sparse_product(t, real_operand{w, tile_bytes, rows, 0, columns, type}, a, 0, tiles, y, rows,
                             false);
            },
            random_bytes(tiles * tile_bytes, 1), random_floats(tokens * columns, 2));
      }
}

TEST_CASE("row_products: nothing behind rows, grids and vectors is touched") {
  const index_t count = 3;
  for (const index_t rows : {1, 5, 16, 33})
    for (const index_t columns : {32, 64, 128}) {
      CAPTURE(rows, columns);
      const auto q = random_floats(count * columns, 1), weights = random_floats(count * rows, 2);
      for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16, dtype::f8_e4m3, dtype::f8_e5m2}) {
        const auto data = random_bytes(rows * columns * bits_of(type) / 8, 3);
        check_at_end(
            count * rows,
            [&](target t, const std::uint8_t* x, const float* v, float* y) {
              row_scores(t, real_rows{x, type, rows, columns}, {v, columns, count}, y, rows);
            },
            data, q);
        check_at_end(
            count * columns,
            [&](target t, const std::uint8_t* x, const float* v, float* y) {
              row_sums(t, real_rows{x, type, rows, columns}, {v, rows, count}, y, columns);
            },
            data, weights);
      }
      for (const int bits : {1, 2, 4, 8}) {
        if (!code_rows::fits(bits, columns)) continue;
        CAPTURE(bits);
        const auto data = random_bytes(rows * columns * bits / 8, 4);
        column_grids by_column;
        by_column.width = columns;
        by_column.size = 16;
        const auto column_scales = random_bytes((rows + 15) / 16 * columns * 2, 5);
        check_at_end(
            count * rows,
            [&](target t, const std::uint8_t* x, const std::uint8_t* s, const std::uint8_t* m, const float* v,
                float* y) {
              auto g = by_column;
              g.scale = s;
              g.minimum = m;
              row_scores(t, code_rows{x, bits, rows, columns}, g, {v, columns, count}, y, rows);
            },
            data, column_scales, column_scales, q);
        group_grids by_row;
        by_row.size = columns;
        by_row.width = 1;
        const auto row_scales = random_bytes(rows * 2, 6);
        check_at_end(
            count * columns,
            [&](target t, const std::uint8_t* x, const std::uint8_t* s, const std::uint8_t* m, const float* v,
                float* y) {
              auto g = by_row;
              g.scale = s;
              g.minimum = m;
              row_sums(t, code_rows{x, bits, rows, columns}, g, {v, rows, count}, y, columns);
            },
            data, row_scales, row_scales, weights);
      }
    }
}

}  // namespace guard_pages_tests
}  // namespace tersor
