// tersor - tests of adapters/aflora.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/aflora.hpp>
#include <tersor/adapters/vera.hpp>

#include "contract_checks.hpp"

namespace aflora_tests {

using namespace tersor_test;
using tersor::adapters::aflora;
using tersor::adapters::aflora_controller;

TEST_CASE("aflora: the contract", "[aflora]") {
  for (const auto& shape : adapter_shapes) {
    auto s = aflora{.rank = 2}.init<double>(matrix<double>(shape.out, shape.in), random_generator(1));
    check_identity(s, 1);
    const bool square = shape.out == shape.in;
    CHECK(s.trainable_count() == 2 + shape.out + (square ? 0 : 2 * (shape.in + shape.out)));
    CHECK(s.stored_count() == 2 + shape.out + 2 * (shape.in + shape.out));
    randomise(s, 2);
    check_contract(s, shape.tokens, 3);
  }
}

TEST_CASE("aflora: with frozen projections it is VeRA", "[aflora]") {
  auto s = aflora{.rank = 3}.init<double>(matrix<double>(6, 6), random_generator(1));
  randomise(s, 2);
  auto shared = std::make_shared<tersor::adapters::vera_projections<double>>();
  shared->a = s.tensors()[0].value;
  shared->b = s.tensors()[1].value;
  const tersor::adapters::vera_state<double> v(shared, 6, 6, s.tensors()[3].value, s.tensors()[2].value);
  CHECK(difference(v.delta_weight(), s.delta_weight()) <= 1e-14);
  CHECK(v.trainable_count() == s.trainable_count());
}

/// Projections whose gradients have the sizes given.
std::vector<std::size_t> freezing_times(const aflora& method, const std::vector<double>& sizes) {
  std::vector<parameter<double>> tensors;
  for (std::size_t i = 0; i < sizes.size(); ++i)
    tensors.emplace_back("p", tersor::adapters::parameter_kind::projection, random_matrix(3, 5, i));
  aflora_controller control(method);
  std::vector<std::size_t> when(sizes.size(), 0);
  std::size_t before = 0;
  for (index_t step = 1; step <= method.total_steps; ++step) {
    std::vector<matrix<double>> g;
    std::vector<const matrix<double>*> views;
    std::vector<parameter<double>*> pointers;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      g.push_back(random_matrix(3, 5, static_cast<std::uint64_t>(step) * 7 + i));
      for (double& v : g.back().values()) v *= sizes[i];
    }
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      views.push_back(&g[i]);
      pointers.push_back(&tensors[i]);
    }
    control.after_step<double>(step, pointers, views);
    std::size_t frozen = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      frozen += !tensors[i].trains();
      if (!tensors[i].trains() && when[i] == 0) when[i] = static_cast<std::size_t>(step);
    }
    REQUIRE(frozen >= before);
    before = frozen;
  }
  return when;
}

TEST_CASE("aflora: small gradients freeze first, all are frozen at the end", "[aflora]") {
  const aflora method{.total_steps = 200, .epochs = 20, .warmup_epochs = 1, .final_epochs = 5};
  const auto when = freezing_times(method, {0.01, 100, 1});
  CHECK((when[0] > 10 && when[0] < when[2] && when[2] < when[1] && when[1] <= 151));
  // without gradients nothing freezes before the last phase, and then everything does
  CHECK(freezing_times(method, {0, 0}) == std::vector<std::size_t>{151, 151});
  const aflora_controller control(method);
  CHECK(control.remaining(10) == 1);
  CHECK(control.remaining(151) == 0);
}

TEST_CASE("aflora: errors", "[aflora]") {
  CHECK_THROWS_AS((aflora{.epochs = 10, .warmup_epochs = 3, .final_epochs = 8}.validate()), tersor::error);
  CHECK_THROWS_AS(aflora{.rank = 0}.init<double>(matrix<double>(4, 6), random_generator(1)), tersor::error);
  aflora_controller control(aflora{});
  std::vector<parameter<double>*> none;
  const matrix<double> g;
  const std::vector<const matrix<double>*> one{&g};
  CHECK_THROWS_AS(control.after_step<double>(1, none, one), tersor::error);
}

}  // namespace aflora_tests
