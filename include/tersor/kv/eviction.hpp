// tersor - the concept of a KV-cache eviction policy, and a policy of any kind behind one type
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/prompt.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::kv {

/// What a policy sees after one decode step. Tokens of a head are in the order of their positions, the newest
/// last.
struct decode_step {
  const attention_layout& layout;
  index_t seen = 0;  ///< tokens of the sequence, evicted ones included
  /// [kv_heads][tokens] original positions.
  std::span<const std::vector<index_t>> positions{};
  /// [kv_heads] of [group, tokens]: attention of the step's queries; empty unless the policy `needs_weights`.
  std::span<const matrix<float>> weights{};
  /// [kv_heads][tokens] the policy's own scores, which stay with their tokens: those of its selection, and 0
  /// for each token that came later. Only of policies that `keep_scores`.
  std::span<std::vector<float>> scores{};
};

/// Indices to drop, ascending, for each kv head; empty: none.
using dropped_tokens = std::vector<std::vector<index_t>>;

/// An eviction policy (no paper: the contract): an aggregate of options with
/// - `select(prompt, ctx)`: which tokens of the prompt stay;
/// and, optionally,
/// - `after_step(decode_step)`: which tokens to drop after a decode step, where `drops()` is true (a policy
///   without `drops` that has `after_step` always does);
/// - `static constexpr bool needs_weights`, `keeps_scores`: what it wants to see there;
/// - a member `contiguous`: kept tokens move up to the positions 0, 1, 2 ...;
/// - `page_tokens(layout)` and `choose_pages(bounds)`: a policy that drops nothing, but reads only some pages
///   of so many tokens (0: all of them) in each step. bounds [group, pages] are what no q . k exceeds.
template <class E>
concept eviction = solve::technique<E> && E::kind ==
                   solve::stage_kind::eviction&& requires(const E& e, const prompt& p, const context& ctx) {
  { e.select(p, ctx) } -> std::same_as<selection>;
};

/// Holds one policy with its options.
class any_eviction {
 public:
  template <eviction E>
  any_eviction(E e) : held_(std::make_shared<const holder<E>>(std::move(e))) {
    held_->validate();
  }
  std::string_view id() const { return held_->id(); }
  /// Checked: one ascending list for each kv head.
  selection select(const prompt& p, const context& ctx = {}) const {
    p.validate();
    auto s = held_->select(p, ctx);
    s.check(p.layout.kv_heads, p.tokens(), id());
    return s;
  }
  bool drops() const { return held_->drops(); }
  bool needs_weights() const { return drops() && held_->needs_weights(); }
  bool keeps_scores() const { return drops() && held_->keeps_scores(); }
  bool contiguous() const { return held_->contiguous(); }
  dropped_tokens after_step(const decode_step& step) const { return held_->after_step(step); }
  index_t page_tokens(const attention_layout& layout) const { return held_->page_tokens(layout); }
  std::vector<index_t> choose_pages(matrix_view<const float> bounds) const {
    return held_->choose_pages(bounds);
  }

 private:
  struct interface {
    virtual ~interface() = default;
    virtual void validate() const = 0;
    virtual std::string_view id() const = 0;
    virtual selection select(const prompt&, const context&) const = 0;
    virtual bool drops() const = 0;
    virtual bool needs_weights() const = 0;
    virtual bool keeps_scores() const = 0;
    virtual bool contiguous() const = 0;
    virtual dropped_tokens after_step(const decode_step&) const = 0;
    virtual index_t page_tokens(const attention_layout&) const = 0;
    virtual std::vector<index_t> choose_pages(matrix_view<const float>) const = 0;
  };
  template <class E>
  struct holder final : interface {
    E policy;
    explicit holder(E e) : policy(std::move(e)) {}
    static constexpr bool has_hook = requires(const E& e, const decode_step& s) { e.after_step(s); };

    void validate() const override { policy.validate(); }
    std::string_view id() const override { return E::info.id; }
    selection select(const prompt& p, const context& ctx) const override { return policy.select(p, ctx); }
    bool drops() const override {
      if constexpr (requires { policy.drops(); })
        return policy.drops();
      else
        return has_hook;
    }
    bool needs_weights() const override {
      if constexpr (requires { E::needs_weights; })
        return E::needs_weights;
      else
        return false;
    }
    bool keeps_scores() const override {
      if constexpr (requires { E::keeps_scores; })
        return E::keeps_scores;
      else
        return false;
    }
    bool contiguous() const override {
      if constexpr (requires { policy.contiguous; })
        return policy.contiguous;
      else
        return false;
    }
    dropped_tokens after_step([[maybe_unused]] const decode_step& step) const override {
      if constexpr (has_hook)
        return policy.after_step(step);
      else
        return {};
    }
    index_t page_tokens([[maybe_unused]] const attention_layout& layout) const override {
      if constexpr (requires { policy.page_tokens(layout); })
        return policy.page_tokens(layout);
      else
        return 0;
    }
    std::vector<index_t> choose_pages([[maybe_unused]] matrix_view<const float> bounds) const override {
      if constexpr (requires { policy.choose_pages(bounds); })
        return policy.choose_pages(bounds);
      else
        return {};
    }
  };
  std::shared_ptr<const interface> held_;
};

}  // namespace tersor::kv
