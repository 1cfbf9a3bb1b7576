// tersor - tests of grad/cross_entropy.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/cross_entropy.hpp>

#include "grad/differences.hpp"

#include <tersor/grad/product.hpp>

namespace tersor {
namespace cross_entropy_tests {

using namespace tersor_test;
using grad::ignored_target;
using grad::tape;
using ids = std::span<const std::int32_t>;

TEST_CASE("cross_entropy: derivatives, with ignored rows and without") {
  const std::vector<std::int32_t> cases[] = {
      {0, 3, 1, 3}, {2, ignored_target, 4, 0}, {4, 4, 4, ignored_target}};
  for (const auto& targets : cases) {
    check_derivatives([&](auto&, const auto& x) { return cross_entropy(x[0], ids(targets)); },
                      {normal_matrix(4, 5, 1)});
    check_derivatives([&](auto&, const auto& x) { return linear_cross_entropy(x[0], x[1], ids(targets)); },
                      {normal_matrix(4, 3, 2), normal_matrix(5, 3, 3)});
  }
  const std::vector<std::int32_t> one{0};
  check_derivatives([&](auto&, const auto& x) { return cross_entropy(x[0], ids(one)); },
                    {normal_matrix(1, 1, 1)});
  check_derivatives([&](auto&, const auto& x) { return linear_cross_entropy(x[0], x[1], ids(one)); },
                    {normal_matrix(1, 4, 2), normal_matrix(33, 4, 3)});
}

TEST_CASE("cross_entropy: equal logits cost the logarithm of their number") {
  for (const index_t classes : {1, 2, 50}) {
    tape<double> t;
    const std::vector<std::int32_t> targets(7, static_cast<std::int32_t>(classes - 1));
    CHECK(std::abs(cross_entropy(t.input(matrix<double>(7, classes, 3.0)), ids(targets)).item() -
                   std::log(static_cast<double>(classes))) < 1e-14);
    CHECK(std::abs(linear_cross_entropy(t.input(matrix<double>(7, 4)), t.input(matrix<double>(classes, 4)),
                                        ids(targets))
                       .item() -
                   std::log(static_cast<double>(classes))) < 1e-14);
  }
}

TEST_CASE("cross_entropy: no target that counts costs nothing, and moves nothing") {
  for (const std::size_t rows : {std::size_t{0}, std::size_t{3}}) {
    tape<double> t;
    const std::vector<std::int32_t> targets(rows, ignored_target);
    const auto x = t.input(normal_matrix(static_cast<index_t>(rows), 4, 1)),
               head = t.input(normal_matrix(6, 4, 2));
    const auto loss = linear_cross_entropy(x, head, ids(targets));
    CHECK(loss.item() == 0.0);
    t.backward(loss);
    for (const double v : x.gradient().values()) CHECK(v == 0.0);
    for (const double v : head.gradient().values()) CHECK(v == 0.0);
    tape<double> other;
    const auto logits = other.input(normal_matrix(static_cast<index_t>(rows), 4, 1));
    const auto loss2 = cross_entropy(logits, ids(targets));
    CHECK(loss2.item() == 0.0);
    other.backward(loss2);
    for (const double v : logits.gradient().values()) CHECK(v == 0.0);
  }
}

TEST_CASE("cross_entropy: with the product inside, as with it outside, over several chunks of rows") {
  const index_t rows = 1300, classes = 90, features = 11;
  random_generator random(3);
  std::vector<std::int32_t> targets;
  for (index_t i = 0; i < rows; ++i)
    targets.push_back(i % 17 == 3 ? ignored_target
                                  : static_cast<std::int32_t>(random.uniform_index(classes)));
  const std::vector<matrix<double>> at{normal_matrix(rows, features, 1), normal_matrix(classes, features, 2)};
  const auto inside = [&](auto&, const auto& x) { return linear_cross_entropy(x[0], x[1], ids(targets)); };
  const auto outside = [&](auto&, const auto& x) { return cross_entropy(linear(x[0], x[1]), ids(targets)); };
  const auto a = evaluate<double>(inside, at), b = evaluate<double>(outside, at);
  CHECK(std::abs(a.loss - b.loss) < 1e-12);
  for (std::size_t i = 0; i < 2; ++i)
    for (index_t j = 0; j < at[i].size(); ++j)
      CHECK(std::abs(a.gradients[i].data()[j] - b.gradients[i].data()[j]) < 1e-13);
  // The naive loss: -log of a quotient.
  tape<double> t;
  const auto p = softmax(linear(t.constant(at[0]), t.constant(at[1])));
  double naive = 0;
  index_t counted = 0;
  for (index_t i = 0; i < rows; ++i)
    if (const auto target = targets[static_cast<std::size_t>(i)]; target != ignored_target) {
      naive -= std::log(p.value()(i, target));
      ++counted;
    }
  CHECK(std::abs(linear_cross_entropy(t.constant(at[0]), t.constant(at[1]), ids(targets)).item() -
                 naive / static_cast<double>(counted)) < 1e-12);
  const auto one = evaluate<float>(inside, at, threads(1)), four = evaluate<float>(inside, at, threads(4));
  CHECK(one.loss == four.loss);
  CHECK(one.gradients == four.gradients);
}

TEST_CASE("cross_entropy: the logits of all tokens are never held") {
  const index_t rows = 4096, classes = 5000, features = 4;
  const std::vector<std::int32_t> targets(static_cast<std::size_t>(rows), 7);
  tape<float> t;
  const auto x = t.input(matrix<float>(rows, features, 0.1F)),
             head = t.input(matrix<float>(classes, features, 0.1F));
  t.backward(linear_cross_entropy(x, head, ids(targets)));
  CHECK(t.memory().peak() < rows * classes * 4 / 4);
}

TEST_CASE("cross_entropy: a gradient that is not one scales the result") {
  const std::vector<std::int32_t> targets{1, 0};
  tape<double> a, b;
  const auto x = a.input(normal_matrix(2, 3, 1)), y = b.input(normal_matrix(2, 3, 1));
  const auto head_x = a.input(normal_matrix(4, 3, 2)), head_y = b.input(normal_matrix(4, 3, 2));
  a.backward(linear_cross_entropy(x, head_x, ids(targets)));
  b.backward(linear_cross_entropy(y, head_y, ids(targets)) * 3.0);
  for (index_t i = 0; i < 6; ++i)
    CHECK(std::abs(3 * x.gradient().data()[i] - y.gradient().data()[i]) < 1e-15);
}

TEST_CASE("cross_entropy: errors") {
  tape<float> t;
  const auto logits = t.input(matrix<float>(2, 3));
  const std::vector<std::int32_t> many{0, 1, 2}, bad{0, 3}, negative{-1, 0};
  CHECK(message_of([&] { cross_entropy(logits, ids(many)); }) ==
        "cross_entropy: shapes = 2 x 3: expected as many rows as targets, 3");
  CHECK(message_of([&] { cross_entropy(logits, ids(bad)); }) ==
        "cross_entropy: targets[1] = 3: expected 0 .. 2, or -100");
  CHECK(message_of([&] { cross_entropy(logits, ids(negative)); }) ==
        "cross_entropy: targets[0] = -1: expected 0 .. 2, or -100");
  CHECK(message_of([&] { linear_cross_entropy(logits, t.input(matrix<float>(5, 4)), ids(bad)); }) ==
        "linear_cross_entropy: shapes = 2 x 3 and 5 x 4: expected equal numbers of columns");
}

}  // namespace cross_entropy_tests
}  // namespace tersor
