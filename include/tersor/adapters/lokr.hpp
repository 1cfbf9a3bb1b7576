// tersor - LoKr: a Kronecker product of a small and a larger matrix
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>  // std::optional

#include <tersor/adapters/lora.hpp>
#include <tersor/adapters/tucker.hpp>

namespace tersor::adapters {

/// d = m n. A factor that divides d is taken for m as it is; otherwise m <= n, as close to each other as the
/// divisors of d allow by steps that do not increase m + n, and m <= factor if that is positive.
inline std::pair<index_t, index_t> kronecker_split(index_t d, index_t factor = -1) {
  require(d > 0, "lokr: dimension", d, "at least 1");
  if (factor > 0 && d % factor == 0) return {factor, d / factor};
  const index_t limit = factor > 0 ? factor : d;
  index_t m = 1, n = d;
  while (m < n) {
    index_t next = m + 1;
    while (d % next != 0) ++next;
    if (next + d / next > m + n || next > limit) break;
    m = next;
    n = d / next;
  }
  return {std::min(m, n), std::max(m, n)};
}

/// One factor of the Kronecker product: a matrix, a product a b, or, for a convolution, a core with two
/// factors.
template <std::floating_point T = float>
struct lokr_factor {
  matrix<T> whole{};   ///< or empty
  matrix<T> a{}, b{};  ///< [rows, r], [r, cols]; with a core [r, rows], [r, channels]
  matrix<T> core{};    ///< [r, r · kh · kw]
};

/// The tensors of one layer. ΔW = s (w₁ ⊗ w₂), w₁ [l, m], w₂ [k, n], out = l k, in = m n:
/// ΔW[i k + p, j n + q] = s w₁[i, j] w₂[p, q]. For a convolution w₂ is [k, channels · kh · kw].
template <std::floating_point T = float>
class lokr_state : public additive_state<lokr_state<T>, T> {
 public:
  static constexpr std::string_view id = "lokr";

  lokr_state() = default;
  /// @param kernel_rows, kernel_cols of a second factor with a core; 0 otherwise.
  lokr_state(lokr_factor<T> first, lokr_factor<T> second, double scale, index_t kernel_rows = 0,
             index_t kernel_cols = 0)
      : additive_state<lokr_state, T>(
            extents(first, 0).first * extents(second, kernel_rows * kernel_cols).first,
            extents(first, 0).second * extents(second, kernel_rows * kernel_cols).second),
        scale_(scale),
        kernel_(kernel_rows * kernel_cols) {
    add_factor(0, "lokr_w1", std::move(first));
    const index_t r = second.a.rows();
    matrix<T> core = std::move(second.core);
    add_factor(1, "lokr_w2", std::move(second));
    if (kernel_ == 0) return;
    require(core.size() == r * r * kernel_, "lokr: elements of the core", core.size(), r * r * kernel_);
    this->add_tensor(
        {"lokr_t2", parameter_kind::projection, {r, r, kernel_rows, kernel_cols}, std::move(core)});
  }

  double scale() const { return scale_; }

  void add_delta(matrix_view<const T> x, matrix_view<T> y, const context& ctx = {}) const {
    this->check_forward(x, y);
    const matrix<T> w1 = factor(0, ctx), w2 = factor(1, ctx), z = inner(x, w2, ctx);
    const index_t m = w1.cols(), k = w2.rows();
    parallel_chunks(x.rows(), 16, ctx, [&](index_t t0, index_t t1) {
      for (index_t t = t0; t < t1; ++t)
        for (index_t i = 0; i < w1.rows(); ++i)
          for (index_t j = 0; j < m; ++j) {
            const T w = static_cast<T>(scale_) * w1(i, j);
            for (index_t p = 0; p < k; ++p) y(t, i * k + p) += w * z(t * m + j, p);
          }
    });
  }
  void add_backward(matrix_view<const T> x, matrix_view<const T> gy, matrix_view<T> gx, gradients<T>& g,
                    const context& ctx = {}) const {
    this->check_backward(x, gy, gx, g);
    const matrix<T> w1 = factor(0, ctx), w2 = factor(1, ctx);
    const index_t m = w1.cols(), n = w2.cols(), k = w2.rows();
    matrix<T> gz(x.rows() * m, k);  // of x w₂ᵀ
    parallel_chunks(x.rows(), 16, ctx, [&](index_t t0, index_t t1) {
      for (index_t t = t0; t < t1; ++t)
        for (index_t j = 0; j < m; ++j)
          for (index_t i = 0; i < w1.rows(); ++i) {
            const T w = static_cast<T>(scale_) * w1(i, j);
            for (index_t p = 0; p < k; ++p) gz(t * m + j, p) += w * gy(t, i * k + p);
          }
    });
    if (gx.cols() > 0) {
      const matrix<T> part = linalg::multiply(gz, w2, ctx);
      for (index_t t = 0; t < gx.rows(); ++t)
        for (index_t j = 0; j < m; ++j)
          for (index_t q = 0; q < n; ++q) gx(t, j * n + q) += part(t * m + j, q);
    }
    if (wanted(0, g)) {
      const matrix<T> z = inner(x, w2, ctx);
      matrix<T> gw(w1.rows(), m);
      for (index_t t = 0; t < x.rows(); ++t)
        for (index_t i = 0; i < w1.rows(); ++i)
          for (index_t j = 0; j < m; ++j) {
            T sum = 0;
            for (index_t p = 0; p < k; ++p) sum += gy(t, i * k + p) * z(t * m + j, p);
            gw(i, j) += static_cast<T>(scale_) * sum;
          }
      add_factor_gradient(0, gw, g, ctx);
    }
    if (wanted(1, g))
      add_factor_gradient(1, linalg::multiply(gz.view().transposed(), unfolded(x, n).view(), ctx), g, ctx);
  }
  matrix<T> delta_weight(const context& ctx = {}) const {
    const matrix<T> w1 = factor(0, ctx), w2 = factor(1, ctx);
    matrix<T> w(this->out_features(), this->in_features());
    for (index_t i = 0; i < w1.rows(); ++i)
      for (index_t p = 0; p < w2.rows(); ++p)
        for (index_t j = 0; j < w1.cols(); ++j)
          for (index_t q = 0; q < w2.cols(); ++q)
            w(i * w2.rows() + p, j * w2.cols() + q) = static_cast<T>(scale_) * w1(i, j) * w2(p, q);
    return w;
  }

