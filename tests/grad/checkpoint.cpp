// tersor - tests of grad/checkpoint.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/checkpoint.hpp>

#include "grad/differences.hpp"

#include <tersor/grad/product.hpp>

namespace tersor {
namespace checkpoint_tests {

using namespace tersor_test;
using grad::parameter;
using grad::tape;
using grad::variable;

/// x + tanh(x w) w: what a residual block looks like, with x and w used twice.
template <class T>
variable<T> block(tape<T>& t, const variable<T>& x, parameter<T>& w) {
  const auto v = t.use(w);
  return x + matmul(tanh(matmul(x, v)), v);
}

struct run_result {
  double loss;
  std::vector<matrix<double>> gradients;
  index_t peak;
};
/// `blocks` blocks with checkpoints around each (1), around pairs whose halves are checkpoints too (2), or
/// none (0).
run_result run(int blocks, int kind, int thread_count = 1) {
  const index_t rows = 64, n = 24;
  std::vector<parameter<double>> w;
  for (int b = 0; b < blocks; ++b) {
    auto value = normal_matrix(n, n, 10 + static_cast<std::uint64_t>(b));
    for (double& v : value.values()) v *= 0.1;
    w.emplace_back(concat("w", b), value);
  }
  tape<double> t(threads(thread_count));
  const auto x = t.input(normal_matrix(rows, n, 1));
  // x is used outside of the checkpoints too, so that its gradient is a sum of both.
  const auto also = sum(square(x));
  auto h = x;
  for (int b = 0; b < blocks; ++b) {
    const auto one = [&w, b](tape<double>& inner, const std::vector<variable<double>>& in) {
      return block(inner, in[0], w[static_cast<std::size_t>(b)]);
    };
    if (kind == 0) {
      h = one(t, {h});
    } else if (kind == 1) {
      h = checkpoint(t, one, {h});
    } else {
      const auto pair = [&w, b](tape<double>& inner, const std::vector<variable<double>>& in) {
        auto v = in[0];
        for (int k = b; k < b + 2; ++k)
          v = checkpoint(inner,
                         [&w, k](auto& innermost, const auto& x2) {
                           return block(innermost, x2[0], w[static_cast<std::size_t>(k)]);
                         },
                         {v});
        return v;
      };
      h = checkpoint(t, pair, {h});
      ++b;
    }
  }
  const auto loss = sum(h * h) + also + sum(x);
  h = {};
  t.backward(loss);
  run_result r{loss.item(), {x.gradient()}, t.memory().peak()};
  for (const auto& p : w) r.gradients.push_back(p.gradient());
  return r;
}

TEST_CASE("checkpoint: the same bits as without, nested too, for any number of threads") {
  const auto plain = run(4, 0);
  for (const int kind : {1, 2})
    for (const int n : {1, 3}) {
      const auto kept = run(4, kind, n);
      CHECK(kept.loss == plain.loss);
      CHECK(kept.gradients == plain.gradients);
    }
}

TEST_CASE("checkpoint: peak memory grows by one input a block, without by all that a block keeps") {
  const index_t input = 64 * 24 * 8;
  CHECK(run(12, 1).peak - run(8, 1).peak == 4 * input);
  CHECK(run(12, 0).peak - run(8, 0).peak >= 8 * input);
  CHECK(run(12, 1).peak < run(12, 0).peak);
  CHECK(run(12, 2).peak <= run(12, 1).peak);
}

TEST_CASE("checkpoint: derivatives, with several inputs of which some need none") {
  const auto f = [](auto& t, const auto& x) {
    using T = std::remove_cvref_t<decltype(x[0].value()(0, 0))>;
    const auto fixed = t.constant(converted<T>(normal_matrix(3, 2, 4)));
    const auto part = [](auto&, const auto& in) {
      return matmul(silu(in[0]), in[1]) * in[2] + matmul(in[0], in[1]);
    };
    return checkpoint(t, part, {x[0], x[1], fixed}) * x[2];
  };
  check_derivatives(f, {normal_matrix(3, 4, 1), normal_matrix(4, 2, 2), normal_matrix(3, 2, 3)});
  // The function may return its input, or use it not at all.
  check_derivatives(
      [](auto& t, const auto& x) {
        return checkpoint(t, [](auto&, const auto& in) { return in[0]; }, {x[0]});
      },
      {normal_matrix(2, 3, 1)});
  check_derivatives(
      [](auto& t, const auto& x) {
        return checkpoint(t, [](auto&, const auto& in) { return exp(in[1]); }, {x[0], x[1]});
      },
      {normal_matrix(2, 3, 1), normal_matrix(2, 3, 2)});
}

TEST_CASE("checkpoint: parameters as inputs, and parameters alone") {
  parameter<double> a("a", normal_matrix(3, 3, 1)), b("b", normal_matrix(3, 3, 2));
  const auto value = [&](bool kept) {
    a.clear_gradient();
    b.clear_gradient();
    tape<double> t;
    const auto f = [&b](tape<double>& inner, const std::vector<variable<double>>& in) {
      const auto v = inner.use(b);
      return in.empty() ? matmul(v, v) : matmul(in[0], v);
    };
    const auto va = t.use(a);
    const auto y = kept ? checkpoint(t, f, {va}) : f(t, {va});
    const auto z = kept ? checkpoint(t, f, {}) : f(t, {});
    t.backward(sum(square(y)) + sum(square(z)) + sum(va));
    return std::vector{a.gradient(), b.gradient()};
  };
  CHECK(value(true) == value(false));
}

TEST_CASE("checkpoint: frozen throughout, nothing is recorded") {
  tape<float> t;
  int runs = 0;
  const auto y = checkpoint(t,
                            [&runs](auto&, const auto& in) {
                              ++runs;
                              return exp(in[0]);
                            },
                            {t.constant(matrix<float>(2, 2))});
  CHECK_FALSE(y.needs_gradient());
  t.backward(sum(y));
  CHECK(runs == 1);
}

TEST_CASE("checkpoint: without recording the function runs once") {
  tape<float> t;
  t.set_recording(false);
  const auto y =
      checkpoint(t, [](auto&, const auto& in) { return exp(in[0]); }, {t.input(matrix<float>(2, 2))});
  CHECK(y.value()(1, 1) == 1.0F);
}

TEST_CASE("checkpoint: a variable of the tape around it is an error, in the forward pass already") {
  tape<double> t;
  const auto x = t.input(matrix<double>(2, 2)), outside = t.input(matrix<double>(2, 2));
  CHECK(message_of([&] {
          checkpoint(t, [&](auto&, const auto& in) { return in[0] + outside; }, {x});
        }).starts_with("add: variable = of another tape"));
  CHECK(message_of([&] {
          checkpoint(t, [&](auto&, const auto&) { return outside; }, {x});
        }).starts_with("checkpoint: result = of another tape"));
}

}  // namespace checkpoint_tests
}  // namespace tersor
