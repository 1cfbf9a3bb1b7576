// tersor - RIA: relative importance and activations, with channel reallocation for N:M
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/linalg/assignment.hpp>
#include <tersor/solve/stage.hpp>
#include <tersor/solve/update.hpp>

namespace tersor::prune {

using solve::operator|;
using solve::operator+;

/// The order of the input channels from which the reallocation deals them out to the groups.
enum class ria_importance {
  sum,                     ///< sum of a channel's scores
  retained_degree,         ///< sum of those that pruning over the whole matrix leaves
  retained_degree_per_row  ///< sum of those that pruning in each row leaves
};
constexpr auto option_names(ria_importance) {
  using row = std::pair<std::string_view, ria_importance>;
  return std::array<row, 3>{{{"sum", ria_importance::sum},
                             {"retained_degree", ria_importance::retained_degree},
                             {"retained_degree_per_row", ria_importance::retained_degree_per_row}}};
}

/// A new order of the input channels, and what an n:m mask then keeps.
struct channel_order {
  std::vector<std::int32_t> permutation;  ///< [in]; column j of the permuted matrix is column permutation[j]
  double kept_before = 0;                 ///< kept score in the original order
  double kept_heuristic = 0;              ///< after dealing out
  double kept_final = 0;                  ///< of `permutation`
};

/// The sum over rows and groups of m columns of the n largest scores.
inline double kept_score(const matrix<float>& score, solve::nm_pattern pattern, const context& ctx = {}) {
  const auto kept = solve::select_nm(score, pattern, ctx);
  double sum = 0;
  for (index i = 0; i < score.size(); ++i)
    if (kept.data()[i] != 0) sum += static_cast<double>(score.data()[i]);
  return sum;
}

/// RIA (Zhang et al., ICLR 2024, no paper on arXiv; official code
/// biomedical-cybernetics/Relative-importance-and-activation-pruning): the score of a weight is its share of
/// its column's and of its row's absolute sum, times a power of its input's norm, so that no channel is
/// emptied. For n:m, `permute` first deals the input channels out to the groups such that strong ones do not
/// compete (a snake over the channels in order of importance), then swaps channels between groups by exact
/// linear assignment, one slot of all groups at a time.
///
/// Cost: O(out in); assignment m out (in / m)² + m (in / m)³, by `blocks` less. Guarantee: with `keep_better`
/// the order never keeps a smaller score than the original. Bits per weight for b-bit values: 1 + (1 -
/// sparsity) b as a bitmap, 1 + b / 2 for 2:4, and 32 / out with a permutation.
///
///     tersor::calib::statistics inputs(in_features);
///     inputs.add(X);  // X: [tokens, in], one call for each sequence
///     auto result = tersor::prune::ria{.pattern = {2, 4}, .permute = true}(W, inputs);
///     result.op.apply(x, y);  // the channels are reordered inside
struct ria {
  double sparsity = 0.5;
  solve::nm_pattern pattern{};
  solve::selection_scope scope = solve::selection_scope::per_tensor;
  double alpha = 0.5;
  bool permute = false;
  ria_importance importance = ria_importance::sum;
  bool assignment = true;
  index blocks = 1;
  bool keep_better = true;
  solve::weight_update update = solve::weight_update::none;
  double percdamp = 0.01;
  index block_size = 128;
  dtype value_type = dtype::bf16;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  /// Column energies; an `update` takes the Gram matrix too.
  static constexpr solve::calibration_need needs = solve::calibration_need::gram;
  static constexpr solve::technique_info info{
      .id = "ria",
      .family = "prune",
      .title = "RIA: relative importance and activations",
      .arxiv = "",
      .header = "tersor/prune/ria.hpp",
      .guarantee = "a channel permutation never lowers the kept score"};
  static constexpr auto options() {
    return std::tuple{
        option{"sparsity",
               &ria::sparsity,
               {.help = "share removed; with a pattern only used by retained_degree",
                .symbol = "s",
                .min = 0,
                .max = 1}},
        option{"pattern", &ria::pattern, {.help = "n kept of every m inputs", .symbol = "n:m"}},
        option{"scope", &ria::scope, {.help = "weights that are compared with each other"}},
        option{
            "alpha", &ria::alpha, {.help = "power of the input's norm", .symbol = "α", .min = 0, .max = 10}},
        option{
            "permute", &ria::permute, {.help = "reorder the input channels before the pattern is applied"}},
        option{"importance", &ria::importance, {.help = "order from which channels are dealt out to groups"}},
        option{"assignment", &ria::assignment, {.help = "refine the order by linear assignment"}},
        option{"blocks",
               &ria::blocks,
               {.help = "parts of the channels that are refined separately (fast mode: 4, 8 or 16)",
                .min = 1,
                .max = 65536}},
        option{
            "keep_better", &ria::keep_better, {.help = "keep the original order where it keeps more score"}},
        option{"update", &ria::update, {.help = "how kept weights make up for the removed ones"}},
        option{"percdamp",
               &ria::percdamp,
               {.help = "damping of H in the update, relative to the mean of its diagonal",
                .min = 0,
                .max = 1e3}},
        option{"block_size",
               &ria::block_size,
               {.help = "columns of a panel in the update", .symbol = "B", .min = 1, .max = 65536}},
        option{"value_type", &ria::value_type, {.help = "stored type of the kept weights"}}};
  }
  solve::selection_rule rule() const { return {sparsity, pattern, scope}; }
  void validate() const {
    validate_options(*this, info.id);
    rule().validate(info.id);
    require(!permute || !pattern.empty(), "ria: permute", permute, "false without a pattern");
  }

