// tersor - xtensor containers, adaptors and strided views as tensors, and results back to xtensor
// SPDX-License-Identifier: MIT
#pragma once

#if __has_include(<xtensor/containers/xtensor.hpp>)
#include <xtensor/containers/xadapt.hpp>   // xt::adapt
#include <xtensor/containers/xtensor.hpp>  // xt::xtensor
#include <xtensor/core/xexpression.hpp>    // xt::is_xexpression
#else
#include <xtensor/xadapt.hpp>       // xt::adapt
#include <xtensor/xexpression.hpp>  // xt::is_xexpression
#include <xtensor/xtensor.hpp>      // xt::xtensor
#endif

#include <tersor/core/matrix.hpp>

// Include this header before xtensor objects are handed to tersor. Then
//
//     xt::xtensor<float, 2> w = ...;  // also xtensor_fixed, xt::adapt(...), xt::view, xt::transpose
//     auto packed = tersor::quant::gptq{}(w, stats);
//
//     xt::xarray<float> a = ...;  // its rank is known at run time only: say it, and it is checked
//     auto checked = tersor::quant::gptq{}(tersor::as_view<2>(a), stats);
//
//     xt::xtensor<float, 2> back = tersor::to_xtensor(packed.op.to_dense());
//
// Both header layouts of xtensor (before and since 0.26) are found.

namespace tersor {

/// An xtensor expression over memory with strides: containers, adaptors, and views of them made of ranges,
/// single indices and transpositions. Expressions that compute (`a + b`) or select (`xt::keep`) have no
/// memory to view.
template <class X>
concept xtensor_memory = xt::is_xexpression<std::remove_cvref_t<X>>::value && requires(X& x) {
  {*x.data()};
  { x.data_offset() } -> std::convertible_to<std::size_t>;
  x.shape()[0];
  x.strides()[0];
};

namespace detail {

template <class X>
inline constexpr std::ptrdiff_t xtensor_rank = xt::static_dimension<typename X::shape_type>::value;

/// xtensor writes stride 0 where an extent is 1; the view gets the stride of row-major neighbours instead.
template <std::size_t Rank, xtensor_memory X>
auto xtensor_view(X& x) {
  using T = std::remove_reference_t<decltype(*x.data())>;
  tensor_view<T, Rank> v;
  v.data = x.data() + x.data_offset();
  for (std::size_t k = Rank; k-- > 0;) {
    v.extents[k] = static_cast<index_t>(x.shape()[k]);
    if (v.extents[k] == 1)
      v.strides[k] = k + 1 < Rank ? v.strides[k + 1] * v.extents[k + 1] : 1;
    else
      v.strides[k] = static_cast<index_t>(x.strides()[k]);
  }
  return v;
}

}  // namespace detail

template <xtensor_memory X>
requires(detail::xtensor_rank<X> >= 1) struct view_traits<X> {
  static auto view(auto& x) {
    return detail::xtensor_view<static_cast<std::size_t>(detail::xtensor_rank<X>)>(x);
  }
};

/// A view of rank `Rank` of an xtensor object whose rank is known at run time only (`xt::xarray`). An error
/// names the tensor if it has another rank.
template <std::size_t Rank, class X>
requires(xtensor_memory<std::remove_reference_t<X>>) auto as_view(X&& x, std::string_view name = "tensor") {
  require(x.dimension() == Rank, concat("rank of ", name), x.dimension(), Rank);
  return detail::xtensor_view<Rank>(x);
}

/// A row-major xt::xtensor with a copy of x.
template <tensor_like X>
auto to_xtensor(const X& x) {
  const auto v = as_view(x);
  using view = std::remove_const_t<decltype(v)>;
  typename xt::xtensor<typename view::value_type, view::rank>::shape_type shape;
  for (std::size_t k = 0; k < view::rank; ++k) shape[k] = static_cast<std::size_t>(v.extents[k]);
  xt::xtensor<typename view::value_type, view::rank> y(shape);
  std::array<index_t, view::rank> at{};
  for (auto* out = y.data(); out != y.data() + v.size(); ++out) {
    index_t offset = 0;
    for (std::size_t k = 0; k < view::rank; ++k) offset += at[k] * v.strides[k];
    *out = v.data[offset];
    for (std::size_t k = view::rank; k-- > 0 && ++at[k] == v.extents[k];) at[k] = 0;
  }
  return y;
}

/// An xtensor adaptor over the memory of x, which must outlive it: no copy.
template <class T>
auto adapt(matrix<T>& x) {
  return xt::adapt(
      x.data(), static_cast<std::size_t>(x.size()), xt::no_ownership(),
      std::array<std::size_t, 2>{static_cast<std::size_t>(x.rows()), static_cast<std::size_t>(x.cols())});
}
template <class T>
auto adapt(const matrix<T>& x) {
  return xt::adapt(
      x.data(), static_cast<std::size_t>(x.size()), xt::no_ownership(),
      std::array<std::size_t, 2>{static_cast<std::size_t>(x.rows()), static_cast<std::size_t>(x.cols())});
}
template <class T>
void adapt(matrix<T>&&) = delete;
template <class T>
void adapt(const matrix<T>&&) = delete;

}  // namespace tersor
