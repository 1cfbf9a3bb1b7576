// tersor - GPTQ: second-order rounding, one input channel at a time
// SPDX-License-Identifier: MIT
#pragma once

#include <numeric>  // std::iota, std::accumulate

#include <tersor/quant/rtn.hpp>
#include <tersor/solve/column_feedback.hpp>

namespace tersor::quant {

/// Where a group's grid is fitted when the group starts inside a panel of columns.
enum class refit_source {
  current,  ///< on weights that carry all feedback so far
  stale     ///< on the weights as they stood when the panel began, as the official program does
};
constexpr auto option_names(refit_source) {
  using row = std::pair<std::string_view, refit_source>;
  return std::array<row, 2>{{{"current", refit_source::current}, {"stale", refit_source::stale}}};
}

/// What GPTQ decided, in the original order of the channels.
struct gptq_solution {
  matrix<std::uint8_t> codes;       ///< [out, in]
  solve::grid_parameters grids;     ///< [out, groups]
  std::vector<std::int32_t> g_idx;  ///< group of each input channel; empty: runs of group_size
  double loss = 0;                  ///< sum (w - q)² / (2 d²) = tr((W - Q)(H + damping I)(W - Q)ᵀ) / 2
  double damping = 0;               ///< added to the diagonal of H
  int retries = 0;                  ///< times the damping had to be raised
  std::vector<index_t> dead;        ///< inputs that were always zero
};

/// GPTQ (arXiv:2210.17323; official code IST-DASLab/gptq): quantizes one input channel at a time and pushes
/// its output error into the channels that are still to come, through the inverse Hessian H = (2/n) XᵀX of
/// the layer's inputs.
///
/// Cost: in³ (factor of H⁻¹) + out in² / 2 multiply-adds, and up to 2 out in² for the comparison. Guarantee:
/// ‖(W - Q) Xᵀ‖ never above that of rounding to nearest on the same kind of grid (`keep_better`). Bits per
/// weight: bits + (16 + bits) / group_size; act_order with groups that are not static adds 32 / out for
/// g_idx.
///
///     tersor::calib::statistics inputs(in_features);
///     inputs.add(X);                                               // X: [tokens, in], once per sequence
///     auto result = tersor::quant::gptq{.bits = 4}(W, inputs);     // W: [out, in], any tensor type
///     result.op.apply(x, y);                                       // x: [tokens, in], y: [tokens, out]
struct gptq {
  int bits = 4;
  index_t group_size = 128;
  solve::grid_scheme scheme = solve::grid_scheme::affine0;
  bool act_order = false;
  bool static_groups = false;
  double percdamp = 0.01;
  index_t block_size = 128;
  refit_source refit_from = refit_source::current;
  bool keep_better = true;
  bool clip_search = false;
  float norm = 2.4F;
  int grid = 100;
  float max_shrink = 0.8F;
  dtype scale_type = dtype::f16;
  bool compat_one_sided = false;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  static constexpr solve::calibration_need needs = solve::calibration_need::gram;
  static constexpr solve::technique_info info{
      .id = "gptq",
      .family = "quant",
      .title = "GPTQ: rounding with second-order error feedback",
      .arxiv = "2210.17323",
      .header = "tersor/quant/gptq.hpp",
      .guarantee = "output error on the calibration data never above round-to-nearest on the same grid"};
  static constexpr auto options() {
    return std::tuple_cat(
        std::tuple{
            option{"bits", &gptq::bits, {.help = "width of a code", .symbol = "b", .min = 2, .max = 8}},
            solve::group_size_option<gptq>(), solve::scheme_option<gptq>(),
            option{
                "act_order", &gptq::act_order, {.help = "channels with the largest inputs first (desc_act)"}},
            option{"static_groups",
                   &gptq::static_groups,
                   {.help = "fit all groups beforehand, in the original order of the channels"}},
            solve::damping_option<gptq>(), solve::block_size_option<gptq>(),
            option{"refit_from", &gptq::refit_from, {.help = "weights that a group's grid is fitted on"}},
            option{"keep_better",
                   &gptq::keep_better,
                   {.help = "return round-to-nearest where that has the smaller output error"}}},
        solve::grid_options<gptq>());
  }
  void validate() const {
    validate_options(*this, info.id);
    require(group_size != 0, "gptq: group_size", group_size, "-1 or at least 1");
  }
  solve::grid_rule rule() const { return solve::rule_of(*this); }

