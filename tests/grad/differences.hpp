// tersor - what the tests of grad share: gradients against central differences, float against double, threads
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>   // std::abs
#include <vector>  // std::vector

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

inline double norm(const std::vector<matrix<double>>& x) {
  double s = 0;
  for (const auto& m : x)
    for (const double v : m.values()) s += v * v;
  return std::sqrt(s);
}

/// Everything that holds for an operation that is differentiable at `at`:
/// - its gradient is that of central differences in double, element by element;
/// - float agrees with double;
/// - one thread and three give the same bits;
/// - Hessian-vector products agree with differences of gradients and are symmetric.
template <class F>
void check_derivatives(const F& f, const std::vector<matrix<double>>& at, bool in_float = true) {
  using tersor::grad::variable;
  const auto exact = evaluate<double>(f, at, threads(1));
  const double scale = 1 + norm(exact.gradients);
  // Central differences err by h² times the third derivative and by the rounding of the loss over h.
  const double h = 1e-5, bound = 2e-8 * scale + 1e-10 * std::abs(exact.loss);
  auto moved = at;
  for (std::size_t i = 0; i < at.size(); ++i)
    for (index_t j = 0; j < at[i].size(); ++j) {
      double& v = moved[i].data()[j];
      const double before = v;
      v = before + h;
      const double above = evaluate<double>(f, moved, threads(1)).loss;
      v = before - h;
      const double below = evaluate<double>(f, moved, threads(1)).loss;
      v = before;
      const double difference = (above - below) / (2 * h);
      if (!(std::abs(exact.gradients[i].data()[j] - difference) <= bound)) {
        INFO("input " << i << ", element " << j << ": central difference " << difference);
        CHECK(exact.gradients[i].data()[j] == difference);
      }
    }
  CHECK(true);  // an operation without inputs' elements has nothing to compare

  const auto parallel = evaluate<double>(f, at, threads(3));
  CHECK(parallel.loss == exact.loss);
  CHECK(parallel.gradients == exact.gradients);

  if (in_float) {
    const auto single = evaluate<float>(f, at, threads(1));
    double worst = 0;
    for (std::size_t i = 0; i < at.size(); ++i)
      for (index_t j = 0; j < at[i].size(); ++j)
        worst = std::max(worst, std::abs(static_cast<double>(single.gradients[i].data()[j]) -
                                         exact.gradients[i].data()[j]));
    CHECK(worst <= 2e-5 * scale);
    CHECK(evaluate<float>(f, at, threads(3)).gradients == single.gradients);
  }

  std::vector<matrix<double>> u, v;
  for (std::size_t i = 0; i < at.size(); ++i) {
    u.push_back(normal_matrix(at[i].rows(), at[i].cols(), 1000 + i));
    v.push_back(normal_matrix(at[i].rows(), at[i].cols(), 2000 + i));
  }
  const auto loss = [&](auto& tape, const auto& x) { return weighted_loss(tape, f(tape, x)); };
  const auto hu = tersor::grad::hessian_vector_product(loss, at, u),
             hv = tersor::grad::hessian_vector_product(loss, at, v);
  CHECK(std::abs(hu.value - exact.loss) <= 1e-12 * (1 + std::abs(exact.loss)));
  const double size = 1 + norm(hu.product) + scale;
  double vhu = 0, uhv = 0, worst = 0;
  auto above = at, below = at;
  const double step = 1e-5;
  for (std::size_t i = 0; i < at.size(); ++i)
    for (index_t j = 0; j < at[i].size(); ++j) {
      above[i].data()[j] += step * u[i].data()[j];
      below[i].data()[j] -= step * u[i].data()[j];
    }
  const auto ga = evaluate<double>(f, above, threads(1)), gb = evaluate<double>(f, below, threads(1));
  for (std::size_t i = 0; i < at.size(); ++i)
    for (index_t j = 0; j < at[i].size(); ++j) {
      const double difference = (ga.gradients[i].data()[j] - gb.gradients[i].data()[j]) / (2 * step);
      worst = std::max(worst, std::abs(hu.product[i].data()[j] - difference));
      worst = std::max(worst, std::abs(hu.gradient[i].data()[j] - exact.gradients[i].data()[j]));
      vhu += v[i].data()[j] * hu.product[i].data()[j];
      uhv += u[i].data()[j] * hv.product[i].data()[j];
    }
  CHECK(worst <= 1e-6 * size);
  CHECK(std::abs(vhu - uhv) <= 1e-9 * size * (1 + norm(v)));
}

}  // namespace tersor_test
