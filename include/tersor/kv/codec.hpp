// tersor - the concept of a KV-cache codec, and a codec of any kind behind one type
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/segment.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::kv {

enum class side { keys, values };

/// When tokens go from the uncompressed tail to the body. From a prompt, all but `keep` of its tokens, in a
/// multiple of `prompt_lump`; at decode, whenever `lump` + `keep` are in the tail, the `lump` oldest.
struct flush_rule {
  index_t keep = 0, prompt_lump = 1, lump = 1;

  index_t of_prompt(index_t tokens) const {
    const index_t free = std::max<index_t>(tokens - keep, 0);
    return free - free % prompt_lump;
  }
  index_t of_tail(index_t tokens) const { return tokens >= lump + keep ? lump : 0; }
};

/// A codec (no paper: the contract): an aggregate of options that says how tokens are stored.
/// - `open(side, heads, head_dim, ctx)`: an empty body for some heads of a cache; `ctx.seed` is of this body;
/// - `rule(side)`: when the tail is flushed into it;
/// - `tail()`: stored type of the tail (f32, f16, bf16);
/// - `joins_heads()`: do groups run through all heads of a token? Then a cache whose heads keep the same
/// number
///   of tokens opens one body for all of them, otherwise one for each head;
/// - `drops()`: can single tokens be removed from the body?
template <class C>
concept codec = solve::technique<C> &&
                C::kind == solve::stage_kind::codec&& requires(const C& c, index_t n, const context& ctx) {
  { c.open(side::keys, n, n, ctx) } -> std::same_as<std::unique_ptr<body>>;
  { c.rule(side::keys) } -> std::same_as<flush_rule>;
  { c.tail() } -> std::same_as<dtype>;
  { c.joins_heads() } -> std::same_as<bool>;
  { c.drops() } -> std::same_as<bool>;
};

/// Holds one codec with its options.
class any_codec {
 public:
  template <codec C>
  any_codec(C c) : held_(std::make_shared<const holder<C>>(std::move(c))) {
    held_->validate();
  }
  std::string_view id() const { return held_->id(); }
  std::unique_ptr<body> open(side s, index_t heads, index_t head_dim, const context& ctx = {}) const {
    return held_->open(s, heads, head_dim, ctx);
  }
  flush_rule rule(side s) const { return held_->rule(s); }
  dtype tail() const { return held_->tail(); }
  bool joins_heads() const { return held_->joins_heads(); }
  bool drops() const { return held_->drops(); }

 private:
  struct interface {
    virtual ~interface() = default;
    virtual void validate() const = 0;
    virtual std::string_view id() const = 0;
    virtual std::unique_ptr<body> open(side, index_t, index_t, const context&) const = 0;
    virtual flush_rule rule(side) const = 0;
    virtual dtype tail() const = 0;
    virtual bool joins_heads() const = 0;
    virtual bool drops() const = 0;
  };
  template <class C>
  struct holder final : interface {
    C codec;
    explicit holder(C c) : codec(std::move(c)) {}
    void validate() const override { codec.validate(); }
    std::string_view id() const override { return C::info.id; }
    std::unique_ptr<body> open(side s, index_t heads, index_t head_dim, const context& ctx) const override {
      return codec.open(s, heads, head_dim, ctx);
    }
    flush_rule rule(side s) const override { return codec.rule(s); }
    dtype tail() const override { return codec.tail(); }
    bool joins_heads() const override { return codec.joins_heads(); }
    bool drops() const override { return codec.drops(); }
  };
  std::shared_ptr<const interface> held_;
};

}  // namespace tersor::kv
