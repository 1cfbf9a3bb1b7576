// tersor - SparseGPT: pruning with second-order compensation, optionally with quantization
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/solve/stage.hpp>
#include <tersor/solve/update.hpp>

namespace tersor::prune {

using solve::operator|;
using solve::operator+;

/// What SparseGPT decided.
struct sparsegpt_solution {
  matrix<float> weight;          ///< [out, in], removed entries 0, the others compensated (and on their grid)
  matrix<std::uint8_t> kept;     ///< [out, in], 1 = kept
  matrix<std::uint8_t> codes;    ///< [out, in]; empty without a quantizer. Removed entries: the zero point
  solve::grid_parameters grids;  ///< of the row's groups, fitted on the original weights; empty without bits
  std::vector<double> row_loss;  ///< [out], sum (w - q)² / (2 d²) = d (H + damping I) dᵀ / 2, d = w - ŵ
  double damping = 0;            ///< added to the diagonal of H
  int retries = 0;               ///< times the damping had to be raised
  std::vector<index_t> dead;     ///< inputs that were always zero
};

/// SparseGPT (arXiv:2301.00774; official code IST-DASLab/sparsegpt): goes through the input channels from the
/// left, removes the weights whose loss would cost the layer's output least (w² / [H⁻¹]_jj of the remaining
/// problem) and pushes the error into the channels that are still to come, through H = (2/n) XᵀX. The mask is
/// chosen panel by panel of `block_size` channels, or, for n:m, group by group, from the weights as
/// compensated so far. Feedback only reaches channels that are still to come, so the kept weights are not yet
/// the best ones for the mask: `refine` steps of conjugate gradients on all of them follow (not in the
/// official program; 0 leaves them out). With `bits` the kept weights are rounded in the same pass, to one
/// grid per row or group of inputs that is fitted on the weights as they came.
///
/// Cost: in³ (factor of H⁻¹) + out in² / 2 multiply-adds, and out in² for each step of `refine`. Guarantee:
/// exactly floor(sparsity * out * width) weights go in each panel, n of every m stay; with sparsity 0 and no
/// bits W is unchanged; with sparsity 0 and bits it is GPTQ with one grid per row, or with static groups.
/// Bits per weight for b-bit values: 1 + (1 - sparsity) b as a bitmap, 1 + b / 2 for 2:4, and (16 + bits) /
/// group_size (or in_features) for the grids.
///
///     tersor::calib::statistics inputs(in_features);
///     inputs.add(X);  // X: [tokens, in], one call for each sequence
///     auto result = tersor::prune::sparsegpt{.pattern = {2, 4}}(W, inputs);
///     result.op.apply(x, y);
struct sparsegpt {
  double sparsity = 0.5;
  solve::nm_pattern pattern{};
  index_t block_size = 128;
  double percdamp = 0.01;
  int bits = 0;
  index_t group_size = -1;
  solve::grid_scheme scheme = solve::grid_scheme::affine0;
  bool clip_search = false;
  float norm = 2.4F;
  int grid = 100;
  float max_shrink = 0.8F;
  dtype scale_type = dtype::f16;
  dtype value_type = dtype::bf16;
  int refine = 10;
  bool as_released = false;
  bool compat_one_sided = false;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  static constexpr solve::calibration_need needs = solve::calibration_need::gram;
  static constexpr solve::technique_info info{
      .id = "sparsegpt",
      .family = "prune",
      .title = "SparseGPT: one-shot pruning with second-order error feedback",
      .arxiv = "2301.00774",
      .header = "tersor/prune/sparsegpt.hpp",
      .guarantee = "exact counts in every panel or group; unchanged weights at sparsity 0"};
  static constexpr auto options() {
    return std::tuple_cat(
        solve::selection_options<sparsegpt>("share of each panel removed; unused with a pattern", "p"),
        std::tuple{solve::block_size_option<sparsegpt>(), solve::damping_option<sparsegpt>(),
                   option{"bits",
                          &sparsegpt::bits,
                          {.help = "width of a code, 2 .. 8; 0: no quantizer", .min = 0, .max = 8}},
                   solve::group_size_option<sparsegpt>(), solve::scheme_option<sparsegpt>()},
        solve::grid_options<sparsegpt>(),
        std::tuple{
            solve::value_type_option<sparsegpt>("stored type of the kept weights without bits"),
            option{"refine",
                   &sparsegpt::refine,
                   {.help = "steps towards the best weights for the mask, without bits; 0: as released",
                    .min = 0,
                    .max = 1000}},
            option{"as_released",
                   &sparsegpt::as_released,
                   {.help = "threshold as the released program does: one entry more goes in each panel"}}});
  }
  solve::grid_rule rule() const { return solve::rule_of(*this); }
  void validate() const {
    solve::validate_selection(*this);
    require(bits != 1, "sparsegpt: bits", bits, "0 or 2 .. 8");
    require(group_size != 0, "sparsegpt: group_size", group_size, "-1 or at least 1");
  }

