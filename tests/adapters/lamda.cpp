// tersor - tests of adapters/lamda.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/lamda.hpp>

#include "contract_checks.hpp"

namespace lamda_tests {

using namespace tersor_test;
using tersor::adapters::lamda;
using tersor::adapters::lamda_freezing;

TEST_CASE("lamda: identity at the start in both modes, and the contract", "[lamda]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{7, 5}, {5, 7}, {1, 4}, {4, 1}})
    for (const bool residual : {false, true}) {
      const auto w = random_matrix(out, in, 1);
      const index_t rank = std::min<index_t>(2, std::min(out, in));
      auto start = lamda{.rank = rank, .alpha = 3, .residual = residual}.init<double>(w);
      CHECK(difference(start.state.effective({start.weight, {}}).weight, w) <= 1e-12);
      CHECK((start.weight == w) == !residual);
      CHECK(start.state.trainable_count() == rank * rank + rank * out);
      CHECK(start.state.stored_count() == rank * (in + out) + rank * rank);
      randomise(start.state, 2);
      check_contract(start.state, 3, 3);
    }
}

TEST_CASE("lamda: the change stays in the spans of B and of V", "[lamda]") {
  const auto w = random_matrix(8, 6, 1);
  auto start = lamda{.rank = 2}.init<double>(w);
  start.state.tensors()[1].value = random_matrix(2, 2, 2);
  const auto d = start.state.delta_weight();
  const auto svd = tersor::linalg::svd(w);
  for (std::size_t k = 2; k < 6; ++k) {  // ΔW v = 0 and uᵀ ΔW = 0 for the other singular vectors
    const auto v = tersor::copy_as<double>(svd.vt.view().rows(static_cast<index_t>(k), 1).transposed());
    const auto u = tersor::copy_as<double>(svd.u.view().block(0, static_cast<index_t>(k), 8, 1).transposed());
    CHECK(largest(times(d, v)) <= 1e-12);
    CHECK(largest(times(u, d)) <= 1e-12);
  }
}

TEST_CASE("lamda: columns of B freeze in order, and none moves after that", "[lamda]") {
  const lamda_freezing f{.total_steps = 100, .share = 0.3};
  CHECK(f.frozen(0, 4) == 0);
  CHECK(f.frozen(7, 4) == 0);
  CHECK(f.frozen(8, 4) == 1);
  CHECK(f.frozen(29, 4) == 3);
  CHECK(f.frozen(30, 4) == 4);
  CHECK(f.frozen(99, 4) == 4);
  CHECK(lamda_freezing{10, 0}.frozen(0, 4) == 4);
  auto s = lamda{.rank = 4}.init<double>(random_matrix(6, 8, 1)).state;
  for (index_t step = 1; step <= 100; ++step) {
    f.after_step(step, s);
    REQUIRE(s.trainable_count() == 16 + (4 - f.frozen(step, 4)) * 6);
    for (index_t k = 0; k < 4; ++k) REQUIRE(s.tensors()[2].frozen.is_frozen(3, k) == (k < f.frozen(step, 4)));
  }
  CHECK(s.make_gradients()[2].empty());
  CHECK(lamda{.rank = 4, .freeze_share = 0}.init<double>(random_matrix(6, 8, 1)).state.trainable_count() ==
        16);
  CHECK_THROWS_AS(lamda_freezing({0, 0.3}).frozen(1, 4), tersor::error);
  CHECK_THROWS_AS(lamda_freezing({10, 1.3}).frozen(1, 4), tersor::error);
}

TEST_CASE("lamda: a frozen B and a diagonal core train singular values", "[lamda]") {
  const auto w = random_matrix(5, 7, 3);
  auto s = lamda{.rank = 5, .alpha = 5, .freeze_share = 0}.init<double>(w).state;
  const auto svd = tersor::linalg::svd(w);
  for (index_t k = 0; k < 5; ++k) s.tensors()[1].value(k, k) = svd.s[static_cast<std::size_t>(k)];
  CHECK(difference(s.delta_weight(), w) <= 1e-12);  // twice the weight: every value doubled
}

TEST_CASE("lamda: errors", "[lamda]") {
  CHECK_THROWS_AS(lamda{.rank = 5}.init<double>(matrix<double>(4, 6)), tersor::error);
  CHECK_THROWS_AS((lamda{.rank = 2, .alpha = 0}.init<double>(matrix<double>(4, 6))), tersor::error);
  CHECK_THROWS_AS((lamda{.rank = 2, .freeze_share = 2}.init<double>(matrix<double>(4, 6))), tersor::error);
}

}  // namespace lamda_tests
