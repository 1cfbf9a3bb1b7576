// tersor - tests of grad/normalization.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/normalization.hpp>

#include "grad/differences.hpp"

namespace tersor {
namespace normalization_tests {

using namespace tersor_test;
using grad::tape;

constexpr std::pair<index_t, index_t> shapes[] = {{1, 1}, {1, 5}, {4, 3}, {3, 16}, {2, 37}, {0, 4}};

TEST_CASE("normalization: derivatives of softmax, log-softmax, RMSNorm and LayerNorm") {
  for (const auto& shape : shapes) {
    INFO(shape.first << " x " << shape.second);
    const auto x = normal_matrix(shape.first, shape.second, 1), w = normal_matrix(1, shape.second, 2),
               b = normal_matrix(1, shape.second, 3);
    check_derivatives([](auto&, const auto& in) { return softmax(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return log_softmax(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return rms_norm(in[0], in[1], 0.1); }, {x, w});
    check_derivatives([](auto&, const auto& in) { return layer_norm(in[0], in[1], in[2], 0.1); }, {x, w, b});
  }
}

TEST_CASE("normalization: values by hand") {
  tape<float> t;
  matrix<float> m(1, 2);
  m(0, 0) = 3;
  m(0, 1) = 4;
  const auto x = t.input(m), ones = t.input(matrix<float>(1, 2, 1.0F)), zeros = t.input(matrix<float>(1, 2));
  // mean(x²) = 12.5; mean = 3.5, variance = 0.25
  CHECK(std::abs(rms_norm(x, ones, 0.0).value()(0, 0) - 3.0F / std::sqrt(12.5F)) < 1e-6F);
  CHECK(std::abs(layer_norm(x, ones, zeros, 0.0).value()(0, 0) + 1.0F) < 1e-6F);
  CHECK(std::abs(softmax(x).value()(0, 1) - 1.0F / (1.0F + std::exp(-1.0F))) < 1e-6F);
  CHECK(std::abs(log_softmax(x).value()(0, 1) + std::log1p(std::exp(-1.0F))) < 1e-6F);
}

TEST_CASE("normalization: softmax is stable, and its rows and gradients sum to one and zero") {
  tape<float> t;
  auto big = converted<float>(normal_matrix(6, 40, 4));
  for (float& v : big.values()) v = v * 30 + 10000;
  const auto x = t.input(big), y = softmax(x);
  const auto logs = log_softmax(x);
  for (index_t i = 0; i < 6; ++i) {
    double total = 0;
    for (const float v : y.value().row(i)) total += static_cast<double>(v);
    CHECK(std::abs(total - 1) < 1e-5);
    for (const float v : logs.value().row(i)) CHECK(std::isfinite(v));
  }
  t.backward(sum(y * t.constant(converted<float>(normal_matrix(6, 40, 5)))));
  for (index_t i = 0; i < 6; ++i) {
    double total = 0;
    for (const float v : x.gradient().row(i)) total += static_cast<double>(v);
    CHECK(std::abs(total) < 1e-6);
  }
}

TEST_CASE(
    "normalization: RMSNorm does not change with the scale of a row, so its gradient is orthogonal to it") {
  const auto x = normal_matrix(5, 24, 6), w = normal_matrix(1, 24, 7);
  tape<double> t;
  const auto v = t.input(x);
  t.backward(sum(rms_norm(v, t.constant(w), 0.0)));
  for (index_t i = 0; i < 5; ++i) {
    double along = 0;
    for (index_t j = 0; j < 24; ++j) along += v.gradient()(i, j) * x(i, j);
    CHECK(std::abs(along) < 1e-12);
  }
}

TEST_CASE("normalization: the same bits for any number of threads where rows are cut") {
  const auto x = normal_matrix(2000, 65, 1), w = normal_matrix(1, 65, 2), b = normal_matrix(1, 65, 3);
  const auto f = [](auto&, const auto& in) {
    return softmax(layer_norm(rms_norm(in[0], in[1], 1e-5), in[1], in[2], 1e-5));
  };
  const auto one = evaluate<float>(f, {x, w, b}, threads(1)),
             four = evaluate<float>(f, {x, w, b}, threads(4));
  CHECK(one.loss == four.loss);
  CHECK(one.gradients == four.gradients);
}

TEST_CASE("normalization: errors") {
  tape<float> t;
  const auto x = t.input(matrix<float>(2, 3)), w = t.input(matrix<float>(1, 2)),
             none = t.input(matrix<float>(2, 0));
  CHECK(message_of([&] { rms_norm(x, w, 1e-5); }).starts_with("rms_norm: shapes = 2 x 3 and 1 x 2"));
  CHECK(message_of([&] {
          layer_norm(x, w, w, 1e-5);
        }).starts_with("layer_norm: shapes = 2 x 3 and 1 x 2 and 1 x 2"));
  CHECK(message_of([&] { softmax(none); }) == "softmax: shapes = 2 x 0: expected one column at least");
  CHECK(message_of([&] { log_softmax(none); }) ==
        "log_softmax: shapes = 2 x 0: expected one column at least");
}

}  // namespace normalization_tests
}  // namespace tersor