  /// @param w [out, in], any tensor type; @param inputs of the layer, with their Gram matrix.
  template <matrix_like W>
  solve::compressed<op::any_operator> operator()(const W& w, const calib::statistics& inputs,
                                                 const context& ctx = {}) const {
    return solve::compress_weight<op::any_operator>(*this, w, &inputs, ctx);
  }

  solve::outcome compress(const solve::layer& l, const context& ctx = {}) const {
    validate();
    solve::check_layer(l);
    const auto& inputs = l.require_inputs(info.id);
    const bool refined = bits == 0 && refine > 0;
    solve::hessian_factor f;
    auto s = run(l.weight, inputs.hessian(), l.sparsity.empty() ? nullptr : &l.sparsity.kept, nullptr,
                 refined ? dtype::f32 : value_type, ctx, f);
    if (refined) {  // the kept weights nearer to their optimum, then rounded with feedback
      auto w = l.weight;
      auto h = inputs.hessian();
      solve::repair_dead_inputs(h, w);
      for (index_t j = 0; j < h.rows(); ++j) h(j, j) += f.damping;
      auto better = solve::refine_update(w, s.kept, std::move(s.weight), h, refine, ctx);
      h = {};
      s.weight = solve::feedback_update(std::move(better), s.kept, f, block_size, ctx, value_type).weight;
    }
    auto constraint = solve::constrain(std::move(s.kept), pattern, l.sparsity);
    solve::outcome result;
    if (bits == 0) {
      result = solve::pruned_outcome(info.id, s.weight.view(), std::move(constraint), pattern, value_type);
    } else {
      result.op = solve::quantized_operator(s.codes, s.grids, rule(), constraint);
      result.sparsity = std::move(constraint);
      solve::note_pattern(result.notes, info.id, pattern, result.sparsity);
    }
    solve::note_damping(result.notes, info.id, s.retries, s.damping, s.dead);
    return result;
  }

  /// The algorithm itself. @param w [out, in]; @param h Hessian [in, in] before damping; @param before
  /// entries that are removed already: they stay zero and count as removed.
  sparsegpt_solution prune(matrix<float> w, matrix<double> h, const context& ctx = {},
                           const solve::sparsity& before = {}) const {
    solve::hessian_factor f;
    return run(std::move(w), std::move(h), before.empty() ? nullptr : &before.kept, nullptr, dtype::f32, ctx,
               f);
  }
  /// The same with a mask that somebody else chose: `sparsity` and `pattern` are not used.
  /// @param mask [out, in], 0 = removed.
  sparsegpt_solution prune_by(const matrix<std::uint8_t>& mask, matrix<float> w, matrix<double> h,
                              const context& ctx = {}) const {
    solve::hessian_factor f;
    return run(std::move(w), std::move(h), nullptr, &mask, dtype::f32, ctx, f);
  }

