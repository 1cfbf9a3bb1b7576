// tersor - LoHa: the element-wise product of two low-rank matrices
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/lora.hpp>
#include <tersor/adapters/tucker.hpp>

namespace tersor::adapters {

/// The tensors of one layer. ΔW = s (a₁ b₁) ⊙ (a₂ b₂), a [out, r], b [r, in]. The form for convolutions with
/// a core t [r, r, kh, kw] for each product has a [r, out], b [r, channels] (adapters/tucker.hpp).
template <std::floating_point T = float>
class loha_state : public additive_state<loha_state<T>, T> {
 public:
  static constexpr std::string_view id = "loha";

  loha_state() = default;
  loha_state(matrix<T> a1, matrix<T> b1, matrix<T> a2, matrix<T> b2, double scale)
      : additive_state<loha_state, T>(a1.rows(), b1.cols()), scale_(scale) {
    const index_t r = a1.cols();
    require(r > 0, "loha: rank", r, "at least 1");
    require_shape(b1.view(), r, this->in_features(), "loha: b1");
    require_shape(a2.view(), this->out_features(), a2.cols(), "loha: a2");
    require_shape(b2.view(), a2.cols(), this->in_features(), "loha: b2");
    this->add_tensor({"hada_w1_a", parameter_kind::projection, std::move(a1)});
    this->add_tensor({"hada_w1_b", parameter_kind::projection, std::move(b1)});
    this->add_tensor({"hada_w2_a", parameter_kind::projection, std::move(a2)});
    this->add_tensor({"hada_w2_b", parameter_kind::projection, std::move(b2)});
  }
  /// With cores: t [r, r · kh · kw], a [r, out], b [r, channels].
  loha_state(std::array<tucker<T>, 2> products, index_t kernel_rows, index_t kernel_cols, double scale)
      : additive_state<loha_state, T>(products[0].a.cols(), products[0].b.cols() * kernel_rows * kernel_cols),
        scale_(scale),
        kernel_(kernel_rows * kernel_cols) {
    const char* keys[2][3] = {{"hada_t1", "hada_w1_a", "hada_w1_b"}, {"hada_t2", "hada_w2_a", "hada_w2_b"}};
    for (std::size_t i = 0; i < 2; ++i) {
      products[i].check(this->out_features(), products[0].b.cols(), kernel_, "loha");
      const index_t r = products[i].a.rows();
      this->add_tensor({keys[i][1], parameter_kind::projection, std::move(products[i].a)});
      this->add_tensor({keys[i][2], parameter_kind::projection, std::move(products[i].b)});
      this->add_tensor({keys[i][0],
                        parameter_kind::projection,
                        {r, r, kernel_rows, kernel_cols},
                        std::move(products[i].core)});
    }
  }

  double scale() const { return scale_; }

  void add_delta(matrix_view<const T> x, matrix_view<T> y, const context& ctx = {}) const {
    this->check_forward(x, y);
    linalg::gemm<T>(T(1), x, delta_weight(ctx).view().transposed(), T(1), y, ctx);
  }
  void add_backward(matrix_view<const T> x, matrix_view<const T> gy, matrix_view<T> gx, gradients<T>& g,
                    const context& ctx = {}) const {
    this->check_backward(x, gy, gx, g);
    if (gx.cols() > 0) linalg::gemm<T>(T(1), gy, delta_weight(ctx), T(1), gx, ctx);
    if (std::ranges::all_of(g, [](const matrix<T>& m) { return m.empty(); })) return;
    matrix<T> e = weight_gradient<T>(x, gy, ctx);
    for (T& v : e.values()) v *= static_cast<T>(scale_);
    for (std::size_t i = 0; i < 2; ++i) {
      matrix<T> m = factor(1 - i, ctx);  // what the product is multiplied by
      for (std::size_t k = 0; k < m.values().size(); ++k) m.values()[k] *= e.values()[k];
      if (kernel_ > 0) {
        tucker_of(i).add_gradients(m, kernel_, &g[3 * i], &g[3 * i + 1], &g[3 * i + 2], ctx);
        continue;
      }
      const matrix<T>&a = this->tensor(2 * i).value, &b = this->tensor(2 * i + 1).value;
      if (!g[2 * i].empty()) linalg::gemm<T>(T(1), m, b.view().transposed(), T(1), g[2 * i], ctx);
      if (!g[2 * i + 1].empty()) linalg::gemm<T>(T(1), a.view().transposed(), m, T(1), g[2 * i + 1], ctx);
    }
  }
  matrix<T> delta_weight(const context& ctx = {}) const {
    matrix<T> w = factor(0, ctx);
    const matrix<T> second = factor(1, ctx);
    for (std::size_t k = 0; k < w.values().size(); ++k)
      w.values()[k] *= static_cast<T>(scale_) * second.values()[k];
    return w;
  }

 private:
  tucker<T> tucker_of(std::size_t i) const {
    return {this->tensor(3 * i + 2).value, this->tensor(3 * i).value, this->tensor(3 * i + 1).value};
  }
  matrix<T> factor(std::size_t i, const context& ctx) const {
    if (kernel_ > 0) return tucker_of(i).dense(kernel_, ctx);
    return linalg::multiply(this->tensor(2 * i).value, this->tensor(2 * i + 1).value, ctx);
  }

  double scale_ = 1;
  index_t kernel_ = 0;  // kh kw of the form with cores
};

/// LoHa (arXiv:2108.06098; LyCORIS, layout of huggingface/peft): ΔW = s (a₁ b₁) ⊙ (a₂ b₂), s = alpha / r:
/// rank up to r² from 2 r (in + out) values. b₂ starts at zero.
///
/// Cost: the weight change is formed in each pass, 2 out in r, and multiplied densely. Guarantee: the layer
/// is unchanged at the start; rank(ΔW) <= r². Gradients are the derivatives of the forward pass also where
/// the official backward of convolutions with cores is not.
///
///     auto adapter = tersor::adapters::loha{.rank = 8, .alpha = 8}.init(W, tersor::random_generator(1));
///     adapter.forward(W, x, y);  // W: [out, in], x: [tokens, in]
struct loha {
  index_t rank = 8;
  double alpha = 8;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "loha",
                                              .family = "adapters",
                                              .title = "Low-rank Hadamard product",
                                              .arxiv = "2108.06098",
                                              .header = "tersor/adapters/loha.hpp",
                                              .guarantee = "identity at the start; rank of the change <= r²"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank", &loha::rank, {.help = "inner dimension", .symbol = "r", .min = 1, .max = 65536}},
        option{"alpha", &loha::alpha, {.help = "scale times the rank", .symbol = "alpha", .min = 0}},
        option{"value_type", &loha::value_type, {.help = "type in files"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(std::isfinite(alpha), "loha: alpha", alpha, "a finite number");
  }

  template <std::floating_point T = float>
  loha_state<T> init(const layer_view<std::type_identity_t<T>>& layer, random_generator random) const {
    validate();
    const index_t out = layer.rows(), in = layer.cols();
    matrix<T> a1 = detail::kaiming<T>(out, rank, random), b1 = detail::kaiming<T>(rank, in, random),
              a2 = detail::kaiming<T>(out, rank, random);
    loha_state<T> state(std::move(a1), std::move(b1), std::move(a2), matrix<T>(rank, in),
                        alpha / static_cast<double>(rank));
    state.for_each_tensor([&](parameter<T>& p) { p.stored_type = value_type; });
    return state;
  }
};

}  // namespace tersor::adapters
