// tersor - a technique of any kind, behind one type
// SPDX-License-Identifier: MIT
#pragma once

#include <memory>  // std::shared_ptr

#include <tersor/kv/codec.hpp>
#include <tersor/kv/eviction.hpp>
#include <tersor/solve/equivalent.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::pipeline {

/// A transformation proposes scales for a site, and may then adjust single weights (AWQ's clips).
template <class T>
concept scaling_transformation = solve::transformation<T> &&
    requires(const T& t, const solve::scale_site& site, const context& ctx) {
  { t.scales(site, ctx) } -> std::convertible_to<std::vector<float>>;
};
template <class T>
concept adjusting_transformation = requires(const T& t, matrix<float>& w, matrix_view<const float> x,
                                            const std::optional<solve::grid_target>& next,
                                            const context& ctx) {
  t.adjust(w, x, next, ctx);
};

/// Holds one technique with its options.
class any_stage {
 public:
  any_stage() = default;
  template <solve::technique T>
  any_stage(T t) : held_(std::make_shared<const holder<T>>(std::move(t))) {}

  std::string_view id() const { return held_->info().id; }
  solve::stage_kind kind() const { return held_->kind(); }
  solve::calibration_need needs() const { return held_->needs(); }
  /// Calibration sequences whose inputs a transformation wants to see; 0: all.
  index_t search_sequences() const { return held_->search_sequences(); }
  void validate() const { held_->validate(); }
  /// As in specs, with the options that differ from their defaults: "gptq(bits=3)".
  std::string text() const { return held_->text(); }
  /// The grid on which a quantizer stores weights; none for other techniques.
  std::optional<solve::grid_target> grid() const { return held_->grid(); }

  solve::outcome compress(const solve::layer& l, const context& ctx) const { return held_->compress(l, ctx); }
  std::vector<float> scales(const solve::scale_site& site, const context& ctx) const {
    return held_->scales(site, ctx);
  }
  bool adjusts() const { return held_->adjusts(); }
  void adjust(matrix<float>& w, matrix_view<const float> x, const std::optional<solve::grid_target>& next,
              const context& ctx) const {
    held_->adjust(w, x, next, ctx);
  }
  /// The policy or codec of a KV cache; an error for techniques of other kinds.
  kv::any_eviction eviction() const { return held_->eviction(); }
  kv::any_codec codec() const { return held_->codec(); }
  /// The technique itself if it is a T, else null.
  template <class T>
  const T* as() const {
    const auto* h = dynamic_cast<const holder<T>*>(held_.get());
    return h ? &h->technique : nullptr;
  }

 private:
  struct interface {
    virtual ~interface() = default;
    virtual const solve::technique_info& info() const = 0;
    virtual solve::stage_kind kind() const = 0;
    virtual solve::calibration_need needs() const = 0;
    virtual index_t search_sequences() const = 0;
    virtual void validate() const = 0;
    virtual std::string text() const = 0;
    virtual std::optional<solve::grid_target> grid() const = 0;
    virtual solve::outcome compress(const solve::layer&, const context&) const = 0;
    virtual std::vector<float> scales(const solve::scale_site&, const context&) const = 0;
    virtual bool adjusts() const = 0;
    virtual void adjust(matrix<float>&, matrix_view<const float>, const std::optional<solve::grid_target>&,
                        const context&) const = 0;
    virtual kv::any_eviction eviction() const = 0;
    virtual kv::any_codec codec() const = 0;
  };
  template <class T>
  struct holder final : interface {
    T technique;
    explicit holder(T t) : technique(std::move(t)) {}

    const solve::technique_info& info() const override { return T::info; }
    solve::stage_kind kind() const override { return T::kind; }
    solve::calibration_need needs() const override {
      if constexpr (requires { technique.needed(); })
        return technique.needed();
      else
        return T::needs;
    }
    index_t search_sequences() const override {
      if constexpr (requires { technique.search_sequences; })
        return technique.search_sequences;
      else
        return 1;
    }
    void validate() const override { technique.validate(); }
    std::string text() const override {
      const T defaults{};
      std::string s;
      for_each_option<T>([&](const auto& o) {
        using V = std::remove_cvref_t<decltype(technique.*(o.member))>;
        const auto value = option_text<V>::format(technique.*(o.member));
        if (value != option_text<V>::format(defaults.*(o.member)))
          s += concat(s.empty() ? "" : ",", o.name, "=", value);
      });
      return s.empty() ? std::string(T::info.id) : concat(T::info.id, "(", s, ")");
    }
    std::optional<solve::grid_target> grid() const override {
      if constexpr (requires { solve::grid_target{technique.rule(), technique.group_size}; })
        return solve::grid_target{technique.rule(), technique.group_size};
      else
        return std::nullopt;
    }
    solve::outcome compress(const solve::layer& l, const context& ctx) const override {
      if constexpr (solve::compressor<T>)
        return technique.compress(l, ctx);
      else
        fail(T::info.id, "", "a compressor, which stores weights");
    }
    std::vector<float> scales(const solve::scale_site& site, const context& ctx) const override {
      if constexpr (scaling_transformation<T>)
        return technique.scales(site, ctx);
      else
        fail(T::info.id, "", "a transformation of scales");
    }
    bool adjusts() const override { return adjusting_transformation<T>; }
    void adjust([[maybe_unused]] matrix<float>& w, [[maybe_unused]] matrix_view<const float> x,
                [[maybe_unused]] const std::optional<solve::grid_target>& next,
                [[maybe_unused]] const context& ctx) const override {
      if constexpr (adjusting_transformation<T>) technique.adjust(w, x, next, ctx);
    }
    kv::any_eviction eviction() const override {
      if constexpr (kv::eviction<T>)
        return technique;
      else
        fail(T::info.id, "", "an eviction policy of KV caches");
    }
    kv::any_codec codec() const override {
      if constexpr (kv::codec<T>)
        return technique;
      else
        fail(T::info.id, "", "a codec of KV caches");
    }
  };
  std::shared_ptr<const interface> held_;
};

}  // namespace tersor::pipeline
