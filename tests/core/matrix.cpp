// tersor - tests of core/matrix.hpp
// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <Eigen/Core>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <tersor/core/float16.hpp>
#include <tersor/core/matrix.hpp>

namespace tersor::matrix_tests {
namespace {

matrix<float> numbered(index_t rows, index_t cols) {
  matrix<float> m(rows, cols);
  for (index_t i = 0; i < rows; ++i)
    for (index_t j = 0; j < cols; ++j) m(i, j) = static_cast<float>(100 * i + j);
  return m;
}

template <class Call>
std::string message(Call&& call) {
  try {
    call();
    return "accepted";
  } catch (const error& e) {
    return e.what();
  }
}

static_assert(matrix_like<matrix<float>> && matrix_like<const matrix<double>>);
static_assert(std::is_same_v<view_of<const matrix<float>>, matrix_view<const float>>);

}  // namespace

TEST_CASE("a matrix is row-major, contiguous and starts as zeros") {
  const matrix<float> zero(3, 2);
  for (float x : zero.values()) CHECK(x == 0.0F);
  CHECK(matrix<int>(2, 2, 7)(1, 1) == 7);
  CHECK(matrix<float>().empty());
  CHECK(matrix<float>(0, 5).cols() == 5);

  auto m = numbered(3, 4);
  CHECK(m.size() == 12);
  CHECK(m.data()[1 * 4 + 2] == 102.0F);
  CHECK(m.row(2)[3] == 203.0F);
  CHECK(m.view().is_contiguous());
  CHECK(&as_view(m)(1, 2) == &m(1, 2));
  m.row(1)[0] = -1;
  CHECK(m(1, 0) == -1.0F);
  const matrix_view<const float> v = m;
  CHECK(v.data == m.data());
  CHECK(m == m);
  CHECK_FALSE(m == numbered(3, 4));
  CHECK_FALSE(matrix<float>(2, 3) == matrix<float>(3, 2));
}

TEST_CASE("every layout gives the same copy") {
  const auto m = numbered(3, 5);
  using row_major = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const row_major r = Eigen::Map<const row_major>(m.data(), 3, 5);
  const Eigen::MatrixXf c = r;
  const Eigen::MatrixXf t = r.transpose();
  CHECK(to_matrix<float>(m) == m);
  CHECK(to_matrix<float>(r) == m);
  CHECK(to_matrix<float>(c) == m);
  CHECK(to_matrix<float>(t.transpose()) == m);
  CHECK(copy_as<float>(m.view().transposed()).view().transposed()(2, 4) == m(2, 4));
  CHECK(to_matrix<double>(m)(2, 4) == 204.0);
  CHECK(static_cast<float>(to_matrix<bf16>(m)(1, 1)) == 101.0F);
}

TEST_CASE("copies into a view write nothing else") {
  const auto m = numbered(2, 3);
  matrix<double> target(4, 5, -1);
  copy(m.view(), target.view().block(1, 1, 2, 3));
  for (index_t i = 0; i < 4; ++i)
    for (index_t j = 0; j < 5; ++j) {
      const bool inside = i >= 1 && i < 3 && j >= 1 && j < 4;
      CHECK(target(i, j) == (inside ? static_cast<double>(m(i - 1, j - 1)) : -1.0));
    }
}

TEST_CASE("vectors are copied from any vector") {
  const auto m = numbered(3, 4);
  CHECK(to_vector<double>(m.view().column(1)) == std::vector<double>{1, 101, 201});
  CHECK(to_vector<float>(Eigen::Vector3f(1, 2, 3)) == std::vector<float>{1, 2, 3});
  CHECK(message([&] { to_vector<float>(m, "bias"); }) == "bias = 3 x 4: expected one extent of 1");
}

TEST_CASE("NaN and infinity are errors that name the place") {
  auto m = numbered(3, 4);
  CHECK_NOTHROW(require_finite(m.view(), "weight"));
  m(2, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK(message([&] { require_finite(m.view(), "weight"); }).starts_with("weight[2, 1] = "));
  CHECK(message([&] { require_finite(m.view().transposed(), "weight"); }).starts_with("weight[1, 2] = "));
  CHECK(message([&] { require_finite(m.view().row(2), "row"); }).starts_with("row[1] = "));
  m(1, 3) = -std::numeric_limits<float>::infinity();
  CHECK(message([&] { require_finite(m.view(), "weight"); }) ==
        "weight[1, 3] = -inf: expected a finite number");
  CHECK_NOTHROW(require_finite(matrix<double>(1, 1, std::numeric_limits<double>::max()).view(), "weight"));
  CHECK_NOTHROW(require_finite(matrix<float>(0, 3).view(), "weight"));
}

TEST_CASE("a wrong shape is an error that names both") {
  const auto m = numbered(3, 4);
  CHECK_NOTHROW(require_shape(m.view(), 3, 4, "scale"));
  CHECK(message([&] { require_shape(m.view(), 4, 3, "scale"); }) == "scale = 3 x 4: expected 4 x 3");
}

}  // namespace tersor::matrix_tests
