// tersor - tests of grad/tape.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/tape.hpp>

#include "grad/differences.hpp"

#include <tersor/grad/product.hpp>

namespace tersor {
namespace tape_tests {

using namespace tersor_test;
using grad::backward_pass;
using grad::operation;
using grad::parameter;
using grad::tape;
using grad::variable;

TEST_CASE("tape: a derivative by hand") {
  tape<double> t;
  const auto x = t.input(matrix<double>(1, 1, 3.0)), y = t.input(matrix<double>(1, 1, 5.0));
  const auto z = x * x * y + y;
  CHECK(z.item() == 50.0);
  t.backward(z);
  CHECK(x.gradient()(0, 0) == 30.0);
  CHECK(y.gradient()(0, 0) == 10.0);
}

TEST_CASE("tape: a vector-Jacobian product of any variable") {
  tape<double> t;
  const auto x = t.input(normal_matrix(2, 3, 1));
  const auto w = normal_matrix(2, 3, 2);
  t.backward(x * x, w);
  for (index_t i = 0; i < 6; ++i) CHECK(x.gradient().data()[i] == 2 * x.value().data()[i] * w.data()[i]);
}

TEST_CASE("tape: what the loss does not depend on has no gradient") {
  tape<double> t;
  const auto x = t.input(matrix<double>(1, 1, 3.0)), y = t.input(matrix<double>(1, 1, 5.0));
  const auto unused = x * y;
  t.backward(x * 2.0);
  CHECK(x.gradient()(0, 0) == 2.0);
  CHECK_FALSE(y.has_gradient());
  CHECK(unused.item() == 15.0);
}

TEST_CASE("tape: a loss without anything to train is no error") {
  tape<double> t;
  parameter<double> p("p", matrix<double>(1, 1, 2.0));
  p.frozen.freeze_all();
  const auto loss = t.constant(matrix<double>(1, 1, 3.0)) * t.use(p);
  CHECK_FALSE(loss.needs_gradient());
  t.backward(loss);
  CHECK_FALSE(p.has_gradient());
}

TEST_CASE("tape: gradients of inner variables are freed unless they are to be kept") {
  tape<double> t;
  const auto x = t.input(matrix<double>(1, 1, 3.0));
  const auto y = x * x, z = y * y;
  y.keep_gradient();
  t.backward(z * 1.0);
  CHECK(y.gradient()(0, 0) == 18.0);
  CHECK(x.gradient()(0, 0) == 108.0);
  CHECK_FALSE(z.has_gradient());
}

TEST_CASE("tape: values are freed as soon as nothing needs them") {
  const index_t n = 1000, bytes = n * 4;
  tape<float> t;
  const auto x = t.input(matrix<float>(1, n, 0.5F));
  CHECK(t.memory().current() == bytes);
  {
    // Sums need nothing of their inputs: of a chain, only the end stays.
    auto y = x + x;
    for (int i = 0; i < 10; ++i) y = y + x;
    CHECK(t.memory().current() == 2 * bytes);
  }
  CHECK(t.memory().current() == bytes);
  {
    // exp needs its result: each link of the chain is kept, though no variable refers to it.
    auto y = exp(x * 0.1F);
    for (int i = 0; i < 3; ++i) y = exp(y * 0.1F);
    CHECK(t.memory().current() == 5 * bytes);
  }
  CHECK(t.memory().current() == 5 * bytes);
  t.clear();
  CHECK(t.memory().current() == bytes);  // x is still referred to
  t.set_recording(false);
  {
    const auto v = t.input(matrix<float>(1, n, 0.5F));
    auto y = exp(v);
    for (int i = 0; i < 3; ++i) y = exp(y * 0.1F);
    CHECK(t.memory().current() == 3 * bytes);
  }
}

TEST_CASE("tape: the backward pass frees as it goes, and another step takes the same memory") {
  tape<float> t;
  index_t first_peak = 0;
  for (int step = 0; step < 3; ++step) {
    t.memory().reset_peak();
    const auto x = t.input(matrix<float>(40, 50, 0.01F));
    auto y = x;
    for (int i = 0; i < 6; ++i) y = tanh(y);
    const auto loss = sum(y);
    y = {};
    const index_t forward = t.memory().current();
    t.backward(loss);
    CHECK(t.memory().current() == 2 * 8000 + 4);     // x, its gradient and the loss
    CHECK(t.memory().peak() == forward + 8000 + 4);  // one gradient, and that of the loss
    if (step == 0) first_peak = t.memory().peak();
    CHECK(t.memory().peak() == first_peak);
    t.clear();
  }
  CHECK(t.memory().current() == 0);
}

TEST_CASE("tape: memory that is used again does not change a result") {
  parameter<float> w("w", converted<float>(normal_matrix(20, 30, 1)));
  const auto x = converted<float>(normal_matrix(10, 30, 2));
  const auto step = [&](tape<float>& t) {
    w.clear_gradient();
    const auto h = silu(linear(t.constant(x), t.use(w)));
    t.backward(sum(h * h) + sum(slice_columns(h, 3, 4)));
    return w.gradient();
  };
  tape<float> t;
  const auto first = step(t);
  t.clear();
  // What waits to be used again is filled with numbers that would show.
  for (int i = 0; i < 3; ++i) {
    const auto poison = t.constant(matrix<float>(10, 20, std::numeric_limits<float>::quiet_NaN()));
    const auto more = poison * 2.0F;
    t.clear();
  }
  CHECK(step(t) == first);
}

TEST_CASE("tape: variables are handles") {
  tape<double> t;
  variable<double> empty;
  CHECK_FALSE(static_cast<bool>(empty));
  auto x = t.input(matrix<double>(2, 2, 1.0));
  auto copy = x;
  x = x + x;
  CHECK(copy.value()(0, 0) == 1.0);
  CHECK(x.value()(0, 0) == 2.0);
  empty = std::move(copy);
  CHECK(empty.value()(1, 1) == 1.0);
  {
    tape<double> gone;
    x = gone.input(matrix<double>(1, 1, 7.0));
  }
  CHECK(x.item() == 7.0);  // a variable keeps what it refers to
}

TEST_CASE("tape: an operation of one's own") {
  // The documentation's example, finished.
  const auto doubled_square = [](auto&, const auto& in) {
    using T = std::remove_cvref_t<decltype(in[0].value()(0, 0))>;
    operation<T> op("doubled square", {in[0]});
    auto y = op.make(in[0].rows(), in[0].cols());
    for (index_t i = 0; i < y.size(); ++i)
      y.data()[i] = T(2) * in[0].value().data()[i] * in[0].value().data()[i];
    if (!op.needs_gradient()) return op.result(std::move(y));
    return op.result(std::move(y), [saved = op.save(0, "x")](backward_pass<T>& pass) {
      const auto x = saved.load();
      auto g = pass.take_gradient();
      for (index_t i = 0; i < g.size(); ++i) g.data()[i] *= T(4) * x->data()[i];
      pass.add(0, std::move(g));
    });
  };
  check_derivatives(doubled_square, {normal_matrix(3, 4, 1)});
}

TEST_CASE("tape: a partly frozen parameter has no gradient where it is frozen") {
  parameter<double> p("p", normal_matrix(3, 4, 1));
  p.frozen.freeze_rows(1, 1);
  p.frozen.freeze_columns(0, 2);
  tape<double> t;
  const auto x = t.constant(normal_matrix(5, 4, 2));
  t.backward(weighted_loss(t, linear(x, t.use(p))) + sum(t.use(p)));
  for (index_t i = 0; i < 3; ++i)
    for (index_t j = 0; j < 4; ++j) CHECK((p.gradient()(i, j) == 0.0) == (i == 1 || j < 2));
}

TEST_CASE("tape: errors") {
  tape<double> t;
  const auto x = t.input(matrix<double>(2, 3, 1.0));
  CHECK(message_of([&] { t.backward(x); }) == "backward: shape of the loss = 2 x 3: expected 1 x 1");
  CHECK(message_of([&] { t.backward(x, matrix<double>(3, 2)); }) ==
        "backward: gradient = 3 x 2: expected 2 x 3");
  CHECK(message_of([&] { (void)x.item(); }) == "item: shape = 2 x 3: expected 1 x 1");
  CHECK(message_of([&] { (void)x.gradient(); }).starts_with("gradient of a variable = none"));
  const auto loss = sum(x);
  t.backward(loss);
  CHECK(message_of([&] { t.backward(loss); }) ==
        "backward = a second time: expected a new recording, after clear()");
  t.clear();
  CHECK(message_of([&] { t.backward(loss); }).starts_with("backward: variable = of another tape"));
  CHECK(message_of([&] {
          (void)(x + t.input(matrix<double>(2, 3)));
        }).starts_with("add: variable = of another tape"));
  parameter<double> p("p", matrix<double>(1, 1));
  CHECK(message_of([&] { (void)p.gradient(); }) == "gradient of p = none: expected a backward pass before");
}

TEST_CASE("tape: a loss that is not finite is named") {
  tape<float> t;
  const auto x = t.input(matrix<float>(1, 1, -1.0F));
  grad::require_finite(x, "loss");
  CHECK(message_of([&] { grad::require_finite(log(x), "loss"); }) ==
        "loss[0, 0] = nan: expected a finite number");
}

}  // namespace tape_tests
}  // namespace tersor
