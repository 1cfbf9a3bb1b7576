// tersor - the low-rank path of adapters, forward and backward
// SPDX-License-Identifier: MIT
#pragma once

// No paper: the path that LoRA, AdaLoRA, VeRA, AFLoRA and LaMDA share.

#include <tersor/adapters/state.hpp>

namespace tersor::adapters {

/// Δy = s ((x Aᵀ) Sᵀ ⊙ d) Bᵀ ⊙ e, so ΔW = s diag(e) B diag(d) S A; an absent S, d or e is the identity.
/// Cost tokens · rank · (in + out) multiply-adds, twice that backward; kept between the two: nothing but x.
template <std::floating_point T>
struct rank_product {
  T scale = 1;
  matrix_view<const T> a;       ///< [r, in]
  matrix_view<const T> b;       ///< [out, r]
  std::span<const T> inner{};   ///< d [r]
  std::span<const T> outer{};   ///< e [out]
  matrix_view<const T> core{};  ///< S [r, r]

  /// Where gradients are added; a null or empty one is not wanted.
  struct sinks {
    matrix<T>* a = nullptr;
    matrix<T>* b = nullptr;
    matrix<T>* inner = nullptr;
    matrix<T>* outer = nullptr;
    matrix<T>* core = nullptr;
  };

  index_t rank() const { return a.rows(); }

  void add(matrix_view<const T> x, matrix_view<T> y, const context& ctx) const {
    matrix<T> u = between(x, ctx);
    if (outer.empty()) {
      linalg::gemm<T>(scale, u, b.transposed(), T(1), y, ctx);
      return;
    }
    const matrix<T> v = linalg::multiply(u, b.transposed(), ctx);
    for (index_t t = 0; t < y.rows(); ++t)
      for (index_t o = 0; o < y.cols(); ++o) y(t, o) += scale * v(t, o) * outer[static_cast<std::size_t>(o)];
  }

  /// Adds to gx (unless it has no columns) and to the wanted gradients.
  void backward(matrix_view<const T> x, matrix_view<const T> gy, matrix_view<T> gx, const sinks& g,
                const context& ctx) const {
    matrix<T> scaled;  // gy ⊙ e
    if (!outer.empty()) {
      scaled = copy_as<T>(gy);
      detail::scale_columns<T>(scaled.view(), outer);
    }
    const matrix_view<const T> gv = outer.empty() ? gy : std::as_const(scaled).view();
    const bool wants_b = wanted(g.b), wants_outer = wanted(g.outer);
    if (wants_b || wants_outer) {
      const matrix<T> u = between(x, ctx);
      if (wants_b) linalg::gemm<T>(scale, gv.transposed(), u, T(1), *g.b, ctx);
      if (wants_outer) {
        matrix<T> v(x.rows(), b.rows());
        linalg::gemm<T>(scale, u, b.transposed(), T(0), v, ctx);
        detail::add_column_products<T>(gy, v.view(), g.outer->values());
      }
    }
    matrix<T> gu(x.rows(), rank());
    linalg::gemm<T>(scale, gv, b, T(0), gu, ctx);
    if (wanted(g.inner)) {
      matrix<T> h = linalg::multiply(x, a.transposed(), ctx);
      if (!core.empty()) h = linalg::multiply(h, core.transposed(), ctx);
      detail::add_column_products<T>(gu.view(), h.view(), g.inner->values());
    }
    if (!inner.empty()) detail::scale_columns<T>(gu.view(), inner);
    if (wanted(g.core)) {
      const matrix<T> h = linalg::multiply(x, a.transposed(), ctx);
      linalg::gemm<T>(T(1), gu.view().transposed(), h, T(1), *g.core, ctx);
    }
    if (!core.empty()) gu = linalg::multiply(gu, core, ctx);
    if (wanted(g.a)) linalg::gemm<T>(T(1), gu.view().transposed(), x, T(1), *g.a, ctx);
    if (gx.cols() > 0) linalg::gemm<T>(T(1), gu, a, T(1), gx, ctx);
  }

  /// ΔW [out, in].
  matrix<T> dense(const context& ctx = {}) const {
    const matrix<T> l = left(), r = right(ctx);
    matrix<T> w(l.rows(), r.cols());
    linalg::gemm<T>(scale, l, r, T(0), w, ctx);
    return w;
  }
  /// diag(e) B [out, r] and diag(d) S A [r, in]: the factors of a plain LoRA of the same scale.
  matrix<T> left() const {
    matrix<T> l = copy_as<T>(b);
    if (!outer.empty())
      for (index_t o = 0; o < l.rows(); ++o)
        for (T& v : l.row(o)) v *= outer[static_cast<std::size_t>(o)];
    return l;
  }
  matrix<T> right(const context& ctx = {}) const {
    matrix<T> m = core.empty() ? copy_as<T>(a) : linalg::multiply(core, a, ctx);
    if (!inner.empty())
      for (index_t k = 0; k < m.rows(); ++k)
        for (T& v : m.row(k)) v *= inner[static_cast<std::size_t>(k)];
    return m;
  }

 private:
  static bool wanted(const matrix<T>* g) { return g != nullptr && !g->empty(); }
  /// (x Aᵀ) Sᵀ ⊙ d [tokens, r].
  matrix<T> between(matrix_view<const T> x, const context& ctx) const {
    matrix<T> h = linalg::multiply(x, a.transposed(), ctx);
    if (!core.empty()) h = linalg::multiply(h, core.transposed(), ctx);
    if (!inner.empty()) detail::scale_columns<T>(h.view(), inner);
    return h;
  }
};

}  // namespace tersor::adapters
