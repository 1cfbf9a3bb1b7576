// tersor - tests of adapters/lora.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/lora.hpp>
#include <tersor/linalg/svd.hpp>
#include <tersor/op/any_operator.hpp>
#include <tersor/quant/rtn.hpp>

#include "contract_checks.hpp"

namespace lora_tests {

using namespace tersor_test;
using tersor::adapters::lora;
using tersor::adapters::lora_embedding;
using tersor::adapters::lora_state;

TEST_CASE("lora: by hand", "[lora]") {
  matrix<double> a(1, 2), b(2, 1), w(2, 2), x(1, 2), y(1, 2);
  a(0, 0) = 1, a(0, 1) = 2;
  b(0, 0) = 3, b(1, 0) = -1;
  w(0, 0) = w(1, 1) = 1;
  x(0, 0) = 1, x(0, 1) = 1;
  const lora_state<double> s(a, b, 0.5, {10, 0});
  s.forward(w, x, y);
  CHECK(y(0, 0) == 1 + 0.5 * (3 * 3) + 5);  // the bias is scaled as well
  CHECK(y(0, 1) == 1 - 0.5 * 3);
  const auto merged = s.effective({w, {}});
  CHECK(merged.weight(0, 1) == 3);
  CHECK(merged.bias == std::vector<double>{5, 0});
}

TEST_CASE("lora: the contract", "[lora]") {
  for (const auto& shape : adapter_shapes)
    for (std::uint64_t seed = 0; seed < 2; ++seed)
      for (const bool bias : {false, true}) {
        const lora o{
            .rank = 1 + static_cast<index_t>(2 * seed), .alpha = 3, .rslora = seed == 1, .bias = bias};
        const matrix<double> w(shape.out, shape.in);
        auto s = o.init<double>(w, random_generator(seed));
        check_identity(s, seed);
        CHECK(s.trainable_count() == o.rank * (shape.in + shape.out) + (bias ? shape.out : 0));
        CHECK(s.stored_bytes() == 4 * s.stored_count());
        randomise(s, seed + 5);
        check_contract(s, shape.tokens, seed);
      }
}

TEST_CASE("lora: scale, rsLoRA, rank and concatenation", "[lora]") {
  CHECK(lora{.rank = 4, .alpha = 8}.scale() == 2);
  CHECK(lora{.rank = 4, .alpha = 8, .rslora = true}.scale() == 4);
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const index_t out = 9, in = 6, r1 = 2, r2 = 3;
    const auto a1 = random_matrix(r1, in, seed), a2 = random_matrix(r2, in, seed + 1),
               b1 = random_matrix(out, r1, seed + 2), b2 = random_matrix(out, r2, seed + 3);
    const lora_state<double> one(a1, b1, 0.7), two(a2, b2, 0.7), doubled(a1, b1, 1.4);
    const auto d1 = one.delta_weight(), d2 = two.delta_weight(), d = doubled.delta_weight();
    const auto spectrum = tersor::linalg::svd(d1).s;
    CHECK(spectrum[static_cast<std::size_t>(r1)] <= 1e-12 * spectrum[0]);
    for (index_t i = 0; i < d.size(); ++i) REQUIRE(std::abs(d.data()[i] - 2 * d1.data()[i]) <= 1e-12);
    matrix<double> a(r1 + r2, in), b(out, r1 + r2);
    tersor::copy(a1.view(), a.view().rows(0, r1));
    tersor::copy(a2.view(), a.view().rows(r1, r2));
    tersor::copy(b1.view(), b.view().block(0, 0, out, r1));
    tersor::copy(b2.view(), b.view().block(0, r1, out, r2));
    const auto both = lora_state<double>(a, b, 0.7).delta_weight();
    for (index_t i = 0; i < both.size(); ++i)
      REQUIRE(std::abs(both.data()[i] - d1.data()[i] - d2.data()[i]) <= 1e-12);
    // rsLoRA is LoRA with alpha √r
    const matrix<double> w(out, in);
    const auto rs = lora{.rank = 4, .alpha = 3, .rslora = true}.init<double>(w, random_generator(seed));
    const auto same = lora{.rank = 4, .alpha = 3 * 2}.init<double>(w, random_generator(seed));
    CHECK(rs.scale() == same.scale());
    CHECK(rs.a() == same.a());
  }
}

TEST_CASE("lora: the starts", "[lora]") {
  const matrix<float> w(30, 400);
  const auto k = lora{.rank = 16}.init(w, random_generator(1));
  double largest_a = 0, sum = 0;
  for (const float v : k.a().values()) largest_a = std::max(largest_a, std::abs(static_cast<double>(v)));
  CHECK(largest_a <= 1.0 / 20);
  CHECK(largest_a >= 0.99 / 20);  // 6400 draws of U(±1 / √400)
  const auto n =
      lora{.rank = 16, .start = tersor::adapters::lora_init::gaussian}.init(w, random_generator(1));
  for (const float v : n.a().values()) sum += static_cast<double>(v) * static_cast<double>(v);
  const double deviation = std::sqrt(sum / 6400);
  CHECK(deviation > 0.95 / 16);  // five times the standard error of 6400 draws
  CHECK(deviation < 1.05 / 16);
  CHECK(k.a() == lora{.rank = 16}.init(w, random_generator(1)).a());
  CHECK_FALSE(k.a() == lora{.rank = 16}.init(w, random_generator(2)).a());
}

