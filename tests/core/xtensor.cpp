// tersor - tests of core/xtensor.hpp
// SPDX-License-Identifier: MIT
#include "catch.hpp"

#if __has_include(<xtensor/containers/xarray.hpp>)
#include <xtensor/containers/xarray.hpp>
#include <xtensor/containers/xfixed.hpp>
#include <xtensor/misc/xmanipulation.hpp>
#include <xtensor/views/xstrided_view.hpp>
#include <xtensor/views/xview.hpp>
#else
#include <xtensor/xarray.hpp>
#include <xtensor/xfixed.hpp>
#include <xtensor/xmanipulation.hpp>
#include <xtensor/xstrided_view.hpp>
#include <xtensor/xview.hpp>
#endif

#include <string>
#include <vector>

#include <tersor/core/xtensor.hpp>

namespace tersor::xtensor_tests {

namespace {

/// Every element of the view is the element that xtensor's own indexing gives; writing goes to the same
/// place.
template <class X>
void check_same_elements(X&& x) {
  const auto v = as_view(x);
  static_assert(std::remove_const_t<decltype(v)>::rank == 2);
  REQUIRE(v.rows() == static_cast<index_t>(x.shape()[0]));
  REQUIRE(v.cols() == static_cast<index_t>(x.shape()[1]));
  for (index_t i = 0; i < v.rows(); ++i)
    for (index_t j = 0; j < v.cols(); ++j) {
      CHECK(v(i, j) == x(static_cast<std::size_t>(i), static_cast<std::size_t>(j)));
      CHECK(&v(i, j) == &x(static_cast<std::size_t>(i), static_cast<std::size_t>(j)));
    }
}

template <class X>
X numbered(X x) {
  float value = 1;
  for (auto& element : x.storage()) element = value++;
  return x;
}

using row_major = xt::xtensor<float, 2, xt::layout_type::row_major>;
using column_major = xt::xtensor<float, 2, xt::layout_type::column_major>;
using dynamic_order = xt::xtensor<float, 2, xt::layout_type::dynamic>;

static_assert(matrix_like<row_major> && matrix_like<column_major> && matrix_like<const row_major>);
static_assert(vector_like<xt::xtensor<float, 1>>);
static_assert(!tensor_like<xt::xarray<float>>, "its rank is not known to the compiler");
static_assert(!tensor_like<decltype(std::declval<row_major&>() + std::declval<row_major&>())>);

}  // namespace

TEST_CASE("xtensor containers of both layouts are viewed in place") {
  check_same_elements(numbered(row_major({3, 4})));
  check_same_elements(numbered(column_major({3, 4})));
  check_same_elements(numbered(dynamic_order({3, 4}, {1, 3})));
  check_same_elements(numbered(xt::xtensor_fixed<float, xt::xshape<3, 4>>()));
  const row_major constant = numbered(row_major({2, 5}));
  check_same_elements(constant);
  static_assert(std::is_same_v<decltype(as_view(constant)), matrix_view<const float>>);

  row_major x({2, 2});
  as_view(x)(1, 0) = 7;
  CHECK(x(1, 0) == 7.0F);
}

TEST_CASE("xtensor views and transpositions are viewed in place") {
  auto x = numbered(row_major({6, 8}));
  auto y = numbered(column_major({6, 8}));
  check_same_elements(xt::view(x, xt::range(1, 4), xt::range(2, 7)));
  check_same_elements(xt::view(x, xt::range(0, 6, 2), xt::range(1, 8, 3)));
  check_same_elements(xt::view(x, xt::range(5, 0, -2), xt::all()));
  check_same_elements(xt::view(y, xt::range(1, 4), xt::range(2, 7)));
  check_same_elements(xt::transpose(x));
  check_same_elements(xt::view(xt::transpose(y), xt::range(1, 3), xt::all()));

  auto cube = numbered(xt::xtensor<float, 3>({3, 4, 5}));
  check_same_elements(xt::view(cube, 1, xt::all(), xt::all()));
  check_same_elements(xt::view(cube, xt::all(), 2, xt::range(1, 4)));
  const auto v = as_view(cube);
  static_assert(std::remove_const_t<decltype(v)>::rank == 3);
  CHECK(v(2, 1, 3) == cube(2, 1, 3));

  auto row = xt::view(x, 2, xt::all());
  const auto r = as_vector_view(row);
  CHECK(r.extents[0] == 8);
  CHECK(&r(3) == &x(2, 3));
}

TEST_CASE("memory adapted by xtensor is viewed in place") {
  std::vector<float> memory{1, 2, 3, 4, 5, 6};
  auto x = xt::adapt(memory, std::array<std::size_t, 2>{2, 3});
  check_same_elements(x);
  CHECK(as_view(x).data == memory.data());
  auto p = xt::adapt(memory.data(), 6, xt::no_ownership(), std::array<std::size_t, 2>{3, 2});
  check_same_elements(p);
}

TEST_CASE("extents of one get usable strides") {
  row_major x({1, 5});
  CHECK(as_view(x).strides == std::array<index_t, 2>{5, 1});
  row_major y({5, 1});
  CHECK(as_view(y).strides == std::array<index_t, 2>{1, 1});
  CHECK(as_view(y).is_contiguous());
  row_major none({0, 4});
  CHECK(as_view(none).empty());
}

TEST_CASE("the rank of an xarray is checked") {
  auto x = numbered(xt::xarray<float>(std::vector<std::size_t>{3, 4}));
  const auto v = as_view<2>(x);
  static_assert(std::is_same_v<decltype(as_view<2>(x)), matrix_view<float>>);
  CHECK(&v(2, 1) == &x(2, 1));
  const auto& constant = x;
  static_assert(std::is_same_v<decltype(as_view<2>(constant)), matrix_view<const float>>);
  CHECK(as_view<2>(xt::view(x, xt::range(1, 3), xt::all()))(0, 2) == x(1, 2));
  CHECK(as_view<2>(xt::strided_view(x, {xt::range(0, 2), xt::range(3, 4)}))(1, 0) == x(1, 3));
  try {
    as_view<3>(x, "keys");
    FAIL("a wrong rank was accepted");
  } catch (const error& e) {
    CHECK(std::string(e.what()) == "rank of keys = 2: expected 3");
  }
}

TEST_CASE("results go back to xtensor") {
  matrix<float> m(2, 3);
  for (index_t i = 0; i < 2; ++i)
    for (index_t j = 0; j < 3; ++j) m(i, j) = static_cast<float>(10 * i + j);

  const auto copied = to_xtensor(m.view().transposed());
  static_assert(std::is_same_v<std::remove_const_t<decltype(copied)>, xt::xtensor<float, 2>>);
  CHECK(copied.shape()[0] == 3);
  CHECK(copied(2, 1) == 12.0F);
  CHECK(copied(0, 1) == 10.0F);

  auto adapted = adapt(m);
  CHECK(adapted.data() == m.data());
  adapted(1, 2) = 99;
  CHECK(m(1, 2) == 99.0F);
  const auto& constant = m;
  CHECK(adapt(constant)(1, 2) == 99.0F);

  std::vector<int> values(24);
  for (std::size_t k = 0; k < values.size(); ++k) values[k] = static_cast<int>(k);
  const auto cube = to_xtensor(as_view(values.data(), {2, 3, 4}, {1, 2, 6}));
  CHECK(cube(1, 2, 3) == 1 + 4 + 18);
  CHECK(cube(0, 1, 0) == 2);
  CHECK(to_xtensor(matrix<float>(0, 4)).size() == 0);
}

}  // namespace tersor::xtensor_tests
