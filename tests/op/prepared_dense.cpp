// tersor - tests of op/prepared_dense.hpp: every target, type, size and number of tokens
// SPDX-License-Identifier: MIT
#include <tersor/op/prepared.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "kernel/targets.hpp"
#include "op/prepared_checks.hpp"

namespace tersor {
namespace prepared_dense_tests {

using kernel::target;
using test::error_of;
using test::error_of_product;
using test::holds;
using test::random_matrix;
using test::targets;

constexpr std::array types{dtype::f32, dtype::f16, dtype::bf16, dtype::f8_e4m3, dtype::f8_e5m2};

TEST_CASE("prepared dense: by hand") {
  matrix<float> w(2, 3);
  std::ranges::copy(std::array{1.0F, 2.0F, -0.5F, 0.0F, 448.0F, 0x1p-9F}, w.values().begin());
  const matrix<float> x(1, 3, 2.0F);
  for (const target t : targets()) {
    matrix<float> y(1, 2);
    op::prepared_dense(op::dense(w.view(), dtype::f8_e4m3), {.target = t}).apply(x.view(), y.view());
    CHECK(y(0, 0) == 5);
    CHECK(y(0, 1) == 896 + 0x1p-8F);
  }
}

TEST_CASE("prepared dense: products equal those of the stored values") {
  for (const dtype type : types)
    for (const auto& [rows, cols] :
         {std::array<index_t, 2>{1, 1}, {1, 16}, {16, 32}, {33, 95}, {50, 640}, {7, 3000}}) {
      const op::dense w(random_matrix(rows, cols, 1).view(), type);
      const auto dense = w.to_dense();
      for (const index_t tokens : {1, 2, 4, 7, 16, 17, 40}) {
        if (tokens == 40 && cols == 3000) continue;
        const auto x = random_matrix(tokens, cols, 2);
        for (const target t : targets()) {
          INFO(name(type) << ", " << rows << " x " << cols << ", " << tokens << " tokens, target "
                          << option_text<target>::format(t));
          const op::prepared_dense p(w, {.target = t});
          matrix<float> y(tokens, rows), again(tokens, rows);
          p.apply(x.view(), y.view());
          REQUIRE(error_of_product(dense, x, y) <= 1e-6);
          p.apply(x.view(), again.view(), {.threads = 3});
          REQUIRE(again == y);
        }
      }
    }
}

TEST_CASE("prepared dense: many tasks, whose rows are in the places of one") {
  const op::dense w(random_matrix(300, 6000, 3).view(), dtype::f16);
  const auto x = random_matrix(3, 6000, 4);
  matrix<float> one(3, 300), some(3, 300);
  op::prepared_dense(w).apply(x.view(), one.view(), {.threads = 1});
  op::prepared_dense(w).apply(x.view(), some.view(), {.threads = 4});
  CHECK(one == some);
  CHECK(error_of_product(w.to_dense(), x, one) <= 1e-6);
}

TEST_CASE("prepared dense: numbers that are not finite stay so, in their row and token alone") {
  for (const dtype type : types)
    for (const index_t cols : {32, 45})
      for (const index_t tokens : {1, 6, 20})
        for (const target t : targets()) {
          INFO(name(type) << ", " << cols << " columns, " << tokens << " tokens");
          real_array values = store_as(type, random_matrix(20, cols, 5).view());
          const bool short_type = bits_of(type) == 8;
          const auto place = static_cast<std::size_t>(18 * cols + cols - 1);
          if (short_type)
            values.bytes()[place] = std::byte{0xff};  // NaN of either sign
          else
            values.set(static_cast<index_t>(place), std::nanf(""));
          const op::prepared_dense p(op::dense(20, cols, values), {.target = t});
          matrix<float> x(tokens, cols, 0.0F), y(tokens, 20);
          p.apply(x.view(), y.view());
          for (index_t i = 0; i < tokens; ++i)
            for (index_t r = 0; r < 20; ++r) CHECK(std::isnan(y(i, r)) == (r == 18));
          if (tokens > 16) continue;  // what BLAS makes of it is its own
          x(tokens - 1, 3) = std::numeric_limits<float>::infinity();
          p.apply(x.view(), y.view());
          for (index_t r = 0; r < 20; ++r) CHECK_FALSE(std::isfinite(y(tokens - 1, r)));
          if (tokens > 1) CHECK(y(0, 5) == 0);
        }
}

TEST_CASE("prepared dense: every code of 8 bits") {
  for (const dtype type : {dtype::f8_e4m3, dtype::f8_e5m2})
    for (const target t : targets()) {
      real_array values(type, 256);
      for (std::size_t i = 0; i < 256; ++i) values.bytes()[i] = static_cast<std::byte>(i);
      const op::prepared_dense p(op::dense(256, 1, values), {.target = t});
      const matrix<float> x(1, 1, 1.0F);
      matrix<float> y(1, 256);
      p.apply(x.view(), y.view());
      for (index_t i = 0; i < 256; ++i)
        CHECK((std::isnan(values[i]) ? std::isnan(y(0, i)) : y(0, i) == values[i]));
    }
}

TEST_CASE("prepared dense: an operator like others, which in files is what it was made of") {
  const op::dense w(random_matrix(24, 40, 6).view(), dtype::bf16);
  const op::any_operator any = op::prepare(w);
  REQUIRE(any.as<op::prepared_dense>() != nullptr);
  CHECK(any.kind() == "dense");
  CHECK(any.to_dense() == w.to_dense());
  CHECK(any.storage().bytes() == w.storage().bytes());
  CHECK(any.as<op::prepared_dense>()->stream_bytes() == 24 * 40 * 2);
  const auto x = random_matrix(2, 24, 7);
  matrix<float> a(2, 40), b(2, 40);
  any.apply_transposed(x.view(), a.view());
  w.apply_transposed(x.view(), b.view());
  CHECK(a == b);
  matrix<float> wrong(2, 3);
  CHECK(holds(error_of([&] { any.apply(x.view(), wrong.view()); }), {"dense", "columns of x"}));
  const op::dense powers(2, 2, real_array(dtype::f8_e8m0, 4));
  CHECK(holds(error_of([&] { op::prepared_dense{powers}; }), {"F8_E8M0"}));
  CHECK(op::prepare(powers).as<op::dense>() != nullptr);
}

TEST_CASE("prepared dense: strided operands and empty ones") {
  for (const auto& [rows, cols] : {std::array<index_t, 2>{0, 4}, {4, 0}, {0, 0}}) {
    matrix<float> x(2, cols), y(2, rows, 9.0F);
    op::prepared_dense(op::dense(matrix<float>(rows, cols).view(), dtype::f16)).apply(x.view(), y.view());
    for (const float v : y.values()) CHECK(v == 0);
  }
  const op::prepared_dense p(op::dense(random_matrix(20, 33, 8).view(), dtype::f16));
  const auto x = random_matrix(3, 33, 9);
  matrix<float> expected(3, 20), x_columns(33, 3), y_columns(20, 3), none(0, 33), nothing(0, 20);
  p.apply(x.view(), expected.view());
  copy(x.view(), x_columns.view().transposed());
  p.apply(x_columns.view().transposed(), y_columns.view().transposed());
  CHECK(copy_as<float>(y_columns.view().transposed()) == expected);
  p.apply(none.view(), nothing.view());
}

}  // namespace prepared_dense_tests
}  // namespace tersor
