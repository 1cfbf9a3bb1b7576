// tersor - what the adapter tests share: random states, and the checks that every adapter must pass
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>

#include <tersor/adapters/state.hpp>

#include "../linalg/oracle.hpp"
#include "catch.hpp"

namespace tersor_test {

using tersor::random_generator;
using tersor::adapters::dense_layer;
using tersor::adapters::gradients;
using tersor::adapters::parameter;

template <class T = double>
dense_layer<T> random_layer(index_t out, index_t in, std::uint64_t seed, bool bias = true) {
  dense_layer<T> l{random_matrix<T>(out, in, seed), {}};
  if (bias) {
    const auto b = random_matrix<T>(1, out, seed + 77);
    l.bias.assign(b.values().begin(), b.values().end());
  }
  return l;
}
/// Every tensor drawn anew, as if trained.
template <class State>
void randomise(State& state, std::uint64_t seed, double size = 0.5) {
  random_generator g(seed);
  state.for_each_tensor([&](auto& p) {
    for (auto& v : p.value.values()) v = static_cast<std::remove_reference_t<decltype(v)>>(size * g.normal());
  });
}
template <class State, class T>
matrix<T> output(const State& s, const dense_layer<T>& layer, const matrix<T>& x) {
  matrix<T> y(x.rows(), layer.weight.rows());
  s.forward(layer, x.view(), y.view());
  return y;
}
template <class T>
matrix<T> base_output(const dense_layer<T>& layer, const matrix<T>& x) {
  matrix<T> y(x.rows(), layer.weight.rows());
  tersor::adapters::layer_view<T>(layer).apply(x.view(), y.view());
  return y;
}
inline double inner(const matrix<double>& a, const matrix<double>& b) {
  double s = 0;
  for (index_t i = 0; i < a.size(); ++i) s += a.data()[i] * b.data()[i];
  return s;
}
inline double gap(const matrix<float>& a, const matrix<float>& b) {
  return difference(tersor::copy_as<double>(a.view()), tersor::copy_as<double>(b.view()));
}

/// The loss ⟨y, G⟩ as a function of the state and of x, where it is not that of `forward`: methods that hold
/// something fixed in backward.
template <class State>
using forward_function =
    std::function<matrix<double>(const State&, const dense_layer<double>&, const matrix<double>&)>;

struct contract_options {
  bool finite_difference_of_weight = true;  ///< false: backward is not the derivative of `effective`
  double merge_tolerance = 1e-9;
};

/// Checks 2 to 5, 7 and 8 of the contract for a state in double whose tensors are all random.
template <class State>
void check_contract(State state, index_t tokens, std::uint64_t seed, const contract_options& options = {},
                    forward_function<State> forward = {}) {
  if (!forward)
    forward = [](const State& s, const dense_layer<double>& l, const matrix<double>& x) {
      return output(s, l, x);
    };
  const index_t out = state.out_features(), in = state.in_features();
  const auto layer = random_layer(out, in, seed);
  const auto x = random_matrix(tokens, in, seed + 1), gy = random_matrix(tokens, out, seed + 2);
  INFO(State::id << " " << out << " x " << in << ", " << tokens << " tokens, seed " << seed);

  // 2: the effective layer, with and without a bias
  const auto y = output(state, layer, x);
  const double size = std::max(1.0, largest(y));
  REQUIRE(difference(y, base_output(state.effective(layer), x)) <= 1e-10 * size);
  dense_layer<double> plain{layer.weight, {}};
  REQUIRE(difference(output(state, plain, x), base_output(state.effective(plain), x)) <= 1e-10 * size);

  // 3: merge and back
  auto merged = layer;
  state.merge(merged);
  CHECK(state.merged());
  REQUIRE(difference(y, base_output(merged, x)) <= 1e-10 * size);
  CHECK_THROWS_AS(state.merge(merged), tersor::error);
  state.unmerge(merged);
  CHECK_FALSE(state.merged());
  CHECK_THROWS_AS(state.unmerge(merged), tersor::error);
  REQUIRE(difference(merged.weight, layer.weight) <= options.merge_tolerance);
  for (std::size_t o = 0; o < layer.bias.size(); ++o)
    REQUIRE(std::abs(merged.bias[o] - layer.bias[o]) <= options.merge_tolerance);

  // 4: finite differences
  auto g = state.make_gradients();
  matrix<double> gx(tokens, in);
  state.backward(layer, x.view(), gy.view(), gx.view(), g);
  constexpr double step = 1e-6;
  const auto effective_gradient = [&](const State& s) {
    const auto e = s.effective(layer);
    double sum = inner(e.weight, times(gy.view().transposed(), x));
    for (index_t t = 0; t < tokens; ++t)
      for (index_t o = 0; o < out; ++o) sum += gy(t, o) * e.bias[static_cast<std::size_t>(o)];
    return sum;
  };
  for (std::size_t k = 0; k < state.tensors().size(); ++k) {
    INFO("tensor " << state.tensors()[k].key);
    REQUIRE(g[k].empty() == !state.tensors()[k].trains());
    const double scale = std::max(1.0, g[k].empty() ? 0.0 : largest(g[k]));
    for (index_t i = 0; i < g[k].size(); ++i) {
      auto up = state, down = state;
      up.tensors()[k].value.data()[i] += step;
      down.tensors()[k].value.data()[i] -= step;
      const double slope =
          (inner(forward(up, layer, x), gy) - inner(forward(down, layer, x), gy)) / (2 * step);
      REQUIRE(std::abs(slope - g[k].data()[i]) <= 1e-6 * scale);
      // 5: the same through the effective weight
      if (options.finite_difference_of_weight) {
        const double through = (effective_gradient(up) - effective_gradient(down)) / (2 * step);
        REQUIRE(std::abs(through - g[k].data()[i]) <= 1e-6 * scale);
      }
    }
  }
  const double x_scale = std::max(1.0, largest(gx));
  for (index_t i = 0; i < x.size(); ++i) {
    auto up = x, down = x;
    up.data()[i] += step;
    down.data()[i] -= step;
    const double slope =
        (inner(forward(state, layer, up), gy) - inner(forward(state, layer, down), gy)) / (2 * step);
    REQUIRE(std::abs(slope - gx.data()[i]) <= 1e-6 * x_scale);
  }
  REQUIRE(difference(gx, times(gy, state.effective(layer).weight)) <= 1e-9 * x_scale);

  // gradients add up, gx is optional, threads change no bit
  auto twice = g;
  state.backward(layer, x.view(), gy.view(), {}, twice, threads(3));
  auto again = state.make_gradients();
  matrix<double> gx_again(tokens, in);
  state.backward(layer, x.view(), gy.view(), gx_again.view(), again, threads(1));
  CHECK(again == g);
  CHECK(gx_again == gx);
  for (std::size_t k = 0; k < g.size(); ++k)
    for (index_t i = 0; i < g[k].size(); ++i)
      REQUIRE(std::abs(twice[k].data()[i] - 2 * g[k].data()[i]) <= 1e-9 * std::abs(g[k].data()[i]) + 1e-9);

  // 8: counts
  index_t trainable = 0, stored = 0;
  state.for_each_tensor([&](const auto& p) {
    if (p.kind == tersor::adapters::parameter_kind::shared) return;
    trainable += p.trainable_count();
    stored += p.size();
  });
  CHECK(state.trainable_count() == trainable);
  CHECK(state.stored_count() == stored);

  // 7: frozen tensors get no buffer and leave the others' gradients as they are; single frozen elements stay
  // bit-identical under AdamW with decay
  for (std::size_t k = 0; k < state.tensors().size(); ++k) {
    if (!state.tensors()[k].trains()) continue;
    auto frozen = state;
    frozen.tensors()[k].frozen.freeze_all();
    auto fewer = frozen.make_gradients();
    CHECK(fewer[k].empty());
    CHECK(frozen.trainable_count() == state.trainable_count() - state.tensors()[k].trainable_count());
    frozen.backward(layer, x.view(), gy.view(), {}, fewer);
    for (std::size_t j = 0; j < g.size(); ++j)
      if (j != k) CHECK(fewer[j] == g[j]);
  }
  auto trained = state;
  random_generator choice(seed + 3);
  for (auto& p : trained.tensors()) {
    matrix<std::uint8_t> mask(p.value.rows(), p.value.cols());
    for (auto& m : mask.values()) m = choice.uniform() < 0.5;
    p.frozen.freeze_elements(mask);
  }
  std::vector<matrix<double>> first(trained.tensors().size()), second(trained.tensors().size());
  for (int t = 1; t <= 10; ++t) {
    auto step_gradients = trained.make_gradients();
    trained.backward(layer, x.view(), gy.view(), {}, step_gradients);
    for (std::size_t k = 0; k < step_gradients.size(); ++k) {
      auto& p = trained.tensors()[k];
      if (!p.trains()) continue;
      auto values = p.frozen.gather(p.value);
      const auto slope = p.frozen.gather(step_gradients[k]);
      if (first[k].empty()) first[k] = second[k] = matrix<double>(values.rows(), values.cols());
      for (std::size_t i = 0; i < values.values().size(); ++i) {
        const double x = slope.values()[i];
        double &mean = first[k].values()[i], &square = second[k].values()[i], &w = values.values()[i];
        mean = 0.9 * mean + 0.1 * x;
        square = 0.999 * square + 0.001 * x * x;
        const double m = mean / (1 - std::pow(0.9, t)), v = square / (1 - std::pow(0.999, t));
        w -= 1e-3 * (m / (std::sqrt(v) + 1e-8) + 0.1 * w);
      }
      p.frozen.scatter(values, p.value);
    }
  }
  for (std::size_t k = 0; k < g.size(); ++k) {
    const auto &before = state.tensors()[k], &after = trained.tensors()[k];
    for (index_t i = 0; i < after.value.rows(); ++i)
      for (index_t j = 0; j < after.value.cols(); ++j)
        if (after.frozen.is_frozen(i, j)) REQUIRE(after.value(i, j) == before.value(i, j));
  }
}

/// Check 1: a fresh state leaves the layer unchanged.
template <class State>
void check_identity(const State& state, std::uint64_t seed) {
  const auto layer = random_layer(state.out_features(), state.in_features(), seed);
  const auto x = random_matrix(5, state.in_features(), seed + 1);
  const auto y = base_output(layer, x);
  REQUIRE(difference(output(state, layer, x), y) <= 1e-6 * largest(y));
}

/// Shapes of layers and numbers of tokens: odd sizes, one row, one column, one token, none.
struct adapter_shape {
  index_t out, in, tokens;
};
inline constexpr adapter_shape adapter_shapes[] = {{5, 7, 3}, {8, 4, 6}, {1, 6, 2},
                                                   {6, 1, 4}, {3, 3, 1}, {4, 9, 0}};

}  // namespace tersor_test
