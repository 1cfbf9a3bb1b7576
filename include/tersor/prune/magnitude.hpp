// tersor - magnitude pruning: the weights of least absolute value go
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/solve/stage.hpp>
#include <tersor/solve/update.hpp>

namespace tersor::prune {

using solve::operator|;
using solve::operator+;

/// Magnitude pruning (arXiv:1506.02626; the baseline of locuslab/wanda): removes the floor(sparsity * N)
/// weights of least |w|, over the tensor, over each row, or all but n of every m inputs. Kept weights do not
/// change.
///
/// Cost: O(out in). Guarantee: of all masks with that count in that scope, the one of least ‖W - Ŵ‖_F. Bits
/// per weight for b-bit values: 1 + (1 - sparsity) b as a bitmap, 1 + b / 2 for 2:4.
///
///     auto result = tersor::prune::magnitude{.sparsity = 0.5}(W);   // W: [out, in], any tensor type
///     auto small = tersor::prune::magnitude{.pattern = {2, 4}}(W);  // 2 kept of every 4 inputs
///     result.op.apply(x, y);                                        // x: [tokens, in]
///     double error = result.report.relative_error;
struct magnitude {
  double sparsity = 0.5;
  solve::nm_pattern pattern{};
  solve::selection_scope scope = solve::selection_scope::per_tensor;
  dtype value_type = dtype::bf16;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "magnitude",
      .family = "prune",
      .title = "Magnitude pruning",
      .arxiv = "1506.02626",
      .header = "tersor/prune/magnitude.hpp",
      .guarantee =
          "least Frobenius error of all masks with the same number of kept weights in the same scope"};
  static constexpr auto options() {
    return std::tuple_cat(
        solve::selection_options<magnitude>("share of the weights removed; unused with a pattern"),
        std::tuple{solve::value_type_option<magnitude>()});
  }
  solve::selection_rule rule() const { return {sparsity, pattern, scope}; }
  void validate() const { solve::validate_selection(*this); }

  /// The mask alone, for a weight of any rank, [out, in, kernel ...]: a row is all that belongs to one
  /// output, groups of a pattern run along `in` at each kernel position. A vector is one row.
  /// @return one entry for each weight in row-major order of the extents, 1 = kept.
  template <class T, std::size_t Rank>
  std::vector<std::uint8_t> mask(tensor_view<T, Rank> w, const context& ctx = {}) const {
    validate();
    const auto scores = solve::magnitudes(w);
    if (!pattern.empty())
      return solve::select_along_inputs(
          scores, w.extents, [&](const matrix<float>& s) { return solve::select(s, rule(), {}, ctx); });
    const index_t rows = Rank == 1 ? 1 : w.extents[0];
    matrix<float> by_output(rows, rows == 0 ? 0 : w.size() / rows);
    std::ranges::copy(scores, by_output.data());
    const auto kept = solve::select(std::move(by_output), rule(), {}, ctx);
    return {kept.values().begin(), kept.values().end()};
  }

  /// |w| of every weight.
  static matrix<float> score(matrix<float> w) {
    for (float& v : w.values()) v = std::fabs(v);
    return w;
  }

  /// @param w [out, in], any tensor type. @param inputs only adds a weighted error to the report.
  template <matrix_like W>
  solve::compressed<op::any_operator> operator()(const W& w, const calib::statistics* inputs = nullptr,
                                                 const context& ctx = {}) const {
    return solve::compress_weight<op::any_operator>(*this, w, inputs, ctx);
  }

  solve::outcome compress(const solve::layer& l, const context& ctx = {}) const {
    validate();
    solve::check_layer(l);
    return solve::pruned_outcome(*this, l, solve::select(score(l.weight), rule(), l.sparsity, ctx));
  }
};

/// One of several weights that are pruned together.
struct weighted_tensor {
  matrix_view<const float> weight;
  float importance = 1;  ///< multiplies |w| in the comparison
};

/// Magnitude pruning over several tensors with one threshold: the floor(sparsity * N) weights of least
/// importance * |w| go, but no tensor loses more than `max_prune` of its entries, nor its last one (the limit
/// of the L1 pruners). @return for each tensor its mask, 1 = kept.
inline std::vector<matrix<std::uint8_t>> magnitude_global(std::span<const weighted_tensor> tensors,
                                                          double sparsity, double max_prune = 0.995) {
  std::vector<matrix<float>> scores;
  std::vector<solve::scored_tensor> scored;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    require_finite(tensors[t].weight, concat("tensors[", t, "]"));
    scores.push_back(magnitude::score(copy_as<float>(tensors[t].weight)));
  }
  for (std::size_t t = 0; t < tensors.size(); ++t)
    scored.push_back({scores[t].values(), tensors[t].importance});
  const auto kept = solve::select_global(scored, sparsity, max_prune);
  std::vector<matrix<std::uint8_t>> masks;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    masks.emplace_back(scores[t].rows(), scores[t].cols());
    std::ranges::copy(kept[t], masks.back().values().begin());
  }
  return masks;
}

enum class unit_norm {
  mean_abs,  ///< mean of |w| over the unit
  l2         ///< root of the sum of w²
};

/// Structured score: one number for each unit (filter, channel, row), the entries with the same index along
/// `axis`; 0 for a unit without entries. @param w of any rank, e.g. [out, in, kh, kw] with axis 0 for
/// filters. Units are chosen from it like weights: `solve::remove_smallest`, `solve::select_global`.
template <class T, std::size_t Rank>
std::vector<float> unit_scores(tensor_view<T, Rank> w, std::size_t axis,
                               unit_norm norm = unit_norm::mean_abs) {
  require(axis < Rank, "unit_scores: axis", axis, "0 .. ", Rank - 1);
  std::vector<double> sum(static_cast<std::size_t>(w.extents[axis]));
  std::size_t inner = 1;  // entries between one unit and the next
  for (std::size_t a = axis + 1; a < Rank; ++a) inner *= static_cast<std::size_t>(w.extents[a]);
  const auto values = solve::magnitudes(w, "unit_scores: w");
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto v = static_cast<double>(values[i]);
    sum[i / inner % sum.size()] += norm == unit_norm::l2 ? v * v : v;
  }
  std::vector<float> score;
  score.reserve(sum.size());
  const double entries = static_cast<double>(values.size()) / static_cast<double>(sum.size());  // of a unit
  for (const double s : sum)
    score.push_back(static_cast<float>(norm == unit_norm::l2 ? std::sqrt(s) : s / std::max(entries, 1.0)));
  return score;
}

/// The sparsity at a step of a gradual schedule (Zhu and Gupta, arXiv:1710.01878), from `initial` at step 0
/// to `final` at step `steps` and after it: final + (initial - final)(1 - step / steps)³.
inline double gradual_sparsity(index_t step, index_t steps, double final, double initial = 0) {
  require(steps >= 1, "gradual_sparsity: steps", steps, "at least 1");
  require(step >= 0, "gradual_sparsity: step", step, "at least 0");
  for (const double s : {initial, final})
    require(s >= 0 && s < 1, "gradual_sparsity: sparsity", s, "at least 0 and below 1");
  const double left = 1.0 - static_cast<double>(std::min(step, steps)) / static_cast<double>(steps);
  return final + (initial - final) * left * left * left;
}

}  // namespace tersor::prune
