// tersor - RIA: relative importance and activations, with channel reallocation for N:M
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/prune/channel_order.hpp>
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
  index_t blocks = 1;
  bool keep_better = true;
  solve::weight_update update = solve::weight_update::none;
  double percdamp = 0.01;
  index_t block_size = 128;
  dtype value_type = dtype::bf16;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  /// The most that any update asks for; `needed()` says what this one does.
  static constexpr solve::calibration_need needs = solve::calibration_need::gram;
  static constexpr solve::technique_info info{
      .id = "ria",
      .family = "prune",
      .title = "RIA: relative importance and activations",
      .arxiv = "",
      .header = "tersor/prune/ria.hpp",
      .guarantee = "a channel permutation never lowers the kept score"};
  static constexpr auto options() {
    return std::tuple_cat(
        solve::selection_options<ria>("share removed; with a pattern only used by retained_degree"),
        std::tuple{
            option{"alpha",
                   &ria::alpha,
                   {.help = "power of the input's norm", .symbol = "α", .min = 0, .max = 10}},
            option{"permute",
                   &ria::permute,
                   {.help = "reorder the input channels before the pattern is applied"}},
            option{"importance",
                   &ria::importance,
                   {.help = "order from which channels are dealt out to groups"}},
            option{"assignment", &ria::assignment, {.help = "refine the order by linear assignment"}},
            option{"blocks",
                   &ria::blocks,
                   {.help = "parts of the channels that are refined separately (fast mode: 4, 8 or 16)",
                    .min = 1,
                    .max = 65536}},
            option{"keep_better",
                   &ria::keep_better,
                   {.help = "keep the original order where it keeps more score"}}},
        solve::update_options<ria>(), std::tuple{solve::value_type_option<ria>()});
  }
  solve::selection_rule rule() const { return {sparsity, pattern, scope}; }
  void validate() const {
    solve::validate_selection(*this);
    require(!permute || !pattern.empty(), "ria: permute", permute, "false without a pattern");
  }

  /// What this update asks of the calibration.
  constexpr solve::calibration_need needed() const {
    return update == solve::weight_update::none ? solve::calibration_need::sums
                                                : solve::calibration_need::gram;
  }

  /// (|w_ij| / sum_i |w_ij| + |w_ij| / sum_j |w_ij|) sqrt(a_j)^alpha; a share of nothing is 0.
  /// @param w [out, in]; @param energy a [in], `calib::statistics::energy()`.
  matrix<float> score(const matrix<float>& w, std::span<const double> energy) const {
    require(static_cast<index_t>(energy.size()) == w.cols(), "ria: length of energy", energy.size(),
            w.cols());
    std::vector<double> column(energy.size()), activation;
    for (const double a : energy) activation.push_back(std::pow(std::sqrt(a), alpha));
    for (index_t r = 0; r < w.rows(); ++r)
      for (index_t j = 0; j < w.cols(); ++j)
        column[static_cast<std::size_t>(j)] += std::fabs(static_cast<double>(w(r, j)));
    matrix<float> s(w.rows(), w.cols());
    for (index_t r = 0; r < w.rows(); ++r) {
      double row = 0;
      for (index_t j = 0; j < w.cols(); ++j) row += std::fabs(static_cast<double>(w(r, j)));
      for (index_t j = 0; j < w.cols(); ++j) {
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
    const index_t in = score.cols(), m = pattern.m;
    require(m > 0, "ria: pattern", "none", "n:m");
    require(in % m == 0, "ria: permute, in_features", in, "a multiple of m = ", m);
    channel_order result;
    result.kept_before = kept_score(score, pattern, ctx);

    auto perm = deal_out(order_by_importance(score, ctx), pattern.m);
    result.kept_heuristic = result.kept_final = kept_score(gather_columns(score, perm), pattern, ctx);
    if (assignment) {
      refine_by_assignment(score, pattern, perm, blocks, ctx);
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
    std::vector<std::int32_t> perm;
    if (permute) {
      if (!l.sparsity.empty()) scores = solve::masked(std::move(scores), l.sparsity.kept);
      auto order = reallocate(scores, ctx);
      notes.push_back(concat("ria: the order of the channels keeps ", order.kept_final,
                             " of the score, the original order ", order.kept_before));
      if (order.kept_final > order.kept_before || !keep_better) perm = std::move(order.permutation);
    }
    auto kept = perm.empty() ? solve::select(std::move(scores), rule(), l.sparsity, ctx)
                             : select_in_order(scores, rule(), perm, l.sparsity, ctx);
    auto result = solve::pruned_outcome(*this, l, std::move(kept), {update, percdamp, block_size},
                                        std::move(perm), ctx);
    result.notes.insert(result.notes.begin(), notes.begin(), notes.end());
    return result;
  }

 private:
  /// Channels by rising importance; of equal ones that which lost fewer entries, then the lower index, first.
  std::vector<std::int32_t> order_by_importance(const matrix<float>& score, const context& ctx) const {
    matrix<std::uint8_t> kept(score.rows(), score.cols(), 1);
    if (importance == ria_importance::retained_degree) {  // the released program removes one entry more
      const index_t k = std::min(score.size(), solve::removed_count(sparsity, score.size()) + 1);
      solve::remove_smallest(score.values(), k, kept.values());
    } else if (importance == ria_importance::retained_degree_per_row) {
      kept = solve::select_smallest(score, sparsity, solve::selection_scope::per_row, ctx);
    }
    const auto in = static_cast<std::size_t>(score.cols());
    std::vector<double> sum(in);
    std::vector<index_t> removed(in);
    for (index_t r = 0; r < score.rows(); ++r)
      for (index_t j = 0; j < score.cols(); ++j) {
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
};

}  // namespace tersor::prune
