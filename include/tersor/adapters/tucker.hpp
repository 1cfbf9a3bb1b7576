// tersor - a convolution kernel from a core and two factors
// SPDX-License-Identifier: MIT
#pragma once

// No paper of its own: the form that LoHa (arXiv:2108.06098) and LoKr (arXiv:2309.14859) have for
// convolutions.

#include <tersor/adapters/state.hpp>

namespace tersor::adapters {

/// M[o, i, t] = Σ_pq a[p, o] core[p, q, t] b[q, i] for the places t of a kernel; as a matrix [out, channels ·
/// places], in the order of an unfolded weight.
template <std::floating_point T>
struct tucker {
  matrix<T> core;  ///< [r, r · places]
  matrix<T> a;     ///< [r, out]
  matrix<T> b;     ///< [r, channels]

  void check(index_t out, index_t channels, index_t places, std::string_view id) const {
    require_shape(a.view(), a.rows(), out, concat(id, ": a"));
    require_shape(b.view(), a.rows(), channels, concat(id, ": b"));
    require(a.rows() > 0, concat(id, ": rank"), a.rows(), "at least 1");
    require(core.size() == a.rows() * a.rows() * places, concat(id, ": elements of the core"), core.size(),
            a.rows() * a.rows() * places);
  }
  matrix<T> dense(index_t places, const context& ctx) const {
    const index_t out = a.cols(), channels = b.cols();
    matrix<T> m(out, channels * places);
    for (index_t t = 0; t < places; ++t)
      linalg::gemm<T>(T(1), linalg::multiply(a.view().transposed(), slice(core, places, t), ctx), b, T(0),
                      place(m.view(), places, t), ctx);
    return m;
  }
  /// Adds the gradients of a, b and the core for gm, that of `dense()`; an empty one is not wanted.
  void add_gradients(const matrix<T>& gm, index_t places, matrix<T>* ga, matrix<T>* gb, matrix<T>* gcore,
                     const context& ctx) const {
    for (index_t t = 0; t < places; ++t) {
      const auto g = place(gm.view(), places, t);
      const auto c = slice(core, places, t);
      const matrix<T> gb_side = linalg::multiply(g, b.view().transposed(), ctx);  // [out, r]
      if (!ga->empty()) linalg::gemm<T>(T(1), c, gb_side.view().transposed(), T(1), *ga, ctx);
      if (!gb->empty()) linalg::gemm<T>(T(1), c.transposed(), linalg::multiply(a, g, ctx), T(1), *gb, ctx);
      if (!gcore->empty())
        linalg::gemm<T>(T(1), a, gb_side, T(1), slice(gcore->view(), places, t, a.rows()), ctx);
    }
  }

 private:
  /// The core [r, r] of one place.
  matrix_view<const T> slice(const matrix<T>& c, index_t places, index_t t) const {
    return slice(c.view(), places, t, a.rows());
  }
  template <class U>
  static matrix_view<U> slice(matrix_view<U> c, index_t places, index_t t, index_t r) {
    return {c.data + t, {r, r}, {r * places, places}};
  }
  template <class U>
  static matrix_view<U> place(matrix_view<U> m, index_t places, index_t t) {
    return {m.data + t, {m.rows(), m.cols() / places}, {m.strides[0], places}};
  }
};

}  // namespace tersor::adapters
