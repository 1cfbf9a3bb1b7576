// tersor - the contract of adapters, and what all states share
// SPDX-License-Identifier: MIT
#pragma once

// No paper: the interface of this folder.
//
// A method (lora, dora, ...) is an aggregate of options; its `init` gives the state of one layer, a value
// that holds the tensors. What a state S of scalar T must have:
//
//   s.tensors()                            its parameters, in a fixed order
//   s.forward(layer, x, y, ctx)            y [tokens, out], the whole layer; y is overwritten
//   s.backward(layer, x, gy, gx, g, ctx)   gx [tokens, in], overwritten, base path included; adds to `g`
//   s.effective(dense)                     the layer that computes the same without the adapter
//   s.merge(dense), s.unmerge(dense)       the same in place, and back
//   S::algebra                             what can be combined with it
//
// Additive states also have `add_delta(x, y, ctx)`, `add_backward(x, gy, gx, g, ctx)` and `delta_weight()`:
// they never read the base, and where the input of the adapter has dropout, the caller adds them to the base
// himself. In backward, gx of no columns is not computed. Trainable elements are those that the optimiser may
// change (adapters/parameter.hpp).

#include <cmath>  // std::sqrt

#include <tersor/adapters/layer.hpp>
#include <tersor/adapters/parameter.hpp>
#include <tersor/core/random.hpp>

namespace tersor::adapters {

/// What W' = F(W) is as a function of W.
enum class adapter_algebra {
  additive,        ///< W + ΔW: several add up, and unmerging subtracts
  multiplicative,  ///< diag(l) W or W R: the order matters
  functional       ///< anything else: every adapter is to see the original W
};

/// A state together with the weight that it stands on, where the method changes W at the start.
template <class State, class T>
struct changed_base {
  State state;
  matrix<T> weight;  ///< replaces W [out, in]
};

/// What all states have: tensors, counts, the flag of merging. `Derived` provides forward, backward,
/// `apply_to(dense)` and `remove_from(dense)`.
template <class Derived, std::floating_point T>
class adapter_state {
 public:
  using scalar = T;

  index_t out_features() const { return out_; }
  index_t in_features() const { return in_; }
  std::span<parameter<T>> tensors() { return tensors_; }
  std::span<const parameter<T>> tensors() const { return tensors_; }
  /// f(parameter) for each tensor, in order: for saving, loading, counting and grouping.
  template <class F>
  void for_each_tensor(F&& f) {
    for (auto& p : tensors_) f(p);
  }
  template <class F>
  void for_each_tensor(F&& f) const {
    for (const auto& p : tensors_) f(p);
  }
  /// Elements that train; elements in a file; bytes of these.
  index_t trainable_count() const {
    return sum([](const parameter<T>& p) { return p.trainable_count(); });
  }
  index_t stored_count() const {
    return sum([](const parameter<T>& p) { return p.size(); });
  }
  index_t stored_bytes() const {
    return sum([](const parameter<T>& p) { return p.size() * bits_of(p.stored_type) / 8; });
  }
  /// Zeros for every tensor that trains.
  gradients<T> make_gradients() const {
    gradients<T> g;
    for (const auto& p : tensors_)
      g.push_back(p.trains() ? matrix<T>(p.value.rows(), p.value.cols()) : matrix<T>());
    return g;
  }

  /// The same layer without the adapter. @param layer W [out, in] and b.
  dense_layer<T> effective(dense_layer<T> layer) const {
    Derived copy = self();
    copy.merged_ = false;
    copy.merge(layer);
    return layer;
  }
  /// Puts the adapter into W and b. Values that unmerging needs stay in the state, not in files.
  void merge(dense_layer<T>& layer, const context& ctx = {}) {
    require(!merged_, concat(Derived::id, ": merge"), "merged already", "unmerge first");
    check_layer(layer);
    self().apply_to(layer, ctx);
    merged_ = true;
  }
  /// Takes it out again. The tensors must be as they were at `merge`.
  void unmerge(dense_layer<T>& layer, const context& ctx = {}) {
    require(merged_, concat(Derived::id, ": unmerge"), "not merged", "merge first");
    check_layer(layer);
    self().remove_from(layer, ctx);
    merged_ = false;
  }
  bool merged() const { return merged_; }

 protected:
  adapter_state() = default;
  adapter_state(index_t out, index_t in) : out_(out), in_(in) {
    require(out > 0 && in > 0, concat(Derived::id, ": layer"), concat(out, " x ", in),
            "at least one row and one column");
  }
  parameter<T>& tensor(std::size_t i) { return tensors_[i]; }
  const parameter<T>& tensor(std::size_t i) const { return tensors_[i]; }
  void add_tensor(parameter<T> p) { tensors_.push_back(std::move(p)); }
  void check_layer(const dense_layer<T>& layer) const {
    require_shape(layer.weight.view(), out_, in_, concat(Derived::id, ": weight"));
    require(layer.bias.empty() || static_cast<index_t>(layer.bias.size()) == out_,
            concat(Derived::id, ": size of the bias"), layer.bias.size(), out_);
  }
  void check_layer(const layer_view<T>& layer) const {
    require(layer.rows() == out_ && layer.cols() == in_, concat(Derived::id, ": weight"),
            concat(layer.rows(), " x ", layer.cols()), out_, " x ", in_);
  }
  void check_forward(matrix_view<const T> x, matrix_view<T> y) const {
    require(x.cols() == in_, concat(Derived::id, ": columns of x"), x.cols(), in_);
    require_shape(y, x.rows(), out_, concat(Derived::id, ": y"));
  }
  void check_backward(matrix_view<const T> x, matrix_view<const T> gy, matrix_view<T> gx,
                      const gradients<T>& g) const {
    require(x.cols() == in_, concat(Derived::id, ": columns of x"), x.cols(), in_);
    require_shape(gy, x.rows(), out_, concat(Derived::id, ": gy"));
    if (gx.cols() > 0) require_shape(gx, x.rows(), in_, concat(Derived::id, ": gx"));
    require(g.size() == tensors_.size(), concat(Derived::id, ": gradients"), g.size(), tensors_.size());
  }

