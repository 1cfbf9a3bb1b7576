// tersor - tests of op/prepared_low_rank.hpp: every target, type, rank and number of tokens
// SPDX-License-Identifier: MIT
#include <tersor/op/prepared_low_rank.hpp>

#include "catch.hpp"
#include "kernel/targets.hpp"
#include "op/prepared_checks.hpp"

namespace tersor {
namespace prepared_low_rank_tests {

using kernel::target;
using test::random_matrix;
using test::targets;

TEST_CASE("prepared low rank: rank one by hand") {
  matrix<float> a(3, 1), b(1, 2), x(1, 2), y(1, 3);
  a(0, 0) = 1;
  a(1, 0) = -2;
  a(2, 0) = 0.5F;
  b(0, 0) = 3;
  b(0, 1) = 4;
  x(0, 0) = 10;
  x(0, 1) = 1;
  for (const target t : targets()) {
    op::prepared_low_rank(op::low_rank(a.view(), b.view(), dtype::f16), {.target = t})
        .apply(x.view(), y.view());
    CHECK(y(0, 0) == 34);
    CHECK(y(0, 1) == -68);
    CHECK(y(0, 2) == 17);
  }
}

TEST_CASE("prepared low rank: products are those of the factors, whatever their shapes") {
  for (const auto& [rows, cols, rank] :
       {std::array<index_t, 3>{16, 32, 16}, {33, 70, 5}, {20, 2100, 33}, {1, 1, 1}, {7, 1024, 3}, {5, 9, 0}})
    for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16}) {
      const op::low_rank w(random_matrix(rows, rank, 1).view(), random_matrix(rank, cols, 2).view(), type);
      const auto a = w.a(), b = w.b();
      for (const target t : targets()) {
        INFO(rows << " x " << cols << ", rank " << rank << ", " << name(type) << ", target "
                  << option_text<target>::format(t));
        const op::prepared_low_rank p(w, {.target = t});
        const auto back = p.restore();
        CHECK(back.a() == a);
        CHECK(back.b() == b);
        CHECK(storage_of(back).bytes() == storage_of(w).bytes());
        for (const index_t tokens : {0, 1, 3, 18}) {
          const auto x = random_matrix(tokens, cols, 3);
          matrix<float> y(tokens, rows), z(tokens, rows);
          p.apply(x.view(), y.view(), {.threads = 1});
          p.apply(x.view(), z.view(), {.threads = 3});
          REQUIRE(y == z);
          for (index_t i = 0; i < tokens; ++i)
            for (index_t r = 0; r < rows; ++r) {
              double exact = 0, size = 1e-30;
              for (index_t k = 0; k < rank; ++k)
                for (index_t j = 0; j < cols; ++j) {
                  const double term = static_cast<double>(a(r, k)) * static_cast<double>(b(k, j)) *
                                      static_cast<double>(x(i, j));
                  exact += term;
                  size += std::abs(term);
                }
              REQUIRE(std::abs(static_cast<double>(y(i, r)) - exact) <= 1e-6 * size);
            }
        }
      }
    }
}

}  // namespace prepared_low_rank_tests
}  // namespace tersor
