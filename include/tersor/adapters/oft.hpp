// tersor - OFT: a block-diagonal rotation of the inputs
// SPDX-License-Identifier: MIT
#pragma once

#include <tuple>  // std::tuple

#include <tersor/adapters/square_inverse.hpp>
#include <tersor/adapters/state.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::adapters {

/// How a skew-symmetric Q becomes a rotation. The two have opposite signs: a file must be read with its own.
struct oft_map {
  bool neumann = true;  ///< I + 2 Q + ... + 2 Qⁿ⁻² + Qⁿ⁻¹ ≈ (I + Q)(I - Q)⁻¹, else (I - Q)(I + Q)⁻¹
  int terms = 5;  ///< n; 3 is read as 4, 2 is I + 2 Q and 1 is I, as in the official code

  /// The coefficients of Q, Q², ...
  std::vector<double> coefficients() const {
    if (terms < 3) return std::vector<double>(static_cast<std::size_t>(terms - 1), 2.0);
    std::vector<double> c(static_cast<std::size_t>(std::max(terms, 4) - 1), 2.0);
    c.back() = 1;
    return c;
  }
};

/// The tensor of one layer: the upper triangles of Q_k, row by row, [in / β, β (β - 1) / 2], or one row that
/// all blocks share. y = x blockdiag(R) Wᵀ + b.
template <std::floating_point T = float>
class oft_state : public adapter_state<oft_state<T>, T> {
 public:
  static constexpr std::string_view id = "oft";
  static constexpr adapter_algebra algebra = adapter_algebra::multiplicative;

  oft_state() = default;
  /// @param block β, a divisor of `in`. @param shared one rotation for all blocks.
  oft_state(index_t out, index_t in, index_t block, oft_map map, bool shared = false)
      : adapter_state<oft_state, T>(out, in), block_(block), map_(map) {
    require(block > 0 && in % block == 0, "oft: block", block, "a divisor of ", in);
    require(map.terms >= 1, "oft: terms", map.terms, "at least 1");
    this->add_tensor({"oft_R.weight", parameter_kind::projection,
                      matrix<T>(shared ? 1 : in / block, block * (block - 1) / 2)});
  }

  index_t block() const { return block_; }
  index_t blocks() const { return this->in_features() / block_; }
  /// R_k [β, β] of each stored row.
  std::vector<matrix<double>> rotations() const {
    std::vector<matrix<double>> r;
    for (index_t k = 0; k < this->tensor(0).value.rows(); ++k) r.push_back(rotation(skew(k)));
    return r;
  }
  /// Constrained OFT: every Q_k back into the ball of radius eps / √blocks. To be called after each step.
  void project(double eps) {
    require(eps > 0, "oft: eps", eps, "a number > 0");
    matrix<T>& v = this->tensor(0).value;
    const double radius = eps / std::sqrt(static_cast<double>(v.rows()));
    for (index_t k = 0; k < v.rows(); ++k) {
      double sum = 0;
      for (const T x : v.row(k)) sum += 2 * static_cast<double>(x) * static_cast<double>(x);
      const double norm = std::sqrt(sum);
      if (norm > radius)
        for (T& x : v.row(k)) x = static_cast<T>(static_cast<double>(x) * (radius / norm));
    }
  }

