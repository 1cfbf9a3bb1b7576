// tersor - Bat: small blocks combined with the weight itself
// SPDX-License-Identifier: MIT
#pragma once

#include <tuple>  // std::tuple

#include <tersor/adapters/square_inverse.hpp>
#include <tersor/adapters/state.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::adapters {

/// The tensor of one layer: B [out / r, r, r]. With W_βa the shard of r x r at block row β and block column
/// a, W'_βa = W_βa + W_βa B_β + B_β.
template <std::floating_point T = float>
class bat_state : public adapter_state<bat_state<T>, T> {
 public:
  static constexpr std::string_view id = "bat";
  static constexpr adapter_algebra algebra = adapter_algebra::functional;

  bat_state() = default;
  /// @param blocks B with its first two axes as rows, [out, r]; r divides out and in.
  bat_state(index_t in, matrix<T> blocks, std::string key = "miss_block")
      : adapter_state<bat_state, T>(blocks.rows(), in), rank_(blocks.cols()) {
    require(rank_ > 0 && in % rank_ == 0 && blocks.rows() % rank_ == 0, "bat: rank", rank_,
            "a divisor of both sides of the weight, ", blocks.rows(), " x ", in);
    const index_t units = blocks.rows() / rank_;
    this->add_tensor({std::move(key), parameter_kind::projection, {units, rank_, rank_}, std::move(blocks)});
  }

  index_t rank() const { return rank_; }

  void forward(const layer_view<T>& layer, matrix_view<const T> x, matrix_view<T> y,
               const context& ctx = {}) const {
    this->check_layer(layer);
    this->check_forward(x, y);
    const matrix<T> w = changed(layer.weight(), ctx);
    layer_view<T>(w, layer.bias()).apply(x, y, ctx);
  }
  void backward(const layer_view<T>& layer, matrix_view<const T> x, matrix_view<const T> gy,
                matrix_view<T> gx, gradients<T>& g, const context& ctx = {}) const {
    this->check_layer(layer);
    this->check_backward(x, gy, gx, g);
    const matrix<T> w = layer.weight();
    if (gx.cols() > 0) linalg::gemm<T>(T(1), gy, changed(w, ctx), T(0), gx, ctx);
    if (g[0].empty()) return;
    const matrix<T> gw = weight_gradient<T>(x, gy, ctx);
    for (index_t b = 0; b < w.rows(); b += rank_) {
      const auto block = g[0].view().rows(b, rank_);
      for (index_t a = 0; a < w.cols(); a += rank_) {
        const auto gradient = gw.view().block(b, a, rank_, rank_);
        linalg::gemm<T>(T(1), w.view().block(b, a, rank_, rank_).transposed(), gradient, T(1), block, ctx);
        for (index_t i = 0; i < rank_; ++i)
          for (index_t j = 0; j < rank_; ++j) block(i, j) += gradient(i, j);
      }
    }
  }

 private:
  friend class adapter_state<bat_state, T>;
  matrix<T> changed(matrix<T> w, const context& ctx) const {
    const matrix<T> old = w;
    for (index_t b = 0; b < w.rows(); b += rank_) {
      const auto block = this->tensor(0).value.view().rows(b, rank_);
      for (index_t a = 0; a < w.cols(); a += rank_) {
        const auto shard = w.view().block(b, a, rank_, rank_);
        linalg::gemm<T>(T(1), old.view().block(b, a, rank_, rank_), block, T(1), shard, ctx);
        for (index_t i = 0; i < rank_; ++i)
          for (index_t j = 0; j < rank_; ++j) shard(i, j) += block(i, j);
      }
    }
    return w;
  }
  void apply_to(dense_layer<T>& layer, const context& ctx) {
    layer.weight = changed(std::move(layer.weight), ctx);
  }
  /// W_βa = (W'_βa - B_β)(I + B_β)⁻¹.
  void remove_from(dense_layer<T>& layer, const context& ctx) {
    std::vector<matrix<T>> inverses;
    for (index_t b = 0; b < layer.weight.rows(); b += rank_) {
      matrix<double> m = copy_as<double>(this->tensor(0).value.view().rows(b, rank_));
      for (index_t i = 0; i < rank_; ++i) m(i, i) += 1;
      inverses.push_back(
          copy_as<T>(detail::square_inverse(m, concat("bat: I + B of block row ", b / rank_)).view()));
    }
    matrix<T> w(layer.weight.rows(), layer.weight.cols());
    for (index_t b = 0; b < w.rows(); b += rank_)
      for (index_t a = 0; a < w.cols(); a += rank_) {
        matrix<T> rest = copy_as<T>(layer.weight.view().block(b, a, rank_, rank_));
        for (index_t i = 0; i < rank_; ++i)
          for (index_t j = 0; j < rank_; ++j) rest(i, j) -= this->tensor(0).value(b + i, j);
        linalg::gemm<T>(T(1), rest, inverses[static_cast<std::size_t>(b / rank_)], T(0),
                        w.view().block(b, a, rank_, rank_), ctx);
      }
    layer.weight = std::move(w);
  }

  index_t rank_ = 0;
};

/// Bat (arXiv:2409.15371, first version; layout of huggingface/peft): block affine change guided by the
/// weight, W'_βa = W_βa + W_βa B_β + B_β, B zero at the start.
///
/// Cost: W' is formed in each pass, out in r, as there is no cheaper form; backward forms the gradient of W.
/// Guarantee: the layer is unchanged at the start; unmerging is exact up to rounding, and an error where I +
/// B is singular. Stored: r out values.
///
///     auto adapter = tersor::adapters::bat{.rank = 64}.init(W, tersor::random_generator(1));
///     adapter.forward(W, x, y);  // W: [out, in], x: [tokens, in]
struct bat {
  index_t rank = 64;
  bool random_start = false;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "bat",
                                              .family = "adapters",
                                              .title = "Block affine adaptation guided by the weight",
                                              .arxiv = "2409.15371",
                                              .header = "tersor/adapters/bat.hpp",
                                              .guarantee = "identity at the start"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank", &bat::rank, {.help = "side of a block", .symbol = "r", .min = 1, .max = 65536}},
        option{"random_start", &bat::random_start, {.help = "start at random, not at zero"}},
        option{"value_type", &bat::value_type, {.help = "type in files"}}};
  }
  void validate() const { validate_options(*this, info.id); }

  /// Error unless the rank divides both sides of W.
  template <std::floating_point T = float>
  bat_state<T> init(const layer_view<std::type_identity_t<T>>& layer, random_generator random) const {
    validate();
    // fan_in of the tensor of three axes: r · r
    bat_state<T> state(layer.cols(), random_start ? detail::kaiming<T>(layer.rows(), rank, std::sqrt(5.0),
                                                                       random, rank * rank)
                                                  : matrix<T>(layer.rows(), rank));
    state.tensors()[0].stored_type = value_type;
    return state;
  }
};

}  // namespace tersor::adapters