  /// (|w_ij| / sum_i |w_ij| + |w_ij| / sum_j |w_ij|) sqrt(a_j)^alpha; a share of nothing is 0.
  /// @param w [out, in]; @param energy a [in], `calib::statistics::energy()`.
  matrix<float> score(const matrix<float>& w, std::span<const double> energy) const {
    require(static_cast<index>(energy.size()) == w.cols(), "ria: length of energy", energy.size(), w.cols());
    std::vector<double> column(energy.size()), activation;
    for (const double a : energy) activation.push_back(std::pow(std::sqrt(a), alpha));
    for (index r = 0; r < w.rows(); ++r)
      for (index j = 0; j < w.cols(); ++j)
        column[static_cast<std::size_t>(j)] += std::fabs(static_cast<double>(w(r, j)));
    matrix<float> s(w.rows(), w.cols());
    for (index r = 0; r < w.rows(); ++r) {
      double row = 0;
      for (index j = 0; j < w.cols(); ++j) row += std::fabs(static_cast<double>(w(r, j)));
      for (index j = 0; j < w.cols(); ++j) {
        const double v = std::fabs(static_cast<double>(w(r, j)));
        const auto c = static_cast<std::size_t>(j);
        s(r, j) = v == 0.0 ? 0.0F : static_cast<float>((v / column[c] + v / row) * activation[c]);
      }
    }
    return s;
  }

  /// The order of the input channels for scores [out, in], `in` divisible by m.
  channel_order reallocate(const matrix<float>& score, const context& ctx = {}) const {
    validate();
    const index in = score.cols(), m = pattern.m;
    require(m > 0, "ria: pattern", "none", "n:m");
    require(in % m == 0, "ria: permute, in_features", in, "a multiple of m = ", m);
    channel_order result;
    result.kept_before = kept_score(score, pattern, ctx);

    // Part t of the sorted channels fills slot t of all groups, every second part backwards, so that each
    // group gets one channel of each class of importance and no group the best of all classes.
    const auto rising = order_by_importance(score, ctx);
    const index groups = in / m;
    std::vector<std::int32_t> perm(static_cast<std::size_t>(in)), identity(static_cast<std::size_t>(in));
    for (index t = 0; t < m; ++t)
      for (index g = 0; g < groups; ++g) {
        const index from = t * groups + (t % 2 == 0 ? g : groups - 1 - g);
        perm[static_cast<std::size_t>(g * m + t)] = rising[static_cast<std::size_t>(from)];
      }
    result.kept_heuristic = result.kept_final = kept_score(gather_columns(score, perm), pattern, ctx);
    if (assignment) {
      refine(score, perm, ctx);
      result.kept_final = kept_score(gather_columns(score, perm), pattern, ctx);
    }
    if (keep_better && result.kept_final <= result.kept_before) {
      std::iota(perm.begin(), perm.end(), 0);
      result.kept_final = result.kept_before;
    }
    result.permutation = std::move(perm);
    return result;
  }

