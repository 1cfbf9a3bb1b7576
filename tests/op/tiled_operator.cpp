// tersor - tests of op/tiled_operator.hpp and the sparse operators made of it: every target, size and pattern
// SPDX-License-Identifier: MIT
#include <tersor/op/prepared_csr.hpp>
#include <tersor/op/prepared_masked.hpp>
#include <tersor/op/prepared_sparse24.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "kernel/targets.hpp"
#include "op/prepared_checks.hpp"

#include <tersor/op/any_operator.hpp>

namespace tersor {
namespace tiled_operator_tests {

using kernel::target;
using op::activation_type;
using test::error_of;
using test::error_of_product;
using test::holds;
using test::random_mask;
using test::random_matrix;
using test::targets;

struct sample {
  int bits = 4;  ///< 16, 17, 32: f16, bf16, f32
  index_t rows = 0, cols = 0, group_size = 0;
  bool zero_points = false, per_tensor = false;
};
std::ostream& operator<<(std::ostream& out, const sample& s) {
  return out << s.bits << " bit, " << s.rows << " x " << s.cols << ", groups of " << s.group_size
             << (s.zero_points ? ", zero points" : "") << (s.per_tensor ? ", per tensor" : "");
}
/// A random n:m pattern, min(n, rest) in a last short group.
matrix<std::uint8_t> pattern(index_t rows, index_t cols, index_t n, index_t m, random_generator& random) {
  matrix<std::uint8_t> kept(rows, cols);
  for (index_t r = 0; r < rows; ++r)
    for (index_t j = 0; j < cols; j += m) {
      const index_t width = std::min(m, cols - j);
      for (index_t left = std::min(n, width); left > 0;) {
        auto& k = kept(r, j + static_cast<index_t>(random.uniform_index(static_cast<std::uint64_t>(width))));
        left -= k == 0;
        k = 1;
      }
    }
  return kept;
}
op::sparse_nm make(const sample& s, std::uint64_t seed) {
  random_generator random(seed);
  const auto kept = pattern(s.rows, s.cols, 2, 4, random);
  const auto stored = static_cast<std::size_t>(s.rows * (s.cols / 4 * 2 + std::min<index_t>(2, s.cols % 4)));
  if (s.bits >= 16) {
    std::vector<float> values(stored);
    for (auto& v : values) v = static_cast<float>(random.normal());
    const dtype type = s.bits == 16 ? dtype::f16 : s.bits == 17 ? dtype::bf16 : dtype::f32;
    return {2, 4, kept, op::element_store(store_as(type, std::span<const float>(values)))};
  }
  std::vector<std::uint8_t> codes(stored);
  for (auto& q : codes) q = static_cast<std::uint8_t>(random.uniform_index(std::uint64_t{1} << s.bits));
  const index_t groups = (s.cols + s.group_size - 1) / s.group_size, units = s.per_tensor ? 1 : s.rows;
  matrix<float> scale(units, groups), zero(units, groups, static_cast<float>(1 << (s.bits - 1)));
  for (auto& x : scale.values()) x = static_cast<float>(0.01 + 0.1 * random.uniform());
  if (s.zero_points)
    for (auto& z : zero.values()) z = static_cast<float>(random.uniform_index(std::uint64_t{1} << s.bits));
  return {2, 4, kept,
          op::element_store(codes, op::affine_grid(s.bits, s.rows, s.cols, s.group_size, scale.view(),
                                                   zero.view(), s.zero_points ? dtype::f16 : dtype::f32))};
}
std::vector<sample> samples(bool reals) {
  std::vector<sample> all;
  for (const auto& [rows, cols, group] : {std::array<index_t, 3>{16, 64, 64},
                                          {17, 128, 64},
                                          {33, 256, 128},
                                          {5, 100, 48},
                                          {20, 303, 303},
                                          {1, 1, 1},
                                          {19, 130, 32},
                                          {7, 700, 512}}) {
    if (reals) {
      for (const int bits : {16, 17, 32}) all.push_back({.bits = bits, .rows = rows, .cols = cols});
      continue;
    }
    for (const int bits : {1, 2, 3, 4, 6, 8})
      for (const bool zeros : {false, true})
        all.push_back({.bits = bits,
                       .rows = rows,
                       .cols = cols,
                       .group_size = group,
                       .zero_points = zeros,
                       .per_tensor = zeros && bits == 3});
  }
  return all;
}
template <class Op>
void check_same_files(const Op& back, const Op& w) {
  CHECK(storage_of(back).bytes() == storage_of(w).bytes());
  CHECK(back.to_dense() == w.to_dense());
}

TEST_CASE("prepared sparse: two rows by hand") {
  matrix<std::uint8_t> kept(2, 4);
  kept(0, 1) = kept(0, 2) = kept(1, 0) = kept(1, 3) = 1;
  const std::vector<float> values{2, 3, 5, 7};
  const op::sparse_nm w(2, 4, kept, op::element_store(store_as(dtype::f16, std::span<const float>(values))));
  matrix<float> x(1, 4), y(1, 2);
  for (index_t j = 0; j < 4; ++j) x(0, j) = std::pow(10.0F, static_cast<float>(j));
  for (const target t : targets()) {
    op::prepared_sparse24(w, {.target = t}).apply(x.view(), y.view());
    CHECK(y(0, 0) == 320);
    CHECK(y(0, 1) == 7005);
    op::prepared_masked<op::sparse_nm>(w, {.target = t}).apply(x.view(), y.view());
    CHECK(y(0, 0) == 320);
    CHECK(y(0, 1) == 7005);
  }
}

TEST_CASE("prepared sparse: 2:4 comes back to the bit") {
  for (const bool reals : {false, true})
    for (const auto& s : samples(reals)) {
      INFO(s);
      const auto w = make(s, 1);
      const auto back = op::prepared_sparse24(w).restore();
      for (index_t r = 0; r < s.rows; ++r) REQUIRE(back.columns(r) == w.columns(r));
      if (!reals) CHECK(back.values().codes() == w.values().codes());
      check_same_files(back, w);
    }
}

TEST_CASE("prepared sparse: 2:4 products with float activations are exact to rounding") {
  for (const bool reals : {false, true})
    for (const auto& s : samples(reals)) {
      const auto w = make(s, 2);
      const auto dense = w.to_dense();
      for (const index_t tokens : {1, 6, 21}) {
        const auto x = random_matrix(tokens, s.cols, 3);
        for (const target t : targets()) {
          INFO(s << ", " << tokens << " tokens, target " << option_text<target>::format(t));
          matrix<float> y(tokens, s.rows);
          op::prepared_sparse24(
              w, {.activations = reals ? activation_type::int8 : activation_type::f32, .target = t})
              .apply(x.view(), y.view());
          REQUIRE(error_of_product(dense, x, y) <= 1e-6);
        }
      }
    }
}

TEST_CASE("prepared sparse: 2:4 products with byte activations have the same bits on every target") {
  for (const auto& s : samples(false)) {
    const auto w = make(s, 4);
    const auto dense = w.to_dense();
    for (const index_t tokens : {1, 5, 18}) {
      const auto x = random_matrix(tokens, s.cols, 5);
      matrix<float> expected(tokens, s.rows);
      op::prepared_sparse24(w, {.activations = activation_type::int8, .target = target::portable})
          .apply(x.view(), expected.view());
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
          op::prepared_sparse24(w, {.activations = activation_type::int8, .target = t})
              .apply(x.view(), y.view(), {.threads = threads});
          REQUIRE(y == expected);
        }
    }
  }
}

TEST_CASE("prepared sparse: the largest codes and activations do not overflow") {
  for (const float zero_point : {0.0F, 255.0F}) {
    random_generator random(6);
    const auto kept = pattern(18, 1024, 2, 4, random);
    const std::vector<std::uint8_t> codes(18 * 512, zero_point == 0.0F ? 255 : 0);
    const matrix<float> scale(18, 1, 1.0F), zero(18, 1, zero_point);
    const op::sparse_nm w(
        2, 4, kept,
        op::element_store(codes, op::affine_grid(8, 18, 1024, 1024, scale.view(), zero.view(), dtype::f32)));
    for (const float sign : {1.0F, -1.0F}) {
      const matrix<float> x(1, 1024, 127.0F * sign);
      for (const target t : targets()) {
        matrix<float> y(1, 18);
        op::prepared_sparse24(w, {.activations = activation_type::int8, .target = t})
            .apply(x.view(), y.view());
        for (const float v : y.values())
          CHECK(v == (zero_point == 0.0F ? 1.0F : -1.0F) * sign * 127.0F * 255.0F * 512.0F);
      }
    }
  }
}

TEST_CASE("prepared sparse: masked columns, at every density") {
  for (const auto& [rows, cols] : {std::array<index_t, 2>{16, 32}, {33, 100}, {1, 1}, {20, 257}})
    for (const double density : {0.0, 0.05, 0.5, 1.0})
      for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16}) {
        INFO(rows << " x " << cols << ", density " << density << ", " << name(type));
        const auto kept = random_mask(rows, cols, density, 7);
        const auto values = random_matrix(rows, cols, 8);
        const op::sparse_bitmap w(
            kept, op::element_store(op::gather_kept(values.view(), type,
                                                    [&](index_t r, index_t j) { return kept(r, j) != 0; })));
        const auto dense = w.to_dense();
        check_same_files(op::prepared_masked<op::sparse_bitmap>(w).restore(), w);
        for (const target t : targets()) {
          const op::prepared_masked<op::sparse_bitmap> p(w, {.target = t});
          for (const index_t tokens : {1, 7}) {
            const auto x = random_matrix(tokens, cols, 9);
            matrix<float> y(tokens, rows);
            p.apply(x.view(), y.view());
            REQUIRE(error_of_product(dense, x, y) <= 1e-6);
          }
        }
      }
}