 private:
  static std::pair<index_t, index_t> extents(const lokr_factor<T>& f, index_t kernel) {
    if (!f.whole.empty()) return {f.whole.rows(), f.whole.cols()};
    return kernel > 0 ? std::pair{f.a.cols(), f.b.cols() * kernel} : std::pair{f.a.rows(), f.b.cols()};
  }
  void add_factor(std::size_t which, const char* key, lokr_factor<T> f) {
    first_[which] = this->tensors().size();
    factored_[which] = f.whole.empty();
    if (!factored_[which]) {
      this->add_tensor({key, parameter_kind::projection, std::move(f.whole)});
      return;
    }
    const index_t rank = which == 1 && kernel_ > 0 ? f.a.rows() : f.a.cols();
    require(rank > 0 && f.b.rows() == rank, concat(key, ": rows of b"), f.b.rows(), rank,
            ", the rank of a, and at least 1");
    this->add_tensor({concat(key, "_a"), parameter_kind::projection, std::move(f.a)});
    this->add_tensor({concat(key, "_b"), parameter_kind::projection, std::move(f.b)});
  }
  tucker<T> second_tucker() const {
    return {this->tensor(first_[1] + 2).value, this->tensor(first_[1]).value,
            this->tensor(first_[1] + 1).value};
  }
  matrix<T> factor(std::size_t which, const context& ctx) const {
    const std::size_t i = first_[which];
    if (!factored_[which]) return this->tensor(i).value;
    if (which == 1 && kernel_ > 0) return second_tucker().dense(kernel_, ctx);
    return linalg::multiply(this->tensor(i).value, this->tensor(i + 1).value, ctx);
  }
  bool wanted(std::size_t which, const gradients<T>& g) const {
    const std::size_t end = which == 0 ? first_[1] : g.size();
    for (std::size_t i = first_[which]; i < end; ++i)
      if (!g[i].empty()) return true;
    return false;
  }
  void add_factor_gradient(std::size_t which, const matrix<T>& gw, gradients<T>& g,
                           const context& ctx) const {
    const std::size_t i = first_[which];
    if (!factored_[which]) {
      for (std::size_t e = 0; e < gw.values().size(); ++e) g[i].values()[e] += gw.values()[e];
      return;
    }
    if (which == 1 && kernel_ > 0)
      return second_tucker().add_gradients(gw, kernel_, &g[i], &g[i + 1], &g[i + 2], ctx);
    if (!g[i].empty())
      linalg::gemm<T>(T(1), gw, this->tensor(i + 1).value.view().transposed(), T(1), g[i], ctx);
    if (!g[i + 1].empty())
      linalg::gemm<T>(T(1), this->tensor(i).value.view().transposed(), gw, T(1), g[i + 1], ctx);
  }
  /// x [tokens, m n] as [tokens · m, n].
  static matrix<T> unfolded(matrix_view<const T> x, index_t n) {
    const index_t m = x.cols() / n;
    matrix<T> u(x.rows() * m, n);
    for (index_t t = 0; t < x.rows(); ++t)
      for (index_t j = 0; j < x.cols(); ++j) u(t * m + j / n, j % n) = x(t, j);
    return u;
  }
  /// x w₂ᵀ [tokens · m, k].
  matrix<T> inner(matrix_view<const T> x, const matrix<T>& w2, const context& ctx) const {
    return linalg::multiply(unfolded(x, w2.cols()), w2.view().transposed(), ctx);
  }