  void forward(const layer_view<T>& layer, matrix_view<const T> x, matrix_view<T> y,
               const context& ctx = {}) const {
    this->check_layer(layer);
    this->check_forward(x, y);
    layer.apply(multiplied(x, narrow(rotations()), false, ctx).view(), y, ctx);
  }
  void backward(const layer_view<T>& layer, matrix_view<const T> x, matrix_view<const T> gy,
                matrix_view<T> gx, gradients<T>& g, const context& ctx = {}) const {
    this->check_layer(layer);
    this->check_backward(x, gy, gx, g);
    matrix<T> gr(x.rows(), this->in_features());  // of the rotated x
    layer.apply_transposed(gy, gr.view(), ctx);
    if (gx.cols() > 0) tersor::copy(multiplied(gr.view(), narrow(rotations()), true, ctx).view(), gx);
    if (g[0].empty()) return;
    for (index_t k = 0; k < g[0].rows(); ++k) {
      matrix<T> sum(block_, block_);
      const bool shared = g[0].rows() != blocks();
      for (index_t b = shared ? 0 : k; b < (shared ? blocks() : k + 1); ++b)
        linalg::gemm<T>(T(1), x.block(0, b * block_, x.rows(), block_).transposed(),
                        gr.view().block(0, b * block_, x.rows(), block_), T(1), sum, ctx);
      const matrix<double> gq = skew_gradient(skew(k), copy_as<double>(sum.view()));
      index_t next = 0;
      for (index_t i = 0; i < block_; ++i)
        for (index_t j = i + 1; j < block_; ++j) g[0](k, next++) += static_cast<T>(gq(i, j) - gq(j, i));
    }
  }

 private:
  friend class adapter_state<oft_state, T>;
  void apply_to(dense_layer<T>& layer, const context& ctx) {
    layer.weight = multiplied(layer.weight.view(), narrow(rotations()), true, ctx);
  }
  /// By the inverse: the truncated series is not exactly orthogonal.
  void remove_from(dense_layer<T>& layer, const context& ctx) {
    auto r = rotations();
    for (auto& m : r) m = detail::square_inverse(m, "oft: rotation");
    layer.weight = multiplied(layer.weight.view(), narrow(r), true, ctx);
  }
  matrix<double> skew(index_t k) const {
    matrix<double> q(block_, block_);
    index_t next = 0;
    for (index_t i = 0; i < block_; ++i)
      for (index_t j = i + 1; j < block_; ++j) {
        q(i, j) = static_cast<double>(this->tensor(0).value(k, next++));
        q(j, i) = -q(i, j);
      }
    return q;
  }
  static matrix<double> shifted_identity(matrix<double> q, double sign) {
    for (double& v : q.values()) v *= sign;
    for (index_t i = 0; i < q.rows(); ++i) q(i, i) += 1;
    return q;
  }
  matrix<double> rotation(const matrix<double>& q) const {
    if (!map_.neumann)
      return linalg::multiply(shifted_identity(q, -1),
                              detail::square_inverse(shifted_identity(q, 1), "oft: I + Q"));
    matrix<double> r(block_, block_), power = shifted_identity(matrix<double>(block_, block_), 1);
    for (index_t i = 0; i < block_; ++i) r(i, i) = 1;
    for (const double c : map_.coefficients()) {
      power = linalg::multiply(power, q);
      for (std::size_t e = 0; e < r.values().size(); ++e) r.values()[e] += c * power.values()[e];
    }
    return r;
  }
  /// ∂L/∂Q for ∂L/∂R, all entries of Q taken as independent.
  matrix<double> skew_gradient(const matrix<double>& q, const matrix<double>& gr) const {
    if (!map_.neumann) {
      const matrix<double> inverse = detail::square_inverse(shifted_identity(q, 1), "oft: I + Q");
      matrix<double> r = shifted_identity(linalg::multiply(shifted_identity(q, -1), inverse), 1);
      for (double& v : r.values()) v = -v;
      return linalg::multiply(linalg::multiply(r.view().transposed(), gr), inverse.view().transposed());
    }
    // Horner's scheme on the series, differentiated from the outside in.
    const std::vector<double> c = map_.coefficients();
    std::vector<matrix<double>> powers{shifted_identity(matrix<double>(block_, block_), 1)};  // (Qᵀ)^j
    for (std::size_t k = 0; k < c.size(); ++k)
      powers.push_back(linalg::multiply(powers.back(), q.view().transposed()));
    matrix<double> g(block_, block_);
    for (std::size_t k = 1; k <= c.size(); ++k)
      for (std::size_t j = 0; j < k; ++j)
        linalg::gemm<double>(c[k - 1], linalg::multiply(powers[j], gr), powers[k - 1 - j], 1.0, g);
    return g;
  }
  std::vector<matrix<T>> narrow(const std::vector<matrix<double>>& r) const {
    std::vector<matrix<T>> result;
    result.reserve(r.size());
    for (const auto& m : r) result.push_back(copy_as<T>(m.view()));
    return result;
  }
  /// Each block of columns of x times its matrix, or the transpose of that.
  matrix<T> multiplied(matrix_view<const T> x, const std::vector<matrix<T>>& r, bool transposed,
                       const context& ctx) const {
    matrix<T> y(x.rows(), x.cols());
    for (index_t b = 0; b < blocks(); ++b) {
      const matrix<T>& m = r[r.size() == 1 ? 0 : static_cast<std::size_t>(b)];
      linalg::gemm<T>(T(1), x.block(0, b * block_, x.rows(), block_),
                      transposed ? m.view().transposed() : m.view(), T(0),
                      y.view().block(0, b * block_, x.rows(), block_), ctx);
    }
    return y;
  }