TEST_CASE("prepared sparse: other n:m patterns of reals are masked columns") {
  random_generator random(10);
  for (const auto& [n, m] : {std::array<int, 2>{1, 4}, {4, 8}, {3, 7}, {2, 4}}) {
    const auto kept = pattern(21, 90, n, m, random);
    const auto values = random_matrix(21, 90, 11);
    const op::sparse_nm w(
        n, m, kept, op::element_store(op::gather_kept(values.view(), dtype::f32, [&](index_t r, index_t j) {
          return kept(r, j) != 0;
        })));
    const op::prepared_masked<op::sparse_nm> p(w);
    const auto back = p.restore();
    CHECK(back.n() == n);
    CHECK(back.m() == m);
    check_same_files(back, w);
    const auto x = random_matrix(3, 90, 12);
    matrix<float> y(3, 21);
    p.apply(x.view(), y.view());
    CHECK(error_of_product(w.to_dense(), x, y) <= 1e-6);
  }
}

TEST_CASE("prepared sparse: compressed rows, empty ones and long ones") {
  for (const auto& [rows, cols, density] : {std::tuple<index_t, index_t, double>{16, 64, 0.1},
                                            {50, 300, 0.02},
                                            {35, 70, 0.6},
                                            {3, 66000, 0.001},
                                            {4, 10, 0.0},
                                            {1, 1, 1.0}})
    for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16}) {
      INFO(rows << " x " << cols << ", density " << density << ", " << name(type));
      auto kept = random_mask(rows, cols, density, 13);
      for (index_t j = 0; j < cols && rows > 2; ++j) kept(1, j) = 0;
      const auto values = random_matrix(rows, cols, 14);
      const op::sparse_csr w(values.view(), kept, type);
      const auto dense = w.to_dense();
      check_same_files(op::prepared_csr(w).restore(), w);
      for (const target t : targets()) {
        const op::prepared_csr p(w, {.target = t});
        for (const index_t tokens : {1, 4, 5, 19}) {
          if (cols > 1000 && tokens > 5) continue;
          const auto x = random_matrix(tokens, cols, 15);
          matrix<float> y(tokens, rows), z(tokens, rows);
          p.apply(x.view(), y.view(), {.threads = 1});
          p.apply(x.view(), z.view(), {.threads = 3});
          REQUIRE(error_of_product(dense, x, y) <= 1e-6);
          REQUIRE(y == z);
        }
      }
    }
}

