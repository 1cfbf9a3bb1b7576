// tersor - tests of kv/key_order.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/key_order.hpp>
#include <tersor/linalg/gemm.hpp>

#include "samples.hpp"

namespace key_order_tests {

using namespace tersor_test;
using kv::key_order;
using kv::key_sort;
using tersor::kernel::rotary;
using tersor::kernel::rotary_pairing;

/// Weights whose rows have very different norms.
matrix<float> weights(index_t rows, index_t cols, std::uint64_t seed) {
  auto w = random_matrix<float>(rows, cols, seed);
  const auto size = random_matrix<float>(rows, 1, seed + 1);
  for (index_t r = 0; r < rows; ++r)
    for (float& v : w.row(r)) v *= std::exp(size(r, 0));
  return w;
}
double row_norm(const matrix<float>& w, index_t r) { return norm(w.row(r)); }

TEST_CASE("key_order: by hand") {
  CHECK(kv::decreasing_order(std::vector<double>{1, 3, 3, 2}) == std::vector<index_t>{1, 2, 3, 0});
  // one head of four channels with norms 1, 2, 4, 3; pairs (0, 2) and (1, 3) have 17 and 13
  matrix<float> w(4, 1);
  for (index_t r = 0; r < 4; ++r) w(r, 0) = std::array{1.0F, 2.0F, 4.0F, 3.0F}[static_cast<std::size_t>(r)];
  kv::attention_layout layout{.heads = 1, .kv_heads = 1, .head_dim = 4, .rotary = rotary({1.0, 0.1})};
  CHECK(key_order::of(w.view(), layout).channels[0] == std::vector<index_t>{0, 1, 2, 3});
  CHECK(key_order::of(w.view(), layout, key_sort::channels).channels[0] == std::vector<index_t>{2, 3, 1, 0});
  w(1, 0) = 5;
  const auto order = key_order::of(w.view(), layout);
  CHECK(order.channels[0] == std::vector<index_t>{1, 0, 3, 2});
  CHECK(order.rotary_of(0).frequencies() == std::vector<double>{0.1, 1.0});
}

TEST_CASE("key_order: products of queries and keys do not change, with rotation and grouped queries") {
  for (const auto pairing : {rotary_pairing::halves, rotary_pairing::interleaved})
    for (const auto what : {key_sort::pairs, key_sort::channels})
      for (const auto& shape :
           {std::array<index_t, 4>{1, 1, 4, 4}, {4, 2, 8, 8}, {6, 1, 10, 6}, {2, 2, 6, 0}}) {
        const index_t heads = shape[0], kv_heads = shape[1], dim = shape[2], rotated = shape[3];
        kv::attention_layout layout{.heads = heads, .kv_heads = kv_heads, .head_dim = dim};
        layout.rotary = rotary(rotary::base_frequencies(rotated, 100.0), pairing);
        const index_t features = 12, tokens = 7;
        const auto w_q = weights(heads * dim, features, 1), w_k = weights(kv_heads * dim, features, 5);
        const auto x = random_matrix<float>(tokens, features, 9);
        const auto order = key_order::of(w_k.view(), layout, what);
        const auto sorted_q = order.permuted(w_q.view(), heads),
                   sorted_k = order.permuted(w_k.view(), kv_heads);
        std::vector<index_t> positions;
        for (index_t t = 0; t < tokens; ++t) positions.push_back(3 * t + 1);
        const auto project = [&](const matrix<float>& w, index_t head, bool is_sorted) {
          matrix<float> y(tokens, dim);
          tersor::linalg::gemm<float>(1.0F, x.view(), w.view().rows(head * dim, dim).transposed(), 0.0F,
                                      y.view());
          const index_t kv_head = w.rows() == kv_heads * dim ? head : head / layout.group();
          if (!is_sorted)
            layout.rotary.apply(y.view(), 1, std::span<const index_t>(positions));
          else
            order.rotate(y.view(), kv_head, positions);
          return y;
        };
        for (index_t h = 0; h < heads; ++h) {
          const index_t kv_head = h / layout.group();
          const auto q = project(w_q, h, false), k = project(w_k, kv_head, false);
          const auto sq = project(sorted_q, h, true), sk = project(sorted_k, kv_head, true);
          const auto before = tersor::linalg::multiply(q, k.view().transposed());
          const auto after = tersor::linalg::multiply(sq, sk.view().transposed());
          CHECK(largest_difference(before.values(), after.values()) <= 1e-6 * norm(before.values()));
          if (what == key_sort::channels) continue;
          auto direct = tersor::linalg::multiply(x, sorted_k.view().rows(kv_head * dim, dim).transposed());
          order.rotary_of(kv_head).apply(direct.view(), 1, std::span<const index_t>(positions));
          CHECK(largest_difference(direct.values(), sk.values()) < 1e-5 * (1 + norm(sk.values())));
        }
        // norms fall
        for (index_t h = 0; h < kv_heads; ++h)
          for (index_t c = 1; c < dim; ++c) {
            if (what == key_sort::channels)
              CHECK(row_norm(sorted_k, h * dim + c) <= row_norm(sorted_k, h * dim + c - 1));
            else if (c < rotated / 2) {
              const auto pair = [&](index_t i) {
                const auto channels = layout.rotary.channels(i);
                return std::hypot(row_norm(sorted_k, h * dim + channels.first),
                                  row_norm(sorted_k, h * dim + channels.second));
              };
              CHECK(pair(c) <= pair(c - 1));
            }
          }
      }
}

TEST_CASE("key_order: errors") {
  const auto layout = layout_of(4, 2, 8);
  const auto w = weights(16, 5, 1);
  const auto order = key_order::of(w.view(), layout, key_sort::channels);
  CHECK(holds(error_of([&] { order.rotary_of(1); }), {"pair", "head 1", "key_sort::pairs"}));
  CHECK_THROWS_AS(key_order::of(w.view().rows(0, 8), layout), tersor::error);
  CHECK_THROWS_AS(order.permuted(w.view(), 3), tersor::error);
  CHECK_THROWS_AS(order.permuted(w.view(), 4), tersor::error);
}

}  // namespace key_order_tests
