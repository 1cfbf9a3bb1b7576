// tersor - tests of adapters/rank_product.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/rank_product.hpp>

#include "contract_checks.hpp"

namespace rank_product_tests {

using namespace tersor_test;
using tersor::adapters::rank_product;

TEST_CASE("rank product: every choice of factors, against its dense form and finite differences",
          "[rank_product]") {
  for (const auto& shape : adapter_shapes)
    for (int choice = 0; choice < 8; ++choice) {
      const index_t r = 3;
      auto a = random_matrix(r, shape.in, 1), b = random_matrix(shape.out, r, 2);
      auto d = random_matrix(1, r, 3), e = random_matrix(1, shape.out, 4), core = random_matrix(r, r, 5);
      const bool with_d = choice & 1, with_e = choice & 2, with_core = choice & 4;
      const auto product = [&] {
        rank_product<double> p{.scale = 0.7, .a = a.view(), .b = b.view()};
        if (with_d) p.inner = d.values();
        if (with_e) p.outer = e.values();
        if (with_core) p.core = core.view();
        return p;
      };
      INFO(shape.out << " x " << shape.in << ", factors " << choice);
      const auto x = random_matrix(shape.tokens, shape.in, 6), gy = random_matrix(shape.tokens, shape.out, 7);
      const auto forward = [&](const matrix<double>& input) {
        matrix<double> y(shape.tokens, shape.out);
        product().add(input.view(), y.view(), {});
        return y;
      };
      const auto dense = product().dense();
      REQUIRE(difference(forward(x), times(x, transposed(dense))) <= 1e-12);
      auto folded = times(product().left(), product().right());
      for (double& v : folded.values()) v *= 0.7;
      REQUIRE(difference(folded, dense) <= 1e-12);

      matrix<double> ga(r, shape.in), gb(shape.out, r), gd(1, r), ge(1, shape.out), gs(r, r),
          gx(shape.tokens, shape.in);
      product().backward(x.view(), gy.view(), gx.view(),
                         {.a = &ga,
                          .b = &gb,
                          .inner = with_d ? &gd : nullptr,
                          .outer = with_e ? &ge : nullptr,
                          .core = with_core ? &gs : nullptr},
                         {});
      REQUIRE(difference(gx, times(gy, dense)) <= 1e-12);
      const auto check = [&](matrix<double>& value, const matrix<double>& gradient) {
        for (index_t i = 0; i < value.size(); ++i) {
          const double kept = value.data()[i];
          value.data()[i] = kept + 1e-6;
          const double up = inner(forward(x), gy);
          value.data()[i] = kept - 1e-6;
          const double down = inner(forward(x), gy);
          value.data()[i] = kept;
          REQUIRE(std::abs((up - down) / 2e-6 - gradient.data()[i]) <=
                  1e-6 * std::max(1.0, largest(gradient)));
        }
      };
      check(a, ga);
      check(b, gb);
      if (with_d) check(d, gd);
      if (with_e) check(e, ge);
      if (with_core) check(core, gs);
    }
}

}  // namespace rank_product_tests
