// tersor - DoRA: a low-rank change of direction with a magnitude of its own for each row
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/lora.hpp>

namespace tersor::adapters {

/// The tensors of one layer: A [r, in], B [out, r], m [out]. W' = diag(m / n) (W + s B A), n the row norms of
/// the bracket. A backward pass holds n fixed, as the official one does.
template <std::floating_point T = float>
class dora_state : public adapter_state<dora_state<T>, T> {
 public:
  static constexpr std::string_view id = "dora";
  static constexpr adapter_algebra algebra = adapter_algebra::functional;

  dora_state() = default;
  /// @param a [r, in]. @param b [out, r]. @param magnitude m [out].
  dora_state(matrix<T> a, matrix<T> b, const std::vector<T>& magnitude, double scale)
      : adapter_state<dora_state, T>(b.rows(), a.cols()), scale_(scale) {
    require(a.rows() > 0 && a.rows() == b.cols(), "dora: columns of B", b.cols(), a.rows(),
            ", the rows of A, and at least 1");
    require(static_cast<index_t>(magnitude.size()) == b.rows(), "dora: size of the magnitude",
            magnitude.size(), b.rows());
    const index_t out = b.rows();
    matrix<T> m(1, out);
    std::ranges::copy(magnitude, m.values().begin());
    this->add_tensor({"lora_A.weight", parameter_kind::projection, std::move(a)});
    this->add_tensor({"lora_B.weight", parameter_kind::up_projection, std::move(b)});
    // the file's key has no ".weight"
    this->add_tensor({"lora_magnitude_vector", parameter_kind::vector, {out}, std::move(m)});
  }

  index_t rank() const { return a().rows(); }
  double scale() const { return scale_; }
  const matrix<T>& a() const { return this->tensor(0).value; }
  const matrix<T>& b() const { return this->tensor(1).value; }
  std::span<const T> magnitude() const { return this->tensor(2).value.values(); }

  /// n [out] = ‖(W + s B A)_i‖₂. Cost out · in · r. Error if a row is zero: it has no direction.
  std::vector<T> norms(const matrix<T>& weight, const context& ctx = {}) const {
    return row_norms(changed(weight, ctx));
  }

  void forward(const layer_view<T>& layer, matrix_view<const T> x, matrix_view<T> y,
               const context& ctx = {}) const {
    this->check_layer(layer);
    this->check_forward(x, y);
    const std::vector<T> factor = ratio(norms(layer.weight(), ctx));
    layer.multiply(x, y, ctx);
    product().add(x, y, ctx);
    for (index_t t = 0; t < y.rows(); ++t)
      for (index_t o = 0; o < y.cols(); ++o) {
        y(t, o) *= factor[static_cast<std::size_t>(o)];
        if (!layer.bias().empty()) y(t, o) += layer.bias()[static_cast<std::size_t>(o)];
      }
  }
  void backward(const layer_view<T>& layer, matrix_view<const T> x, matrix_view<const T> gy,
                matrix_view<T> gx, gradients<T>& g, const context& ctx = {}) const {
    this->check_layer(layer);
    this->check_backward(x, gy, gx, g);
    const std::vector<T> n = norms(layer.weight(), ctx), factor = ratio(n);
    matrix<T> scaled = copy_as<T>(gy);
    detail::scale_columns<T>(scaled.view(), factor);
    if (!g[2].empty()) {
      matrix<T> z(x.rows(), this->out_features());
      layer.multiply(x, z.view(), ctx);
      product().add(x, z.view(), ctx);
      for (index_t t = 0; t < z.rows(); ++t)
        for (index_t o = 0; o < z.cols(); ++o)
          g[2](0, o) += gy(t, o) * z(t, o) / n[static_cast<std::size_t>(o)];
    }
    if (gx.cols() > 0) layer.apply_transposed(scaled.view(), gx, ctx);
    product().backward(x, scaled.view(), gx, {.a = &g[0], .b = &g[1]}, ctx);
  }

