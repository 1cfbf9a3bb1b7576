// tersor - AFLoRA: projections that freeze one by one, as their gradients settle
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::nth_element
#include <optional>   // std::optional

#include <tersor/adapters/lora.hpp>
#include <tersor/adapters/training_rule.hpp>
#include <tersor/solve/budget_schedule.hpp>

namespace tersor::adapters {

/// The tensors of one layer: A [r, in], B [out, r], d [r], e [out]. ΔW = diag(e) B diag(d) A.
template <std::floating_point T = float>
class aflora_state : public additive_state<aflora_state<T>, T> {
 public:
  static constexpr std::string_view id = "aflora";

  aflora_state() = default;
  /// @param d, e one row each.
  aflora_state(matrix<T> a, matrix<T> b, matrix<T> d, matrix<T> e)
      : additive_state<aflora_state, T>(b.rows(), a.cols()) {
    const index_t r = a.rows(), out = b.rows();
    require(r > 0 && b.cols() == r, "aflora: columns of B", b.cols(), r, ", the rows of A, and at least 1");
    require_shape(d.view(), 1, r, "aflora: d");
    require_shape(e.view(), 1, out, "aflora: e");
    this->add_tensor({"lora_A.weight", parameter_kind::projection, std::move(a)});
    this->add_tensor({"lora_B.weight", parameter_kind::up_projection, std::move(b)});
    this->add_tensor({"lora_d", parameter_kind::vector, {r}, std::move(d)});
    this->add_tensor({"lora_db", parameter_kind::vector, {out}, std::move(e)});
  }

  void add_delta(matrix_view<const T> x, matrix_view<T> y, const context& ctx = {}) const {
    this->check_forward(x, y);
    product().add(x, y, ctx);
  }
  void add_backward(matrix_view<const T> x, matrix_view<const T> gy, matrix_view<T> gx, gradients<T>& g,
                    const context& ctx = {}) const {
    this->check_backward(x, gy, gx, g);
    product().backward(x, gy, gx, {.a = &g[0], .b = &g[1], .inner = &g[2], .outer = &g[3]}, ctx);
  }
  matrix<T> delta_weight(const context& ctx = {}) const { return product().dense(ctx); }
  rank_product<T> product() const {
    return {.scale = T(1),
            .a = this->tensor(0).value.view(),
            .b = this->tensor(1).value.view(),
            .inner = this->tensor(2).value.values(),
            .outer = this->tensor(3).value.values()};
  }
};

/// AFLoRA (arXiv:2403.13269; official code zeyuliu1037/AFLoRA): y = x Wᵀ + b + e ⊙ (B (d ⊙ (A x))), A and B
/// at U(±√(6 / fan_in)), d at 0.1 and e at 0. Projections of square layers are frozen from the start; the
/// others train until the controller freezes them by the smoothed size of their gradients, and at the end
/// only the vectors train.
///
/// Cost: VeRA's, and the gradients of what is not frozen yet. Guarantee: the layer is unchanged at the start;
/// what is frozen stays so. Stored: r (in + out) + r + out values.
///
///     const tersor::adapters::aflora method{.rank = 4, .total_steps = 20000, .epochs = 20};
///     auto adapter = method.init(W, tersor::random_generator(1));      // one for each layer
///     tersor::adapters::aflora_controller control(method);
///     control.after_step(step, parameters, gradients);                 // the A and B of all layers
struct aflora {
  index_t rank = 4;
  index_t total_steps = 20;
  index_t epochs = 20;
  index_t warmup_epochs = 1;
  index_t final_epochs = 14;
  double beta1 = 0.85;
  double beta2 = 0.95;
  index_t window = 10;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "aflora",
      .family = "adapters",
      .title = "Adaptive freezing of low-rank adaptation",
      .arxiv = "2403.13269",
      .header = "tersor/adapters/aflora.hpp",
      .guarantee = "identity at the start; r + out values train at the end"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank", &aflora::rank, {.help = "inner dimension", .symbol = "r", .min = 1, .max = 65536}},
        option{"total_steps", &aflora::total_steps, {.help = "steps of training", .symbol = "N", .min = 1}},
        option{"epochs", &aflora::epochs, {.help = "epochs of training", .min = 1}},
        option{
            "warmup_epochs", &aflora::warmup_epochs, {.help = "without freezing", .symbol = "t_i", .min = 0}},
        option{"final_epochs", &aflora::final_epochs, {.help = "with all frozen", .symbol = "t_f", .min = 0}},
        option{"beta1",
               &aflora::beta1,
               {.help = "smoothing of the size", .symbol = "beta_1", .min = 0, .max = 1}},
        option{"beta2",
               &aflora::beta2,
               {.help = "smoothing of its variation", .symbol = "beta_2", .min = 0, .max = 1}},
        option{"window", &aflora::window, {.help = "steps of one mean", .min = 1}},
        option{"value_type", &aflora::value_type, {.help = "type in files"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(warmup_epochs + final_epochs <= epochs, "aflora: warmup_epochs", warmup_epochs,
            "warmup_epochs + final_epochs at most epochs, ", epochs);
  }

  template <std::floating_point T = float>
  aflora_state<T> init(const layer_view<std::type_identity_t<T>>& layer, random_generator random) const {
    validate();
    const index_t out = layer.rows(), in = layer.cols();
    matrix<T> a = detail::kaiming<T>(rank, in, 0, random, in);
    aflora_state<T> state(std::move(a), detail::kaiming<T>(out, rank, 0, random, rank),
                          matrix<T>(1, rank, T(0.1)), matrix<T>(1, out));
    state.for_each_tensor([&](parameter<T>& p) { p.stored_type = value_type; });
    if (out == in)
      for (std::size_t k = 0; k < 2; ++k) state.tensors()[k].frozen.freeze_all();
    return state;
  }
};

/// Freezes whole projections as their part of training ends.
class aflora_controller {
 public:
  explicit aflora_controller(const aflora& options)
      : options_(options),
        schedule_{.start = 1,
                  .end = 0,
                  .total = options.total_steps,
                  .warmup = options.warmup_epochs * (options.total_steps / options.epochs),
                  .cooldown = options.final_epochs * (options.total_steps / options.epochs)} {
    options.validate();
    schedule_.validate();
  }