TEST_CASE("lora: over a quantized operator", "[lora]") {
  const auto w = random_matrix<float>(16, 32, 1), x = random_matrix<float>(5, 32, 2);
  const auto gy = random_matrix<float>(5, 16, 3);
  const tersor::op::any_operator op = tersor::quant::rtn{.bits = 4, .group_size = 16}(w).op;
  auto s = lora{.rank = 4}.init(op, random_generator(4));
  randomise(s, 5);
  const dense_layer<float> dense{op.to_dense(), {}};
  matrix<float> y(5, 16), gx(5, 32), gx_dense(5, 32);
  s.forward(op, x, y);
  CHECK(gap(y, output(s, dense, x)) <= 1e-4);
  auto g = s.make_gradients(), g_dense = s.make_gradients();
  s.backward(op, x, gy, gx, g);
  s.backward(dense, x, gy, gx_dense, g_dense);
  CHECK(g == g_dense);  // the adapter's gradients never look at the base
  CHECK(gap(gx, gx_dense) <= 1e-4);
}

TEST_CASE("lora: embeddings", "[lora]") {
  const index_t vocabulary = 11, dim = 5;
  const auto table = random_matrix(vocabulary, dim, 1);
  auto s = lora_embedding<double>::init({.rank = 3, .alpha = 6}, vocabulary, dim, random_generator(2));
  const std::vector<std::int32_t> ids{4, 0, 4, 10};
  matrix<double> y(4, dim);
  s.forward(table, ids, y);
  for (index_t t = 0; t < 4; ++t)
    for (index_t j = 0; j < dim; ++j) CHECK(y(t, j) == table(ids[static_cast<std::size_t>(t)], j));
  for (auto& p : s.tensors()) p.value = random_matrix(p.value.rows(), p.value.cols(), 3);
  s.forward(table, ids, y);
  const auto delta = s.delta_table();
  for (index_t t = 0; t < 4; ++t)
    for (index_t j = 0; j < dim; ++j) {
      const index_t id = ids[static_cast<std::size_t>(t)];
      CHECK(std::abs(y(t, j) - table(id, j) - delta(id, j)) <= 1e-12);
    }
  const auto gy = random_matrix(4, dim, 4);
  gradients<double> g{matrix<double>(3, vocabulary), matrix<double>(dim, 3)};
  s.backward(ids, gy.view(), g);
  for (std::size_t k = 0; k < 2; ++k)
    for (index_t i = 0; i < g[k].size(); ++i) {
      auto up = s, down = s;
      up.tensors()[k].value.data()[i] += 1e-6;
      down.tensors()[k].value.data()[i] -= 1e-6;
      matrix<double> yu(4, dim), yd(4, dim);
      up.forward(table, ids, yu);
      down.forward(table, ids, yd);
      REQUIRE(std::abs((inner(yu, gy) - inner(yd, gy)) / 2e-6 - g[k].data()[i]) <= 1e-6);
    }
  CHECK_THROWS_AS(s.forward(table, std::vector<std::int32_t>{11}, matrix<double>(1, dim)), tersor::error);
  CHECK_THROWS_AS(s.forward(table, std::vector<std::int32_t>{-1}, matrix<double>(1, dim)), tersor::error);
}

TEST_CASE("lora: errors", "[lora]") {
  const matrix<double> w(4, 6);
  CHECK_THROWS_AS(lora{.rank = 0}.init<double>(w, random_generator(1)), tersor::error);
  CHECK_THROWS_AS(lora{.alpha = -1}.init<double>(w, random_generator(1)), tersor::error);
  CHECK_THROWS_AS((lora{.alpha = std::numeric_limits<double>::infinity()}.validate()), tersor::error);
  CHECK_THROWS_AS(lora{}.init<double>(matrix<double>(0, 6), random_generator(1)), tersor::error);
  CHECK_THROWS_AS(lora_state<double>(matrix<double>(2, 6), matrix<double>(4, 3), 1), tersor::error);
  CHECK_THROWS_AS(lora_state<double>(matrix<double>(2, 6), matrix<double>(4, 2), 1, {1}), tersor::error);
  const auto s = lora{}.init<double>(w, random_generator(1));
  matrix<double> x(2, 6), y(2, 4), gx(2, 6);
  auto g = s.make_gradients();
  CHECK_THROWS_AS(s.forward(matrix<double>(4, 5), x, y), tersor::error);
  CHECK_THROWS_AS(s.forward(w, matrix<double>(2, 5), y), tersor::error);
  CHECK_THROWS_AS(s.forward(w, x, matrix<double>(3, 4)), tersor::error);
  CHECK_THROWS_AS(s.backward(w, x, matrix<double>(2, 3), gx, g), tersor::error);
  gradients<double> none;
  CHECK_THROWS_AS(s.backward(w, x, y, gx, none), tersor::error);
}

}  // namespace lora_tests
