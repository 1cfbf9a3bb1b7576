// tersor - tests of adapters/loha.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/loha.hpp>
#include <tersor/linalg/svd.hpp>

#include "contract_checks.hpp"

namespace loha_tests {

using namespace tersor_test;
using tersor::adapters::loha;
using tersor::adapters::loha_state;

TEST_CASE("loha: the contract", "[loha]") {
  for (const auto& shape : adapter_shapes) {
    auto s =
        loha{.rank = 2, .alpha = 3}.init<double>(matrix<double>(shape.out, shape.in), random_generator(1));
    check_identity(s, 1);
    CHECK(s.trainable_count() == 2 * 2 * (shape.out + shape.in));
    randomise(s, 2);
    check_contract(s, shape.tokens, 3);
  }
}

TEST_CASE("loha: the contract of convolutions with cores", "[loha]") {
  for (const auto& [kh, kw] : {std::pair<index_t, index_t>{3, 3}, {1, 2}}) {
    const index_t r = 2, out = 4, channels = 3;
    const tersor::adapters::tucker<double> t{matrix<double>(r, r * kh * kw), matrix<double>(r, out),
                                             matrix<double>(r, channels)};
    loha_state<double> s({t, t}, kh, kw, 0.7);
    CHECK(s.in_features() == channels * kh * kw);
    CHECK(s.tensors()[2].shape == std::vector<index_t>{r, r, kh, kw});
    randomise(s, 3);
    check_contract(s, 3, 4);
  }
}

TEST_CASE("loha: by hand, and the rank", "[loha]") {
  matrix<double> a1(2, 1, 1.0), b1(1, 2, 2.0), a2(2, 1, 3.0), b2(1, 2, 4.0);
  a1(1, 0) = -1;
  const auto d = loha_state<double>(a1, b1, a2, b2, 0.5).delta_weight();
  CHECK(d(0, 0) == 0.5 * 2 * 12);
  CHECK(d(1, 1) == -0.5 * 2 * 12);
  auto s = loha{.rank = 2}.init<double>(matrix<double>(12, 10), random_generator(1));
  randomise(s, 1);
  const auto spectrum = tersor::linalg::svd(s.delta_weight()).s;
  CHECK(spectrum[3] > 1e-6 * spectrum[0]);
  CHECK(spectrum[4] <= 1e-12 * spectrum[0]);
  CHECK_THROWS_AS(loha_state<double>(a1, b1, a2, matrix<double>(2, 2), 1), tersor::error);
  CHECK_THROWS_AS(loha{.rank = 0}.init<double>(matrix<double>(2, 2), random_generator(1)), tersor::error);
}

}  // namespace loha_tests
