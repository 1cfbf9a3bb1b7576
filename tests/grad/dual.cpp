// tersor - tests of grad/dual.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/dual.hpp>

#include "catch.hpp"

namespace tersor {
namespace dual_tests {

using grad::dual;
namespace detail = grad::detail;

TEST_CASE("dual: arithmetic carries derivatives, by hand") {
  const dual<double> x(3, 1), c(4);
  CHECK((x * x).slope == 6.0);
  CHECK((c * x + 2.0).slope == 4.0);
  CHECK((c / x).value == 4.0 / 3.0);
  CHECK(std::abs((c / x).slope + 4.0 / 9.0) < 1e-15);
  CHECK((-x).slope == -1.0);
  CHECK((x - x).slope == 0.0);
  dual<double> y = x;
  y *= x;
  y += 1;
  y -= x;
  y /= 2;
  CHECK(y.value == 3.5);
  CHECK(y.slope == 2.5);
}

TEST_CASE("dual: comparisons look at values") {
  CHECK(dual<double>(1, 5) < dual<double>(2, 0));
  CHECK(dual<double>(1, 5) == dual<double>(1, 7));
  CHECK(dual<double>(1, 5) < 2.0);
}

TEST_CASE("dual: elementary functions against their derivatives") {
  for (const double v : {-2.0, -0.3, 0.4, 1.7}) {
    const dual<double> x(v, 2);  // a slope of 2 doubles every derivative
    CHECK(detail::exponential(x).slope == 2 * std::exp(v));
    const double t = std::tanh(v);
    CHECK(std::abs(detail::hyperbolic_tangent(x).slope - 2 * (1 - t * t)) < 1e-15);
    const double s = 1 / (1 + std::exp(-v));
    CHECK(std::abs(detail::logistic(x).slope - 2 * s * (1 - s)) < 1e-15);
    const double density = std::exp(-v * v / 2) / std::sqrt(2 * std::numbers::pi);
    CHECK(std::abs(detail::normal_distribution(x).slope - 2 * density) < 1e-15);
    CHECK(std::abs(detail::normal_density(x).slope + 2 * v * density) < 1e-15);
    const dual<double> p(std::abs(v), 2);
    CHECK(detail::logarithm(p).slope == 2 / std::abs(v));
    CHECK(detail::square_root(p).slope == 1 / std::sqrt(std::abs(v)));
  }
  CHECK(detail::rounded(dual<double>(2.5, 3)).value == 2.0);
  CHECK(detail::rounded(dual<double>(2.5, 3)).slope == 3.0);
}

TEST_CASE("dual: the scalars of a tape") {
  STATIC_REQUIRE(grad::scalar<float>);
  STATIC_REQUIRE(grad::scalar<dual<double>>);
  STATIC_REQUIRE_FALSE(grad::scalar<int>);
  STATIC_REQUIRE(std::is_same_v<grad::wide_of<float>, double>);
  STATIC_REQUIRE(std::is_same_v<grad::wide_of<dual<float>>, dual<double>>);
  STATIC_REQUIRE(std::is_same_v<grad::real_of<dual<float>>, float>);
}

}  // namespace dual_tests
}  // namespace tersor
