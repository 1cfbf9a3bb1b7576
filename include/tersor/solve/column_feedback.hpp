// tersor - column error feedback: what one input channel loses, the later ones make up for
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::copy
#include <span>       // std::span
#include <vector>     // std::vector

#include <tersor/core/matrix.hpp>
#include <tersor/core/parallel.hpp>
#include <tersor/linalg/cholesky.hpp>
#include <tersor/linalg/gemm.hpp>

namespace tersor::solve {

/// What a policy sees of the row it is working on.
class feedback_row {
 public:
  /// Columns [first, first + out.size()) of the row with the feedback of all columns done so far.
  void current(index first, std::span<float> out) const { read(first, out, true); }
  /// The same as it stood when the panel began: without the feedback of this panel's own columns.
  void at_panel_start(index first, std::span<float> out) const { read(first, out, false); }

 private:
  template <class Policy>
  friend std::vector<double> column_feedback(matrix<float>&, const matrix<float>&, index, Policy&,
                                             const context&);

  void read(index first, std::span<float> out, bool with_feedback) const {
    for (std::size_t k = 0; k < out.size(); ++k) {
      const index j = first + static_cast<index>(k);
      if (j < end_) {
        out[k] = with_feedback ? row_[j] : start_[static_cast<std::size_t>(j - begin_)];
      } else {  // beyond the panel the update is still to come: apply it here
        float v = row_[j];
        if (with_feedback)
          for (index i = begin_; i < column_; ++i) v -= error_[i - begin_] * (*factor_)(i, j);
        out[k] = v;
      }
    }
  }
  const float* row_ = nullptr;    // the whole row, in place
  const float* error_ = nullptr;  // this panel's errors of the row
  std::span<const float> start_;  // the panel's columns of the row at the panel's start
  const matrix<float>* factor_ = nullptr;
  index begin_ = 0, end_ = 0, column_ = 0;
};

/// Replaces w [out, in], column by column from the left, by what `policy` returns, and subtracts e_i U[i, j]
/// with e_i = (w_i - q_i) / U[i, i] from every later column j, U = upper factor of the inverse damped Hessian
/// (UᵀU = H⁻¹). Then ‖E‖² = tr((W - Q) H (W - Q)ᵀ) for any policy. Work inside a panel of `block_size`
/// columns is row by row; the columns after the panel get one matrix product: 2 out in² / 2 FLOPs in all.
///
/// Policy: `begin_panel(first, last, panel)` sees the compensated panel [out, last - first] of all rows
/// before its first column; `begin_column(row, j, feedback_row)` and `float quantize(row, j, w)` are called
/// for each row in turn, from several threads, so they may change only what belongs to their row.
/// @return per row, sum (w - q)² / (2 d²).
template <class Policy>
std::vector<double> column_feedback(matrix<float>& w, const matrix<float>& factor, index block_size,
                                    Policy& policy, const context& ctx) {
  const index rows = w.rows(), cols = w.cols();
  std::vector<double> loss(static_cast<std::size_t>(rows));
  for (index i1 = 0; i1 < cols; i1 += block_size) {
    const index i2 = std::min(cols, i1 + block_size), width = i2 - i1;
    policy.begin_panel(i1, i2, w.view().block(0, i1, rows, width));
    matrix<float> errors(rows, width);
    std::vector<std::uint8_t> changed(static_cast<std::size_t>(rows));
    parallel_chunks(rows, 16, ctx, [&](index r0, index r1) {
      std::vector<float> start(static_cast<std::size_t>(width));
      for (index r = r0; r < r1; ++r) {
        float* row = w.row(r).data();
        float* error = errors.row(r).data();
        std::copy(row + i1, row + i2, start.begin());
        feedback_row state;
        state.row_ = row;
        state.error_ = error;
        state.start_ = start;
        state.factor_ = &factor;
        state.begin_ = i1;
        state.end_ = i2;
        double row_loss = 0.0;
        for (index i = i1; i < i2; ++i) {
          state.column_ = i;
          policy.begin_column(r, i, state);
          const float* u = factor.row(i).data();
          const float q = policy.quantize(r, i, row[i]);
          const float e = (row[i] - q) / u[i];
          row[i] = q;
          error[i - i1] = e;
          if (e == 0.0F) continue;
          changed[static_cast<std::size_t>(r)] = 1;
          for (index j = i + 1; j < i2; ++j) row[j] -= e * u[j];
          row_loss += 0.5 * static_cast<double>(e) * static_cast<double>(e);
        }
        loss[static_cast<std::size_t>(r)] += row_loss;
      }
    });
    const bool any = std::ranges::find(changed, 1) != changed.end();
    if (any && i2 < cols)
      linalg::gemm<float>(-1.0F, errors.view(), factor.view().block(i1, i2, width, cols - i2), 1.0F,
                          w.view().block(0, i2, rows, cols - i2), ctx);
  }
  return loss;
}

/// What is done to a Hessian before it is factored: inputs that were always zero ("dead": H_jj = 0) get H_jj
/// = 1, and their weights are set to zero.
/// @return the dead inputs, ascending.
inline std::vector<index> repair_dead_inputs(matrix<double>& h, matrix<float>& w) {
  std::vector<index> dead;
  for (index j = 0; j < h.rows(); ++j) {
    if (h(j, j) != 0.0) continue;
    dead.push_back(j);
    h(j, j) = 1.0;
    for (index r = 0; r < w.rows(); ++r) w(r, j) = 0.0F;
  }
  return dead;
}

}  // namespace tersor::solve
