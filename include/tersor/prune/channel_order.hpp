// tersor - the order of the input channels for an N:M pattern: dealing out, assignment, masks in that order
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/linalg/assignment.hpp>
#include <tersor/solve/select.hpp>

namespace tersor::prune {

// The parts of RIA's channel permutation (Zhang et al., ICLR 2024, no paper on arXiv; official code
// biomedical-cybernetics/Relative-importance-and-activation-pruning). A permutation p of the input channels
// puts column p[j] at place j; group g of a pattern n:m holds the places g m .. g m + m - 1, its slots.

/// A new order of the input channels, and what an n:m mask then keeps.
struct channel_order {
  std::vector<std::int32_t> permutation;  ///< [in]; column j of the permuted matrix is column permutation[j]
  double kept_before = 0;                 ///< kept score in the original order
  double kept_heuristic = 0;              ///< after dealing out
  double kept_final = 0;                  ///< of `permutation`
};

/// The sum over rows and groups of m columns of the n largest scores. Error on NaN.
inline double kept_score(const matrix<float>& score, solve::nm_pattern pattern, const context& ctx = {}) {
  const auto kept = solve::select_nm(score, pattern, ctx);
  double sum = 0;
  for (index_t i = 0; i < score.size(); ++i)
    if (kept.data()[i] != 0) sum += static_cast<double>(score.data()[i]);
  return sum;
}

/// Deals channels [in], in rising importance, out to in / m groups: part t of m equal parts fills slot t of
/// all groups, every second part backwards, so that each group gets one channel of each class of importance
/// and no group the best of all classes. `in` is divisible by m.
inline std::vector<std::int32_t> deal_out(const std::vector<std::int32_t>& rising, int m) {
  const auto in = static_cast<index_t>(rising.size()), groups = in / m;
  require(in % m == 0, "deal_out: channels", in, "a multiple of m = ", m);
  std::vector<std::int32_t> perm(rising.size());
  for (index_t t = 0; t < m; ++t)
    for (index_t g = 0; g < groups; ++g) {
      const index_t from = t * groups + (t % 2 == 0 ? g : groups - 1 - g);
      perm[static_cast<std::size_t>(g * m + t)] = rising[static_cast<std::size_t>(from)];
    }
  return perm;
}

namespace detail {

/// [count, count]: (g, h) is the kept score of group first + g with the channel in its slot replaced by
/// that of group first + h. In each row it is the n - 1 largest of the group's other channels, plus the
/// larger of their next one and the newcomer.
inline matrix<double> slot_scores(const matrix<float>& score, solve::nm_pattern pattern,
                                  const std::vector<std::int32_t>& perm, index_t slot, index_t first,
                                  index_t count, const context& ctx) {
  const index_t rows = score.rows(), m = pattern.m;
  const auto channel = [&](index_t g, index_t t) {
    return perm[static_cast<std::size_t>((first + g) * m + t)];
  };
  matrix<float> newcomer(count, rows), next(count, rows);
  std::vector<double> fixed(static_cast<std::size_t>(count));
  parallel_for(count, ctx, [&](index_t g) {
    std::vector<float> others(static_cast<std::size_t>(m - 1));
    for (index_t r = 0; r < rows; ++r) {
      newcomer(g, r) = score(r, channel(g, slot));
      for (index_t t = 0, k = 0; t < m; ++t)
        if (t != slot) others[static_cast<std::size_t>(k++)] = score(r, channel(g, t));
      std::ranges::sort(others, std::greater<>());
      const auto n = static_cast<std::size_t>(pattern.n);
      for (std::size_t k = 0; k + 1 < n; ++k)
        fixed[static_cast<std::size_t>(g)] += static_cast<double>(others[k]);
      next(g, r) = n <= others.size() ? others[n - 1] : 0.0F;
    }
  });
  matrix<double> result(count, count);
  parallel_for(count, ctx, [&](index_t g) {
    const float* a = next.row(g).data();
    for (index_t h = 0; h < count; ++h) {
      const float* b = newcomer.row(h).data();
      std::array<double, 8> sum{};  // independent sums, so that the loop can be vectorised
      index_t r = 0;
      for (; r + 8 <= rows; r += 8)
        for (index_t k = 0; k < 8; ++k)
          sum[static_cast<std::size_t>(k)] += static_cast<double>(std::max(a[r + k], b[r + k]));
      for (; r < rows; ++r) sum[0] += static_cast<double>(std::max(a[r], b[r]));
      result(g, h) = fixed[static_cast<std::size_t>(g)] + std::accumulate(sum.begin(), sum.end(), 0.0);
    }
  });
  return result;
}

}  // namespace detail

/// Refines perm, [in] with `in` divisible by m: for each slot of the groups in turn, the assignment of the
/// slot's channels to the groups that keeps most of the scores [out, in], which is never less than before.
/// With `blocks` > 1 each of that many runs of groups is refined by itself. Cost m out (in / m)² + m (in /
/// m)³; blocks divide the first by their number, the second by its square.
inline void refine_by_assignment(const matrix<float>& score, solve::nm_pattern pattern,
                                 std::vector<std::int32_t>& perm, index_t blocks = 1,
                                 const context& ctx = {}) {
  const index_t groups = score.cols() / pattern.m, parts = std::min(blocks, groups);
  for (index_t slot = 0; slot < pattern.m; ++slot)
    for (index_t b = 0; b < parts; ++b) {
      ctx.step("ria: channel assignment", slot * parts + b, pattern.m * parts);
      const index_t first = b * groups / parts, count = (b + 1) * groups / parts - first;
      const auto best =
          linalg::assign(detail::slot_scores(score, pattern, perm, slot, first, count, ctx).view(),
                         linalg::assignment_goal::maximum);
      std::vector<std::int32_t> moved;
      const auto place = [&](index_t g) { return static_cast<std::size_t>((first + g) * pattern.m + slot); };
      for (index_t g = 0; g < count; ++g)
        moved.push_back(perm[place(best.column[static_cast<std::size_t>(g)])]);
      for (index_t g = 0; g < count; ++g) perm[place(g)] = moved[static_cast<std::size_t>(g)];
    }
}

/// `solve::select` with the groups of a pattern running over the columns in the order perm. @return [out,
/// in], 1 = kept, in the original order of the columns.
inline matrix<std::uint8_t> select_in_order(const matrix<float>& score, const solve::selection_rule& rule,
                                            const std::vector<std::int32_t>& perm,
                                            const solve::sparsity& before = {}, const context& ctx = {}) {
  solve::sparsity moved;
  if (!before.empty()) moved.kept = gather_columns(before.kept, perm);
  const auto chosen = solve::select(gather_columns(score, perm), rule, moved, ctx);
  matrix<std::uint8_t> kept(chosen.rows(), chosen.cols());
  for (index_t r = 0; r < kept.rows(); ++r)
    for (index_t j = 0; j < kept.cols(); ++j) kept(r, perm[static_cast<std::size_t>(j)]) = chosen(r, j);
  return kept;
}

}  // namespace tersor::prune
