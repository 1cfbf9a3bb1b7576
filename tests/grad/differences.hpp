// tersor - what the tests of grad share: gradients against central differences, float against double, threads
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>       // std::abs
#include <functional>  // std::function
#include <vector>      // std::vector

#include "catch.hpp"

#include <tersor/core/random.hpp>
#include <tersor/grad/hessian.hpp>
#include <tersor/grad/shape.hpp>

namespace tersor_test {

using tersor::index_t;
using tersor::matrix;

inline tersor::context threads(int n) {
  tersor::context ctx;
  ctx.threads = n;
  return ctx;
}

/// Standard normal numbers.
inline matrix<double> normal_matrix(index_t rows, index_t cols, std::uint64_t seed) {
  tersor::random_generator g(seed);
  matrix<double> x(rows, cols);
  for (double& v : x.values()) v = g.normal();
  return x;
}
template <class T>
matrix<T> converted(const matrix<double>& x) {
  matrix<T> y(x.rows(), x.cols());
  for (index_t i = 0; i < x.size(); ++i) y.data()[i] = static_cast<T>(x.data()[i]);
  return y;
}

/// A loss that every element of y enters with a weight of its own, and its square with another, so that a
/// wrong Hessian of a linear operation shows as well.
template <class T>
tersor::grad::variable<T> weighted_loss(tersor::grad::tape<T>& tape, const tersor::grad::variable<T>& y) {
  const auto w = tape.constant(converted<T>(normal_matrix(y.rows(), y.cols(), 77)));
  return sum(y * w) + sum(square(y) * w) * T(0.25);
}

template <class T>
struct evaluation {
  T loss;
  std::vector<matrix<T>> gradients;
};
/// f(tape, variables) -> any shape.
template <class T, class F>
evaluation<T> evaluate(const F& f, const std::vector<matrix<double>>& at, const tersor::context& ctx = {}) {
  tersor::grad::tape<T> tape(ctx);
  std::vector<tersor::grad::variable<T>> x;
  for (const auto& m : at) x.push_back(tape.input(converted<T>(m)));
  const auto loss = weighted_loss(tape, f(tape, x));
  tape.backward(loss);
  evaluation<T> e{loss.item(), {}};
  for (const auto& v : x)
    e.gradients.push_back(v.has_gradient() ? v.gradient() : matrix<T>(v.rows(), v.cols()));
  return e;
}

/// The text of the error that f ends with.
template <class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const tersor::error& e) {
    return e.what();
  }
  return "no error";
}

double norm(const std::vector<matrix<double>>& x);

/// f(tape, variables) -> any shape, a generic function, with the types of numbers that the checks use.
struct operation {
  template <class T>
  using with = std::function<tersor::grad::variable<T>(tersor::grad::tape<T>&,
                                                       const std::vector<tersor::grad::variable<T>>&)>;
  with<double> in_double;
  with<float> in_float;
  with<tersor::grad::dual<double>> in_dual;

  template <class F>
  operation(F f) : in_double(f), in_float(f), in_dual(f) {}
};

/// Everything that holds for an operation that is differentiable at `at`:
/// - its gradient is that of central differences in double, element by element;
/// - float agrees with double;
/// - one thread and three give the same bits;
/// - Hessian-vector products agree with differences of gradients and are symmetric.
void check_derivatives(const operation& f, const std::vector<matrix<double>>& at, bool in_float = true);

}  // namespace tersor_test
