// tersor - tests of grad/hessian.hpp; every operation's Hessian is compared with differences in its own file
// SPDX-License-Identifier: MIT
#include <tersor/grad/hessian.hpp>

#include "grad/differences.hpp"

#include <tersor/grad/checkpoint.hpp>
#include <tersor/grad/cross_entropy.hpp>
#include <tersor/grad/product.hpp>

namespace tersor {
namespace hessian_tests {

using namespace tersor_test;

TEST_CASE("hessian: of a quadratic form it is the matrix") {
  // x A xᵀ / 2 with a symmetric A: the gradient is x A, the Hessian A, whatever the point.
  const auto half = normal_matrix(6, 6, 1);
  matrix<double> a(6, 6);
  for (index_t i = 0; i < 6; ++i)
    for (index_t j = 0; j < 6; ++j) a(i, j) = half(i, j) + half(j, i);
  const auto loss = [&](auto& t, const auto& x) {
    using T = std::remove_cvref_t<decltype(x[0].value()(0, 0))>;
    return sum(matmul(x[0], t.constant(converted<T>(a))) * x[0]) * T(0.5);
  };
  const auto x = normal_matrix(1, 6, 2), v = normal_matrix(1, 6, 3);
  const auto h = grad::hessian_vector_product(loss, std::vector{x}, std::vector{v});
  const auto xa = linalg::multiply(x, a), va = linalg::multiply(v, a);
  for (index_t j = 0; j < 6; ++j) {
    CHECK(std::abs(h.gradient[0](0, j) - xa(0, j)) < 1e-13);
    CHECK(std::abs(h.product[0](0, j) - va(0, j)) < 1e-13);
  }
}

TEST_CASE("hessian: of the Rosenbrock function, by hand") {
  // (1 - x)² + 100 (y - x²)² at (1, 1): [[802, -400], [-400, 200]]
  const auto loss = [](auto&, const auto& in) {
    return square(in[0] * -1.0 + 1.0) + square(in[1] - square(in[0])) * 100.0;
  };
  const std::vector<matrix<double>> at{matrix<double>(1, 1, 1.0), matrix<double>(1, 1, 1.0)};
  const matrix<double> one(1, 1, 1.0), zero(1, 1);
  const auto first = grad::hessian_vector_product(loss, at, {one, zero});
  const auto second = grad::hessian_vector_product(loss, at, {zero, one});
  CHECK(first.product[0](0, 0) == 802.0);
  CHECK(first.product[1](0, 0) == -400.0);
  CHECK(second.product[0](0, 0) == -400.0);
  CHECK(second.product[1](0, 0) == 200.0);
  CHECK(first.value == 0.0);
}

TEST_CASE(
    "hessian: linear in the direction, the same in float, through checkpoints, for any number of threads") {
  const std::vector<std::int32_t> targets{0, 2, 1, 2};
  const auto loss_of = [&](bool kept) {
    return [&targets, kept](auto& t, const auto& x) {
      const auto f = [](auto&, const auto& in) { return tanh(linear(in[0], in[1])); };
      const auto h = kept ? checkpoint(t, f, {x[0], x[1]}) : f(t, x);
      return linear_cross_entropy(h, x[2], std::span<const std::int32_t>(targets));
    };
  };
  const std::vector<matrix<double>> at{normal_matrix(4, 5, 1), normal_matrix(6, 5, 2),
                                       normal_matrix(3, 6, 3)};
  std::vector<matrix<double>> u, v, w;
  std::vector<matrix<float>> at_float, u_float;
  for (std::size_t i = 0; i < at.size(); ++i) {
    u.push_back(normal_matrix(at[i].rows(), at[i].cols(), 10 + i));
    v.push_back(normal_matrix(at[i].rows(), at[i].cols(), 20 + i));
    w.push_back(u[i]);
    for (index_t j = 0; j < w[i].size(); ++j) w[i].data()[j] = 2 * u[i].data()[j] - v[i].data()[j];
    at_float.push_back(converted<float>(at[i]));
    u_float.push_back(converted<float>(u[i]));
  }
  const auto hu = grad::hessian_vector_product(loss_of(false), at, u, threads(1)),
             hv = grad::hessian_vector_product(loss_of(false), at, v, threads(1)),
             hw = grad::hessian_vector_product(loss_of(false), at, w, threads(1));
  const auto through = grad::hessian_vector_product(loss_of(true), at, u, threads(3));
  const auto single = grad::hessian_vector_product(loss_of(false), at_float, u_float);
  CHECK(through.product == hu.product);
  CHECK(through.gradient == hu.gradient);
  for (std::size_t i = 0; i < at.size(); ++i)
    for (index_t j = 0; j < at[i].size(); ++j) {
      CHECK(std::abs(hw.product[i].data()[j] - 2 * hu.product[i].data()[j] + hv.product[i].data()[j]) <
            1e-13);
      CHECK(std::abs(static_cast<double>(single.product[i].data()[j]) - hu.product[i].data()[j]) < 1e-5);
    }
}

TEST_CASE("hessian: a tensor that the loss does not depend on, and shapes that do not agree") {
  const auto loss = [](auto&, const auto& x) { return sum(square(x[0])); };
  const std::vector<matrix<double>> at{normal_matrix(2, 2, 1), normal_matrix(3, 1, 2)};
  const auto h = grad::hessian_vector_product(loss, at, at);
  CHECK(h.product[1] == matrix<double>(3, 1));
  CHECK(message_of([&] { grad::hessian_vector_product(loss, at, {at[0]}); }) ==
        "hessian_vector_product: tensors of the direction = 1: expected 2");
  CHECK(message_of([&] {
          grad::hessian_vector_product(loss, at, {at[0], at[0]});
        }) == "direction[1] = 2 x 2: expected 3 x 1");
}

}  // namespace hessian_tests
}  // namespace tersor
