// tersor - keys, values and queries that the tests of kv/ share, and attention by its definition
// SPDX-License-Identifier: MIT
#pragma once

#include "../linalg/oracle.hpp"
#include "catch.hpp"
#include "io/temporary_folder.hpp"

#include <tersor/kv/cache.hpp>

namespace tersor_test {

namespace kv = tersor::kv;
using tersor::test::error_of;
using tersor::test::holds;

/// [heads, tokens, head_dim], owned.
struct heads_array {
  index_t heads = 0, tokens = 0, dim = 0;
  std::vector<float> values;

  heads_array() = default;
  heads_array(index_t h, index_t t, index_t d)
      : heads(h), tokens(t), dim(d), values(static_cast<std::size_t>(h * t * d)) {}
  float& operator()(index_t h, index_t t, index_t c) {
    return values[static_cast<std::size_t>((h * tokens + t) * dim + c)];
  }
  float operator()(index_t h, index_t t, index_t c) const {
    return values[static_cast<std::size_t>((h * tokens + t) * dim + c)];
  }
  kv::heads_view<const float> view() const { return {values.data(), {heads, tokens, dim}}; }
  kv::heads_view<const float> first(index_t count) const { return kv::tokens(view(), 0, count); }
  /// Token t of every head, [heads, head_dim].
  matrix<float> token(index_t t) const {
    matrix<float> x(heads, dim);
    for (index_t h = 0; h < heads; ++h)
      for (index_t c = 0; c < dim; ++c) x(h, c) = (*this)(h, t, c);
    return x;
  }
  matrix<float> head(index_t h) const { return tersor::copy_as<float>(kv::head(view(), h)); }
};

/// Normal numbers whose channels have different sizes, and with what tokens have in common.
inline heads_array random_heads(index_t heads, index_t tokens, index_t dim, std::uint64_t seed) {
  tersor::random_generator g(seed);
  heads_array x(heads, tokens, dim);
  for (index_t h = 0; h < heads; ++h) {
    std::vector<float> size(static_cast<std::size_t>(dim)), common(size.size());
    for (std::size_t c = 0; c < size.size(); ++c) {
      size[c] = static_cast<float>(std::exp(0.5 * g.normal()));
      common[c] = static_cast<float>(g.normal());
    }
    for (index_t t = 0; t < tokens; ++t)
      for (index_t c = 0; c < dim; ++c)
        x(h, t, c) = size[static_cast<std::size_t>(c)] *
                     (static_cast<float>(g.normal()) + common[static_cast<std::size_t>(c)]);
  }
  return x;
}

inline double largest_difference(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(d <= worst)) worst = d;
  }
  return worst;
}
inline double norm(std::span<const float> a) {
  double s = 0;
  for (const float v : a) s += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(s);
}

/// Attention of one query over keys and values [tokens, dim], in double.
inline std::vector<float> attention(std::span<const float> q, const matrix<float>& k,
                                    const matrix<float>& v) {
  std::vector<double> weight;
  double total = 0, largest = -1e300;
  for (index_t t = 0; t < k.rows(); ++t) {
    double s = 0;
    for (index_t c = 0; c < k.cols(); ++c)
      s += static_cast<double>(q[static_cast<std::size_t>(c)]) * static_cast<double>(k(t, c));
    weight.push_back(s / std::sqrt(static_cast<double>(k.cols())));
    largest = std::max(largest, weight.back());
  }
  for (double& w : weight) total += w = std::exp(w - largest);
  std::vector<float> out;
  for (index_t c = 0; c < v.cols(); ++c) {
    double y = 0;
    for (index_t t = 0; t < v.rows(); ++t)
      y += weight[static_cast<std::size_t>(t)] / total * static_cast<double>(v(t, c));
    out.push_back(static_cast<float>(y));
  }
  return out;
}
/// The same of all heads' queries [heads, dim] over what a cache holds, decoded, keys rotated for reading
/// where they are plain.
inline matrix<float> attention_of(const kv::any_cache& cache, const matrix<float>& q) {
  matrix<float> out(q.rows(), q.cols());
  const auto& layout = cache.layout();
  for (index_t h = 0; h < q.rows(); ++h) {
    const index_t kv_head = h / layout.group();
    auto k = cache.to_dense(kv::side::keys, kv_head);
    auto query = tersor::to_matrix<float>(q.view().rows(h, 1));
    if (cache.keys() == kv::key_position::plain) {
      auto positions = cache.kept(kv_head);
      if (cache.policy().eviction.contiguous()) std::iota(positions.begin(), positions.end(), index_t{0});
      layout.rotary.apply(k.view(), 1, std::span<const index_t>(positions));
      layout.rotary.apply(query.view(), 1, cache.next_position() - 1);
    }
    const auto y = attention(query.row(0), k, cache.to_dense(kv::side::values, kv_head));
    std::ranges::copy(y, out.row(h).begin());
  }
  return out;
}

inline kv::attention_layout layout_of(index_t heads, index_t kv_heads, index_t dim) {
  return {.heads = heads,
          .kv_heads = kv_heads,
          .head_dim = dim,
          .rotary = tersor::kernel::rotary(tersor::kernel::rotary::base_frequencies(dim, 10000.0))};
}

/// What every segment must do, for `tokens` tokens of `heads` heads that it approximates.
inline void check_segment(const kv::segment& s, std::uint64_t seed = 1) {
  for (index_t h = 0; h < s.heads(); ++h) {
    const auto dense = s.to_dense(h);
    REQUIRE(dense.rows() == s.tokens());
    REQUIRE(dense.cols() == s.head_dim());
    // any run of tokens decodes to the same
    for (index_t first = 0; first < s.tokens(); first += 5) {
      matrix<float> some(std::min<index_t>(7, s.tokens() - first), s.head_dim());
      s.read(h, first, some.view());
      for (index_t t = 0; t < some.rows(); ++t) CHECK(std::ranges::equal(some.row(t), dense.row(first + t)));
    }
    for (const index_t queries : {1, 3}) {
      const auto q = random_matrix<float>(queries, s.head_dim(), seed);
      const auto a = random_matrix<float>(queries, s.tokens(), seed + 1);
      matrix<float> scores(queries, s.tokens()), expected_scores(queries, s.tokens());
      matrix<float> out(queries, s.head_dim(), 0.5F), expected_out(queries, s.head_dim(), 0.5F);
      s.scores(h, q.view(), scores.view());
      s.accumulate(h, a.view(), out.view());
      for (index_t j = 0; j < queries; ++j)
        for (index_t t = 0; t < s.tokens(); ++t) {
          double sum = 0;
          for (index_t c = 0; c < s.head_dim(); ++c)
            sum += static_cast<double>(q(j, c)) * static_cast<double>(dense(t, c));
          expected_scores(j, t) = static_cast<float>(sum);
          for (index_t c = 0; c < s.head_dim(); ++c) expected_out(j, c) += a(j, t) * dense(t, c);
        }
      const double size = 1 + norm(dense.values());  // bounds every product
      CHECK(largest_difference(scores.values(), expected_scores.values()) <= 1e-5 * size);
      CHECK(largest_difference(out.values(), expected_out.values()) <= 1e-5 * size);
    }
  }
}

}  // namespace tersor_test
