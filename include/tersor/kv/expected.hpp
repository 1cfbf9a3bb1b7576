// tersor - ExpectedAttention: the attention that queries to come are expected to pay
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/budget.hpp>

namespace tersor::kv {

/// Normal distribution of queries, in double: mean [head_dim], covariance [head_dim, head_dim].
struct query_distribution {
  std::vector<double> mean;
  matrix<double> covariance;  ///< empty: zero

  /// log E e^(q . k / √head_dim) for each key, rows of `keys` [tokens, head_dim]: k . mean / √D + kᵀ Σ k / (2
  /// D). Cost tokens head_dim².
  std::vector<float> log_expectation(matrix_view<const float> keys, const context& ctx = {}) const {
    const index_t dim = keys.cols();
    require(static_cast<index_t>(mean.size()) == dim, "query_distribution: channels of the keys", dim,
            mean.size());
    const auto size = static_cast<double>(dim);
    matrix<float> spread;  // K Σ
    if (!covariance.empty()) spread = linalg::multiply(keys, copy_as<float>(covariance.view()), ctx);
    std::vector<float> logit(static_cast<std::size_t>(keys.rows()));
    for (index_t t = 0; t < keys.rows(); ++t) {
      double along = 0, across = 0;
      for (index_t c = 0; c < dim; ++c) {
        const auto k = static_cast<double>(keys(t, c));
        along += k * mean[static_cast<std::size_t>(c)];
        if (!spread.empty()) across += k * static_cast<double>(spread(t, c));
      }
      logit[static_cast<std::size_t>(t)] = static_cast<float>(along / std::sqrt(size) + across / (2 * size));
    }
    return logit;
  }
  /// The distribution after the mean of the rotations to positions first, first + 1 ... first + count - 1.
  void rotate_to(const kernel::rotary& rotary, index_t first, index_t count) {
    for (std::size_t i = 0; i < rotary.frequencies().size(); ++i) {
      double cosine = 0, sine = 0;
      for (index_t p = first; p < first + count; ++p) {
        cosine += std::cos(static_cast<double>(p) * rotary.frequencies()[i]) / static_cast<double>(count);
        sine += std::sin(static_cast<double>(p) * rotary.frequencies()[i]) / static_cast<double>(count);
      }
      const auto channels = rotary.channels(static_cast<index_t>(i));
      const auto turn = [cosine, sine](double& a, double& b) {
        const double u = a, v = b;
        a = u * cosine - v * sine;
        b = v * cosine + u * sine;
      };
      turn(mean[static_cast<std::size_t>(channels.first)], mean[static_cast<std::size_t>(channels.second)]);
      for (index_t c = 0; c < covariance.rows(); ++c)
        turn(covariance(channels.first, c), covariance(channels.second, c));
      for (index_t r = 0; r < covariance.rows(); ++r)
        turn(covariance(r, channels.first), covariance(r, channels.second));
    }
  }
};

/// ExpectedAttention (arXiv:2510.00636, official code in NVIDIA/kvpress, `ExpectedAttentionPress`): queries
/// before rotation are nearly normally distributed, so those of the prompt tell what the `future` positions
/// behind it will attend to. With mean and covariance of a head's queries behind the sinks, turned by the
/// mean rotation of those positions, a key's score is the softmax of log E e^(q . k / √D); joined over the
/// group, it is multiplied by the norm of the value. The first `sinks` tokens stay. Nothing is dropped at
/// decode.
///
/// Uses the queries that the prompt holds, all of them in the official program; at least one behind the
/// sinks.
///
/// Cost: heads T head_dim². Guarantee: sinks stay; exact counts. Stored: capacity / T of the elements.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::expected{.ratio = 0.5} | tersor::kv::dense{});
struct expected {
  index_t capacity = 0;
  double ratio = 0.5;
  index_t sinks = 4;
  index_t future = 512;
  bool covariance = true;
  bool value_norm = true;
  double epsilon = 0;
  group_reduction reduce = group_reduction::mean;

