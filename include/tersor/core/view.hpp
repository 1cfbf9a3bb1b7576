// tersor - the tensor concept: views over anybody's memory
// SPDX-License-Identifier: MIT
#pragma once

#include <array>        // std::array
#include <cassert>      // assert
#include <concepts>     // std::convertible_to
#include <cstddef>      // std::ptrdiff_t
#include <span>         // std::span
#include <type_traits>  // std::remove_cvref_t
#include <utility>      // std::index_sequence
#include <vector>       // std::vector
#include <version>      // __cpp_lib_mdspan

#if defined(__cpp_lib_mdspan)
#include <mdspan>
#endif

#include <tersor/core/error.hpp>

namespace tersor {

/// Signed index type of extents, strides and loops.
using index_t = std::ptrdiff_t;

namespace detail {

/// p + n; an empty tensor may have no memory at all, and arithmetic on a null pointer is undefined.
template <class T>
constexpr T* shifted(T* p, index_t n) {
  return p == nullptr ? nullptr : p + n;
}

}  // namespace detail

/// The one customisation point: specialise `view_traits<X>` with `static tensor_view<T, Rank> view(X&)`
/// (const T for a const X) to make a type a tensor.
template <class X>
struct view_traits {};

/// A pointer with extents and strides (both in elements, strides of any sign): no ownership, no copies. `T`
/// may be const. Element (i, j, ...) is data[i*strides[0] + j*strides[1] + ...].
template <class T, std::size_t Rank>
struct tensor_view {
  using element_type = T;
  using value_type = std::remove_cv_t<T>;
  static constexpr std::size_t rank = Rank;

  T* data = nullptr;
  std::array<index_t, Rank> extents{};
  std::array<index_t, Rank> strides{};

  constexpr tensor_view() = default;
  constexpr tensor_view(T* d, std::array<index_t, Rank> e, std::array<index_t, Rank> s)
      : data(d), extents(e), strides(s) {}
  /// Row-major contiguous memory.
  constexpr tensor_view(T* d, std::array<index_t, Rank> e) : data(d), extents(e) {
    index_t stride = 1;
    for (std::size_t k = Rank; k-- > 0;) {
      strides[k] = stride;
      stride *= e[k];
    }
  }
  constexpr operator tensor_view<const T, Rank>() const requires(!std::is_const_v<T>) {
    return {data, extents, strides};
  }

  /// From any tensor of the same element type and rank, so that functions over views take Eigen, xtensor and
  /// our own matrices alike.
  template <class X>
  requires(!std::is_same_v<std::remove_cvref_t<X>, tensor_view<std::remove_const_t<T>, Rank>> &&
           !std::is_same_v<std::remove_cvref_t<X>, tensor_view<const T, Rank>>) &&
      requires(X& x) {
    { view_traits<std::remove_cvref_t<X>>::view(x).data } -> std::convertible_to<T*>;
    requires decltype(view_traits<std::remove_cvref_t<X>>::view(x))::rank == Rank;
  }
  constexpr tensor_view(X&& x) {
    const auto v = view_traits<std::remove_cvref_t<X>>::view(x);
    data = v.data;
    extents = v.extents;
    strides = v.strides;
  }

  template <std::convertible_to<index_t>... I>
  requires(sizeof...(I) == Rank) constexpr T& operator()(I... i) const {
    return data[offset(std::index_sequence_for<I...>{}, static_cast<index_t>(i)...)];
  }

  constexpr index_t size() const {
    index_t n = 1;
    for (index_t e : extents) n *= e;
    return n;
  }
  constexpr bool empty() const { return size() == 0; }

  /// Row-major without gaps; extents of 0 or 1 match any stride.
  constexpr bool is_contiguous() const {
    index_t stride = 1;
    for (std::size_t k = Rank; k-- > 0;) {
      if (extents[k] > 1 && strides[k] != stride) return false;
      stride *= extents[k];
    }
    return true;
  }

  constexpr index_t rows() const requires(Rank == 2) { return extents[0]; }
  constexpr index_t cols() const requires(Rank == 2) { return extents[1]; }
  constexpr tensor_view<T, 1> row(index_t i) const requires(Rank == 2) {
    return {detail::shifted(data, i * strides[0]), {extents[1]}, {strides[1]}};
  }
  constexpr tensor_view<T, 1> column(index_t j) const requires(Rank == 2) {
    return {detail::shifted(data, j * strides[1]), {extents[0]}, {strides[0]}};
  }
  constexpr tensor_view transposed() const requires(Rank == 2) {
    return {data, {extents[1], extents[0]}, {strides[1], strides[0]}};
  }
  /// The block of `n` x `m` elements whose first element is (i, j).
  constexpr tensor_view block(index_t i, index_t j, index_t n, index_t m) const requires(Rank == 2) {
    assert(i >= 0 && j >= 0 && n >= 0 && m >= 0 && i + n <= extents[0] && j + m <= extents[1]);
    return {detail::shifted(data, i * strides[0] + j * strides[1]), {n, m}, strides};
  }
  constexpr tensor_view rows(index_t first, index_t count) const requires(Rank == 2) {
    return block(first, 0, count, extents[1]);
  }

