// tersor - specs of KV caches: an eviction policy and a codec, read from text
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/cache.hpp>
#include <tersor/kv/dense.hpp>
#include <tersor/kv/full.hpp>
#include <tersor/pipeline/recipe.hpp>

namespace tersor::pipeline {

/// What a cache does, as text and as the parts of a `kv::any_cache`.
struct cache_spec {
  any_stage eviction = kv::full{};
  any_stage codec = kv::dense{};

  /// As it is read: "streaming(window=252)|gear(bits=2)".
  std::string text() const { return concat(eviction.text(), "|", codec.text()); }
  kv::cache_policy policy() const { return {eviction.eviction(), codec.codec()}; }
  /// Plain where positions move with every step, else rotated.
  kv::key_position keys() const {
    const auto e = eviction.eviction();
    return e.drops() && e.contiguous() ? kv::key_position::plain : kv::key_position::rotated;
  }
  /// An empty cache for one layer.
  kv::any_cache open(kv::attention_layout layout) const { return {std::move(layout), policy(), keys()}; }
};

/// Reads "eviction | codec" in the grammar of recipes; either may be missing, then it is `full` or `dense`
/// (f16). Errors say where: unknown methods and options, methods for weights, two of a kind, a codec before
/// its policy.
inline cache_spec parse_cache_spec(std::string_view text, const catalog& techniques = standard_catalog()) {
  const auto stages = detail::spec_parser(text, techniques).stages();
  cache_spec spec;
  bool has_eviction = false, has_codec = false;
  for (const auto& s : stages) {
    s.validate();
    if (s.kind() == solve::stage_kind::eviction) {
      require(!has_eviction && !has_codec, "cache spec", s.id(), "one eviction policy, before the codec");
      has_eviction = true;
      spec.eviction = s;
    } else {
      require(s.kind() == solve::stage_kind::codec, "cache spec", s.id(),
              "a method for KV caches: an eviction policy or a codec");
      require(!has_codec, "cache spec", s.id(), "one codec");
      has_codec = true;
      spec.codec = s;
    }
  }
  return spec;
}

}  // namespace tersor::pipeline
