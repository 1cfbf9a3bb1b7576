// tersor - LaMDA: a small trained core between spectral projections that freeze
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/lora.hpp>
#include <tersor/linalg/svd.hpp>

namespace tersor::adapters {

/// The tensors of one layer: A [r, in] frozen, S [r, r], B [out, r]. ΔW = s B S A.
template <std::floating_point T = float>
class lamda_state : public additive_state<lamda_state<T>, T> {
 public:
  static constexpr std::string_view id = "lamda";

  lamda_state() = default;
  /// @param a [r, in]. @param core S [r, r]. @param b [out, r], columns in order of freezing.
  lamda_state(matrix<T> a, matrix<T> core, matrix<T> b, double scale)
      : additive_state<lamda_state, T>(b.rows(), a.cols()), scale_(scale) {
    const index_t r = a.rows();
    require(r > 0 && b.cols() == r, "lamda: columns of B", b.cols(), r, ", the rows of A, and at least 1");
    require_shape(core.view(), r, r, "lamda: core");
    parameter<T> down("lamda_A", parameter_kind::projection, std::move(a));
    down.frozen.freeze_all();
    this->add_tensor(std::move(down));
    this->add_tensor({"lamda_S", parameter_kind::projection, std::move(core)});
    this->add_tensor({"lamda_B", parameter_kind::up_projection, std::move(b)});
  }

  index_t rank() const { return this->tensor(1).value.rows(); }
  double scale() const { return scale_; }
  void freeze_columns(index_t count) { this->tensor(2).frozen.freeze_columns(0, count); }

  void add_delta(matrix_view<const T> x, matrix_view<T> y, const context& ctx = {}) const {
    this->check_forward(x, y);
    product().add(x, y, ctx);
  }
  void add_backward(matrix_view<const T> x, matrix_view<const T> gy, matrix_view<T> gx, gradients<T>& g,
                    const context& ctx = {}) const {
    this->check_backward(x, gy, gx, g);
    product().backward(x, gy, gx, {.a = &g[0], .b = &g[2], .core = &g[1]}, ctx);
  }
  matrix<T> delta_weight(const context& ctx = {}) const { return product().dense(ctx); }
  rank_product<T> product() const {
    return {.scale = static_cast<T>(scale_),
            .a = this->tensor(0).value.view(),
            .b = this->tensor(2).value.view(),
            .core = this->tensor(1).value.view()};
  }

 private:
  double scale_ = 1;
};

/// How many columns of B are frozen when.
struct lamda_freezing {
  index_t total_steps = 1;
  double share = 0.3;  ///< η: all columns are frozen from step η N on

  /// min(r, ⌊r t / (η N)⌋) for a layer of rank r; r for η = 0.
  index_t frozen(index_t step, index_t rank) const {
    require(total_steps >= 1, "lamda: total_steps", total_steps, "at least 1");
    require(share >= 0 && share <= 1, "lamda: share", share, "0 .. 1");
    const double end = share * static_cast<double>(total_steps);
    if (static_cast<double>(step) >= end) return rank;
    return std::min(
        rank, static_cast<index_t>(std::floor(static_cast<double>(rank) * static_cast<double>(step) / end)));
  }
  /// To be called after each step of the optimiser, for every layer.
  template <std::floating_point T>
  void after_step(index_t step, lamda_state<T>& state) const {
    state.freeze_columns(frozen(step, state.rank()));
  }
  /// ⌊t / (η N a)⌋, what the released program counts, without the factor r; a: steps of accumulation.
  index_t frozen_as_released(index_t iteration, index_t rank, index_t accumulation = 1) const {
    const double end = share * static_cast<double>(total_steps) * static_cast<double>(accumulation);
    return end > 0 ? std::min(rank, static_cast<index_t>(static_cast<double>(iteration) / end)) : rank;
  }
};

/// LaMDA (arXiv:2406.12832; official code ArminAzizi98/LaMDA): of the thin SVD W = U Σ Vᵀ, A = V_rᵀ is
/// frozen, B = U_r is frozen column by column, the largest singular value first, during the first
/// `freeze_share` of the steps, and a core S [r, r] trains. S starts at zero; with `residual` at Σ_r / s, and
/// s B S A is taken out of W. The paper's schedule and spectral start: the released program has neither.
///
/// Cost: an SVD of W at the start; r (in + out + r) multiply-adds a token. Guarantee: the layer is unchanged
/// at the start; ΔW lies in the spans of B and V_r. Stored: r (in + out) + r² values; trained at the end: r².
///
///     auto start = tersor::adapters::lamda{.rank = 32}.init(W);
///     start.state.forward(start.weight, x, y);            // start.weight is W, unless residual
///     freezing.after_step(step, start.state);             // lamda_freezing{.total_steps = N}
struct lamda {
  index_t rank = 64;
  double alpha = 16;
  bool residual = false;
  double freeze_share = 0.3;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "lamda",
      .family = "adapters",
      .title = "Low-dimensional adaptation",
      .arxiv = "2406.12832",
      .header = "tersor/adapters/lamda.hpp",
      .guarantee = "identity at the start; r² values train at the end"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank", &lamda::rank, {.help = "side of the core", .symbol = "r", .min = 1, .max = 65536}},
        option{"alpha", &lamda::alpha, {.help = "scale times the rank", .symbol = "alpha", .min = 0}},
        option{
            "residual", &lamda::residual, {.help = "start at the principal part of W and take it out of W"}},
        option{"freeze_share",
               &lamda::freeze_share,
               {.help = "part of the steps in which B freezes", .symbol = "eta", .min = 0, .max = 1}},
        option{"value_type", &lamda::value_type, {.help = "type in files"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(alpha > 0 && std::isfinite(alpha), "lamda: alpha", alpha, "a finite number > 0");
  }
  double scale() const { return alpha / static_cast<double>(rank); }
  lamda_freezing freezing(index_t total_steps) const { return {total_steps, freeze_share}; }

  /// Error if the rank is above min(out, in).
  template <std::floating_point T = float>
  changed_base<lamda_state<T>, T> init(const layer_view<std::type_identity_t<T>>& layer,
                                       const context& ctx = {}) const {
    validate();
    const index_t out = layer.rows(), in = layer.cols();
    require(rank <= std::min(out, in), "lamda: rank", rank, "at most min(", out, ", ", in, ")");
    matrix<T> w = layer.weight();
    const auto d = linalg::svd(w, ctx);
    matrix<T> a = copy_as<T>(d.vt.view().rows(0, rank)), b = copy_as<T>(d.u.view().block(0, 0, out, rank)),
              core(rank, rank);
    if (residual)
      for (index_t k = 0; k < rank; ++k)
        core(k, k) = static_cast<T>(static_cast<double>(d.s[static_cast<std::size_t>(k)]) / scale());
    if (value_type != dtype::f32)
      for (matrix<T>* m : {&a, &b, &core})
        for (T& v : m->values()) v = static_cast<T>(round_to(value_type, static_cast<float>(v)));
    lamda_state<T> state(std::move(a), std::move(core), std::move(b), scale());
    state.for_each_tensor([&](parameter<T>& p) { p.stored_type = value_type; });
    if (freeze_share == 0) state.freeze_columns(rank);
    if (residual) {
      const matrix<T> part = state.delta_weight(ctx);
      for (std::size_t i = 0; i < w.values().size(); ++i) w.values()[i] -= part.values()[i];
    }
    return {std::move(state), std::move(w)};
  }
};

}  // namespace tersor::adapters
