// tersor - conformance: SVD-LLM against AIoT-MLSys-Lab/SVD-LLM SVDLLM.py
// SPDX-License-Identifier: MIT
#include <tersor/lowrank/local_update.hpp>
#include <tersor/lowrank/svd.hpp>

#include "vectors.hpp"

namespace lowrank_svdllm_tests {

const conformance::technique svdllm{
    "lowrank_svdllm",
    {"ratio", "rank", "singular_gram", "output_error", "weight_error", "predicted_error", "seed"}};

using tersor::index_t;
using tersor::matrix;

matrix<float> times(const matrix<float>& a, tersor::matrix_view<const float> b) {
  return tersor::to_matrix<float>(
      tersor::linalg::multiply(tersor::to_matrix<double>(a), tersor::copy_as<double>(b)));
}
double relative_difference(const matrix<float>& a, const matrix<float>& b) {
  return conformance::max_difference(a.values(), b.values(), conformance::max_abs(b.values()));
}
double distance(const matrix<float>& a, const matrix<float>& b) {
  tersor::error_statistics s;
  s.add(b, a);
  return std::sqrt(s.squared_error);
}
double relative_distance(const matrix<float>& a, const matrix<float>& b) {
  tersor::error_statistics s;
  s.add(b, a);
  return s.relative_frobenius();
}

void check(const conformance::test_case& c) {
  const auto w = c.input("W"), x = c.input("X");
  tersor::calib::statistics inputs(w.cols());
  inputs.add(x);
  const tersor::lowrank::svd options{.method = tersor::lowrank::svd_method::whitened,
                                     .ratio = c.config().at("ratio").get<double>(),
                                     .value_type = tersor::dtype::f32};
  const auto f = options.factorize(w.view(), &inputs);
  const auto w_hat = times(f.a, f.b.view());

  const auto rank = c.config().at("rank").get<index_t>();
  REQUIRE(f.a.cols() == rank);
  const std::vector<float> singular(f.singular.begin(), f.singular.end());
  CHECK(conformance::max_relative(singular, c.output_vector("singular")) <= 1e-4);
  const auto expected_output = [&](const matrix<float>& approximation) {
    return times(x, approximation.view().transposed());
  };
  const double output_error = distance(expected_output(w_hat), expected_output(w));
  CHECK(std::abs(output_error - c.config().at("output_error").get<double>()) <= 1e-3 * output_error);
  CHECK(std::abs(f.truncation - c.config().at("predicted_error").get<double>()) <= 1e-4 * f.truncation);

  const auto s = tersor::to_matrix<float>(
                 tersor::lowrank::whitening_factor(inputs.gram(), options.damping).factor),
             expected_s = c.output("S");
  if (c.option("singular_gram", false)) {
    // Factor and null space depend on the last bits of XᵀX; the Gram matrix and the outputs do not.
    CHECK(relative_difference(times(s, s.view().transposed()),
                              times(expected_s, expected_s.view().transposed())) <= 1e-4);
    CHECK(relative_difference(expected_output(w_hat), expected_output(c.output("W_hat"))) <= 1e-3);
  } else {
    CHECK(f.damping == 0);
    CHECK(relative_difference(s, expected_s) <= 1e-4);
    CHECK(std::abs(relative_distance(w_hat, w) - c.config().at("weight_error").get<double>()) <= 1e-3);
    const auto a = c.output("A"), b = c.output("B");
    CHECK(relative_difference(w_hat, times(a, b.view())) <= 1e-3);
    for (index_t k = 0; k < rank; ++k) {
      double aligned = 0;
      for (index_t i = 0; i < a.rows(); ++i) aligned += static_cast<double>(a(i, k) * f.a(i, k));
      const float sign = aligned < 0 ? -1.0F : 1.0F;
      double worst = 0;
      for (index_t i = 0; i < a.rows(); ++i)
        worst = std::max(worst, static_cast<double>(std::abs(sign * f.a(i, k) - a(i, k))));
      for (index_t j = 0; j < b.cols(); ++j)
        worst = std::max(worst, static_cast<double>(std::abs(sign * f.b(k, j) - b(k, j))));
      INFO("rank " << k);
      CHECK(worst <= 1e-3);
    }
  }

  if (c.has_output("A_up")) {
    // X2 stands for the first half of X as the compressed layers before produce it.
    const auto seen = c.input("X2");
    const auto target = times(tersor::copy_as<float>(x.view().rows(0, seen.rows())), w.view().transposed());
    const auto b = c.output("B");
    const auto updated = tersor::lowrank::local_update(f.b, seen, target);
    CHECK(relative_difference(times(updated, f.b.view()), times(c.output("A_up"), b.view())) <= 1e-3);
    const auto expected = c.output_vector("error");
    const double plain = relative_distance(times(seen, w_hat.view().transposed()), target),
                 after =
                     relative_distance(times(seen, times(updated, f.b.view()).view().transposed()), target);
    CHECK(std::abs(plain - static_cast<double>(expected[0])) <= 1e-3 * plain);
    CHECK(std::abs(after - static_cast<double>(expected[1])) <= 1e-3 * after);
    CHECK(after <= plain);
  }
}

TEST_CASE("conformance: lowrank_svdllm") { conformance::for_each_case(svdllm, check); }

}  // namespace lowrank_svdllm_tests
