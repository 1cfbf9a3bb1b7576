// tersor - tests of grad/attention.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/attention.hpp>

#include "grad/differences.hpp"

#include <tersor/grad/product.hpp>

namespace tersor {
namespace attention_tests {

using namespace tersor_test;
using grad::attention_shape;
using grad::rotary_table;
using grad::tape;

/// Attention put together from other operations, one sequence and head after the other.
template <class T>
grad::variable<T> composed(grad::tape<T>& t, const grad::variable<T>& q, const grad::variable<T>& k,
                           const grad::variable<T>& v, const attention_shape& s) {
  const index_t d = q.cols() / s.heads, length = s.sequence_length == 0 ? q.rows() : s.sequence_length;
  matrix<T> mask(length, length);
  if (s.causal)
    for (index_t i = 0; i < length; ++i)
      for (index_t j = i + 1; j < length; ++j) mask(i, j) = T(-1e9);
  const auto hidden = t.constant(mask);
  std::vector<grad::variable<T>> sequences;
  for (index_t first = 0; first < q.rows(); first += length) {
    std::vector<grad::variable<T>> heads;
    for (index_t h = 0; h < s.heads; ++h) {
      const index_t kv = h / (s.heads / s.kv_heads);
      const auto qs = slice(q, first, h * d, length, d), ks = slice(k, first, kv * d, length, d),
                 vs = slice(v, first, kv * d, length, d);
      const auto scores = matmul(qs, ks, false, true) * T(1.0 / std::sqrt(static_cast<double>(d))) + hidden;
      heads.push_back(matmul(softmax(scores), vs));
    }
    sequences.push_back(concat_columns(heads));
  }
  return concat_rows(sequences);
}

TEST_CASE("attention: derivatives, one head and grouped queries, one sequence and several") {
  const attention_shape cases[] = {
      {1, 1, 0, true}, {2, 2, 0, true}, {4, 2, 3, true}, {3, 1, 2, false}, {2, 1, 1, true}};
  for (const auto& s : cases)
    for (const index_t d : {1, 4}) {
      const index_t rows = 6;
      INFO(s.heads << " heads, " << s.kv_heads << ", length " << s.sequence_length << ", d " << d);
      check_derivatives([s](auto&, const auto& x) { return attention(x[0], x[1], x[2], s); },
                        {normal_matrix(rows, s.heads * d, 1), normal_matrix(rows, s.kv_heads * d, 2),
                         normal_matrix(rows, s.kv_heads * d, 3)});
    }
}

TEST_CASE("attention: equals the composition of products and a softmax, over several tiles of queries") {
  for (const bool causal : {true, false})
    for (const index_t length : {1, 63, 64, 65, 150}) {
      const attention_shape s{4, 2, length, causal};
      const std::vector<matrix<double>> at{normal_matrix(2 * length, 12, 1), normal_matrix(2 * length, 6, 2),
                                           normal_matrix(2 * length, 6, 3)};
      const auto fused =
          evaluate<double>([&](auto&, const auto& x) { return attention(x[0], x[1], x[2], s); }, at);
      const auto plain =
          evaluate<double>([&](auto& t, const auto& x) { return composed(t, x[0], x[1], x[2], s); }, at);
      CHECK(std::abs(fused.loss - plain.loss) < 1e-10);
      for (std::size_t i = 0; i < 3; ++i)
        for (index_t j = 0; j < at[i].size(); ++j)
          if (std::abs(fused.gradients[i].data()[j] - plain.gradients[i].data()[j]) > 1e-11)
            CHECK(fused.gradients[i].data()[j] == plain.gradients[i].data()[j]);
      CHECK(evaluate<double>([&](auto&, const auto& x) { return attention(x[0], x[1], x[2], s); }, at,
                             threads(3))
                .gradients == fused.gradients);
    }
}

TEST_CASE("attention: a token does not see later ones, nor other sequences") {
  const attention_shape s{2, 1, 70, true};
  const auto q = normal_matrix(140, 8, 1), k = normal_matrix(140, 4, 2), v = normal_matrix(140, 4, 3);
  tape<double> t;
  const auto vq = t.input(q), vk = t.input(k), vv = t.input(v);
  const auto y = attention(vq, vk, vv, s);
  t.backward(sum(slice_rows(y, 75, 1)));  // the sixth token of the second sequence
  for (index_t i = 0; i < 140; ++i) {
    const bool seen = i >= 70 && i <= 75;
    for (index_t j = 0; j < 4; ++j) CHECK((vv.gradient()(i, j) != 0.0) == seen);
    if (i != 75)
      for (index_t j = 0; j < 8; ++j) CHECK(vq.gradient()(i, j) == 0.0);
  }
}

TEST_CASE("attention: keeps q, k and v, not the probabilities") {
  const index_t length = 512;
  tape<float> t;
  const auto q = t.input(converted<float>(normal_matrix(length, 32, 1))),
             k = t.input(converted<float>(normal_matrix(length, 16, 2))),
             v = t.input(converted<float>(normal_matrix(length, 16, 3)));
  const index_t before = t.memory().current();
  const auto y = attention(q, k, v, {4, 2, length, true});
  CHECK(t.memory().current() - before == length * 32 * 4);
}

TEST_CASE("attention: rotary positions are rotations, and their inverse comes back") {
  const std::vector<double> frequencies{1.0, 0.3};
  const rotary_table table(frequencies, 9);
  for (const index_t length : {0, 3})
    check_derivatives([&](auto&, const auto& x) { return rotary(x[0], table, length); },
                      {normal_matrix(6, 8, 1)});
  tape<double> t;
  const auto x = t.input(normal_matrix(6, 8, 2));
  const auto y = rotary(x, table, 3);
  for (index_t j = 0; j < 8; ++j) {
    CHECK(y.value()(0, j) == x.value()(0, j));  // position 0
    CHECK(y.value()(3, j) == x.value()(3, j));  // and that of the second sequence
  }
  // channel 1 of head 1 is paired with channel 3: indices 5 and 7, by the angle 2 * 0.3
  CHECK(std::abs(y.value()(2, 5) - (x.value()(2, 5) * std::cos(0.6) - x.value()(2, 7) * std::sin(0.6))) <
        1e-15);
  CHECK(std::abs(y.value()(2, 7) - (x.value()(2, 7) * std::cos(0.6) + x.value()(2, 5) * std::sin(0.6))) <
        1e-15);
  t.backward(y, y.value());  // the gradient of |y|² / 2 is x, as lengths are kept
  for (index_t i = 0; i < x.value().size(); ++i)
    CHECK(std::abs(x.gradient().data()[i] - x.value().data()[i]) < 1e-14);
}

TEST_CASE("attention: no tokens") {
  tape<float> t;
  const auto q = t.input(matrix<float>(0, 8)), k = t.input(matrix<float>(0, 4)),
             v = t.input(matrix<float>(0, 4));
  const auto y = attention(q, k, v, {2, 1, 0, true});
  CHECK(y.rows() == 0);
  t.backward(sum(y));
  CHECK(q.gradient().rows() == 0);
}

TEST_CASE("attention: errors") {
  tape<float> t;
  const auto q = t.input(matrix<float>(6, 8)), k = t.input(matrix<float>(6, 4)),
             bad = t.input(matrix<float>(5, 4));
  CHECK(message_of([&] {
          attention(q, k, k, {4, 3, 0, true});
        }) == "attention: kv_heads = 3: expected a divisor of heads, 4");
  CHECK(message_of([&] {
          attention(q, k, bad, {4, 2, 0, true});
        }).starts_with("attention: shapes = 6 x 8 and 6 x 4 and 5 x 4"));
  CHECK(message_of([&] { attention(q, k, k, {4, 2, 4, true}); }).starts_with("attention: shapes"));
  CHECK(message_of([&] { attention(q, k, k, {4, 4, 0, true}); }).starts_with("attention: shapes"));
  const std::vector<double> frequencies{1.0, 0.5, 0.2};
  const rotary_table table(frequencies, 4);
  CHECK(message_of([&] { rotary(q, table, 3); }).starts_with("rotary: shapes = 6 x 8"));
  const auto six = t.input(matrix<float>(6, 6));
  CHECK(message_of([&] { rotary(six, table); }).starts_with("rotary: shapes = 6 x 6"));  // 6 positions of 4
  CHECK(rotary(six, table, 3).rows() == 6);
}

}  // namespace attention_tests
}  // namespace tersor