  /// @param w [out, in], any tensor type; @param inputs of the layer, with their Gram matrix.
  template <matrix_like W>
  solve::compressed<op::quantized> operator()(const W& w, const calib::statistics& inputs,
                                              const context& ctx = {}) const {
    return solve::compress_weight<op::quantized>(*this, w, &inputs, ctx);
  }

  solve::outcome compress(const solve::layer& l, const context& ctx = {}) const {
    validate();
    solve::check_layer(l);
    const auto& inputs = l.require_inputs(info.id);
    gptq_solution s =
        quantize(l.weight, inputs.hessian(), ctx, l.sparsity.empty() ? nullptr : &l.sparsity.kept);
    solve::outcome result{
        solve::quantized_operator(s.codes, s.grids, rule(), l.sparsity, s.g_idx), l.sparsity, {}};
    solve::note_damping(result.notes, info.id, s.retries, s.damping, s.dead);
    if (keep_better) {
      const double feedback = linalg::weighted_error(l.weight.view(), result.op.to_dense().view(),
                                                     inputs.gram().view(), ctx),
                   nearest = nearest_error(l, feedback, ctx);
      if (nearest < feedback) {
        const auto grids = solve::fit_grids(l.weight.view(), group_size, false, rule(), ctx);
        result.op = solve::quantized_operator(solve::quantize(l.weight.view(), grids, bits, ctx), grids,
                                              rule(), l.sparsity);
        result.notes.push_back(concat("gptq: round-to-nearest kept, its output error is smaller (",
                                      std::sqrt(nearest / feedback), " of gptq's)"));
      }
    }
    return result;
  }

  /// The algorithm itself. @param w [out, in], @param h Hessian [in, in] before damping, @param kept entries
  /// that may be non-zero (null: all).
  gptq_solution quantize(matrix<float> w, matrix<double> h, const context& ctx = {},
                         const matrix<std::uint8_t>* kept = nullptr) const {
    validate();
    const index_t out = w.rows(), in = w.cols();
    require_shape(h.view(), in, in, "gptq: h");
    require_finite(w.view(), "gptq: w");
    require_finite(h.view(), "gptq: h");
    if (kept) require_shape(kept->view(), out, in, "gptq: kept");
    gptq_solution s;
    const index_t g = solve::resolve_group_size(group_size, in);
    const bool by_row = group_size < 0, dynamic = !by_row && !static_groups;
    s.codes = matrix<std::uint8_t>(out, in);
    if (by_row) s.grids = solve::fit_grids(w.view(), g, false, rule(), ctx);  // on all weights, as released
    s.dead = solve::repair_dead_inputs(h, w);
    if (dynamic) {  // filled when a group begins
      const index_t groups = solve::group_count(in, g);
      s.grids = {g, matrix<float>(out, groups), matrix<float>(out, groups)};
    } else if (!by_row) {
      s.grids = solve::fit_grids(w.view(), g, false, rule(), ctx);
    }

    std::vector<index_t> order(static_cast<std::size_t>(in)), group(order.size());  // of each position
    std::iota(order.begin(), order.end(), index_t{0});
    if (act_order) {
      std::ranges::stable_sort(order, [&](index_t a, index_t b) { return h(a, a) > h(b, b); });
      w = gather_columns(w, order);
      matrix<double> sorted(in, in);
      for (index_t i = 0; i < in; ++i)
        for (index_t j = 0; j < in; ++j)
          sorted(i, j) = h(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(j)]);
      h = std::move(sorted);
      if (dynamic) s.g_idx.resize(order.size());
    }
    for (std::size_t i = 0; i < order.size(); ++i) {
      group[i] = (dynamic ? static_cast<index_t>(i) : order[i]) / g;
      if (!s.g_idx.empty()) s.g_idx[static_cast<std::size_t>(order[i])] = static_cast<std::int32_t>(group[i]);
    }

