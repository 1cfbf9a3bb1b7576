// tersor - example: compressed KV caches in an attention loop of your own
// SPDX-License-Identifier: MIT
//
// Shows: a cache that takes a prompt, then a token a step; GEAR at 4 and 2 bits, with 32 newest tokens exact,
// beside the f16 cache and KIVI; errors of the attention outputs and bytes as they are at the end. Alone:
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/gear_cache.cpp && ./a.out
#include <cstdio>

#include <tersor/core/error_statistics.hpp>
#include <tersor/kv/cache.hpp>
#include <tersor/kv/dense.hpp>
#include <tersor/kv/full.hpp>
#include <tersor/kv/gear.hpp>
#include <tersor/kv/kivi.hpp>

namespace {

using tersor::index_t;
constexpr index_t heads = 8, kv_heads = 2, head_dim = 64, prompt = 1000, steps = 120, all = prompt + steps;

/// Stands for a projection of the layer, [count, tokens, head_dim]: neighbouring tokens resemble each other,
/// and some channels are larger than the others.
std::vector<float> projected(index_t count, index_t tokens, tersor::random_generator& random) {
  std::vector<float> x;
  for (index_t h = 0; h < count; ++h)
    for (index_t t = 0; t < tokens; ++t)
      for (index_t c = 0; c < head_dim; ++c)
        x.push_back((t > 0 ? 0.9F * x[x.size() - head_dim] : 0.0F) +
                    (c % 16 == 3 ? 1.0F : 0.3F) * static_cast<float>(random.normal()));
  return x;
}

struct candidate {
  const char* name;
  tersor::kv::any_cache cache;
  tersor::error_statistics error{};  ///< of the attention outputs, against the first candidate's
};

}  // namespace

int main() {
  namespace kv = tersor::kv;
  const kv::attention_layout layout{.heads = heads, .kv_heads = kv_heads, .head_dim = head_dim};
  std::vector<candidate> candidates{
      {"dense(type=f16)", {layout, kv::full{} | kv::dense{}}},
      {"gear(bits=4)", {layout, kv::full{} | kv::gear{.bits = 4, .residual = 32}}},
      {"kivi(bits=2)", {layout, kv::full{} | kv::kivi{.bits = 2, .group_size = 64, .residual = 64}}},
      {"gear(bits=2)", {layout, kv::full{} | kv::gear{.bits = 2, .residual = 32}}}};

  tersor::random_generator random(1);
  const auto q = projected(heads, steps, random), k = projected(kv_heads, all, random),
             v = projected(kv_heads, all, random);
  const kv::heads_view<const float> queries(q.data(), {heads, steps, head_dim}),
      keys(k.data(), {kv_heads, all, head_dim}), values(v.data(), {kv_heads, all, head_dim});

  // The attention of a prompt is exact and yours. The cache takes its keys and values; queries are for
  // policies that look at them, and these keep every token.
  for (auto& c : candidates)
    c.cache.prefill(kv::tokens(keys, 0, prompt), kv::tokens(values, 0, prompt), kv::tokens(queries, 0, 0));

  // One token of all heads, [heads, head_dim], without a copy.
  const auto token = [](kv::heads_view<const float> x, index_t t) {
    return tersor::matrix_view<const float>(&x(0, t, 0), {x.extents[0], head_dim}, {x.strides[0], 1});
  };
  tersor::matrix<float> expected(heads, head_dim), output(heads, head_dim);
  for (index_t step = 0; step < steps; ++step)
    for (auto& c : candidates) {
      c.cache.append(token(keys, prompt + step), token(values, prompt + step));
      c.cache.attend(token(queries, step), output);
      c.cache.finish_step();  // compresses what is due: full buffers
      if (&c == candidates.data()) expected = output;
      c.error.add(expected, output);
    }
  for (const auto& c : candidates)
    std::printf("%-16s %td tokens in %6zu bytes, %6.3f bits per element, error of the outputs %.4f\n", c.name,
                c.cache.tokens(0), c.cache.storage().bytes(), c.cache.bits_per_element(),
                c.error.relative_frobenius());
}
