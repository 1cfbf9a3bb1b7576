// tersor - tests of solve/equivalent.hpp
// SPDX-License-Identifier: MIT
#include <tersor/solve/equivalent.hpp>

#include "../quant/samples.hpp"

namespace equivalent_tests {

using namespace tersor_test;
using namespace tersor::solve;
using tersor::index_t;

std::vector<float> positive(index_t n, std::uint64_t seed) {
  std::vector<float> s(static_cast<std::size_t>(n));
  tersor::random_generator g(seed);
  for (float& v : s) v = static_cast<float>(std::exp(2 * g.normal()));
  return s;
}
matrix<double> product(const matrix<float>& x, const matrix<float>& w) {
  const auto a = tersor::copy_as<double>(x.view()), b = tersor::copy_as<double>(w.view());
  return times(a.view(), b.view().transposed());
}

TEST_CASE("equivalent: columns times s and a norm divided by s leave the function unchanged",
          "[equivalent]") {
  for (const auto& [tokens, in, out] :
       {std::tuple<index_t, index_t, index_t>{1, 1, 1}, {5, 12, 7}, {9, 33, 20}})
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      const auto hidden = random_matrix<float>(tokens, in, seed);
      auto gain = random_matrix<float>(1, in, seed + 1), bias = random_matrix<float>(1, in, seed + 2);
      auto w = random_matrix<float>(out, in, seed + 3);
      const auto behind_norm = [&] {
        auto x = hidden;
        for (index_t t = 0; t < x.rows(); ++t)
          for (index_t j = 0; j < x.cols(); ++j) x(t, j) = x(t, j) * gain(0, j) + bias(0, j);
        return x;
      };
      const auto before = product(behind_norm(), w);
      const auto s = positive(in, seed + 4);
      scale_columns(w, s);
      divide_channels(gain.row(0), s);
      divide_channels(bias.row(0), s);
      CHECK(difference(product(behind_norm(), w).view(), before.view()) <= 1e-5 * largest(before.view()));
    }
}

TEST_CASE("equivalent: a linear producer is divided in its last rows", "[equivalent]") {
  const index_t in = 6, middle = 5, out = 4;
  const auto x = random_matrix<float>(7, in, 1);
  for (const index_t more : {0, 3}) {  // rows of a fused layer that feed somebody else
    auto producer = random_matrix<float>(more + middle, in, 2);
    auto bias = random_matrix<float>(1, more + middle, 3);
    auto w = random_matrix<float>(out, middle, 4);
    const auto first_rows = tersor::copy_as<float>(producer.view().rows(0, more));
    const auto run = [&] {
      matrix<double> y = product(x, producer), last(7, middle);
      for (index_t t = 0; t < 7; ++t)
        for (index_t j = 0; j < middle; ++j) last(t, j) = y(t, more + j) + bias(0, more + j);
      const auto b = tersor::copy_as<double>(w.view());
      return times(last.view(), b.view().transposed());
    };
    const auto before = run();
    const auto old_bias = bias;
    const auto s = positive(middle, 5);
    scale_columns(w, s);
    divide_rows(producer, bias.row(0), s);
    CHECK(difference(run().view(), before.view()) <= 1e-5 * largest(before.view()));
    CHECK(tersor::copy_as<float>(producer.view().rows(0, more)) == first_rows);
    for (index_t j = 0; j < more; ++j) CHECK(bias(0, j) == old_bias(0, j));
    const auto with_bias = producer;
    auto without = with_bias;
    divide_rows(without, {}, std::vector<float>(static_cast<std::size_t>(middle), 2.0F));
    CHECK(without(more, 0) == with_bias(more, 0) / 2);
  }
}

TEST_CASE("equivalent: errors", "[equivalent]") {
  matrix<float> w(3, 4);
  std::vector<float> three(3, 1.0F), four(4, 1.0F);
  CHECK(holds(error_text([&] { scale_columns(w, three); }), "scale_columns: length of s = 3: expected 4"));
  CHECK(holds(error_text([&] { divide_channels(four, three); }), "divide_channels: length of s = 3"));
  CHECK(holds(error_text([&] { divide_rows(w, {}, four); }), "divide_rows: length of s = 4"));
  CHECK(
      holds(error_text([&] { divide_rows(w, four, three); }), "divide_rows: length of bias = 4: expected 3"));
}

TEST_CASE("equivalent: a weight on its grid", "[equivalent]") {
  for (const index_t group : {index_t{-1}, index_t{1}, index_t{5}})
    for (const bool clip : {false, true}) {
      const grid_target target{{.bits = 3, .clip_search = clip}, group};
      const auto w = random_matrix<float>(20, 12, 6);
      const auto grids = fit_grids(w.view(), group, false, target.rule);
      const auto expected =
          quantized_operator(quantize(w.view(), grids, 3), grids, target.rule, {}).to_dense();
      CHECK(rounded_to_grid(w.view(), target, threads(1)) == expected);
      CHECK(rounded_to_grid(w.view(), target, threads(3)) == expected);
    }
}

}  // namespace equivalent_tests
