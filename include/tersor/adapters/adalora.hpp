// tersor - AdaLoRA: LoRA in the form of an SVD, with one budget of ranks for all layers
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/lora.hpp>
#include <tersor/adapters/training_rule.hpp>
#include <tersor/solve/allocate.hpp>
#include <tersor/solve/budget_schedule.hpp>
#include <tersor/solve/importance.hpp>

namespace tersor::adapters {

/// The tensors of one layer: A [r, in], e [r, 1], B [out, r]. ΔW = s B diag(e) A.
template <std::floating_point T = float>
class adalora_state : public additive_state<adalora_state<T>, T> {
 public:
  static constexpr std::string_view id = "adalora";

  adalora_state() = default;
  /// @param a [r, in]. @param e [r, 1]. @param b [out, r]. The rank may be 0: all triplets pruned.
  adalora_state(matrix<T> a, matrix<T> e, matrix<T> b, double scale)
      : additive_state<adalora_state, T>(b.rows(), a.cols()), scale_(scale) {
    require(a.rows() == b.cols(), "adalora: columns of B", b.cols(), a.rows(), ", the rows of A");
    require_shape(e.view(), a.rows(), 1, "adalora: e");
    this->add_tensor({"lora_A", parameter_kind::projection, std::move(a)});
    this->add_tensor({"lora_E", parameter_kind::projection, std::move(e)});
    this->add_tensor({"lora_B", parameter_kind::up_projection, std::move(b)});
  }

  index_t rank() const { return a().rows(); }
  double scale() const { return scale_; }
  const matrix<T>& a() const { return this->tensor(0).value; }
  const matrix<T>& e() const { return this->tensor(1).value; }
  const matrix<T>& b() const { return this->tensor(2).value; }

  void add_delta(matrix_view<const T> x, matrix_view<T> y, const context& ctx = {}) const {
    this->check_forward(x, y);
    if (rank() > 0) product().add(x, y, ctx);
  }
  void add_backward(matrix_view<const T> x, matrix_view<const T> gy, matrix_view<T> gx, gradients<T>& g,
                    const context& ctx = {}) const {
    this->check_backward(x, gy, gx, g);
    if (rank() > 0) product().backward(x, gy, gx, {.a = &g[0], .b = &g[2], .inner = &g[1]}, ctx);
  }
  matrix<T> delta_weight(const context& ctx = {}) const {
    if (rank() == 0) return {this->out_features(), this->in_features()};
    return product().dense(ctx);
  }
  rank_product<T> product() const {
    return {.scale = static_cast<T>(scale_), .a = a().view(), .b = b().view(), .inner = e().values()};
  }
  /// The triplets with kept[k] != 0 alone, as files store them; the scale stays.
  adalora_state compacted(std::span<const std::uint8_t> kept) const {
    require(static_cast<index_t>(kept.size()) == rank(), "adalora: size of the pattern", kept.size(), rank());
    std::vector<index_t> order;
    for (index_t k = 0; k < rank(); ++k)
      if (kept[static_cast<std::size_t>(k)] != 0) order.push_back(k);
    const auto r = static_cast<index_t>(order.size());
    matrix<T> small_a(r, a().cols()), small_e(r, 1);
    for (index_t k = 0; k < r; ++k) {
      const index_t from = order[static_cast<std::size_t>(k)];
      std::ranges::copy(a().row(from), small_a.row(k).begin());
      small_e(k, 0) = e()(from, 0);
    }
    adalora_state s(std::move(small_a), std::move(small_e), gather_columns(b(), order), scale_);
    for (std::size_t i = 0; i < 3; ++i) s.tensor(i).stored_type = this->tensor(i).stored_type;
    return s;
  }