  /// @param w [out, in], any tensor type; @param inputs of the layer; their Gram matrix only for an `update`.
  template <matrix_like W>
  solve::compressed<op::any_operator> operator()(const W& w, const calib::statistics& inputs,
                                                 const context& ctx = {}) const {
    return solve::compress_weight<op::any_operator>(*this, w, &inputs, ctx);
  }

  solve::outcome compress(const solve::layer& l, const context& ctx = {}) const {
    validate();
    solve::check_layer(l);
    const auto& inputs = l.require_inputs(info.id);
    auto scores = score(l.weight, inputs.energy());
    std::vector<std::string> notes;
    matrix<std::uint8_t> kept;
    std::vector<std::int32_t> perm;
    if (permute) {
      if (!l.sparsity.empty()) scores = solve::masked(std::move(scores), l.sparsity.kept);
      auto order = reallocate(scores, ctx);
      notes.push_back(concat("ria: the order of the channels keeps ", order.kept_final,
                             " of the score, the original order ", order.kept_before));
      if (order.kept_final > order.kept_before || !keep_better) perm = std::move(order.permutation);
    }
    if (perm.empty()) {
      kept = solve::select(std::move(scores), rule(), l.sparsity, ctx);
    } else {
      solve::sparsity before;
      if (!l.sparsity.empty()) before.kept = gather_columns(l.sparsity.kept, perm);
      const auto chosen = solve::select(gather_columns(scores, perm), rule(), before, ctx);
      kept = matrix<std::uint8_t>(chosen.rows(), chosen.cols());
      for (index r = 0; r < kept.rows(); ++r)
        for (index j = 0; j < kept.cols(); ++j) kept(r, perm[static_cast<std::size_t>(j)]) = chosen(r, j);
    }
    auto constraint = solve::constrain(std::move(kept), pattern, l.sparsity, std::move(perm));
    const auto weight = updated(l, inputs, constraint.kept, notes, ctx);
    auto result = solve::pruned_outcome(info.id, weight.view(), std::move(constraint), pattern, value_type);
    result.notes.insert(result.notes.begin(), notes.begin(), notes.end());
    return result;
  }

 private:
  matrix<float> updated(const solve::layer& l, const calib::statistics& inputs,
                        const matrix<std::uint8_t>& kept, std::vector<std::string>& notes,
                        const context& ctx) const {
    if (update == solve::weight_update::none) return l.weight;
    auto u = update == solve::weight_update::feedback
                 ? solve::feedback_update(l.weight, kept, inputs.hessian(), percdamp, block_size, ctx)
                 : solve::least_squares_update(l.weight, kept, inputs.hessian(), percdamp, ctx);
    solve::note_damping(notes, info.id, u.retries, u.damping, u.dead);
    return std::move(u.weight);
  }