  static constexpr solve::stage_kind kind = solve::stage_kind::eviction;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "expected",
                                              .family = "kv",
                                              .title = "Eviction by the attention expected of coming queries",
                                              .arxiv = "2510.00636",
                                              .header = "tersor/kv/expected.hpp",
                                              .guarantee = "the sinks stay, exact counts in every head"};
  static constexpr auto options() {
    return std::tuple_cat(
        budget_options<expected>(),
        std::tuple{
            option{"sinks", &expected::sinks, {.help = "first tokens, which stay", .min = 0, .max = 1e9}},
            option{"future",
                   &expected::future,
                   {.help = "positions behind the prompt that are averaged", .min = 1, .max = 1e7}},
            option{"covariance", &expected::covariance, {.help = "of the queries; false: their mean alone"}},
            option{"value_norm", &expected::value_norm, {.help = "multiply by the norm of the value"}},
            option{"epsilon",
                   &expected::epsilon,
                   {.help = "added to the attention before that", .symbol = "ε", .min = 0, .max = 1e6}},
            option{"reduce", &expected::reduce, {.help = "how the query heads of a group agree"}}});
  }
  void validate() const { validate_budget(*this); }

  /// Expected attention [kv_heads, T] times norms; of sinks `always_kept`.
  matrix<float> scores(const prompt& p, const context& ctx = {}) const {
    validate();
    p.validate();
    require_reduction(reduce, p.layout, info.id);
    const index_t tokens = p.tokens(), group = p.layout.group(), first = std::min(sinks, tokens);
    matrix<float> result(p.layout.kv_heads, tokens);
    parallel_for(p.layout.kv_heads, ctx, [&](index_t h) {
      const auto row = result.row(h);
      std::ranges::fill(row, always_kept);
      if (first == tokens) return;
      const auto rest = row.subspan(static_cast<std::size_t>(first));
      const auto keys = head(p.keys, h).rows(first, tokens - first);
      for (index_t j = 0; j < group; ++j) {
        auto attention = queries_to_come(p, h * group + j, ctx).log_expectation(keys, ctx);
        kernel::softmax(attention.data(), static_cast<index_t>(attention.size()));
        join_head(reduce, j, group, attention, rest);
      }
      if (!value_norm) return;
      for (index_t t = first; t < tokens; ++t) {
        double squares = 0;
        for (index_t c = 0; c < p.layout.head_dim; ++c) {
          const auto v = static_cast<double>(p.values(h, t, c));
          squares += v * v;
        }
        result(h, t) = static_cast<float>((static_cast<double>(result(h, t)) + epsilon) * std::sqrt(squares));
      }
    });
    return result;
  }
  selection select(const prompt& p, const context& ctx = {}) const { return select_by_score(*this, p, ctx); }

 private:
  query_distribution queries_to_come(const prompt& p, index_t query_head, const context& ctx) const {
    const index_t tokens = p.tokens(), missing = tokens - p.queries.extents[1],
                  first = std::max(sinks, missing), count = tokens - first, dim = p.layout.head_dim;
    require(count > 0, concat(info.id, ": queries of the prompt"), p.queries.extents[1],
            "at least one of a token behind the ", sinks, " sinks");
    auto plain = copy_as<float>(head(p.queries, query_head).rows(first - missing, count));
    std::vector<index_t> back(static_cast<std::size_t>(count));
    for (index_t i = 0; i < count; ++i) back[static_cast<std::size_t>(i)] = -(first + i);
    p.layout.rotary.apply(plain.view(), 1, std::span<const index_t>(back));
    query_distribution d;
    d.mean.resize(static_cast<std::size_t>(dim));
    for (index_t i = 0; i < count; ++i)
      for (index_t c = 0; c < dim; ++c)
        d.mean[static_cast<std::size_t>(c)] += static_cast<double>(plain(i, c)) / static_cast<double>(count);
    if (covariance) {
      for (index_t i = 0; i < count; ++i)
        for (index_t c = 0; c < dim; ++c)
          plain(i, c) =
              static_cast<float>(static_cast<double>(plain(i, c)) - d.mean[static_cast<std::size_t>(c)]);
      d.covariance = matrix<double>(dim, dim);
      linalg::gram(plain, d.covariance.view(), ctx);
      for (double& x : d.covariance.values()) x /= static_cast<double>(count);
    }
    d.rotate_to(p.layout.rotary, tokens, future);
    return d;
  }
};

}  // namespace tersor::kv