  double scale_ = 1;
  index_t kernel_ = 0;
  std::array<std::size_t, 2> first_{};
  std::array<bool, 2> factored_{};
};

/// LoKr (arXiv:2309.14859 and arXiv:2212.10650; LyCORIS, layout of huggingface/peft): ΔW = s (w₁ ⊗ w₂),
/// s = alpha / r also where nothing is factored. w₂ is a product of rank r where r < max(k, n) / 2; w₁ too if
/// `decompose_both` and r < max(l, m) / 2. w₁ (or its left factor) starts at zero.
///
/// Cost: m k (n + l) multiply-adds a token beside the base. Guarantee: the layer is unchanged at the start.
/// Stored: l m + k n values, fewer where factored.
///
///     auto adapter = tersor::adapters::lokr{.rank = 8, .alpha = 8}.init(W, tersor::random_generator(1));
///     adapter.forward(W, x, y);  // W: [out, in], x: [tokens, in]
struct lokr {
  index_t rank = 8;
  double alpha = 8;
  index_t factor = -1;
  bool decompose_both = false;
  bool lycoris_start = false;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "lokr",
                                              .family = "adapters",
                                              .title = "Low-rank Kronecker product",
                                              .arxiv = "2309.14859",
                                              .header = "tersor/adapters/lokr.hpp",
                                              .guarantee = "identity at the start"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank", &lokr::rank, {.help = "inner dimension", .symbol = "r", .min = 1, .max = 65536}},
        option{"alpha", &lokr::alpha, {.help = "scale times the rank", .symbol = "alpha", .min = 0}},
        option{"factor", &lokr::factor, {.help = "bound of the smaller side; -1: none", .min = -1}},
        option{"decompose_both", &lokr::decompose_both, {.help = "factor the small matrix as well"}},
        option{"lycoris_start", &lokr::lycoris_start, {.help = "the second matrix starts at zero instead"}},
        option{"value_type", &lokr::value_type, {.help = "type in files"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(std::isfinite(alpha), "lokr: alpha", alpha, "a finite number");
    require(factor != 0, "lokr: factor", factor, "-1 or at least 1");
  }

  /// Shapes for a layer [out, channels · kh · kw]; kernel 0 x 0: linear. With `cores` a factored w₂ of a
  /// convolution gets a core.
  template <std::floating_point T = float>
  lokr_state<T> shape(index_t out, index_t channels, index_t kernel_rows = 0, index_t kernel_cols = 0,
                      bool cores = false) const {
    validate();
    const auto [l, k] = kronecker_split(out, factor);
    const auto [m, n] = kronecker_split(channels, factor);
    const index_t places = kernel_rows > 0 ? kernel_rows * kernel_cols : 1;
    lokr_factor<T> first, second;
    if (decompose_both && 2 * rank < std::max(l, m)) {
      first.a = matrix<T>(l, rank);
      first.b = matrix<T>(rank, m);
    } else {
      first.whole = matrix<T>(l, m);
    }
    const bool factored = 2 * rank < std::max(k, n), cored = factored && cores && places > 1;
    if (cored) {
      second.core = matrix<T>(rank, rank * places);
      second.a = matrix<T>(rank, k);
      second.b = matrix<T>(rank, n);
    } else if (factored) {
      second.a = matrix<T>(k, rank);
      second.b = matrix<T>(rank, n * places);
    } else {
      second.whole = matrix<T>(k, n * places);
    }
    lokr_state<T> state(std::move(first), std::move(second), alpha / static_cast<double>(rank),
                        cored ? kernel_rows : 0, cored ? kernel_cols : 0);
    state.for_each_tensor([&](parameter<T>& p) { p.stored_type = value_type; });
    return state;
  }
  template <std::floating_point T = float>
  lokr_state<T> init(const layer_view<std::type_identity_t<T>>& layer, random_generator random) const {
    lokr_state<T> state = shape<T>(layer.rows(), layer.cols());
    const std::string_view zero = !lycoris_start
                                      ? (state.tensors()[0].key == "lokr_w1" ? "lokr_w1" : "lokr_w1_a")
                                  : state.tensors().back().key == "lokr_w2" ? "lokr_w2"
                                                                            : "lokr_w2_b";
    state.for_each_tensor([&](parameter<T>& p) {
      if (p.key != zero) p.value = detail::kaiming<T>(p.value.rows(), p.value.cols(), random);
    });
    return state;
  }
};

}  // namespace tersor::adapters