  /// Channels by rising importance; of equal ones that which lost fewer entries, then the lower index, first.
  std::vector<std::int32_t> order_by_importance(const matrix<float>& score, const context& ctx) const {
    matrix<std::uint8_t> kept(score.rows(), score.cols(), 1);
    if (importance == ria_importance::retained_degree) {  // the released program removes one entry more
      const index k = std::min(score.size(), solve::removed_count(sparsity, score.size()) + 1);
      solve::remove_smallest(score.values(), k, kept.values());
    } else if (importance == ria_importance::retained_degree_per_row) {
      kept = solve::select_smallest(score, sparsity, solve::selection_scope::per_row, ctx);
    }
    const auto in = static_cast<std::size_t>(score.cols());
    std::vector<double> sum(in);
    std::vector<index> removed(in);
    for (index r = 0; r < score.rows(); ++r)
      for (index j = 0; j < score.cols(); ++j) {
        const auto c = static_cast<std::size_t>(j);
        if (kept(r, j) != 0)
          sum[c] += static_cast<double>(score(r, j));
        else
          ++removed[c];
      }
    std::vector<std::int32_t> order(in);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&](std::int32_t a, std::int32_t b) {
      const auto i = static_cast<std::size_t>(a), j = static_cast<std::size_t>(b);
      return sum[i] != sum[j] ? sum[i] < sum[j] : removed[i] < removed[j];
    });
    return order;
  }

  /// For each slot of the groups in turn: the assignment of the slot's channels to the groups that keeps
  /// most.
  void refine(const matrix<float>& score, std::vector<std::int32_t>& perm, const context& ctx) const {
    const index groups = score.cols() / pattern.m, parts = std::min(blocks, groups);
    for (index slot = 0; slot < pattern.m; ++slot)
      for (index b = 0; b < parts; ++b) {
        ctx.step("ria: channel assignment", slot * parts + b, pattern.m * parts);
        const index first = b * groups / parts, count = (b + 1) * groups / parts - first;
        const auto best = linalg::assign(slot_scores(score, perm, slot, first, count, ctx).view(),
                                         linalg::assignment_goal::maximum);
        std::vector<std::int32_t> moved;
        const auto place = [&](index g) { return static_cast<std::size_t>((first + g) * pattern.m + slot); };
        for (index g = 0; g < count; ++g)
          moved.push_back(perm[place(best.column[static_cast<std::size_t>(g)])]);
        for (index g = 0; g < count; ++g) perm[place(g)] = moved[static_cast<std::size_t>(g)];
      }
  }

  /// [count, count]: (g, h) is the kept score of group first + g with the channel in its slot replaced by
  /// that of group first + h. In each row it is the n - 1 largest of the group's other channels, plus the
  /// larger of their next one and the newcomer.
  matrix<double> slot_scores(const matrix<float>& score, const std::vector<std::int32_t>& perm, index slot,
                             index first, index count, const context& ctx) const {
    const index rows = score.rows(), m = pattern.m;
    const auto channel = [&](index g, index t) {
      return perm[static_cast<std::size_t>((first + g) * m + t)];
    };
    matrix<float> newcomer(count, rows), next(count, rows);
    std::vector<double> fixed(static_cast<std::size_t>(count));
    parallel_for(count, ctx, [&](index g) {
      std::vector<float> others(static_cast<std::size_t>(m - 1));
      for (index r = 0; r < rows; ++r) {
        newcomer(g, r) = score(r, channel(g, slot));
        for (index t = 0, k = 0; t < m; ++t)
          if (t != slot) others[static_cast<std::size_t>(k++)] = score(r, channel(g, t));
        std::ranges::sort(others, std::greater<>());
        const auto n = static_cast<std::size_t>(pattern.n);
        for (std::size_t k = 0; k + 1 < n; ++k)
          fixed[static_cast<std::size_t>(g)] += static_cast<double>(others[k]);
        next(g, r) = n <= others.size() ? others[n - 1] : 0.0F;
      }
    });
    matrix<double> result(count, count);
    parallel_for(count, ctx, [&](index g) {
      const float* a = next.row(g).data();
      for (index h = 0; h < count; ++h) {
        const float* b = newcomer.row(h).data();
        std::array<double, 8> sum{};  // independent sums, so that the loop can be vectorised
        index r = 0;
        for (; r + 8 <= rows; r += 8)
          for (index k = 0; k < 8; ++k)
            sum[static_cast<std::size_t>(k)] += static_cast<double>(std::max(a[r + k], b[r + k]));
        for (; r < rows; ++r) sum[0] += static_cast<double>(std::max(a[r], b[r]));
        result(g, h) = fixed[static_cast<std::size_t>(g)] + std::accumulate(sum.begin(), sum.end(), 0.0);
      }
    });
    return result;
  }
};

}  // namespace tersor::prune
