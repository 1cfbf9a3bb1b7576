// tersor - tests of model/layer_caches.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/kivi.hpp>
#include <tersor/kv/streaming.hpp>
#include <tersor/model/llama.hpp>

#include "catch.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace layer_caches_tests {

using model::decoded_tokens;
using model::layer_caches;

TEST_CASE("layer_caches: what they hold and what it takes") {
  const auto m = tiny_llama();
  const auto& c = m.config();
  layer_caches caches(c);
  CHECK(caches.seen() == 0);
  CHECK(caches.bytes() == 0);
  CHECK(caches.kept_tokens() == 0);
  m.forward(random_ids(20, 50), &caches);
  m.forward(random_ids(3, 50), &caches);
  CHECK(caches.seen() == 23);
  CHECK(caches.kept_tokens() == 23);
  const auto elements =
      static_cast<std::size_t>(2 * 23 * c.num_key_value_heads * c.head_dim * c.num_hidden_layers);
  CHECK(caches.bytes() == 4 * elements);
  CHECK(caches.baseline_bytes() == 2 * elements);
  CHECK(caches.attention_errors().count == 0);
}

TEST_CASE("layer_caches: attention is compared with exact caches step by step") {
  const auto m = tiny_llama();
  const auto ids = random_ids(24, 50);
  const auto error_of = [&](const kv::cache_policy& policy) {
    layer_caches caches(m.config(), policy, decoded_tokens::compress, true);
    m.forward(std::span(ids).first(16), &caches);
    CHECK(caches.attention_errors().count == 0);  // the prompt is exact
    m.forward(std::span(ids).subspan(16), &caches);
    CHECK(caches.attention_errors().count == 8 * m.config().query_features() * m.config().num_hidden_layers);
    return caches.attention_errors().relative_frobenius();
  };
  CHECK(error_of(model::exact_cache()) == 0);
  const double half = error_of(kv::full{} | kv::dense{.type = kv::element_type::f16});
  CHECK((half > 0 && half < 1e-3));
  const auto kivi = [&](int bits) {
    return error_of(kv::full{} | kv::kivi{.bits = bits, .group_size = 6, .residual = 6});
  };
  CHECK(half < kivi(8));
  CHECK(kivi(8) < kivi(4));
  CHECK(kivi(4) < kivi(2));
}

TEST_CASE("layer_caches: decoded tokens are compressed, or kept as they are") {
  const auto m = tiny_llama();
  const auto ids = random_ids(40, 50);
  const auto policy = kv::full{} | kv::kivi{.bits = 2, .group_size = 6, .residual = 6};
  const auto body_of = [&](decoded_tokens later) {
    layer_caches caches(m.config(), policy, later);
    m.forward(std::span(ids).first(16), &caches);
    const auto before = caches.block(0).body_tokens(kv::side::keys, 0);
    m.forward(std::span(ids).subspan(16), &caches);
    CHECK(caches.seen() == 40);
    return std::pair(before, caches.block(0).body_tokens(kv::side::keys, 0));
  };
  CHECK(body_of(decoded_tokens::compress) == std::pair<index_t, index_t>(12, 36));
  CHECK(body_of(decoded_tokens::keep) == std::pair<index_t, index_t>(12, 12));
}

TEST_CASE("layer_caches: positions that move are rotated when they are read") {
  // Keeping everything, contiguous or not, is the exact cache; a short window is not.
  const auto m = tiny_llama();
  const auto ids = random_ids(30, 50);
  const auto whole = m.forward(ids);
  for (const bool contiguous : {false, true})
    for (const index_t window : {index_t{100}, index_t{6}}) {
      layer_caches caches(m.config(), kv::streaming{.window = window, .contiguous = contiguous} |
                                          kv::dense{.type = kv::element_type::f32});
      m.forward(std::span(ids).first(20), &caches);
      const auto hidden = m.forward(std::span(ids).subspan(20), &caches);
      double worst = 0;
      for (index_t t = 0; t < hidden.rows(); ++t)
        for (index_t j = 0; j < hidden.cols(); ++j)
          worst = std::max(worst, static_cast<double>(std::abs(hidden(t, j) - whole(20 + t, j))));
      if (window == 100)
        CHECK(worst < 1e-4);
      else
        CHECK(worst > 1e-3);
    }
}

}  // namespace layer_caches_tests
}  // namespace tersor
