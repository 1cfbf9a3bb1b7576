// tersor - Wanda: weights times the norm of their inputs
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/solve/stage.hpp>
#include <tersor/solve/update.hpp>

namespace tersor::prune {

using solve::operator|;
using solve::operator+;

/// What Wanda decided.
struct wanda_selection {
  matrix<std::uint8_t> kept;  ///< [out, in], 1 = kept
  double alpha = 0;           ///< share of each row's score that was removed; 0 without `use_variant`
};

/// Wanda (arXiv:2306.11695; official code locuslab/wanda): the score of a weight is |w| times the norm of its
/// input over the calibration data, compared inside each output row. Kept weights do not change, unless an
/// `update` (SparseGPT's, with Wanda's mask) makes up for the removed ones.
///
/// Cost: O(out in), and that of the update. Guarantee: where the inputs are uncorrelated, the least output
/// error of all masks with that count in each row. Bits per weight for b-bit values: 1 + (1 - sparsity) b as
/// a bitmap, 1 + b / 2 for 2:4.
///
///     tersor::calib::statistics inputs(in_features, {.gram = false});
///     inputs.add(X);  // X: [tokens, in], one call for each sequence
///     auto result = tersor::prune::wanda{.pattern = {2, 4}}(W, inputs);
///     result.op.apply(x, y);
struct wanda {
  double sparsity = 0.5;
  solve::nm_pattern pattern{};
  bool use_variant = false;
  solve::weight_update update = solve::weight_update::none;
  double percdamp = 0.01;
  index_t block_size = 128;
  dtype value_type = dtype::bf16;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  /// The most that any update asks for; `needed()` says what this one does.
  static constexpr solve::calibration_need needs = solve::calibration_need::gram;
  static constexpr solve::technique_info info{
      .id = "wanda",
      .family = "prune",
      .title = "Wanda: pruning by weights and activations",
      .arxiv = "2306.11695",
      .header = "tersor/prune/wanda.hpp",
      .guarantee = "least output error of all masks of the same row counts where inputs are uncorrelated"};
  static constexpr auto options() {
    return std::tuple_cat(
        solve::selection_options<wanda>("share of each row removed; unused with a pattern"),
        std::tuple{option{"use_variant",
                          &wanda::use_variant,
                          {.help = "remove an equal share of every row's score instead of an equal count"}}},
        solve::update_options<wanda>(), std::tuple{solve::value_type_option<wanda>()});
  }
  solve::selection_rule rule() const { return {sparsity, pattern, solve::selection_scope::per_row}; }
  void validate() const {
    solve::validate_selection(*this);
    require(!use_variant || pattern.empty(), "wanda: use_variant", use_variant, "false with a pattern");
  }

  /// What this rule and update ask of the calibration.
  constexpr solve::calibration_need needed() const {
    return update == solve::weight_update::none ? solve::calibration_need::sums
                                                : solve::calibration_need::gram;
  }

  /// |w_ij| sqrt(a_j). @param w [out, in]; @param energy a [in], `calib::statistics::energy()`.
  static matrix<float> score(matrix<float> w, std::span<const double> energy) {
    require(static_cast<index_t>(energy.size()) == w.cols(), "wanda: length of energy", energy.size(),
            w.cols());
    std::vector<float> norm;
    for (const double a : energy) norm.push_back(static_cast<float>(std::sqrt(a)));
    for (index_t r = 0; r < w.rows(); ++r)
      for (index_t j = 0; j < w.cols(); ++j) w(r, j) = std::fabs(w(r, j)) * norm[static_cast<std::size_t>(j)];
    return w;
  }

  /// Chooses by scores [out, in].
  wanda_selection select(matrix<float> score, const solve::sparsity& before = {},
                         const context& ctx = {}) const {
    validate();
    if (!use_variant) return {solve::select(std::move(score), rule(), before, ctx), 0};
    if (!before.empty()) score = solve::masked(std::move(score), before.kept);
    return equal_shares(score, ctx);
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
    auto chosen = select(score(l.weight, l.require_inputs(info.id).energy()), l.sparsity, ctx);
    return solve::pruned_outcome(*this, l, std::move(chosen.kept), {update, percdamp, block_size}, {}, ctx);
  }

 private:
  /// Removes of every row its smallest scores while their running sum is at most alpha times the row's sum;
  /// alpha by bisection in [0, 0.8] from 0.4 until the share removed is within 0.001 of `sparsity`, or the
  /// interval shorter than 0.001. A row without score loses all of its weights: none of them is ever used.
  wanda_selection equal_shares(const matrix<float>& score, const context& ctx) const {
    solve::require_numbers(score);
    matrix<double> running(score.rows(), score.cols());  // sums over each row in ascending order
    parallel_for(score.rows(), ctx, [&](index_t r) {
      std::vector<float> sorted(score.row(r).begin(), score.row(r).end());
      std::ranges::sort(sorted);
      double sum = 0;
      for (index_t j = 0; j < score.cols(); ++j)
        running(r, j) = sum += static_cast<double>(sorted[static_cast<std::size_t>(j)]);
    });
    const auto count = [&](index_t r, double alpha) -> index_t {
      const auto sums = running.row(r);
      return sums.empty() ? 0 : std::ranges::upper_bound(sums, alpha * sums.back()) - sums.begin();
    };
    const auto share = [&](double alpha) {
      index_t removed = 0;
      for (index_t r = 0; r < score.rows(); ++r) removed += count(r, alpha);
      return static_cast<double>(removed) / static_cast<double>(std::max<index_t>(score.size(), 1));
    };
    double alpha = 0.4, low = 0.0, high = 0.8, now = share(alpha);
    while (std::fabs(now - sparsity) > 0.001 && high - low >= 0.001) {
      (now > sparsity ? high : low) = alpha;
      alpha = 0.5 * (low + high);
      now = share(alpha);
    }
    matrix<std::uint8_t> kept(score.rows(), score.cols(), 1);
    for (index_t r = 0; r < score.rows(); ++r)
      solve::remove_smallest(score.row(r), count(r, alpha), kept.row(r));
    return {std::move(kept), alpha};
  }
};

}  // namespace tersor::prune
