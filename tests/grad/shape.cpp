// tersor - tests of grad/shape.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/shape.hpp>

#include "grad/differences.hpp"

namespace tersor {
namespace shape_tests {

using namespace tersor_test;
using grad::tape;

TEST_CASE("shape: transpose, reshape, slices and concatenations") {
  const std::pair<index_t, index_t> shapes[] = {{1, 1}, {1, 6}, {6, 1}, {3, 4}, {5, 18}};
  for (const auto& shape : shapes) {
    const index_t m = shape.first, n = shape.second;
    const auto x = normal_matrix(m, n, 1), below = normal_matrix(m + 1, n, 2),
               beside = normal_matrix(m, n + 2, 3);
    check_derivatives([](auto&, const auto& in) { return transpose(in[0]); }, {x});
    check_derivatives([=](auto&, const auto& in) { return reshape(in[0], n, m); }, {x});
    check_derivatives([=](auto&, const auto& in) { return slice(in[0], m / 2, n / 3, m - m / 2, n - n / 3); },
                      {x});
    check_derivatives([=](auto&, const auto& in) { return slice_rows(in[0], m - 1, 1); }, {x});
    // Overlapping slices of one variable add up.
    check_derivatives(
        [=](auto&, const auto& in) {
          return slice_columns(in[0], 0, 1) * slice_columns(in[0], n / 2, n - n / 2);
        },
        {x});
    check_derivatives(
        [](auto&, const auto& in) {
          return concat_rows(std::vector{in[0], in[1], in[0]});
        },
        {x, below});
    check_derivatives(
        [](auto&, const auto& in) {
          return concat_columns(std::vector{in[0], in[1], in[0]});
        },
        {x, beside});
  }
}

TEST_CASE("shape: sums, means and extremes") {
  const std::pair<index_t, index_t> shapes[] = {{1, 1}, {1, 37}, {6, 1}, {3, 4}, {5, 18}};
  for (const auto& shape : shapes) {
    const auto x = normal_matrix(shape.first, shape.second, 4);
    check_derivatives([](auto&, const auto& in) { return sum(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return mean(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return sum_of_rows(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return sum_of_columns(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return min_of_rows(in[0]); }, {x});
    check_derivatives([](auto&, const auto& in) { return max_of_rows(in[0]); }, {x});
  }
  check_derivatives([](auto&, const auto& in) { return sum(in[0]); }, {matrix<double>(0, 3)});
  check_derivatives([](auto&, const auto& in) { return sum_of_columns(in[0]); }, {matrix<double>(0, 3)});
  check_derivatives([](auto&, const auto& in) { return sum_of_rows(in[0]); }, {matrix<double>(3, 0)});
}

TEST_CASE("shape: values by hand") {
  tape<double> t;
  matrix<double> m(2, 3);
  for (index_t i = 0; i < 6; ++i) m.data()[i] = static_cast<double>(i + 1);
  const auto x = t.input(m);
  CHECK(sum(x).item() == 21.0);
  CHECK(mean(x).item() == 3.5);
  CHECK(sum_of_rows(x).value()(1, 0) == 15.0);
  CHECK(sum_of_columns(x).value()(0, 2) == 9.0);
  CHECK(transpose(x).value()(2, 1) == 6.0);
  CHECK(reshape(x, 3, 2).value()(1, 0) == 3.0);
  CHECK(slice(x, 1, 1, 1, 2).value()(0, 0) == 5.0);
  CHECK(concat_rows(std::vector{x, x}).value()(3, 2) == 6.0);
  CHECK(concat_columns(std::vector{x, x}).value()(1, 3) == 4.0);
}

TEST_CASE("shape: of equal extremes the first gets the gradient") {
  tape<double> t;
  const auto x = t.input(matrix<double>(2, 3, 1.0));
  t.backward(sum(min_of_rows(x)) + sum(max_of_rows(x)) * 2.0);
  for (index_t i = 0; i < 2; ++i) {
    CHECK(x.gradient()(i, 0) == 3.0);
    CHECK(x.gradient()(i, 1) == 0.0);
  }
}

TEST_CASE("shape: a sum of floats loses nothing that a double would keep") {
  tape<float> t;
  const auto x = t.constant(matrix<float>(1000, 1000, 0.1F));
  CHECK(sum(x).item() == static_cast<float>(1e6 * static_cast<double>(0.1F)));
  CHECK(sum_of_columns(x).value()(0, 7) == static_cast<float>(1e3 * static_cast<double>(0.1F)));
}

TEST_CASE("shape: embedding rows, used once, several times and never") {
  const std::vector<std::int32_t> ids{3, 0, 3, 3, 1};
  const auto f = [&](auto&, const auto& in) { return embedding(in[0], std::span<const std::int32_t>(ids)); };
  check_derivatives(f, {normal_matrix(5, 3, 6)});
  check_derivatives(f, {normal_matrix(4, 70, 7)});
  const auto e = evaluate<double>(f, {normal_matrix(5, 3, 6)});
  for (index_t j = 0; j < 3; ++j) {
    CHECK(e.gradients[0](2, j) == 0.0);
    CHECK(e.gradients[0](4, j) == 0.0);
  }
  tape<float> t;
  const auto table = t.input(matrix<float>(3, 2));
  CHECK(embedding(table, std::span<const std::int32_t>()).rows() == 0);
  const std::vector<std::int32_t> bad{0, 3}, negative{-1};
  CHECK(message_of([&] { embedding(table, std::span<const std::int32_t>(bad)); }) ==
        "embedding: ids[1] = 3: expected 0 .. 2");
  CHECK(message_of([&] { embedding(table, std::span<const std::int32_t>(negative)); }) ==
        "embedding: ids[0] = -1: expected 0 .. 2");
}

TEST_CASE("shape: the same bits for any number of threads where loops are cut") {
  const auto x = normal_matrix(3000, 70, 1);
  const auto f = [](auto&, const auto& in) {
    return sum_of_columns(in[0]) * sum(in[0]) + sum_of_columns(transpose(reshape(in[0], 70, 3000)) * in[0]);
  };
  const auto one = evaluate<float>(f, {x}, threads(1)), four = evaluate<float>(f, {x}, threads(4));
  CHECK(one.loss == four.loss);
  CHECK(one.gradients == four.gradients);
}

TEST_CASE("shape: errors") {
  tape<float> t;
  const auto a = t.input(matrix<float>(2, 3)), b = t.input(matrix<float>(3, 2));
  CHECK(message_of([&] { reshape(a, 2, 2); }) ==
        "reshape: shapes = 2 x 3: expected as many elements as 2 x 2");
  CHECK(message_of([&] { slice(a, 1, 0, 2, 3); }).starts_with("slice: shapes = 2 x 3"));
  CHECK(message_of([&] {
          concat_rows(std::vector{a, b});
        }) == "concat_rows: shapes = 2 x 3 and 3 x 2: expected equal numbers of columns");
  CHECK(message_of([&] {
          concat_columns(std::vector{a, b});
        }) == "concat_columns: shapes = 2 x 3 and 3 x 2: expected equal numbers of rows");
  CHECK(message_of([&] {
          concat_rows(std::vector<grad::variable<float>>());
        }).starts_with("concat_rows: inputs"));
  CHECK(message_of([&] { mean(t.input(matrix<float>(0, 3))); }).starts_with("mean: shape = 0 x 3"));
  CHECK(message_of([&] {
          max_of_rows(t.input(matrix<float>(3, 0)));
        }).starts_with("max_of_rows: shapes = 3 x 0"));
}

}  // namespace shape_tests
}  // namespace tersor