 private:
  double scale_ = 1;
};

/// AdaLoRA (arXiv:2303.10512; official code QingruZhang/AdaLoRA, layout of huggingface/peft): ΔW = s B
/// diag(e) A, s = alpha / (r + 1e-5) with the initial rank r, A and B start at N(0, 0.02²), e at 0. A
/// controller scores each triplet (B_k, e_k, A_k) by its smoothed sensitivity and sets the e of the weakest
/// of all layers to zero, so that a falling budget of ranks is distributed over them.
///
/// Cost: LoRA's; the scores add a few passes over the tensors a step. Guarantee: the layer is unchanged at
/// the start; the number of live triplets follows the budget. Stored: r_i (in + out + 1) values of r_i kept
/// triplets.
///
///     const tersor::adapters::adalora method{.rank = 12, .target_rank = 8, .total_steps = 1000};
///     auto adapter = method.init(W, tersor::random_generator(1));      // one for each layer
///     tersor::adapters::adalora_controller control(method, layers);
///     control.after_step(step, states, gradients);                     // step counts from 1
struct adalora {
  index_t rank = 12;
  double alpha = 8;
  index_t target_rank = 8;
  index_t warmup = 0;
  index_t final_steps = 0;
  index_t interval = 1;
  index_t total_steps = 1000;
  double beta1 = 0.85;
  double beta2 = 0.85;
  double orthogonality = 0.5;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "adalora",
                                              .family = "adapters",
                                              .title = "Adaptive budget of ranks",
                                              .arxiv = "2303.10512",
                                              .header = "tersor/adapters/adalora.hpp",
                                              .guarantee = "identity at the start; ranks follow the budget"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank",
               &adalora::rank,
               {.help = "of each layer at the start", .symbol = "r", .min = 1, .max = 65536}},
        option{"alpha", &adalora::alpha, {.help = "scale times the rank", .symbol = "alpha", .min = 0}},
        option{
            "target_rank", &adalora::target_rank, {.help = "mean rank at the end", .min = 0, .max = 65536}},
        option{
            "warmup", &adalora::warmup, {.help = "steps with the whole budget", .symbol = "t_i", .min = 0}},
        option{"final_steps",
               &adalora::final_steps,
               {.help = "steps with fixed ranks", .symbol = "t_f", .min = 0}},
        option{"interval",
               &adalora::interval,
               {.help = "steps between two selections", .symbol = "dT", .min = 1}},
        option{"total_steps", &adalora::total_steps, {.help = "steps of training", .symbol = "T", .min = 1}},
        option{"beta1",
               &adalora::beta1,
               {.help = "smoothing of the importance", .symbol = "beta_1", .min = 0, .max = 1}},
        option{"beta2",
               &adalora::beta2,
               {.help = "smoothing of its variation", .symbol = "beta_2", .min = 0, .max = 1}},
        option{"orthogonality",
               &adalora::orthogonality,
               {.help = "weight of the penalty", .symbol = "gamma", .min = 0}},
        option{"value_type", &adalora::value_type, {.help = "type in files"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(std::isfinite(alpha), "adalora: alpha", alpha, "a finite number");
    require(target_rank <= rank, "adalora: target_rank", target_rank, "at most rank, ", rank);
    require(warmup + final_steps < total_steps, "adalora: warmup", warmup,
            "warmup + final_steps below total_steps, ", total_steps);
  }
  double scale() const { return alpha / (static_cast<double>(rank) + 1e-5); }

  template <std::floating_point T = float>
  adalora_state<T> init(const layer_view<std::type_identity_t<T>>& layer, random_generator random) const {
    validate();
    matrix<T> a = detail::normal<T>(rank, layer.cols(), 0.02, random);
    adalora_state<T> state(std::move(a), matrix<T>(rank, 1),
                           detail::normal<T>(layer.rows(), rank, 0.02, random), scale());
    state.for_each_tensor([&](parameter<T>& p) { p.stored_type = value_type; });
    return state;
  }
};

/// The penalty of AdaLoRA's loss: weight times the mean over all A and B of ‖A Aᵀ - I‖_F and ‖Bᵀ B - I‖_F,
/// not squared. Adds its gradient to `g`, one for each state; no gradient where a norm is 0. Cost r² (in +
/// out) a layer.
template <std::floating_point T>
double add_orthogonality_penalty(std::span<const adalora_state<T>* const> states,
                                 std::span<gradients<T>* const> g, double weight, const context& ctx = {}) {
  require(g.size() == states.size(), "adalora: gradients", g.size(), states.size());
  if (states.empty()) return 0;
  const double share = weight / static_cast<double>(2 * states.size());
  double sum = 0;
  for (std::size_t l = 0; l < states.size(); ++l)
    for (const bool rows : {true, false}) {
      const matrix<T>& p = rows ? states[l]->a() : states[l]->b();
      const auto v = rows ? p.view() : p.view().transposed();  // [r, n]
      matrix<T> c = linalg::multiply(v, v.transposed(), ctx);
      double square = 0;
      for (index_t i = 0; i < c.rows(); ++i) {
        c(i, i) -= T(1);
        for (const T x : c.row(i)) square += static_cast<double>(x) * static_cast<double>(x);
      }
      const double norm = std::sqrt(square);
      sum += norm;
      matrix<T>& to = (*g[l])[rows ? 0 : 2];
      if (norm == 0 || to.empty()) continue;
      const auto factor = static_cast<T>(2 * share / norm);
      if (rows)
        linalg::gemm<T>(factor, c, v, T(1), to, ctx);
      else
        linalg::gemm<T>(factor, p, c, T(1), to, ctx);
    }
  return share * sum;
}

/// Distributes the budget of ranks over the layers as training goes on.
class adalora_controller {
 public:
  /// Which triplets of each layer are live.
  using pattern = std::vector<std::vector<std::uint8_t>>;

  adalora_controller(const adalora& options, index_t layers)
      : options_(options),
        schedule_{.start = static_cast<double>(options.rank * layers),
                  .end = static_cast<double>(options.target_rank * layers),
                  .total = options.total_steps,
                  .warmup = options.warmup,
                  .cooldown = options.final_steps} {
    options.validate();
    require(layers > 0, "adalora: layers", layers, "at least 1");
    schedule_.validate();
  }