TEST_CASE("prepared sparse: compressed rows of very unequal lengths, and in blocks of columns") {
  constexpr index_t rows = 37, cols = 20000;  // three blocks of columns where there are enough entries
  matrix<float> values(rows, cols);
  for (index_t i = 0; i < values.size(); ++i)
    values.values()[static_cast<std::size_t>(i)] = static_cast<float>(i % 7 - 3);
  for (int pattern = 0; pattern < 4; ++pattern) {
    matrix<std::uint8_t> kept(rows, cols);
    for (index_t r = 0; r < rows; ++r)
      for (index_t j = 0; j < cols; ++j) {
        const bool one_row = pattern == 0 && r == 20, one_column = pattern == 1 && j == cols - 1;
        const bool two_columns = pattern == 2 && (j == 0 || j == cols - 1);
        kept(r, j) =
            one_row || one_column || two_columns || (pattern == 3 && (r + j) % 97 == 0 && r % 3 != 0);
      }
    const op::sparse_csr w(values.view(), kept, dtype::f16);
    const auto dense = w.to_dense();
    INFO("pattern " << pattern);
    for (const target t : targets()) {
      const op::prepared_csr p(w, {.target = t});
      check_same_files(p.restore(), w);
      for (const index_t tokens : {1, 6}) {
        matrix<float> x(tokens, cols), y(tokens, rows);
        for (index_t i = 0; i < x.size(); ++i)
          x.values()[static_cast<std::size_t>(i)] = static_cast<float>(i % 11 - 5);
        p.apply(x.view(), y.view());
        REQUIRE(error_of_product(dense, x, y) == 0);  // small integers: sums are exact in any order
      }
    }
  }
}