    const auto f = solve::factor_hessian(std::move(h), w, percdamp, ctx);
    s.damping = f.damping;
    s.retries = f.retries;
    policy p{*this, s, order, group, kept, g, dynamic, static_cast<float>((1 << bits) - 1)};
    const auto row_loss = solve::column_feedback(w, f.factor, block_size, p, ctx);
    s.loss = std::accumulate(row_loss.begin(), row_loss.end(), 0.0);
    return s;
  }

 private:
  /// ‖(W - Q) Xᵀ‖² of rounding to nearest; where it is above `enough`, some number above it.
  double nearest_error(const solve::layer& l, double enough, const context& ctx) const {
    constexpr index_t grain = 512;  // rows
    const index_t out = l.weight.rows(), in = l.weight.cols();
    double error = 0;
    for (index_t r = 0; r < out && error <= enough; r += grain) {
      const auto w = l.weight.view().rows(r, std::min(grain, out - r));
      auto q = solve::rounded_to_grid(w, solve::fit_grids(w, group_size, false, rule(), ctx), bits, ctx);
      if (!l.sparsity.empty())
        for (index_t i = 0; i < q.size(); ++i)
          if (l.sparsity.kept.data()[r * in + i] == 0) q.data()[i] = 0.0F;
      error += linalg::weighted_error(w, q.view(), l.inputs->gram().view(), ctx);
    }
    return error;
  }

  /// The column quantizer: one grid per row and group, fitted when the group begins.
  struct policy {
    const gptq& options;
    gptq_solution& s;
    const std::vector<index_t>&order, &group;  // of each position: original channel, group of the grid
    const matrix<std::uint8_t>* kept;
    index_t group_size;
    bool dynamic;
    float n;

    void begin_panel(index_t, index_t, matrix_view<const float>) {}
    void begin_column(index_t row, index_t position, const solve::feedback_row& state) {
      const index_t g = group[static_cast<std::size_t>(position)];
      if (dynamic && position == g * group_size) fit(row, position, g, state);
    }
    void fit(index_t row, index_t position, index_t g, const solve::feedback_row& state) {
      std::vector<float> unit(static_cast<std::size_t>(std::min(group_size, s.codes.cols() - position)));
      if (options.refit_from == refit_source::current)
        state.current(position, unit);
      else
        state.at_panel_start(position, unit);
      if (kept)  // what is not stored needs no code, whatever feedback it carries
        for (std::size_t k = 0; k < unit.size(); ++k)
          if ((*kept)(row, order[static_cast<std::size_t>(position) + k]) == 0) unit[k] = 0.0F;
      const auto fitted = solve::fit_grid(unit, options.rule());
      s.grids.scale(row, g) = fitted.scale;
      s.grids.zero(row, g) = fitted.zero;
    }
    float quantize(index_t row, index_t position, float w) {
      const index_t channel = order[static_cast<std::size_t>(position)];
      const auto grid = s.grids.at(row, group[static_cast<std::size_t>(position)]);
      if (kept && (*kept)(row, channel) == 0) {
        s.codes(row, channel) = static_cast<std::uint8_t>(grid.zero);  // not stored
        return 0.0F;
      }
      const float code = solve::grid_code(w, grid, n);
      s.codes(row, channel) = static_cast<std::uint8_t>(code);
      return grid.scale * (code - grid.zero);
    }
  };
};

}  // namespace tersor::quant
