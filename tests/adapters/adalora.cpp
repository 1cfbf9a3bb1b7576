// tersor - tests of adapters/adalora.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/adalora.hpp>

#include "contract_checks.hpp"

namespace adalora_tests {

using namespace tersor_test;
using tersor::adapters::adalora;
using tersor::adapters::adalora_controller;
using tersor::adapters::adalora_state;

TEST_CASE("adalora: the contract", "[adalora]") {
  for (const auto& shape : adapter_shapes) {
    auto s = adalora{.rank = 3, .target_rank = 2}.init<double>(matrix<double>(shape.out, shape.in),
                                                               random_generator(1));
    check_identity(s, 1);
    CHECK(s.trainable_count() == 3 * (shape.in + shape.out + 1));
    CHECK(std::abs(s.scale() - 8 / 3.00001) <= 1e-12);
    randomise(s, 2);
    check_contract(s, shape.tokens, 3);
  }
}

TEST_CASE("adalora: compacted states compute the same", "[adalora]") {
  auto s = adalora{.rank = 4, .target_rank = 2}.init<double>(matrix<double>(5, 6), random_generator(1));
  randomise(s, 2);
  s.tensors()[1].value(1, 0) = s.tensors()[1].value(3, 0) = 0;
  const auto small = s.compacted(std::vector<std::uint8_t>{1, 0, 1, 0});
  CHECK(small.rank() == 2);
  CHECK(difference(small.delta_weight(), s.delta_weight()) <= 1e-14);
  const auto none = s.compacted(std::vector<std::uint8_t>(4));
  CHECK(none.rank() == 0);
  CHECK(largest(none.delta_weight()) == 0);
  const auto layer = random_layer(5, 6, 1);
  const auto x = random_matrix(3, 6, 2);
  CHECK(output(none, layer, x) == base_output(layer, x));
  CHECK_THROWS_AS(s.compacted(std::vector<std::uint8_t>(3)), tersor::error);
}

TEST_CASE("adalora: the orthogonality penalty and its gradient", "[adalora]") {
  std::vector<adalora_state<double>> states;
  for (std::uint64_t l = 0; l < 2; ++l) {
    states.push_back(adalora{.rank = 3, .target_rank = 2}.init<double>(
        matrix<double>(4 + static_cast<index_t>(l), 6), random_generator(l)));
    randomise(states.back(), l + 4);
  }
  const auto penalty = [&](gradients<double>* sink) {
    std::vector<const adalora_state<double>*> views;
    std::vector<gradients<double>> unused;
    std::vector<gradients<double>*> g;
    for (auto& s : states) {
      views.push_back(&s);
      unused.push_back(s.make_gradients());
    }
    for (std::size_t l = 0; l < 2; ++l) g.push_back(sink ? &sink[l] : &unused[l]);
    return tersor::adapters::add_orthogonality_penalty<double>(views, g, 0.5);
  };
  std::vector<gradients<double>> g{states[0].make_gradients(), states[1].make_gradients()};
  penalty(g.data());
  for (std::size_t l = 0; l < 2; ++l)
    for (std::size_t k = 0; k < 3; ++k)
      for (index_t i = 0; i < g[l][k].size(); ++i) {
        double& v = states[l].tensors()[k].value.data()[i];
        const double kept = v;
        v = kept + 1e-6;
        const double up = penalty(nullptr);
        v = kept - 1e-6;
        const double down = penalty(nullptr);
        v = kept;
        REQUIRE(std::abs((up - down) / 2e-6 - g[l][k].data()[i]) <= 1e-6);
      }
  // orthonormal factors: zero, without a NaN in the gradient
  for (auto& s : states) {
    s.tensors()[0].value = matrix<double>(3, 6);
    s.tensors()[2].value = matrix<double>(s.out_features(), 3);
    for (index_t i = 0; i < 3; ++i) s.tensors()[0].value(i, i) = s.tensors()[2].value(i, i) = 1;
  }
  std::vector<gradients<double>> zero{states[0].make_gradients(), states[1].make_gradients()};
  CHECK(penalty(zero.data()) == 0);
  for (const double v : zero[0][0].values()) CHECK(v == 0);
}

TEST_CASE("adalora: live triplets follow the budget, the pattern is fixed at the end", "[adalora]") {
  const adalora method{
      .rank = 4, .target_rank = 1, .warmup = 3, .final_steps = 5, .interval = 2, .total_steps = 30};
  std::vector<adalora_state<double>> states;
  std::vector<adalora_state<double>*> pointers;
  for (std::uint64_t l = 0; l < 3; ++l) {
    states.push_back(
        method.init<double>(matrix<double>(5, 4 + static_cast<index_t>(l)), random_generator(l)));
    randomise(states.back(), l + 9);
  }
  for (auto& s : states) pointers.push_back(&s);
  adalora_controller control(method, 3);
  adalora_controller::pattern last;
  for (index_t step = 1; step <= 30; ++step) {
    std::vector<gradients<double>> g;
    std::vector<const gradients<double>*> views;
    for (std::size_t l = 0; l < 3; ++l) {
      g.push_back(states[l].make_gradients());
      random_generator random(static_cast<std::uint64_t>(step) * 10 + l);
      for (auto& m : g.back())
        for (double& v : m.values()) v = random.normal();
      for (double& v : states[l].tensors()[1].value.values()) v = 1;  // as if they trained again
    }
    for (auto& x : g) views.push_back(&x);
    control.after_step<double>(step, pointers, views);
    index_t live = 0, nonzero = 0;
    for (const auto& p : control.live())
      for (const auto k : p) live += k;
    for (const auto& s : states)
      for (const double v : s.e().values()) nonzero += v != 0;
    INFO("step " << step);
    if (step <= 3) CHECK((control.live().empty() && nonzero == 12));
    if (step > 3 && step < 25) CHECK(nonzero == (step % 2 == 0 ? control.budget(step) : 12));
    if (step >= 25) CHECK((live == 3 && nonzero == 3));
    if (step > 25) CHECK(control.live() == last);
    last = control.live();
  }
  CHECK(control.budget(1) == 12);
  CHECK(control.budget(26) == 3);
}

TEST_CASE("adalora: with no pruning to do nothing is masked, and errors", "[adalora]") {
  const adalora method{.rank = 2, .target_rank = 2, .total_steps = 10};
  auto s = method.init<double>(matrix<double>(3, 4), random_generator(1));
  randomise(s, 1);
  adalora_controller control(method, 1);
  std::vector<adalora_state<double>*> pointers{&s};
  const auto g = s.make_gradients();
  const std::vector<const gradients<double>*> views{&g};
  const auto before = s.e();
  for (index_t step = 1; step <= 10; ++step) control.after_step<double>(step, pointers, views);
  CHECK(s.e() == before);
  CHECK_THROWS_AS((adalora{.rank = 2, .target_rank = 3}.validate()), tersor::error);
  CHECK_THROWS_AS((adalora{.warmup = 5, .final_steps = 5, .total_steps = 10}.validate()), tersor::error);
  CHECK_THROWS_AS(adalora_controller(method, 0), tersor::error);
  adalora_controller two(method, 2);
  CHECK_THROWS_AS(two.after_step<double>(1, pointers, views), tersor::error);
}

}  // namespace adalora_tests