  index_t block_ = 1;
  oft_map map_;
};

/// OFT (arXiv:2306.07280) as in OFTv2 (arXiv:2506.19847; huggingface/peft's second version): the input of a
/// layer is rotated block by block, x'_k = x_k R_k, so W' = W blockdiag(R)ᵀ. R comes from a skew-symmetric
/// Q_k, zero at the start, by Cayley's map or by a truncated series of it (the official default).
///
/// Cost: β in multiply-adds a token, and β³ a block for the rotations of each pass. Guarantee: the layer is
/// unchanged at the start; with `neumann = false` R is orthogonal, so norms of W's rows stay. Stored: (in /
/// β) β (β - 1) / 2 values.
///
///     auto adapter = tersor::adapters::oft{.block_size = 32}.init(W);
///     adapter.forward(W, x, y);  // W: [out, in], x: [tokens, in]
struct oft {
  index_t block_size = 32;
  index_t blocks = 0;
  bool neumann = true;
  int terms = 5;
  bool shared = false;
  bool constrained = false;
  double eps = 6e-5;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "oft",
      .family = "adapters",
      .title = "Orthogonal fine-tuning",
      .arxiv = "2306.07280",
      .header = "tersor/adapters/oft.hpp",
      .guarantee = "identity at the start; norms stay with exact maps"};
  static constexpr auto options() {
    return std::tuple{
        option{"block_size",
               &oft::block_size,
               {.help = "inputs that are rotated together; 0: from blocks", .symbol = "beta", .min = 0}},
        option{"blocks",
               &oft::blocks,
               {.help = "number of blocks; 0: from block_size", .symbol = "r", .min = 0}},
        option{"neumann", &oft::neumann, {.help = "truncated series instead of Cayley's map"}},
        option{"terms", &oft::terms, {.help = "of the series", .min = 1, .max = 64}},
        option{"shared", &oft::shared, {.help = "one rotation for all blocks"}},
        option{"constrained", &oft::constrained, {.help = "keep Q in a ball: project(eps) after each step"}},
        option{"eps", &oft::eps, {.help = "radius of that ball", .min = 0}},
        option{"value_type", &oft::value_type, {.help = "type in files"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require((block_size == 0) != (blocks == 0), "oft: block_size", block_size,
            "exactly one of block_size and blocks to be 0");
    require(std::isfinite(eps), "oft: eps", eps, "a finite number");
  }

  /// β for `in` inputs: as asked for, or from the nearest divisor of `in`, the smaller of two.
  index_t block_for(index_t in) const {
    validate();
    const index_t wanted = block_size > 0 ? block_size : blocks;
    index_t best = 1;
    for (index_t d = 1; d <= in; ++d)
      if (in % d == 0 && std::abs(d - wanted) < std::abs(best - wanted)) best = d;
    return block_size > 0 ? best : in / best;
  }
  template <std::floating_point T = float>
  oft_state<T> init(const layer_view<std::type_identity_t<T>>& layer) const {
    oft_state<T> state(layer.rows(), layer.cols(), block_for(layer.cols()), {neumann, terms}, shared);
    state.tensors()[0].stored_type = value_type;
    return state;
  }
};

}  // namespace tersor::adapters