TEST_CASE("prepared sparse: compressed rows that do not fit together are refused") {
  const auto make_rows = [](std::vector<std::int32_t> offsets, std::vector<std::int32_t> columns) {
    const auto n = static_cast<index_t>(columns.size());
    op::sparse_csr(2, 5, std::move(offsets), columns, real_array(dtype::f32, n));
  };
  make_rows({0, 2, 3}, {1, 4, 0});
  CHECK(holds(error_of([&] { make_rows({0, 2, 3}, {4, 1, 0}); }), {"columns[1]", "rising"}));
  CHECK(holds(error_of([&] { make_rows({0, 2, 3}, {1, 5, 0}); }), {"column", "0 .. 4"}));
  CHECK(holds(error_of([&] { make_rows({0, 2, 4}, {1, 2, 3}); }), {"entries"}));
  CHECK(holds(error_of([&] { make_rows({0, 3}, {1, 2, 3}); }), {"offsets"}));
}

TEST_CASE("prepared sparse: an activation that is not finite spoils the rows that store its column alone") {
  const auto kept = random_mask(40, 50, 0.2, 16);
  const auto values = random_matrix(40, 50, 17);
  const op::sparse_csr w(values.view(), kept, dtype::f32);
  auto x = random_matrix(1, 50, 18);
  x(0, 9) = std::numeric_limits<float>::infinity();
  for (const target t : targets()) {
    matrix<float> y(1, 40);
    op::prepared_csr(w, {.target = t}).apply(x.view(), y.view());
    for (index_t r = 0; r < 40; ++r) CHECK(std::isfinite(y(0, r)) == (kept(r, 9) == 0));
  }
}

TEST_CASE("prepared sparse: strided operands, empty ones, and the operator's other uses") {
  const auto w = make({.bits = 4, .rows = 24, .cols = 96, .group_size = 32}, 19);
  for (const auto type : {activation_type::f32, activation_type::int8}) {
    const op::prepared_sparse24 p(w, {.activations = type});
    const auto x = random_matrix(3, 96, 20);
    matrix<float> expected(3, 24), x_columns(96, 3), y_columns(24, 3), none(0, 96), nothing(0, 24);
    p.apply(x.view(), expected.view());
    copy(x.view(), x_columns.view().transposed());
    p.apply(x_columns.view().transposed(), y_columns.view().transposed());
    CHECK(copy_as<float>(y_columns.view().transposed()) == expected);
    p.apply(none.view(), nothing.view());
    CHECK(holds(error_of([&] { p.apply(x.view(), nothing.view()); }), {"sparse_nm", "shape of y"}));
  }
  const op::any_operator any = op::prepared_sparse24(w);
  CHECK(any.kind() == "sparse_nm");
  CHECK(any.to_dense() == w.to_dense());
  const auto x = random_matrix(2, 24, 21);
  matrix<float> a(2, 96), b(2, 96);
  any.apply_transposed(x.view(), a.view());
  w.apply_transposed(x.view(), b.view());
  CHECK(a == b);
}

TEST_CASE("prepared sparse: what a layout cannot hold is refused") {
  random_generator random(22);
  const auto kept = pattern(4, 12, 1, 4, random);
  const auto values = random_matrix(4, 12, 23);
  const op::sparse_nm other(
      1, 4, kept, op::element_store(op::gather_kept(values.view(), dtype::f32, [&](index_t r, index_t j) {
        return kept(r, j) != 0;
      })));
  CHECK(!op::prepared_sparse24::fits(other));
  CHECK(holds(error_of([&] { op::prepared_sparse24{other}; }), {"1:4", "2:4"}));
  const auto ragged = make({.bits = 4, .rows = 4, .cols = 12, .group_size = 6}, 24);
  CHECK(holds(error_of([&] { op::prepared_sparse24{ragged}; }), {"2:4", "runs of 4"}));
  CHECK(holds(error_of([&] { op::prepared_masked<op::sparse_nm>{ragged}; }), {"grid", "reals"}));
}

}  // namespace tiled_operator_tests
}  // namespace tersor