 private:
  template <std::size_t... K, class... I>
  constexpr index_t offset(std::index_sequence<K...>, I... i) const {
    assert(((i >= 0 && i < extents[K]) && ...));
    return ((i * strides[K]) + ... + 0);
  }
};

template <class T>
using vector_view = tensor_view<T, 1>;
template <class T>
using matrix_view = tensor_view<T, 2>;

/// Eigen matrices, arrays, maps, blocks and transposes with direct access: rank 2, recognised by their
/// members so that this header does not include Eigen.
template <class X>
requires requires(X& x) {
  { x.rows() } -> std::convertible_to<index_t>;
  { x.cols() } -> std::convertible_to<index_t>;
  { x.rowStride() } -> std::convertible_to<index_t>;
  { x.colStride() } -> std::convertible_to<index_t>;
  *x.data();
}
struct view_traits<X> {
  static constexpr auto view(auto& x) {
    using T = std::remove_reference_t<decltype(*x.data())>;
    return matrix_view<T>(x.data(), {static_cast<index_t>(x.rows()), static_cast<index_t>(x.cols())},
                          {static_cast<index_t>(x.rowStride()), static_cast<index_t>(x.colStride())});
  }
};

template <class T, std::size_t Rank>
struct view_traits<tensor_view<T, Rank>> {
  static constexpr tensor_view<T, Rank> view(tensor_view<T, Rank> x) { return x; }
};
template <class T, std::size_t N>
struct view_traits<std::span<T, N>> {
  static constexpr vector_view<T> view(std::span<T, N> x) {
    return {x.data(), {static_cast<index_t>(x.size())}};
  }
};
template <class T, class A>
struct view_traits<std::vector<T, A>> {
  static constexpr auto view(auto& x) {
    return vector_view<std::remove_reference_t<decltype(*x.data())>>(x.data(),
                                                                     {static_cast<index_t>(x.size())});
  }
};
template <class T, std::size_t N>
struct view_traits<std::array<T, N>> {
  static constexpr auto view(auto& x) {
    return vector_view<std::remove_reference_t<decltype(*x.data())>>(x.data(), {static_cast<index_t>(N)});
  }
};

#if defined(__cpp_lib_mdspan)
template <class T, class E, class L, class A>
struct view_traits<std::mdspan<T, E, L, A>> {
  static constexpr tensor_view<T, E::rank()> view(const std::mdspan<T, E, L, A>& x) {
    std::array<index_t, E::rank()> extents, strides;
    for (std::size_t k = 0; k < E::rank(); ++k) {
      extents[k] = static_cast<index_t>(x.extent(k));
      strides[k] = static_cast<index_t>(x.stride(k));
    }
    return {x.data_handle(), extents, strides};
  }
};
#endif

/// A view of x. Const objects give views of const elements.
template <class X>
constexpr auto as_view(X&& x) requires requires {
  view_traits<std::remove_cvref_t<X>>::view(x);
}
{ return view_traits<std::remove_cvref_t<X>>::view(x); }
/// Raw memory with extents (row-major) and, optionally, strides in elements.
template <class T, std::size_t Rank>
constexpr tensor_view<T, Rank> as_view(T* data, const index_t (&extents)[Rank]) {
  return {data, std::to_array(extents)};
}
template <class T, std::size_t Rank>
constexpr tensor_view<T, Rank> as_view(T* data, const index_t (&extents)[Rank],
                                       const index_t (&strides)[Rank]) {
  return {data, std::to_array(extents), std::to_array(strides)};
}
/// A span with extents (row-major): their product must be its size.
template <class T, std::size_t N, std::size_t Rank>
constexpr tensor_view<T, Rank> as_view(std::span<T, N> data, const index_t (&extents)[Rank]) {
  tensor_view<T, Rank> v(data.data(), std::to_array(extents));
  require(v.size() == static_cast<index_t>(data.size()), "as_view: span size", data.size(),
          "the product of the extents, ", v.size());
  return v;
}

/// Anything `as_view` accepts.
template <class X>
concept tensor_like = requires(X& x) {
  as_view(x);
};
template <class X>
using view_of = decltype(as_view(std::declval<X&>()));
/// A tensor of rank 2: a weight [out, in] or activations [tokens, features].
template <class X>
concept matrix_like = tensor_like<X> && view_of<X>::rank == 2;
/// A vector: rank 1, or rank 2 with one extent of 1 (an Eigen vector).
template <class X>
concept vector_like = tensor_like<X> &&(view_of<X>::rank == 1 || view_of<X>::rank == 2);

/// A rank-1 view of a vector; `name` is what an error calls it.
template <vector_like X>
constexpr auto as_vector_view(X&& x, std::string_view name = "vector") {
  auto v = as_view(x);
  if constexpr (decltype(v)::rank == 1) {
    return v;
  } else {
    require(v.extents[0] == 1 || v.extents[1] == 1, name, concat(v.extents[0], " x ", v.extents[1]),
            "one extent of 1");
    return v.extents[1] == 1 ? v.column(0) : v.row(0);
  }
}

}  // namespace tersor