 private:
  /// @param stored type of the kept weights: what rounding to it loses is fed back like any other error.
  /// @param f receives the factor of H.
  sparsegpt_solution run(matrix<float> w, matrix<double> h, const matrix<std::uint8_t>* allowed,
                         const matrix<std::uint8_t>* mask, dtype stored, const context& ctx,
                         solve::hessian_factor& f) const {
    validate();
    require_finite(w.view(), "sparsegpt: w");
    if (allowed) require_shape(allowed->view(), w.rows(), w.cols(), "sparsegpt: kept entries of the layer");
    if (mask) require_shape(mask->view(), w.rows(), w.cols(), "sparsegpt: mask");
    sparsegpt_solution s;
    if (bits > 0) {
      s.grids = solve::fit_grids(w.view(), group_size, false, rule(), ctx);
      s.codes = matrix<std::uint8_t>(w.rows(), w.cols());
    }
    s.kept = mask ? *mask : matrix<std::uint8_t>(w.rows(), w.cols(), 1);
    f = solve::factor_hessian(std::move(h), w, percdamp, ctx);
    s.damping = f.damping;
    s.retries = f.retries;
    s.dead = f.dead;
    policy p{*this, s, f.factor, allowed, mask != nullptr, stored, static_cast<float>((1 << bits) - 1)};
    s.row_loss = solve::column_feedback(w, f.factor, block_size, p, ctx);
    s.weight = std::move(w);
    return s;
  }

  /// Chooses the mask when a panel or a group begins, and rounds what is kept.
  struct policy {
    const sparsegpt& options;
    sparsegpt_solution& s;
    const matrix<float>& factor;
    const matrix<std::uint8_t>* allowed;  // entries that earlier stages keep; null: all
    bool fixed;                           // the mask was given
    dtype stored;
    float n;

    /// w² / [H⁻¹]_jj of the problem that remains at column j; below every other for what has to go.
    float score(index_t row, index_t j, float w) const {
      if (allowed && (*allowed)(row, j) == 0) return -1.0F;
      const float d = factor(j, j);
      return w * w / (d * d);
    }
    void begin_panel(index_t first, index_t last, matrix_view<const float> panel) {
      if (fixed || !options.pattern.empty()) return;
      const index_t width = last - first;
      matrix<float> scores(panel.rows(), width);
      for (index_t r = 0; r < panel.rows(); ++r)
        for (index_t j = 0; j < width; ++j) scores(r, j) = score(r, first + j, panel(r, j));
      index_t k = solve::removed_count(options.sparsity, scores.size());
      if (options.as_released && !scores.empty()) {  // everything up to the sorted score number k goes
        std::vector<float> sorted(scores.values().begin(), scores.values().end());
        std::nth_element(sorted.begin(), sorted.begin() + k, sorted.end());
        const float threshold = sorted[static_cast<std::size_t>(k)];
        k = std::ranges::count_if(scores.values(), [&](float v) { return v <= threshold; });
      }
      matrix<std::uint8_t> kept(panel.rows(), width, 1);
      solve::remove_smallest(scores.values(), k, kept.values());
      for (index_t r = 0; r < panel.rows(); ++r)
        for (index_t j = 0; j < width; ++j) set(r, first + j, kept(r, j));
    }
    void begin_column(index_t row, index_t j, const solve::feedback_row& state) {
      if (fixed || options.pattern.empty() || j % options.pattern.m != 0) return;
      std::array<float, 256> scores;
      std::array<std::uint8_t, 256> kept;
      const auto width = static_cast<std::size_t>(std::min<index_t>(options.pattern.m, s.kept.cols() - j));
      const auto group = std::span(scores).first(width);
      state.current(j, group);
      for (std::size_t i = 0; i < width; ++i) group[i] = score(row, j + static_cast<index_t>(i), group[i]);
      solve::keep_largest(group, options.pattern.n, std::span(kept).first(width));
      for (std::size_t i = 0; i < width; ++i) set(row, j + static_cast<index_t>(i), kept[i]);
    }
    void set(index_t row, index_t j, std::uint8_t kept) {
      s.kept(row, j) = static_cast<std::uint8_t>(kept != 0 && !(allowed && (*allowed)(row, j) == 0));
    }
    float quantize(index_t row, index_t j, float w) {
      const bool kept = s.kept(row, j) != 0;
      if (options.bits == 0) return kept ? round_to(stored, w, "weight") : 0.0F;
      const auto grid = s.grids.at(row, j / s.grids.group_size);
      const float code = kept ? solve::grid_code(w, grid, n) : grid.zero;
      s.codes(row, j) = static_cast<std::uint8_t>(code);
      return grid.scale * (code - grid.zero);
    }
  };
};

}  // namespace tersor::prune