 private:
  Derived& self() { return static_cast<Derived&>(*this); }
  const Derived& self() const { return static_cast<const Derived&>(*this); }
  template <class F>
  index_t sum(const F& f) const {
    index_t n = 0;
    for (const auto& p : tensors_)
      if (p.kind != parameter_kind::shared) n += f(p);
    return n;
  }

  index_t out_ = 0, in_ = 0;
  std::vector<parameter<T>> tensors_;
  bool merged_ = false;
};

/// W' = W + ΔW. `Derived` provides add_delta, add_backward, delta_weight, and delta_bias where it has one.
template <class Derived, std::floating_point T>
class additive_state : public adapter_state<Derived, T> {
 public:
  static constexpr adapter_algebra algebra = adapter_algebra::additive;

  void forward(const layer_view<T>& layer, matrix_view<const T> x, matrix_view<T> y,
               const context& ctx = {}) const {
    this->check_layer(layer);
    layer.apply(x, y, ctx);
    self().add_delta(x, y, ctx);
  }
  void backward(const layer_view<T>& layer, matrix_view<const T> x, matrix_view<const T> gy,
                matrix_view<T> gx, gradients<T>& g, const context& ctx = {}) const {
    this->check_layer(layer);
    this->check_backward(x, gy, gx, g);
    if (gx.cols() > 0) layer.apply_transposed(gy, gx, ctx);
    self().add_backward(x, gy, gx, g, ctx);
  }

 protected:
  using adapter_state<Derived, T>::adapter_state;

 private:
  friend class adapter_state<Derived, T>;
  const Derived& self() const { return static_cast<const Derived&>(*this); }
  void apply_to(dense_layer<T>& layer, const context& ctx) const { add_to(layer, T(1), ctx); }
  void remove_from(dense_layer<T>& layer, const context& ctx) const { add_to(layer, T(-1), ctx); }
  void add_to(dense_layer<T>& layer, T sign, const context& ctx) const {
    const matrix<T> delta = self().delta_weight(ctx);
    for (std::size_t i = 0; i < delta.values().size(); ++i)
      layer.weight.values()[i] += sign * delta.values()[i];
    if constexpr (requires { self().delta_bias(); }) {
      const std::vector<T> bias = self().delta_bias();
      if (!bias.empty() && layer.bias.empty()) layer.bias.assign(bias.size(), T(0));
      for (std::size_t i = 0; i < bias.size(); ++i) layer.bias[i] += sign * bias[i];
    }
  }
};

namespace detail {

/// U(-β, β) with β = gain √(3 / fan_in), PyTorch's Kaiming rule: gain² = 2 / (1 + a²).
template <class T>
matrix<T> kaiming(index_t rows, index_t cols, double a, random_generator& random, index_t fan_in) {
  const double bound = std::sqrt(6.0 / ((1.0 + a * a) * static_cast<double>(fan_in)));
  matrix<T> m(rows, cols);
  for (T& v : m.values()) v = static_cast<T>(bound * (2.0 * random.uniform() - 1.0));
  return m;
}
/// The default of linear layers and of LoRA's A: a = √5, so β = 1 / √fan_in.
template <class T>
matrix<T> kaiming(index_t rows, index_t cols, random_generator& random) {
  return kaiming<T>(rows, cols, std::sqrt(5.0), random, cols);
}
template <class T>
matrix<T> normal(index_t rows, index_t cols, double deviation, random_generator& random) {
  matrix<T> m(rows, cols);
  for (T& v : m.values()) v = static_cast<T>(deviation * random.normal());
  return m;
}
/// sums[j] += Σ_t a(t, j) b(t, j), in order of t.
template <class T>
void add_column_products(matrix_view<const T> a, matrix_view<const T> b, std::span<T> sums) {
  for (index_t t = 0; t < a.rows(); ++t)
    for (index_t j = 0; j < a.cols(); ++j) sums[static_cast<std::size_t>(j)] += a(t, j) * b(t, j);
}
/// x(t, j) *= v[j].
template <class T>
void scale_columns(matrix_view<T> x, std::span<const T> v) {
  for (index_t t = 0; t < x.rows(); ++t)
    for (index_t j = 0; j < x.cols(); ++j) x(t, j) *= v[static_cast<std::size_t>(j)];
}

}  // namespace detail

/// ∂L/∂W' [out, in] = gyᵀ x for the effective weight, which any differentiable map of tensors to W' can be
/// differentiated through. Cost tokens · in · out.
template <std::floating_point T>
matrix<T> weight_gradient(matrix_view<const T> x, matrix_view<const T> gy, const context& ctx = {}) {
  matrix<T> g(gy.cols(), x.cols());
  linalg::gemm<T>(T(1), gy.transposed(), x, T(0), g, ctx);
  return g;
}

}  // namespace tersor::adapters
