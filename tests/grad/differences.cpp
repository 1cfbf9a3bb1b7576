// tersor - what holds for every differentiable operation
// SPDX-License-Identifier: MIT
#include "grad/differences.hpp"

namespace tersor_test {

double norm(const std::vector<matrix<double>>& x) {
  double s = 0;
  for (const auto& m : x)
    for (const double v : m.values()) s += v * v;
  return std::sqrt(s);
}
void check_derivatives(const operation& f, const std::vector<matrix<double>>& at, bool in_float) {
  using tersor::grad::variable;
  const auto exact = evaluate<double>(f.in_double, at, threads(1));
  const double scale = 1 + norm(exact.gradients);
  // Central differences err by h² times the third derivative and by the rounding of the loss over h.
  const double h = 1e-5, bound = 2e-8 * scale + 1e-10 * std::abs(exact.loss);
  auto moved = at;
  for (std::size_t i = 0; i < at.size(); ++i)
    for (index_t j = 0; j < at[i].size(); ++j) {
      double& v = moved[i].data()[j];
      const double before = v;
      v = before + h;
      const double above = evaluate<double>(f.in_double, moved, threads(1)).loss;
      v = before - h;
      const double below = evaluate<double>(f.in_double, moved, threads(1)).loss;
      v = before;
      const double difference = (above - below) / (2 * h);
      if (!(std::abs(exact.gradients[i].data()[j] - difference) <= bound)) {
        INFO("input " << i << ", element " << j << ": central difference " << difference);
        CHECK(exact.gradients[i].data()[j] == difference);
      }
    }
  CHECK(true);  // an operation without inputs' elements has nothing to compare

  const auto parallel = evaluate<double>(f.in_double, at, threads(3));
  CHECK(parallel.loss == exact.loss);
  CHECK(parallel.gradients == exact.gradients);

  if (in_float) {
    const auto single = evaluate<float>(f.in_float, at, threads(1));
    double worst = 0;
    for (std::size_t i = 0; i < at.size(); ++i)
      for (index_t j = 0; j < at[i].size(); ++j)
        worst = std::max(worst, std::abs(static_cast<double>(single.gradients[i].data()[j]) -
                                         exact.gradients[i].data()[j]));
    CHECK(worst <= 2e-5 * scale);
    CHECK(evaluate<float>(f.in_float, at, threads(3)).gradients == single.gradients);
  }

  std::vector<matrix<double>> u, v;
  for (std::size_t i = 0; i < at.size(); ++i) {
    u.push_back(normal_matrix(at[i].rows(), at[i].cols(), 1000 + i));
    v.push_back(normal_matrix(at[i].rows(), at[i].cols(), 2000 + i));
  }
  using number = tersor::grad::dual<double>;
  const auto loss = [&](tersor::grad::tape<number>& tape, const std::vector<variable<number>>& x) {
    return weighted_loss(tape, f.in_dual(tape, x));
  };
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
  const auto ga = evaluate<double>(f.in_double, above, threads(1)),
             gb = evaluate<double>(f.in_double, below, threads(1));
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
