// tersor - tests of grad/elementwise.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/elementwise.hpp>

#include "grad/differences.hpp"

namespace tersor {
namespace elementwise_tests {

using namespace tersor_test;
using grad::tape;

constexpr std::pair<index_t, index_t> shapes[] = {{1, 1}, {1, 7}, {5, 1}, {3, 17}, {4, 33}};

TEST_CASE("elementwise: arithmetic with every kind of broadcasting") {
  for (const auto& shape : shapes) {
    const index_t m = shape.first, n = shape.second;
    const std::pair<index_t, index_t> others[] = {{m, n}, {1, n}, {m, 1}, {1, 1}};
    std::uint64_t seed = 1;
    for (const auto& other : others) {
      const auto a = normal_matrix(m, n, ++seed);
      auto b = normal_matrix(other.first, other.second, ++seed);
      for (double& v : b.values()) v += v < 0 ? -0.5 : 0.5;  // a divisor that stays away from zero
      INFO(m << " x " << n << " and " << b.rows() << " x " << b.cols());
      check_derivatives([](auto&, const auto& x) { return x[0] + x[1]; }, {a, b});
      check_derivatives([](auto&, const auto& x) { return x[1] - x[0]; }, {a, b});
      check_derivatives([](auto&, const auto& x) { return x[1] * x[0]; }, {a, b});
      check_derivatives([](auto&, const auto& x) { return x[0] / x[1]; }, {a, b});
      check_derivatives([](auto&, const auto& x) { return minimum(x[0], x[1]); }, {a, b});
      check_derivatives([](auto&, const auto& x) { return maximum(x[1], x[0]); }, {a, b});
    }
  }
  // A row and a column make a matrix.
  check_derivatives([](auto&, const auto& x) { return x[0] * x[1]; },
                    {normal_matrix(1, 5, 3), normal_matrix(4, 1, 4)});
  check_derivatives([](auto&, const auto& x) { return x[0] + x[1]; },
                    {normal_matrix(4, 1, 3), normal_matrix(1, 5, 4)});
}

TEST_CASE("elementwise: a variable used several times gets the sum of its gradients") {
  check_derivatives([](auto&, const auto& x) { return x[0] * x[0] + x[0] - x[0] * x[0] * x[0]; },
                    {normal_matrix(3, 5, 9)});
}

TEST_CASE("elementwise: functions of one number") {
  for (const auto& shape : shapes) {
    auto x = normal_matrix(shape.first, shape.second, 5);
    auto positive = x;
    for (double& v : positive.values()) v = std::abs(v) + 0.3;
    for (double& v : x.values())
      if (std::abs(v) < 1e-3) v = 0.1;  // not differentiable at 0: relu, abs
    check_derivatives([](auto&, const auto& in) { return exp(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return log(in[0]); }, {positive});
    check_derivatives([](auto&, const auto& in) { return sqrt(in[0]); }, {positive});
    check_derivatives([](auto&, const auto& in) { return square(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return sigmoid(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return tanh(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return relu(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return gelu(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return gelu_tanh(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return silu(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return abs(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return clamp(in[0], -0.75, 0.8125); }, {x});
    check_derivatives([](auto&, const auto& in) { return 2.5 * in[0] * 0.5 + 1.0; }, {x});
    check_derivatives([](auto&, const auto& in) { return -in[0]; }, {x});
    check_derivatives(
        [](auto&, const auto& in) { return (1.5 - in[0] / 4.0) * (in[0] - 0.25) + (2.0 + in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return swiglu(in[0], in[1]); },
                      {x, normal_matrix(shape.first, shape.second, 6)});
  }
}

TEST_CASE("elementwise: values by hand") {
  tape<double> t;
  matrix<double> m(1, 5);
  const double values[] = {-2.0, -0.5, 0.0, 0.5, 2.5};
  std::copy(std::begin(values), std::end(values), m.data());
  const auto x = t.input(m);
  CHECK(relu(x).value()(0, 0) == 0.0);
  CHECK(relu(x).value()(0, 4) == 2.5);
  CHECK(clamp(x, -1.0, 1.0).value()(0, 0) == -1.0);
  CHECK(clamp(x, -1.0, 1.0).value()(0, 4) == 1.0);
  CHECK(sigmoid(x).value()(0, 2) == 0.5);
  CHECK(gelu(x).value()(0, 2) == 0.0);
  CHECK(std::abs(gelu(x).value()(0, 4) - 2.5 * 0.99379033467422384) < 1e-15);  // Φ(2.5) from a table
  CHECK(std::abs(gelu_tanh(x).value()(0, 4) - gelu(x).value()(0, 4)) < 1e-3);
  CHECK(std::abs(silu(x).value()(0, 0) + 2.0 / (1.0 + std::exp(2.0))) < 1e-15);
  CHECK(exp(x).value()(0, 3) == std::exp(0.5));
  CHECK((1.5 - x / 4.0).value()(0, 0) == 2.0);
  CHECK((x - 0.25).value()(0, 3) == 0.25);
  CHECK((2.0 + x).value()(0, 4) == 4.5);
}

TEST_CASE("elementwise: rounding passes the gradient straight through, and takes ties to even") {
  tape<float> t;
  matrix<float> m(1, 4);
  const float values[] = {0.5F, 1.5F, -0.5F, 2.2F};
  std::copy(std::begin(values), std::end(values), m.data());
  const auto x = t.input(m);
  const auto y = round_straight_through(x);
  CHECK(y.value()(0, 0) == 0.0F);
  CHECK(y.value()(0, 1) == 2.0F);
  CHECK(y.value()(0, 2) == 0.0F);
  CHECK(y.value()(0, 3) == 2.0F);
  t.backward(sum(square(y)));  // 2 round(x), as if the slope were 1
  for (index_t j = 0; j < 4; ++j) CHECK(x.gradient()(0, j) == 2 * y.value()(0, j));
}

TEST_CASE("elementwise: at ties and bounds the gradient goes where the documentation says") {
  tape<double> t;
  const auto a = t.input(matrix<double>(1, 1, 2.0)), b = t.input(matrix<double>(1, 1, 2.0));
  const auto c = t.input(matrix<double>(1, 1, 0.0));
  t.backward(minimum(a, b) + maximum(a, b) + clamp(a, 2.0, 3.0) + relu(c) + abs(c));
  CHECK(a.gradient()(0, 0) == 3.0);
  CHECK(b.gradient()(0, 0) == 0.0);
  CHECK(c.gradient()(0, 0) == 0.0);
}

TEST_CASE("elementwise: learned clipping bounds get the gradient of what they clip") {
  tape<double> t;
  const auto x = t.input(normal_matrix(3, 40, 8));
  const auto high = t.input(matrix<double>(3, 1, 1.0)), low = t.input(matrix<double>(3, 1, -1.0));
  t.backward(sum(minimum(maximum(x, low), high)));
  for (index_t i = 0; i < 3; ++i) {
    double above = 0, below = 0;
    for (index_t j = 0; j < 40; ++j) {
      above += x.value()(i, j) > 1 ? 1 : 0;
      below += x.value()(i, j) < -1 ? 1 : 0;
      CHECK(x.gradient()(i, j) == (std::abs(x.value()(i, j)) > 1 ? 0.0 : 1.0));
    }
    CHECK(high.gradient()(i, 0) == above);
    CHECK(low.gradient()(i, 0) == below);
  }
}

TEST_CASE("elementwise: a detached variable is a constant") {
  tape<double> t;
  const auto x = t.input(matrix<double>(1, 1, 3.0));
  t.backward(x * detach(x));
  CHECK(x.gradient()(0, 0) == 3.0);
}

TEST_CASE("elementwise: NaN is passed on") {
  tape<float> t;
  const auto x = t.constant(matrix<float>(1, 20, std::numeric_limits<float>::quiet_NaN()));
  for (const auto& y : {relu(x), clamp(x, -1.0F, 1.0F), abs(x), silu(x), gelu(x), exp(x), x * 2.0F})
    for (const float v : y.value().values()) CHECK(std::isnan(v));
}

TEST_CASE("elementwise: empty matrices") {
  for (const auto& shape : {std::pair<index_t, index_t>{0, 3}, {3, 0}, {0, 0}}) {
    const matrix<double> e(shape.first, shape.second);
    check_derivatives([](auto&, const auto& x) { return silu(x[0]) * x[1] + x[0]; }, {e, e});
  }
  check_derivatives([](auto&, const auto& x) { return x[0] * x[1]; },
                    {matrix<double>(0, 3), normal_matrix(1, 3, 2)});
}

TEST_CASE("elementwise: large matrices, cut into several tasks") {
  const auto x = normal_matrix(300, 301, 11), row = normal_matrix(1, 301, 12),
             column = normal_matrix(300, 1, 13);
  const auto f = [](auto&, const auto& in) { return swiglu(in[0] * in[1], in[0] + in[2]); };
  const auto one = evaluate<float>(f, {x, row, column}, threads(1)),
             four = evaluate<float>(f, {x, row, column}, threads(4));
  CHECK(one.loss == four.loss);
  CHECK(one.gradients == four.gradients);
}

TEST_CASE("elementwise: errors name the operation and the shapes") {
  tape<double> t;
  const auto a = t.input(matrix<double>(2, 3)), b = t.input(matrix<double>(3, 2));
  CHECK(message_of([&] { a + b; }).starts_with("add: shapes = 2 x 3 and 3 x 2"));
  CHECK(message_of([&] { swiglu(a, b); }).starts_with("swiglu: shapes = 2 x 3 and 3 x 2"));
  CHECK(message_of([&] { clamp(a, 2.0, 1.0); }).starts_with("clamp: low = 2"));
  tape<double> other;
  CHECK(message_of([&] { a + other.input(matrix<double>(2, 3)); }) ==
        "add: variable = of another tape, or from before clear(): expected all of one tape");
  CHECK(message_of([&] { a + grad::variable<double>(); }) ==
        "add: variable = empty: expected one made by a tape");
}

}  // namespace elementwise_tests
}  // namespace tersor
