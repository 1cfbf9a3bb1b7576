// tersor - IA3: one trained scale for each output, or each input, of a layer
// SPDX-License-Identifier: MIT
#pragma once

#include <tuple>  // std::tuple

#include <tersor/adapters/state.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::adapters {

/// The tensor of one layer: l [out, 1], y = (x Wᵀ + b) ⊙ l; or [1, in] for a feed-forward module,
/// y = (x ⊙ l) Wᵀ + b.
template <std::floating_point T = float>
class ia3_state : public adapter_state<ia3_state<T>, T> {
 public:
  static constexpr std::string_view id = "ia3";
  static constexpr adapter_algebra algebra = adapter_algebra::multiplicative;

  ia3_state() = default;
  ia3_state(index_t out, index_t in, bool feedforward)
      : adapter_state<ia3_state, T>(out, in), feedforward_(feedforward) {
    this->add_tensor({"ia3_l", parameter_kind::projection,
                      feedforward ? matrix<T>(1, in, T(1)) : matrix<T>(out, 1, T(1))});
  }

  bool feedforward() const { return feedforward_; }
  std::span<const T> scale() const { return this->tensor(0).value.values(); }

  void forward(const layer_view<T>& layer, matrix_view<const T> x, matrix_view<T> y,
               const context& ctx = {}) const {
    this->check_layer(layer);
    this->check_forward(x, y);
    if (!feedforward_) {
      layer.apply(x, y, ctx);
      detail::scale_columns<T>(y, scale());
      return;
    }
    matrix<T> scaled = copy_as<T>(x);
    detail::scale_columns<T>(scaled.view(), scale());
    layer.apply(scaled.view(), y, ctx);
  }
  void backward(const layer_view<T>& layer, matrix_view<const T> x, matrix_view<const T> gy,
                matrix_view<T> gx, gradients<T>& g, const context& ctx = {}) const {
    this->check_layer(layer);
    this->check_backward(x, gy, gx, g);
    if (!feedforward_) {
      if (!g[0].empty()) {
        matrix<T> y(x.rows(), this->out_features());
        layer.apply(x, y.view(), ctx);
        detail::add_column_products<T>(gy, y.view(), g[0].values());
      }
      if (gx.cols() == 0) return;
      matrix<T> scaled = copy_as<T>(gy);
      detail::scale_columns<T>(scaled.view(), scale());
      layer.apply_transposed(scaled.view(), gx, ctx);
      return;
    }
    matrix<T> gi(x.rows(), this->in_features());
    layer.apply_transposed(gy, gi.view(), ctx);
    if (!g[0].empty()) detail::add_column_products<T>(gi.view(), x, g[0].values());
    if (gx.cols() == 0) return;
    detail::scale_columns<T>(gi.view(), scale());
    tersor::copy(gi.view(), gx);
  }

 private:
  friend class adapter_state<ia3_state, T>;
  /// The original is kept: dividing by l is inexact, and impossible where l is 0.
  void apply_to(dense_layer<T>& layer, const context&) {
    original_ = layer;
    for (index_t o = 0; o < layer.weight.rows(); ++o)
      for (index_t j = 0; j < layer.weight.cols(); ++j)
        layer.weight(o, j) *= scale()[static_cast<std::size_t>(feedforward_ ? j : o)];
    if (feedforward_) return;
    for (std::size_t o = 0; o < layer.bias.size(); ++o) layer.bias[o] *= scale()[o];
  }
  void remove_from(dense_layer<T>& layer, const context&) {
    layer = std::move(original_);
    original_ = {};
  }

  bool feedforward_ = false;
  dense_layer<T> original_;
};

/// IA3 (arXiv:2205.05638, official code r-three/t-few; layout of huggingface/peft): scales outputs, or inputs
/// of feed-forward modules, by a trained vector that starts at one.
///
/// Cost: one multiplication an output. Guarantee: the layer is unchanged at the start; unmerging is exact.
/// Stored: out (or in) values.
///
///     auto adapter = tersor::adapters::ia3{}.init(W);
///     adapter.forward(W, x, y);  // W: [out, in], x: [tokens, in]
struct ia3 {
  bool feedforward = false;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "ia3",
                                              .family = "adapters",
                                              .title = "Rescaled activations",
                                              .arxiv = "2205.05638",
                                              .header = "tersor/adapters/ia3.hpp",
                                              .guarantee = "identity at the start; exact unmerging"};
  static constexpr auto options() {
    return std::tuple{option{"feedforward", &ia3::feedforward, {.help = "scale the inputs, not the outputs"}},
                      option{"value_type", &ia3::value_type, {.help = "type in files"}}};
  }
  void validate() const { validate_options(*this, info.id); }

  template <std::floating_point T = float>
  ia3_state<T> init(const layer_view<std::type_identity_t<T>>& layer) const {
    validate();
    ia3_state<T> state(layer.rows(), layer.cols(), feedforward);
    state.tensors()[0].stored_type = value_type;
    return state;
  }
};

}  // namespace tersor::adapters
