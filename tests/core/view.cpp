// tersor - tests of core/view.hpp
// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <Eigen/Core>
#include <array>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <tersor/core/view.hpp>

namespace my {

/// A tensor type of a user: extents in reverse order and strides in bytes, as ggml has them.
struct reversed_tensor {
  const void* data;
  long long extent[2];
  std::size_t byte_stride[2];
};

}  // namespace my

template <>
struct tersor::view_traits<my::reversed_tensor> {
  static matrix_view<const float> view(const my::reversed_tensor& x) {
    constexpr auto size = static_cast<tersor::index_t>(sizeof(float));
    return {static_cast<const float*>(x.data),
            {static_cast<tersor::index_t>(x.extent[1]), static_cast<tersor::index_t>(x.extent[0])},
            {static_cast<tersor::index_t>(x.byte_stride[1]) / size,
             static_cast<tersor::index_t>(x.byte_stride[0]) / size}};
  }
};

namespace tersor::view_tests {
namespace {

template <class M>
M numbered(Eigen::Index rows, Eigen::Index cols) {
  M m(rows, cols);
  for (Eigen::Index i = 0; i < rows; ++i)
    for (Eigen::Index j = 0; j < cols; ++j) m(i, j) = static_cast<float>(100 * i + j);
  return m;
}

/// Every element of the view is, in place, the element that Eigen's own indexing gives.
template <class M>
void check_same_elements(M&& m) {
  static_assert(matrix_like<M>);
  const auto v = as_view(m);
  REQUIRE(v.rows() == m.rows());
  REQUIRE(v.cols() == m.cols());
  for (index_t i = 0; i < v.rows(); ++i)
    for (index_t j = 0; j < v.cols(); ++j) CHECK(&v(i, j) == &m.coeffRef(i, j));
}

using row_major = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using column_major = Eigen::MatrixXf;

template <class X>
using element = typename view_of<X>::element_type;

static_assert(std::is_same_v<element<row_major>, float> &&
              std::is_same_v<element<const row_major>, const float>);
static_assert(std::is_same_v<element<std::vector<float>>, float>);
static_assert(std::is_same_v<element<const std::vector<float>>, const float>);
static_assert(std::is_same_v<element<std::span<const float>>, const float>);
static_assert(std::is_same_v<element<const std::array<double, 3>>, const double>);
static_assert(vector_like<Eigen::VectorXf> && vector_like<std::vector<float>> &&
              !matrix_like<std::vector<float>>);
static_assert(matrix_like<my::reversed_tensor>);
static_assert(!tensor_like<float> && !tensor_like<std::string> && !tensor_like<float*>);
static_assert(!tensor_like<decltype(std::declval<row_major>() * 2)>, "an expression has no memory");
static_assert(std::is_convertible_v<matrix_view<float>, matrix_view<const float>>);
static_assert(!std::is_convertible_v<matrix_view<const float>, matrix_view<float>>);
static_assert(std::is_trivially_copyable_v<matrix_view<float>>);

}  // namespace

TEST_CASE("Eigen matrices of both orders are viewed in place") {
  check_same_elements(numbered<row_major>(3, 5));
  check_same_elements(numbered<column_major>(3, 5));
  check_same_elements(numbered<row_major>(1, 4));
  check_same_elements(numbered<column_major>(4, 1));
  check_same_elements(numbered<Eigen::Matrix<float, 2, 3>>(2, 3));
  check_same_elements(numbered<Eigen::ArrayXXf>(2, 3));
  CHECK(as_view(row_major(0, 4)).empty());

  auto m = numbered<column_major>(2, 2);
  as_view(m)(1, 0) = -1;
  CHECK(m(1, 0) == -1.0F);
}

TEST_CASE("Eigen maps, blocks and transpositions are viewed in place") {
  auto r = numbered<row_major>(6, 7);
  auto c = numbered<column_major>(6, 7);
  check_same_elements(r.block(1, 2, 3, 4));
  check_same_elements(c.block(1, 2, 3, 4));
  check_same_elements(r.transpose());
  check_same_elements(c.transpose());
  check_same_elements(c.block(1, 2, 3, 4).transpose());
  check_same_elements(r.row(2));
  check_same_elements(c.row(2));
  check_same_elements(r.col(3));
  check_same_elements(c.middleCols(2, 2));

  using strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  check_same_elements(Eigen::Map<row_major, 0, strides>(r.data(), 3, 3, strides(14, 2)));
  check_same_elements(Eigen::Map<column_major, 0, strides>(c.data(), 3, 3, strides(12, 2)));
  check_same_elements(Eigen::Map<Eigen::MatrixXf>(c.data(), 7, 6));

  const auto& constant = c;
  const auto v = as_view(constant.block(1, 1, 2, 2));
  static_assert(std::is_same_v<std::remove_const_t<decltype(v)>, matrix_view<const float>>);
  CHECK(&v(1, 1) == &constant(2, 2));
}

TEST_CASE("vectors of every kind are viewed as rank 1") {
  std::vector<float> x{1, 2, 3};
  CHECK(as_view(x).data == x.data());
  CHECK(as_view(x)(2) == 3.0F);
  std::array<float, 3> a{4, 5, 6};
  CHECK(as_view(a)(1) == 5.0F);
  CHECK(as_view(std::span<const float>(x).subspan(1))(0) == 2.0F);
  CHECK(as_view(std::vector<float>()).empty());

  Eigen::VectorXf column = Eigen::VectorXf::LinSpaced(4, 0, 3);
  Eigen::RowVectorXf row = column.transpose();
  auto m = numbered<row_major>(3, 4);
  CHECK(&as_vector_view(column)(3) == &column(3));
  CHECK(&as_vector_view(row)(3) == &row(3));
  CHECK(as_vector_view(column).extents[0] == 4);
  CHECK(&as_vector_view(m.col(2))(1) == &m(1, 2));
  CHECK(&as_vector_view(m.row(2))(1) == &m(2, 1));
  CHECK(as_vector_view(numbered<row_major>(1, 1)).extents[0] == 1);
  try {
    as_vector_view(m, "bias");
    FAIL("a 3 x 4 matrix was accepted as a vector");
  } catch (const error& e) {
    CHECK(std::string(e.what()) == "bias = 3 x 4: expected one extent of 1");
  }
}

TEST_CASE("raw memory is viewed with extents and strides") {
  const std::vector<int> x{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  const auto m = as_view(x.data(), {3, 4});
  CHECK(m(2, 1) == 9);
  CHECK(as_view(x.data(), {4, 3}, {1, 4})(1, 2) == 9);
  CHECK(as_view(x.data() + 11, {3, 4}, {-4, -1})(0, 0) == 11);
  CHECK(as_view(x.data() + 11, {3, 4}, {-4, -1})(2, 3) == 0);
  CHECK(as_view(x.data(), {2, 3, 2})(1, 2, 1) == 11);
  CHECK(as_view(std::span(x), {2, 6})(1, 0) == 6);
  CHECK_THROWS_AS(as_view(std::span(x), {2, 5}), error);
}

TEST_CASE("a user's own tensor type joins by one trait") {
  const std::vector<float> x{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  const my::reversed_tensor theirs{x.data(), {4, 3}, {4, 16}};
  CHECK(as_view(theirs).extents == std::array<index_t, 2>{3, 4});
  CHECK(as_view(theirs)(2, 1) == 9.0F);
}

TEST_CASE("parts of a view refer to the same memory") {
  std::vector<int> x(30);
  for (std::size_t k = 0; k < x.size(); ++k) x[k] = static_cast<int>(k);
  const auto v = as_view(x.data(), {5, 6});
  CHECK(v.size() == 30);
  CHECK(v.row(2)(3) == 15);
  CHECK(v.column(3)(2) == 15);
  CHECK(v.transposed()(3, 2) == 15);
  CHECK(v.transposed().row(3)(2) == 15);
  CHECK(v.block(1, 2, 3, 3)(1, 1) == 15);
  CHECK(v.block(1, 2, 3, 3).block(1, 1, 2, 2)(0, 0) == 15);
  CHECK(v.rows(2, 2)(0, 3) == 15);
  CHECK(v.rows(2, 2).rows() == 2);
  CHECK(v.block(5, 6, 0, 0).empty());
}

TEST_CASE("contiguous means row-major without gaps") {
  float x[24] = {};
  CHECK(as_view(x, {4, 6}).is_contiguous());
  CHECK(as_view(x, {2, 3, 4}).is_contiguous());
  CHECK_FALSE(as_view(x, {4, 6}).transposed().is_contiguous());
  CHECK_FALSE(as_view(x, {4, 6}).block(0, 0, 4, 5).is_contiguous());
  CHECK(as_view(x, {4, 6}).rows(1, 3).is_contiguous());
  CHECK(as_view(x, {4, 6}).row(1).is_contiguous());
  CHECK_FALSE(as_view(x, {4, 6}).column(1).is_contiguous());
  CHECK(as_view(x, {1, 6}, {99, 1}).is_contiguous());
  CHECK(as_view(x, {6, 1}, {1, 99}).is_contiguous());
  CHECK_FALSE(as_view(x, {2, 6}, {-6, 1}).is_contiguous());
}

}  // namespace tersor::view_tests
