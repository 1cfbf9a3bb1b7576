// tersor - tests of linalg/weighted_error.hpp
// SPDX-License-Identifier: MIT
#include <tersor/core/error_statistics.hpp>
#include <tersor/core/random.hpp>
#include <tersor/linalg/weighted_error.hpp>

#include "catch.hpp"

namespace weighted_error_tests {

using tersor::index_t;
using tersor::matrix;
namespace linalg = tersor::linalg;

TEST_CASE("the weighted error is the squared error of the outputs", "[weighted_error]") {
  tersor::random_generator g(1);
  for (index_t rows : {0, 1, 5, 300})
    for (index_t n : {0, 1, 7, 40}) {
      matrix<float> w(rows, n), q(rows, n), x(60, n);
      for (auto* m : {&w, &q, &x})
        for (float& v : m->values()) v = static_cast<float>(g.normal());
      matrix<double> h(n, n);
      linalg::gram(tersor::to_matrix<double>(x), h);
      double error = 0, norm = 0;  // ‖X (W - Q)ᵀ‖² and ‖X Wᵀ‖², by the definition
      for (index_t t = 0; t < 60; ++t)
        for (index_t i = 0; i < rows; ++i) {
          double e = 0, y = 0;
          for (index_t j = 0; j < n; ++j) {
            e += static_cast<double>(x(t, j)) * (static_cast<double>(w(i, j)) - static_cast<double>(q(i, j)));
            y += static_cast<double>(x(t, j)) * static_cast<double>(w(i, j));
          }
          error += e * e, norm += y * y;
        }
      tersor::context one, three;
      one.threads = 1, three.threads = 3;
      CHECK(std::abs(linalg::weighted_error(w, q, h) - error) <= 1e-11 * error);
      CHECK(std::abs(linalg::weighted_norm(w, h) - norm) <= 1e-11 * norm);
      CHECK(linalg::weighted_error(w, q, h, one) == linalg::weighted_error(w, q, h, three));
      CHECK(linalg::weighted_error(w, w, h) == 0);
      tersor::error_statistics s;
      s.add(w, q);
      s.add_weighted(linalg::weighted_error(w, q, h), linalg::weighted_norm(w, h));
      if (norm > 0) CHECK(std::abs(s.weighted_relative() - std::sqrt(error / norm)) < 1e-10);
    }
}

TEST_CASE("the identity gives the Frobenius norm", "[weighted_error]") {
  matrix<double> h(2, 2), w(1, 2);
  h(0, 0) = h(1, 1) = 1;
  w(0, 0) = 3, w(0, 1) = 4;
  CHECK(linalg::weighted_norm(w, h) == 25);
  CHECK_THROWS_AS(linalg::weighted_norm(matrix<double>(1, 3), h), tersor::error);
  CHECK_THROWS_AS(linalg::weighted_error(w, matrix<double>(2, 2), h), tersor::error);
  CHECK_THROWS_AS(linalg::weighted_norm(w, matrix<double>(2, 3)), tersor::error);
}

}  // namespace weighted_error_tests