  /// The share ρ that is still to train at a step, which counts from 1.
  double remaining(index_t step) const { return schedule_.at(step); }
  /// Of the last selection; empty if there was none in the last step.
  std::optional<double> threshold() const { return threshold_; }

  /// Of the trackers; which projections are frozen is the caller's to keep.
  rule_state state() const { return tracker_states(trackers_); }
  void restore(const rule_state& s) { trackers_ = restored_trackers(s, smoothing()); }

  /// To be called after each step of the optimiser. @param projections the A and B of all layers, always in
  /// the same order, those frozen already included. @param g their gradients; not read where a projection is
  /// frozen.
  template <std::floating_point T>
  void after_step(index_t step, std::span<parameter<T>* const> projections,
                  std::span<const matrix<T>* const> g) {
    require(g.size() == projections.size(), "aflora: gradients", g.size(), projections.size());
    trackers_.resize(projections.size(), solve::importance_tracker(smoothing()));
    for (std::size_t i = 0; i < projections.size(); ++i)
      if (projections[i]->trains()) trackers_[i].add(solve::magnitude<T>(g[i]->values()));
    threshold_.reset();
    const bool last_phase = step > schedule_.total - schedule_.cooldown;
    if (step <= schedule_.warmup || (!last_phase && step % options_.window != 0)) return;
    freeze(remaining(step), last_phase, projections);
  }

 private:
  template <std::floating_point T>
  void freeze(double remaining, bool last_phase, std::span<parameter<T>* const> projections) {
    std::vector<double> scores;
    std::vector<double> means(projections.size());
    for (std::size_t i = 0; i < projections.size(); ++i) {
      if (!projections[i]->trains()) continue;
      double sum = 0;
      for (std::size_t k = 0; k < trackers_[i].size(); ++k) {
        scores.push_back(trackers_[i].score(k));
        sum += scores.back();
      }
      means[i] = sum / static_cast<double>(trackers_[i].size());
    }
    const auto k = static_cast<index_t>(static_cast<double>(scores.size()) * (1 - remaining));
    if (k == 0) return;
    std::nth_element(scores.begin(), scores.begin() + (k - 1), scores.end());
    threshold_ = scores[static_cast<std::size_t>(k - 1)];
    for (std::size_t i = 0; i < projections.size(); ++i)
      // in the last phase the threshold is the largest score, which a mean of equal scores may reach
      if (projections[i]->trains() && (means[i] < *threshold_ || last_phase))
        projections[i]->frozen.freeze_all();
  }

  solve::importance_options smoothing() const {
    return {.beta1 = options_.beta1, .beta2 = options_.beta2, .window = options_.window, .first_step = 1};
  }

  aflora options_;
  solve::budget_schedule schedule_;
  std::vector<solve::importance_tracker> trackers_;
  std::optional<double> threshold_;
};

}  // namespace tersor::adapters