 private:
  friend class adapter_state<dora_state, T>;
  void apply_to(dense_layer<T>& layer, const context& ctx) {
    // Where a row becomes zero, nothing can be divided back: the rows themselves are kept.
    const bool invertible = std::ranges::none_of(magnitude(), [](T m) { return m == T(0); });
    original_ = invertible ? matrix<T>() : layer.weight;
    layer.weight = changed(layer.weight, ctx);
    merged_norms_ = row_norms(layer.weight);
    const std::vector<T> factor = ratio(merged_norms_);
    for (index_t o = 0; o < layer.weight.rows(); ++o)
      for (T& v : layer.weight.row(o)) v *= factor[static_cast<std::size_t>(o)];
  }
  void remove_from(dense_layer<T>& layer, const context& ctx) {
    if (!original_.empty()) {
      layer.weight = std::move(original_);
      original_ = {};
      return;
    }
    const matrix<T> delta = product().dense(ctx);
    const std::vector<T> factor = ratio(merged_norms_);
    for (index_t o = 0; o < delta.rows(); ++o)
      for (index_t j = 0; j < delta.cols(); ++j)
        layer.weight(o, j) = layer.weight(o, j) / factor[static_cast<std::size_t>(o)] - delta(o, j);
  }
  rank_product<T> product() const {
    return {.scale = static_cast<T>(scale_), .a = a().view(), .b = b().view()};
  }
  matrix<T> changed(matrix<T> weight, const context& ctx) const {
    linalg::gemm<T>(static_cast<T>(scale_), b(), a(), T(1), weight, ctx);
    return weight;
  }
  static std::vector<T> row_norms(const matrix<T>& w) {
    std::vector<T> n;
    for (index_t o = 0; o < w.rows(); ++o) {
      double sum = 0;
      for (const T v : w.row(o)) sum += static_cast<double>(v) * static_cast<double>(v);
      require(sum > 0, concat("dora: norm of row ", o, " of W + s B A"), sum, "a number > 0");
      n.push_back(static_cast<T>(std::sqrt(sum)));
    }
    return n;
  }
  std::vector<T> ratio(std::vector<T> n) const {
    for (std::size_t o = 0; o < n.size(); ++o) n[o] = magnitude()[o] / n[o];
    return n;
  }

  double scale_ = 1;
  std::vector<T> merged_norms_;
  matrix<T> original_;
};

/// DoRA (arXiv:2402.09353; official code NVlabs/DoRA, layout of huggingface/peft): y = (m / n) ⊙ (x Wᵀ +
/// s (x Aᵀ) Bᵀ) + b with n the row norms of W + s B A; the bias of the base is not scaled. m starts as the
/// row norms of W and B at zero.
///
/// Cost: LoRA's, and out · in · r for the norms of each pass (with its values decoded where W is compressed).
/// Guarantee: the layer is unchanged at the start. Stored: r (in + out) + out values.
///
///     auto adapter = tersor::adapters::dora{.rank = 8, .alpha = 16}.init(W, tersor::random_generator(1));
///     adapter.forward(W, x, y);  // W: [out, in], x: [tokens, in]
struct dora {
  index_t rank = 8;
  double alpha = 8;
  bool rslora = false;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "dora",
                                              .family = "adapters",
                                              .title = "Weight-decomposed low-rank adaptation",
                                              .arxiv = "2402.09353",
                                              .header = "tersor/adapters/dora.hpp",
                                              .guarantee = "identity at the start"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank", &dora::rank, {.help = "inner dimension", .symbol = "r", .min = 1, .max = 65536}},
        option{"alpha", &dora::alpha, {.help = "scale times the rank", .symbol = "alpha", .min = 0}},
        option{"rslora", &dora::rslora, {.help = "divide alpha by the root of the rank"}},
        option{"value_type", &dora::value_type, {.help = "type in files"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(std::isfinite(alpha), "dora: alpha", alpha, "a finite number");
  }

  template <std::floating_point T = float>
  dora_state<T> init(const layer_view<std::type_identity_t<T>>& layer, random_generator random) const {
    validate();
    const lora plain{.rank = rank, .alpha = alpha, .rslora = rslora};
    const lora_state<T> start = plain.init<T>(layer, random);
    // With B = 0 the norms of the bracket are those of W.
    const std::vector<T> unit(static_cast<std::size_t>(layer.rows()), T(1));
    const dora_state<T> probe(start.a(), start.b(), unit, plain.scale());
    dora_state<T> state(start.a(), start.b(), probe.norms(layer.weight()), plain.scale());
    state.for_each_tensor([&](parameter<T>& p) { p.stored_type = value_type; });
    return state;
  }
};

}  // namespace tersor::adapters