  /// Triplets of all layers together that may live at a step.
  index_t budget(index_t step) const { return static_cast<index_t>(schedule_.at(step)); }

  /// To be called after each step of the optimiser, with its gradients. @param step counts from 1. @param
  /// states of all layers, always in the same order. The e of pruned triplets become 0 and may come back
  /// until step total_steps - final_steps, where the pattern is fixed and applied from then on.
  template <std::floating_point T>
  void after_step(index_t step, std::span<adalora_state<T>* const> states,
                  std::span<const gradients<T>* const> g) {
    check(states);
    const index_t last = options_.total_steps - options_.final_steps;
    if (step > last) {
      require(!pattern_.empty(), "adalora: step", step, "a pattern from step ", last);
      return apply(states);
    }
    if (step < last) {
      require(g.size() == states.size(), "adalora: gradients", g.size(), states.size());
      trackers_.resize(3 * states.size(), solve::importance_tracker(smoothing()));
      for (std::size_t l = 0; l < states.size(); ++l)
        for (std::size_t k = 0; k < 3; ++k) {
          const matrix<T>& p = states[l]->tensors()[k].value;
          const matrix<T>& gradient = (*g[l])[k];
          if (gradient.empty()) continue;  // frozen
          trackers_[3 * l + k].add(solve::sensitivity<T>(p.values(), gradient.values()));
        }
    }
    const bool due = step > options_.warmup && (step % options_.interval == 0 || step == last);
    if (!due && step != last) return;
    select(budget(step), states);
    apply(states);
    if (step == last) trackers_.clear();
  }

  /// The pattern of the last selection; empty before the first.
  const pattern& live() const { return pattern_; }

  rule_state state() const {
    auto s = tracker_states(trackers_);
    for (std::size_t l = 0; l < pattern_.size(); ++l)
      s[concat("live ", l)].assign(pattern_[l].begin(), pattern_[l].end());
    return s;
  }
  void restore(const rule_state& s) {
    trackers_ = restored_trackers(s, smoothing());
    pattern_.clear();
    for (auto at = s.find("live 0"); at != s.end(); at = s.find(concat("live ", pattern_.size())))
      pattern_.emplace_back(at->second.begin(), at->second.end());
  }

 private:
  template <std::floating_point T>
  void check(std::span<adalora_state<T>* const> states) const {
    require(static_cast<double>(states.size()) * static_cast<double>(options_.rank) == schedule_.start,
            "adalora: states", states.size(), schedule_.start / static_cast<double>(options_.rank));
    for (std::size_t l = 0; l < states.size(); ++l)
      require(states[l]->rank() == options_.rank, concat("adalora: rank of state ", l), states[l]->rank(),
              options_.rank);
  }
  /// score_k = score(e_k) + mean of the scores of row k of A + mean of those of column k of B.
  template <std::floating_point T>
  void select(index_t budget, std::span<adalora_state<T>* const> states) {
    const auto r = static_cast<std::size_t>(options_.rank);
    std::vector<double> scores;
    for (std::size_t l = 0; l < states.size(); ++l) {
      const auto score = [&](std::size_t k, index_t i, index_t j) {
        if (trackers_.empty()) return 0.0;
        const auto& tracker = trackers_[3 * l + k];
        const auto cols = states[l]->tensors()[k].value.cols();
        return tracker.size() == 0 ? 0.0 : tracker.score(static_cast<std::size_t>(i * cols + j));
      };
      const index_t in = states[l]->in_features(), out = states[l]->out_features();
      for (index_t k = 0; k < options_.rank; ++k) {
        double a = 0, b = 0;
        for (index_t j = 0; j < in; ++j) a += score(0, k, j);
        for (index_t i = 0; i < out; ++i) b += score(2, i, k);
        scores.push_back(score(1, k, 0) + a / static_cast<double>(in) + b / static_cast<double>(out));
      }
    }
    const auto kept = solve::above_threshold(scores, static_cast<index_t>(scores.size()) - budget);
    pattern_.assign(states.size(), {});
    for (std::size_t l = 0; l < states.size(); ++l)
      pattern_[l].assign(kept.begin() + static_cast<std::ptrdiff_t>(l * r),
                         kept.begin() + static_cast<std::ptrdiff_t>((l + 1) * r));
  }
  template <std::floating_point T>
  void apply(std::span<adalora_state<T>* const> states) const {
    for (std::size_t l = 0; l < states.size(); ++l)
      for (index_t k = 0; k < options_.rank; ++k)
        if (pattern_[l][static_cast<std::size_t>(k)] == 0) states[l]->tensors()[1].value(k, 0) = T(0);
  }

  solve::importance_options smoothing() const { return {.beta1 = options_.beta1, .beta2 = options_.beta2}; }

  adalora options_;
  solve::budget_schedule schedule_;
  std::vector<solve::importance_tracker> trackers_;  // of A, e, B of each layer
  pattern pattern_;
};

}  // namespace tersor::adapters
