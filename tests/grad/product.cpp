// tersor - tests of grad/product.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/product.hpp>

#include "grad/differences.hpp"

#include <tersor/op/any_operator.hpp>
#include <tersor/op/dense.hpp>
#include <tersor/op/low_rank.hpp>

namespace tersor {
namespace product_tests {

using namespace tersor_test;
using grad::parameter;
using grad::tape;

TEST_CASE("product: matmul in the four orientations") {
  const std::array<index_t, 3> sizes[] = {{1, 1, 1}, {3, 5, 2}, {1, 7, 4}, {6, 1, 3},
                                          {2, 3, 0}, {0, 2, 3}, {2, 0, 3}};
  for (const auto& s : sizes)
    for (const bool ta : {false, true})
      for (const bool tb : {false, true}) {
        const auto a = ta ? normal_matrix(s[1], s[0], 1) : normal_matrix(s[0], s[1], 1);
        const auto b = tb ? normal_matrix(s[2], s[1], 2) : normal_matrix(s[1], s[2], 2);
        INFO(s[0] << " " << s[1] << " " << s[2] << " " << ta << tb);
        check_derivatives([ta, tb](auto&, const auto& x) { return matmul(x[0], x[1], ta, tb); }, {a, b});
      }
}

TEST_CASE("product: a matrix times itself") {
  check_derivatives([](auto&, const auto& x) { return matmul(x[0], x[0]); }, {normal_matrix(4, 4, 3)});
  check_derivatives([](auto&, const auto& x) { return matmul(x[0], x[0], true, false); },
                    {normal_matrix(5, 3, 3)});
}

TEST_CASE("product: a linear layer by its definition") {
  check_derivatives([](auto&, const auto& x) { return linear(x[0], x[1], x[2]); },
                    {normal_matrix(5, 3, 1), normal_matrix(4, 3, 2), normal_matrix(1, 4, 3)});
  tape<double> t;
  const auto x = normal_matrix(5, 3, 1), w = normal_matrix(4, 3, 2);
  const auto y = linear(t.constant(x), t.constant(w));
  double expected = 0;
  for (index_t k = 0; k < 3; ++k) expected += x(2, k) * w(3, k);
  CHECK(std::abs(y.value()(2, 3) - expected) < 1e-14);
}

TEST_CASE("product: parameters collect their gradient over several uses and passes") {
  parameter<double> w("w", normal_matrix(3, 4, 5));
  const auto x = normal_matrix(6, 4, 6);
  auto pass = [&](double factor) {
    tape<double> t;
    const auto v = t.constant(x);
    const auto loss = sum(linear(v, t.use(w))) + sum(linear(v * 2.0, t.use(w)));
    t.backward(loss * factor);
  };
  pass(1.0);
  double column = 0;
  for (index_t i = 0; i < 6; ++i) column += x(i, 1);
  CHECK(std::abs(w.gradient()(2, 1) - 3 * column) < 1e-12);
  pass(2.0);
  CHECK(std::abs(w.gradient()(2, 1) - 9 * column) < 1e-12);
  w.clear_gradient();
  CHECK_FALSE(w.has_gradient());
  pass(1.0);
  CHECK(std::abs(w.gradient()(2, 1) - 3 * column) < 1e-12);
}

TEST_CASE("product: the same bits for any number of threads where products are cut") {
  const auto x = normal_matrix(1100, 130, 1), w = normal_matrix(190, 130, 2);
  const auto f = [](auto&, const auto& in) { return linear(in[0], in[1]); };
  const auto one = evaluate<float>(f, {x, w}, threads(1)), four = evaluate<float>(f, {x, w}, threads(4));
  CHECK(one.gradients == four.gradients);
  // The weight's gradient against its definition in double.
  const auto exact = evaluate<double>(f, {x, w}, threads(2));
  double worst = 0;
  for (index_t j = 0; j < w.size(); ++j)
    worst = std::max(
        worst, std::abs(static_cast<double>(one.gradients[1].data()[j]) - exact.gradients[1].data()[j]));
  CHECK(worst < 1e-5 * norm(exact.gradients));
}

TEST_CASE("product: through a frozen operator, as through the dense matrix it stands for") {
  const auto w = converted<float>(normal_matrix(5, 7, 9));
  const auto a = converted<float>(normal_matrix(2, 7, 10)), b = converted<float>(normal_matrix(5, 2, 11));
  const op::any_operator operators[] = {op::any_operator(op::dense(w.view())),
                                        op::any_operator(op::low_rank(b.view(), a.view()))};
  for (const auto& o : operators) {
    const auto dense = o.to_dense();
    const auto through = [&](auto&, const auto& x) { return linear(x[0], o); };
    const auto product = [&](auto& t, const auto& x) {
      using T = std::remove_cvref_t<decltype(x[0].value()(0, 0))>;
      matrix<T> m(dense.rows(), dense.cols());
      for (index_t i = 0; i < m.size(); ++i) m.data()[i] = T(dense.data()[i]);
      return linear(x[0], t.constant(m));
    };
    for (const index_t tokens : {1, 4}) {
      const auto x = normal_matrix(tokens, 7, 12);
      const auto one = evaluate<float>(through, {x}), other = evaluate<float>(product, {x});
      for (index_t i = 0; i < x.size(); ++i)
        CHECK(std::abs(one.gradients[0].data()[i] - other.gradients[0].data()[i]) <
              1e-5F * (1 + std::abs(other.gradients[0].data()[i])));
      // In double the operator still computes in float.
      const auto wide = evaluate<double>(through, {x});
      CHECK(std::abs(wide.gradients[0](0, 0) - static_cast<double>(other.gradients[0](0, 0))) < 1e-4);
    }
    // Hessian of Σ (Wx)² w: slopes pass through the operator too.
    const auto loss = [&](auto& t, const auto& x) { return weighted_loss(t, through(t, x)); };
    const auto reference = [&](auto& t, const auto& x) { return weighted_loss(t, product(t, x)); };
    const std::vector<matrix<double>> at{normal_matrix(3, 7, 1)}, v{normal_matrix(3, 7, 2)};
    const auto hv = grad::hessian_vector_product(loss, at, v),
               exact = grad::hessian_vector_product(reference, at, v);
    for (index_t i = 0; i < 21; ++i)
      CHECK(std::abs(hv.product[0].data()[i] - exact.product[0].data()[i]) < 1e-4);
  }
}

TEST_CASE("product: a custom node: LoRA with its factored backward pass equals LoRA of operations") {
  const index_t in = 6, out = 5, rank = 2, tokens = 9;
  const auto x0 = normal_matrix(tokens, in, 1);
  parameter<double> a("a", normal_matrix(rank, in, 2)), b("b", normal_matrix(out, rank, 3));
  matrix<double> gx;
  {
    tape<double> t;
    const auto x = t.input(x0);
    t.backward(weighted_loss(t, matmul(matmul(x, t.use(a), false, true), t.use(b), false, true)));
    gx = x.gradient();
  }
  const auto ga = a.gradient(), gb = b.gradient();
  a.clear_gradient();
  b.clear_gradient();

  for (const bool input_needs : {true, false}) {
    tape<double> t;
    const auto x = input_needs ? t.input(x0) : t.constant(x0);
    const auto h = linalg::multiply(x0, a.value.view().transposed());
    auto value = linalg::multiply(h, b.value.view().transposed());
    int calls = 0;
    const auto y = custom(x, value, [&, h](const matrix<double>& saved, const matrix<double>& g) {
      ++calls;
      CHECK(saved == x0);
      b.accumulate(linalg::multiply(g.view().transposed(), h));
      const auto through = linalg::multiply(g, b.value);
      a.accumulate_product(1, through.view().transposed(), saved.view());
      return input_needs ? linalg::multiply(through, a.value) : matrix<double>();
    });
    t.backward(weighted_loss(t, y));
    CHECK(calls == 1);
    for (index_t i = 0; i < ga.size(); ++i) CHECK(std::abs(a.gradient().data()[i] - ga.data()[i]) < 1e-11);
    for (index_t i = 0; i < gb.size(); ++i) CHECK(std::abs(b.gradient().data()[i] - gb.data()[i]) < 1e-11);
    if (input_needs)
      for (index_t i = 0; i < gx.size(); ++i) CHECK(std::abs(x.gradient().data()[i] - gx.data()[i]) < 1e-11);
    a.clear_gradient();
    b.clear_gradient();
  }
}

TEST_CASE("product: errors") {
  tape<float> t;
  const auto a = t.input(matrix<float>(2, 3)), b = t.input(matrix<float>(2, 3));
  CHECK(message_of([&] { matmul(a, b); }).starts_with("matmul: shapes = 2 x 3 and 2 x 3"));
  CHECK(matmul(a, b, false, true).rows() == 2);
  const op::dense w(matrix<float>(4, 2).view());
  CHECK(message_of([&] { linear(a, w); }) ==
        "linear: shapes = 2 x 3: expected as many columns as the operator has inputs, 2");
  const auto y =
      custom(a, matrix<float>(1, 1, 1.0F), [](const auto&, const auto&) { return matrix<float>(3, 2); });
  CHECK(message_of([&] { t.backward(y); }) == "gradient of input 0 = 3 x 2: expected 2 x 3");
}

}  // namespace product_tests
}  // namespace tersor
