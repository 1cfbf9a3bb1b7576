// tersor - how our benches measure attention: one decode step over caches that no processor cache holds
// SPDX-License-Identifier: MIT
#pragma once

#include "measure.hpp"

#include <tersor/kv/cache.hpp>
#include <tersor/kv/dense.hpp>
#include <tersor/kv/full.hpp>

namespace bench {

/// One decode step's attention to be measured.
struct attention_request {
  index_t context = 16384, head_dim = 128, kv_heads = 8;
  index_t queries = 1;  ///< for each key-value head
};

/// A cache of random keys and values.
inline tersor::kv::any_cache make_cache(const attention_request& r, const tersor::kv::cache_policy& policy,
                                        std::uint64_t seed, const tersor::context& ctx) {
  const tersor::kv::attention_layout layout{
      .heads = r.kv_heads * r.queries, .kv_heads = r.kv_heads, .head_dim = r.head_dim, .rotary = {}};
  tersor::kv::any_cache cache(layout, policy);
  const auto size = static_cast<std::size_t>(r.kv_heads * r.context * r.head_dim);
  std::vector<float> keys(size), values(size);
  tersor::random_generator random(seed);
  for (auto* x : {&keys, &values})
    for (float& v : *x) v = static_cast<float>(random.uniform()) - 0.5F;
  const std::array<index_t, 3> extents{r.kv_heads, r.context, r.head_dim};
  cache.prefill({keys.data(), extents}, {values.data(), extents},
                {keys.data(), {layout.heads, 0, r.head_dim}}, ctx);
  return cache;
}

struct attention_result {
  timing time;
  index_t bytes = 0;   ///< of the cache
  double stream = 0;   ///< bytes a second of reading, the median of the turns
  double ratio = 0;    ///< of the cache's bytes in that time to reading, the median of the turns
  double speedup = 0;  ///< over a dense f16 cache, the median of the turns
};
/// Turns of plain reading, the cache, and a dense f16 cache of the same shape: on a machine that is shared
/// the rate of memory changes from second to second.
inline attention_result time_attention(const attention_request& r, const tersor::kv::cache_policy& policy,
                                       const tersor::context& ctx, double seconds = 1) {
  constexpr index_t memory = index_t{384} << 20;
  const auto copies_of = [&](const tersor::kv::cache_policy& p) {
    std::vector<tersor::kv::any_cache> copies{make_cache(r, p, 1, ctx)};
    const auto bytes = static_cast<index_t>(copies.front().storage().bytes());
    const index_t wanted = std::clamp<index_t>(memory / std::max<index_t>(bytes, 1), 2, 64);
    while (static_cast<index_t>(copies.size()) < wanted) copies.emplace_back(copies.front());
    return copies;
  };
  const auto baseline =
      copies_of(tersor::kv::full{} | tersor::kv::dense{.type = tersor::kv::element_type::f16});
  const auto copies = copies_of(policy);
  tersor::matrix<float> q(r.kv_heads * r.queries, r.head_dim), out(q.rows(), r.head_dim);
  tersor::random_generator random(3);
  for (float& v : q.values()) v = static_cast<float>(random.normal());

  constexpr index_t turns = 11;
  memory_reader reader(ctx);
  index_t next = 0;
  const auto run = [&](const std::vector<tersor::kv::any_cache>& caches) {
    return time(
        [&](index_t) {
          caches[static_cast<std::size_t>(next++) % caches.size()].attend(q.view(), out.view(), ctx);
        },
        seconds / (2 * turns));
  };
  attention_result result;
  result.bytes = static_cast<index_t>(copies.front().storage().bytes());
  std::vector<double> medians, streams, ratios, speedups;
  for (index_t turn = 0; turn <= turns; ++turn) {
    const double before = reader.pass();
    const auto mine = run(copies);
    const double after = reader.pass();
    const auto dense = run(baseline);
    if (turn == 0) continue;  // memory is mapped, threads are started
    medians.push_back(mine.median);
    streams.push_back((before + after) / 2);
    ratios.push_back(static_cast<double>(result.bytes) / mine.median / streams.back());
    speedups.push_back(dense.median / mine.median);
    result.time.best = turn == 1 ? mine.best : std::min(result.time.best, mine.best);
    result.time.runs += mine.runs;
  }
  const auto median = [](auto values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
  };
  result.time.median = median(medians);
  result.stream = median(streams);
  result.ratio = median(ratios);
  result.speedup = median(speedups);
  return result;
}

}  // namespace bench
