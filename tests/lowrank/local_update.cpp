// tersor - tests of lowrank/local_update.hpp
// SPDX-License-Identifier: MIT
#include <tersor/lowrank/local_update.hpp>

#include "samples.hpp"

namespace local_update_tests {

using namespace tersor_test;
using tersor::index_t;

TEST_CASE("local update: least squares on its samples", "[local_update]") {
  for (const auto& [m, n] : {std::pair<index_t, index_t>{1, 9}, {9, 1}, {12, 20}, {20, 12}})
    for (const index_t tokens : {1, 3, 10, 80})
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        const index_t r = std::min<index_t>(4, std::min(m, n));
        const auto w = random_matrix<float>(m, n, seed);
        const auto x = random_inputs(tokens, n, seed + 5);
        auto seen = x;  // as the compressed layers before would give it
        const auto noise = random_matrix<float>(tokens, n, seed + 6);
        for (index_t i = 0; i < x.size(); ++i) seen.data()[i] += 0.3F * noise.data()[i];
        const auto y = times(wide(x), transposed(wide(w)));
        const auto inputs = input_statistics(x);
        for (const auto method : {svd_method::plain, svd_method::whitened}) {
          const auto f = with_rank(method, r).factorize(w.view(), &inputs);
          const auto a = tersor::lowrank::local_update(f.b, seen, y);
          REQUIRE((a.rows() == m && a.cols() == r));
          const auto z = times(wide(seen), transposed(wide(f.b)));
          const auto rest = [&](const matrix<float>& left) {
            return minus(times(z, transposed(wide(left))), y);
          };
          INFO(m << " x " << n << ", " << tokens << " tokens");
          REQUIRE(norm(rest(a)) <= norm(rest(f.a)) + 1e-6 * norm(y));
          // nothing of the rest can be explained by z
          REQUIRE(norm(times(transposed(z), rest(a))) <=
                  1e-5 * norm(z) * (norm(y) + norm(z) * norm(wide(a))));
        }
      }
  // inputs without error: the best A for B is found again where B is that of the whitened SVD
  const auto w = random_matrix<float>(9, 15, 1);
  const auto x = random_inputs(60, 15, 2);
  const auto inputs = input_statistics(x);
  const auto f = with_rank(svd_method::whitened, 4).factorize(w.view(), &inputs);
  const auto a = tersor::lowrank::local_update(f.b, x, times(wide(x), transposed(wide(w))));
  CHECK(difference(wide(a), wide(f.a)) <= 1e-3 * largest(wide(f.a)));
}

TEST_CASE("local update: errors", "[local_update]") {
  const matrix<float> b(2, 5, 1.0F), x(7, 5, 1.0F), y(7, 3, 1.0F);
  CHECK_NOTHROW(tersor::lowrank::local_update(b, x, y));
  CHECK_THROWS_AS(tersor::lowrank::local_update(b, matrix<float>(7, 4), y), tersor::error);
  CHECK_THROWS_AS(tersor::lowrank::local_update(b, x, matrix<float>(6, 3)), tersor::error);
  CHECK_THROWS_AS(tersor::lowrank::local_update(b, matrix<float>(0, 5), matrix<float>(0, 3)), tersor::error);
  auto bad = x;
  bad(3, 2) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(tersor::lowrank::local_update(b, bad, y), tersor::error);
  // all inputs zero: nothing to fit, and the smallest A is zero
  CHECK(tersor::lowrank::local_update(b, matrix<float>(7, 5), y) == matrix<float>(3, 2));
}

}  // namespace local_update_tests
