// tersor - column error feedback: what one input channel loses, the later ones make up for
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::copy, std::clamp
#include <array>      // std::array
#include <cmath>      // std::isfinite
#include <span>       // std::span
#include <string>     // std::string
#include <utility>    // std::as_const
#include <vector>     // std::vector

#include <tersor/core/matrix.hpp>
#include <tersor/core/options.hpp>
#include <tersor/core/parallel.hpp>
#include <tersor/linalg/cholesky.hpp>
#include <tersor/linalg/gemm.hpp>

namespace tersor::solve {

/// What a policy sees of the row it is working on.
class feedback_row {
 public:
  /// Columns [first, first + out.size()) of the row with the feedback of all columns done so far.
  void current(index_t first, std::span<float> out) const {
    const index_t last = first + static_cast<index_t>(out.size()), inside = std::clamp(end_, first, last);
    for (index_t j = first; j < inside; ++j) out[at(j - first)] = panel_[(j - begin_) * lanes];
    if (inside == last) return;
    // beyond the panel the update is still to come: apply it here
    const auto beyond = out.subspan(at(inside - first));
    std::copy(row_ + inside, row_ + last, beyond.begin());
    for (index_t i = begin_; i < column_; ++i) {
      const float e = error_[(i - begin_) * lanes];
      const float* u = factor_->row(i).data() + inside;
      for (std::size_t k = 0; k < beyond.size(); ++k) beyond[k] -= e * u[k];
    }
  }
  /// The same as it stood when the panel began: without the feedback of this panel's own columns.
  void at_panel_start(index_t first, std::span<float> out) const {
    std::copy(row_ + first, row_ + first + static_cast<index_t>(out.size()), out.begin());
  }

 private:
  template <class Policy>
  friend std::vector<double> column_feedback(matrix<float>&, const matrix<float>&, index_t, Policy&,
                                             const context&);

  /// Rows that advance together, so that their chains of roundings and divisions overlap. A panel of them is
  /// kept column by column, the rows side by side.
  static constexpr index_t lanes = 16;
  static std::size_t at(index_t j) { return static_cast<std::size_t>(j); }

