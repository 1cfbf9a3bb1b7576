// tersor - an adapter of any kind, behind one type
// SPDX-License-Identifier: MIT
#pragma once

// No paper: what models and files hold.

#include <memory>       // std::unique_ptr
#include <string_view>  // std::string_view
#include <type_traits>  // std::remove_cvref_t

#include <tersor/adapters/state.hpp>

namespace tersor::adapters {

/// What adapters/state.hpp asks of a state.
template <class S, class T>
concept adapter = std::copyable<S> &&
    requires(S& s, const S& c, const layer_view<T>& layer, matrix_view<const T> x, matrix_view<T> y,
             gradients<T>& g, dense_layer<T>& dense, const context& ctx) {
  { S::id } -> std::convertible_to<std::string_view>;
  { S::algebra } -> std::convertible_to<adapter_algebra>;
  { s.tensors() } -> std::same_as<std::span<parameter<T>>>;
  c.forward(layer, x, y, ctx);
  c.backward(layer, x, x, y, g, ctx);
  { c.effective(dense) } -> std::same_as<dense_layer<T>>;
  s.merge(dense, ctx);
  s.unmerge(dense, ctx);
};

/// Holds any state over float; copies are independent.
class any_adapter {
 public:
  any_adapter() = default;
  // the first condition is looked at first: the concept would ask about this very class again
  template <class State>
  requires(!std::is_same_v<std::remove_cvref_t<State>, any_adapter> && adapter<State, float>)
      any_adapter(State state)
      : held_(std::make_unique<holder<State>>(std::move(state))) {}
  any_adapter(const any_adapter& other) : held_(other.held_ ? other.held_->clone() : nullptr) {}
  any_adapter(any_adapter&&) noexcept = default;
  any_adapter& operator=(any_adapter other) noexcept {
    held_ = std::move(other.held_);
    return *this;
  }

  explicit operator bool() const { return held_ != nullptr; }
  std::string_view id() const { return held_->id(); }
  adapter_algebra algebra() const { return held_->algebra(); }
  index_t out_features() const { return held_->extents().first; }
  index_t in_features() const { return held_->extents().second; }
  std::span<parameter<float>> tensors() { return held_->tensors(); }
  std::span<const parameter<float>> tensors() const {
    return static_cast<const interface&>(*held_).tensors();
  }
  template <class F>
  void for_each_tensor(F&& f) {
    for (auto& p : tensors()) f(p);
  }
  template <class F>
  void for_each_tensor(F&& f) const {
    for (const auto& p : tensors()) f(p);
  }
  index_t trainable_count() const { return held_->counts().trainable; }
  index_t stored_count() const { return held_->counts().stored; }
  index_t stored_bytes() const { return held_->counts().bytes; }
  gradients<float> make_gradients() const { return held_->make_gradients(); }

  void forward(const layer_view<float>& layer, matrix_view<const float> x, matrix_view<float> y,
               const context& ctx = {}) const {
    held_->forward(layer, x, y, ctx);
  }
  void backward(const layer_view<float>& layer, matrix_view<const float> x, matrix_view<const float> gy,
                matrix_view<float> gx, gradients<float>& g, const context& ctx = {}) const {
    held_->backward(layer, x, gy, gx, g, ctx);
  }
  dense_layer<float> effective(dense_layer<float> layer) const { return held_->effective(std::move(layer)); }
  void merge(dense_layer<float>& layer, const context& ctx = {}) { held_->merge(layer, ctx); }
  void unmerge(dense_layer<float>& layer, const context& ctx = {}) { held_->unmerge(layer, ctx); }
  bool merged() const { return held_->merged(); }

  /// The held state if it is a State, else null.
  template <class State>
  State* as() {
    auto* h = dynamic_cast<holder<State>*>(held_.get());
    return h ? &h->state : nullptr;
  }
  template <class State>
  const State* as() const {
    const auto* h = dynamic_cast<const holder<State>*>(held_.get());
    return h ? &h->state : nullptr;
  }

 private:
  struct count {
    index_t trainable, stored, bytes;
  };
  struct interface {
    virtual ~interface() = default;
    virtual std::unique_ptr<interface> clone() const = 0;
    virtual std::string_view id() const = 0;
    virtual adapter_algebra algebra() const = 0;
    virtual std::pair<index_t, index_t> extents() const = 0;
    virtual std::span<parameter<float>> tensors() = 0;
    virtual std::span<const parameter<float>> tensors() const = 0;
    virtual count counts() const = 0;
    virtual gradients<float> make_gradients() const = 0;
    virtual void forward(const layer_view<float>&, matrix_view<const float>, matrix_view<float>,
                         const context&) const = 0;
    virtual void backward(const layer_view<float>&, matrix_view<const float>, matrix_view<const float>,
                          matrix_view<float>, gradients<float>&, const context&) const = 0;
    virtual dense_layer<float> effective(dense_layer<float>) const = 0;
    virtual void merge(dense_layer<float>&, const context&) = 0;
    virtual void unmerge(dense_layer<float>&, const context&) = 0;
    virtual bool merged() const = 0;
  };
  template <class State>
  struct holder final : interface {
    State state;
    explicit holder(State s) : state(std::move(s)) {}
    std::unique_ptr<interface> clone() const override { return std::make_unique<holder>(state); }
    std::string_view id() const override { return State::id; }
    adapter_algebra algebra() const override { return State::algebra; }
    std::pair<index_t, index_t> extents() const override {
      return {state.out_features(), state.in_features()};
    }
    std::span<parameter<float>> tensors() override { return state.tensors(); }
    std::span<const parameter<float>> tensors() const override { return state.tensors(); }
    count counts() const override {
      return {state.trainable_count(), state.stored_count(), state.stored_bytes()};
    }
    gradients<float> make_gradients() const override { return state.make_gradients(); }
    void forward(const layer_view<float>& layer, matrix_view<const float> x, matrix_view<float> y,
                 const context& ctx) const override {
      state.forward(layer, x, y, ctx);
    }
    void backward(const layer_view<float>& layer, matrix_view<const float> x, matrix_view<const float> gy,
                  matrix_view<float> gx, gradients<float>& g, const context& ctx) const override {
      state.backward(layer, x, gy, gx, g, ctx);
    }
    dense_layer<float> effective(dense_layer<float> layer) const override {
      return state.effective(std::move(layer));
    }
    void merge(dense_layer<float>& layer, const context& ctx) override { state.merge(layer, ctx); }
    void unmerge(dense_layer<float>& layer, const context& ctx) override { state.unmerge(layer, ctx); }
    bool merged() const override { return state.merged(); }
  };
  std::unique_ptr<interface> held_;
};

}  // namespace tersor::adapters
