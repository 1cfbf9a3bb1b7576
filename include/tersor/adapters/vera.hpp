// tersor - VeRA: trained vectors around random projections that all layers share
// SPDX-License-Identifier: MIT
#pragma once

#include <memory>  // std::shared_ptr

#include <tersor/adapters/lora.hpp>
#include <tersor/adapters/torch_random.hpp>

namespace tersor::adapters {

/// The frozen random pair of all layers: A [r, max_in], B [max_out, r]. A layer uses the first `in` columns
/// and the first `out` rows.
template <std::floating_point T = float>
struct vera_projections {
  matrix<T> a, b;
  dtype stored_type = dtype::f32;

  /// What PyTorch draws for this key, A first, each U(±√(6 / fan_in)).
  static std::shared_ptr<const vera_projections> draw(index_t rank, index_t max_in, index_t max_out,
                                                      std::uint64_t key = 0) {
    require(rank > 0 && max_in > 0 && max_out > 0, "vera: projections",
            concat(rank, ", ", max_in, ", ", max_out), "a rank and extents of at least 1");
    torch_generator random(key);
    const auto one = [&](index_t rows, index_t cols) {
      const auto bound =
          static_cast<float>(std::sqrt(3.0) * std::sqrt(2.0) / std::sqrt(static_cast<double>(cols)));
      matrix<float> m(rows, cols);
      random.uniform(m.values(), -bound, bound);
      return copy_as<T>(m.view());
    };
    matrix<T> first = one(rank, max_in);
    return std::make_shared<const vera_projections>(vera_projections{std::move(first), one(max_out, rank)});
  }
};

/// The tensors of one layer: b [out] and d [r]. ΔW = diag(b) B diag(d) A.
template <std::floating_point T = float>
class vera_state : public additive_state<vera_state<T>, T> {
 public:
  static constexpr std::string_view id = "vera";

  vera_state() = default;
  /// @param lambda_b b [out]. @param lambda_d d [r].
  vera_state(std::shared_ptr<const vera_projections<T>> shared, index_t out, index_t in, matrix<T> lambda_b,
             matrix<T> lambda_d)
      : additive_state<vera_state, T>(out, in), shared_(std::move(shared)) {
    require(out <= shared_->b.rows() && in <= shared_->a.cols(), "vera: layer", concat(out, " x ", in),
            "at most ", shared_->b.rows(), " x ", shared_->a.cols(), ", what the shared projections cover");
    require_shape(lambda_b.view(), 1, out, "vera: lambda_b");
    const index_t r = shared_->a.rows();
    require_shape(lambda_d.view(), 1, r, "vera: lambda_d");
    this->add_tensor({"vera_lambda_b", parameter_kind::vector, {out}, std::move(lambda_b)});
    this->add_tensor({"vera_lambda_d", parameter_kind::vector, {r}, std::move(lambda_d)});
  }

  const std::shared_ptr<const vera_projections<T>>& shared() const { return shared_; }

  void add_delta(matrix_view<const T> x, matrix_view<T> y, const context& ctx = {}) const {
    this->check_forward(x, y);
    product().add(x, y, ctx);
  }
  void add_backward(matrix_view<const T> x, matrix_view<const T> gy, matrix_view<T> gx, gradients<T>& g,
                    const context& ctx = {}) const {
    this->check_backward(x, gy, gx, g);
    product().backward(x, gy, gx, {.inner = &g[1], .outer = &g[0]}, ctx);
  }
  matrix<T> delta_weight(const context& ctx = {}) const { return product().dense(ctx); }
  rank_product<T> product() const {
    return {.scale = T(1),
            .a = shared_->a.view().block(0, 0, shared_->a.rows(), this->in_features()),
            .b = shared_->b.view().rows(0, this->out_features()),
            .inner = this->tensor(1).value.values(),
            .outer = this->tensor(0).value.values()};
  }

 private:
  std::shared_ptr<const vera_projections<T>> shared_;
};

/// VeRA (arXiv:2310.11454; layout of huggingface/peft): y = x Wᵀ + b₀ + b ⊙ (B (d ⊙ (A x))) with one frozen
/// random pair A, B for all layers and trained vectors b [out], starting at 0, and d [r], starting at
/// `d_initial`.
///
/// Cost: r (in + out) multiply-adds a token. Guarantee: the layer is unchanged at the start. Stored: r + out
/// values a layer; the pair once, or not at all, as its key determines it.
///
///     auto shared = tersor::adapters::vera_projections<>::draw(256, max_in, max_out);
///     auto adapter = tersor::adapters::vera{.rank = 256}.init(W, shared);  // the pair is of all layers
struct vera {
  index_t rank = 256;
  double d_initial = 0.1;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "vera",
                                              .family = "adapters",
                                              .title = "Vector-based random matrix adaptation",
                                              .arxiv = "2310.11454",
                                              .header = "tersor/adapters/vera.hpp",
                                              .guarantee = "identity at the start; r + out values a layer"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank", &vera::rank, {.help = "inner dimension", .symbol = "r", .min = 1, .max = 65536}},
        option{"d_initial", &vera::d_initial, {.help = "start of the inner vector", .symbol = "d"}},
        option{"value_type", &vera::value_type, {.help = "type in files"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(std::isfinite(d_initial), "vera: d_initial", d_initial, "a finite number");
  }

  template <std::floating_point T = float>
  vera_state<T> init(const layer_view<std::type_identity_t<T>>& layer,
                     std::shared_ptr<const vera_projections<T>> shared) const {
    validate();
    require(shared && shared->a.rows() == rank, "vera: rank of the shared projections",
            shared ? shared->a.rows() : 0, rank);
    vera_state<T> state(std::move(shared), layer.rows(), layer.cols(), matrix<T>(1, layer.rows()),
                        matrix<T>(1, rank, static_cast<T>(d_initial)));
    state.for_each_tensor([&](parameter<T>& p) { p.stored_type = value_type; });
    return state;
  }
};

}  // namespace tersor::adapters