  const float* row_ = nullptr;    // the whole row as it stood when the panel began
  const float* panel_ = nullptr;  // the panel's columns of the row, `lanes` apart
  const float* error_ = nullptr;  // this panel's errors of the row, `lanes` apart
  const matrix<float>* factor_ = nullptr;
  index_t begin_ = 0, end_ = 0, column_ = 0;
};

/// Replaces w [out, in], column by column from the left, by what `policy` returns, and subtracts e_i U[i, j]
/// with e_i = (w_i - q_i) / U[i, i] from every later column j, U = upper factor of the inverse damped Hessian
/// (UᵀU = H⁻¹). Then ‖E‖² = tr((W - Q) H (W - Q)ᵀ) for any policy. Inside a panel of `block_size` columns
/// each row goes its own way; the columns after the panel get one matrix product: 2 out in² / 2 FLOPs in all.
///
/// Policy: `begin_panel(first, last, panel)` sees the compensated panel [out, last - first] of all rows
/// before its first column; `begin_column(row, j, feedback_row)` and `float quantize(row, j, w)` are called
/// for each row and column, in the order of the columns, from several threads, so they may change only what
/// belongs to their row.
/// @return per row, sum (w - q)² / (2 d²). Error where that is not finite: the range of float was left.
template <class Policy>
std::vector<double> column_feedback(matrix<float>& w, const matrix<float>& factor, index_t block_size,
                                    Policy& policy, const context& ctx) {
  constexpr index_t lanes = feedback_row::lanes;
  const index_t rows = w.rows(), cols = w.cols();
  require_shape(factor.view(), cols, cols, "column_feedback: factor");
  require(block_size >= 1, "column_feedback: block_size", block_size, "at least 1");
  std::vector<double> loss(static_cast<std::size_t>(rows));
  matrix<float> errors(rows, std::min(block_size, cols));
  for (index_t i1 = 0; i1 < cols; i1 += block_size) {
    const index_t i2 = std::min(cols, i1 + block_size), width = i2 - i1;
    policy.begin_panel(i1, i2, w.view().block(0, i1, rows, width));
    parallel_chunks(rows, lanes, ctx, [&](index_t r0, index_t r1) {
      const index_t count = r1 - r0;
      matrix<float> panel(width, lanes), error(width, lanes);  // of fewer rows: the last lanes stay zero
      for (index_t k = 0; k < count; ++k)
        for (index_t i = i1; i < i2; ++i) panel(i - i1, k) = w(r0 + k, i);
      feedback_row state;
      state.factor_ = &factor;
      state.begin_ = i1;
      state.end_ = i2;
      std::array<double, lanes> chunk_loss{};
      for (index_t i = i1; i < i2; ++i) {
        const float* u = factor.row(i).data();
        float* column = panel.row(i - i1).data();
        std::array<float, lanes> e{};
        bool changed = false;
        state.column_ = i;
        for (index_t k = 0; k < count; ++k) {
          state.row_ = w.row(r0 + k).data();
          state.panel_ = panel.data() + k;
          state.error_ = error.data() + k;
          policy.begin_column(r0 + k, i, state);
          const float q = policy.quantize(r0 + k, i, column[k]);
          const auto lane = static_cast<std::size_t>(k);
          e[lane] = (column[k] - q) / u[i];
          column[k] = q;
          changed = changed || e[lane] != 0.0F;
        }
        if (!changed) continue;
        std::ranges::copy(e, error.row(i - i1).begin());
        for (std::size_t k = 0; k < e.size(); ++k)
          chunk_loss[k] += 0.5 * static_cast<double>(e[k]) * static_cast<double>(e[k]);
        for (index_t j = i + 1; j < i2; ++j) {
          const float u_ij = u[j];
          float* later = panel.row(j - i1).data();
          for (std::size_t k = 0; k < e.size(); ++k) later[k] -= e[k] * u_ij;
        }
      }
      for (index_t k = 0; k < count; ++k) {
        for (index_t i = i1; i < i2; ++i) {
          w(r0 + k, i) = panel(i - i1, k);
          errors(r0 + k, i - i1) = error(i - i1, k);
        }
        loss[static_cast<std::size_t>(r0 + k)] += chunk_loss[static_cast<std::size_t>(k)];
      }
    });
    if (i2 < cols)
      linalg::gemm<float>(-1.0F, errors.view().block(0, 0, rows, width),
                          factor.view().block(i1, i2, width, cols - i2), 1.0F,
                          w.view().block(0, i2, rows, cols - i2), ctx);
  }
  for (std::size_t r = 0; r < loss.size(); ++r)
    require(std::isfinite(loss[r]), concat("column_feedback: loss of row ", r), loss[r],
            "a finite number: weights and H within the range of float");
  return loss;
}

/// What is done to a Hessian before it is factored: inputs that were always zero ("dead": H_jj = 0) get H_jj
/// = 1, and their weights are set to zero.
/// @return the dead inputs, ascending.
inline std::vector<index_t> repair_dead_inputs(matrix<double>& h, matrix<float>& w) {
  std::vector<index_t> dead;
  for (index_t j = 0; j < h.rows(); ++j) {
    if (h(j, j) != 0.0) continue;
    dead.push_back(j);
    h(j, j) = 1.0;
    for (index_t r = 0; r < w.rows(); ++r) w(r, j) = 0.0F;
  }
  return dead;
}

/// The rows of an option list for T's `percdamp` and `block_size`.
template <class T>
constexpr auto damping_option(std::string_view help = "damping of H, relative to the mean of its diagonal") {
  return option{"percdamp", &T::percdamp, {.help = help, .min = 0, .max = 1e3}};
}
template <class T>
constexpr auto block_size_option(std::string_view help = "columns of a panel") {
  return option{"block_size", &T::block_size, {.help = help, .symbol = "B", .min = 1, .max = 65536}};
}

/// U with UᵀU = (H + damping I)⁻¹, in the precision of the weights, and what it took.
struct hessian_factor {
  matrix<float> factor;       ///< [in, in], upper triangular
  double damping = 0;         ///< added to the diagonal of H
  int retries = 0;            ///< times the damping had to be raised
  std::vector<index_t> dead;  ///< inputs that were always zero; their weights have been set to zero
};
/// Repairs dead inputs and factors. @param h Hessian [in, in] before damping. Cost in³. Error as in
/// `inverse_cholesky_upper`, and where H is so small or large that its factor leaves the range of float.
inline hessian_factor factor_hessian(matrix<double> h, matrix<float>& w, double relative_damping,
                                     const context& ctx = {}) {
  require_shape(h.view(), w.cols(), w.cols(), "h");
  hessian_factor f;
  f.dead = repair_dead_inputs(h, w);
  auto inverse =
      linalg::inverse_cholesky_upper(std::as_const(h).view(), {.relative_damping = relative_damping}, ctx);
  f.damping = inverse.damping;
  f.retries = inverse.retries;
  h = {};
  f.factor = copy_as<float>(inverse.factor.view());
  for (index_t j = 0; j < f.factor.rows(); ++j)
    require(f.factor(j, j) > 0.0F && std::isfinite(f.factor(j, j)), concat("factor of H⁻¹[", j, ", ", j, "]"),
            inverse.factor(j, j), "a number > 0 in the range of float: scale H");
  return f;
}

/// Remarks on a factorisation that a report should carry.
inline void note_damping(std::vector<std::string>& notes, std::string_view id, int retries, double damping,
                         const std::vector<index_t>& dead) {
  if (retries > 0) notes.push_back(concat(id, ": damping raised ", retries, " times, to ", damping));
  if (!dead.empty()) notes.push_back(concat(id, ": ", dead.size(), " inputs were always zero"));
}

}  // namespace tersor::solve
