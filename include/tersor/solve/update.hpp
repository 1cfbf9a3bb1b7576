// tersor - updaters: what the kept weights do to make up for the removed ones
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/solve/column_feedback.hpp>
#include <tersor/solve/grid.hpp>
#include <tersor/solve/select.hpp>

namespace tersor::solve {

enum class weight_update {
  none,          ///< kept weights stay as they are
  feedback,      ///< SparseGPT's column-by-column compensation: in³ + out in² for all rows
  least_squares  ///< the optimum for the mask, row by row: O(in³) for each row
};
constexpr auto option_names(weight_update) {
  using row = std::pair<std::string_view, weight_update>;
  return std::array<row, 3>{{{"none", weight_update::none},
                             {"feedback", weight_update::feedback},
                             {"least_squares", weight_update::least_squares}}};
}

/// Weights after an update for a given mask. D = W - Ŵ (dead columns of W zero), H with its damping.
struct updated_weight {
  matrix<float> weight;          ///< [out, in]
  std::vector<double> row_loss;  ///< [out], d H dᵀ / 2 for the row d of D
  double damping = 0;
  int retries = 0;
  std::vector<index_t> dead;
};

/// w where kept, else 0.
inline matrix<float> masked(matrix<float> w, const matrix<std::uint8_t>& kept) {
  require_shape(kept.view(), w.rows(), w.cols(), "kept");
  for (index_t i = 0; i < w.size(); ++i)
    if (kept.data()[i] == 0) w.data()[i] = 0.0F;
  return w;
}

/// SparseGPT's update for a fixed mask: columns from the left, each removed weight's output error goes into
/// the columns that are still to come (removed ones included, which pass it on). Exact least squares where
/// every row removes a prefix of the columns.
/// @param w, kept [out, in]; @param f factor of the damped Hessian; @param stored type of the kept weights:
/// what rounding to it loses is fed back too. @return the weights, and the loss of each row.
inline updated_weight feedback_update(matrix<float> w, const matrix<std::uint8_t>& kept,
                                      const hessian_factor& f, index_t block_size = 128,
                                      const context& ctx = {}, dtype stored = dtype::f32) {
  require_shape(kept.view(), w.rows(), w.cols(), "kept");
  require(block_size >= 1, "block_size", block_size, "at least 1");
  struct fixed_mask {
    const matrix<std::uint8_t>& kept;
    dtype stored;
    void begin_panel(index_t, index_t, matrix_view<const float>) {}
    void begin_column(index_t, index_t, const feedback_row&) {}
    float quantize(index_t row, index_t j, float v) const {
      return kept(row, j) != 0 ? round_to(stored, v, "weight") : 0.0F;
    }
  } policy{kept, stored};
  updated_weight u;
  u.row_loss = column_feedback(w, f.factor, block_size, policy, ctx);
  u.weight = std::move(w);
  u.damping = f.damping;
  u.retries = f.retries;
  u.dead = f.dead;
  return u;
}
/// The same. @param h Hessian [in, in] before damping.
inline updated_weight feedback_update(matrix<float> w, const matrix<std::uint8_t>& kept, matrix<double> h,
                                      double relative_damping = 0.01, index_t block_size = 128,
                                      const context& ctx = {}, dtype stored = dtype::f32) {
  require_shape(kept.view(), w.rows(), w.cols(), "kept");
  const auto f = factor_hessian(std::move(h), w, relative_damping, ctx);
  return feedback_update(std::move(w), kept, f, block_size, ctx, stored);
}

/// The kept weights that minimise tr((W - Ŵ)(H + damping I)(W - Ŵ)ᵀ) for the mask: w_S + H_SS⁻¹ H_SP w_P in
/// each row, S kept and P removed. In double. Cost |S|³ / 3 for each row: meant for small layers and as the
/// bound of the faster update.
inline updated_weight least_squares_update(matrix<float> w, const matrix<std::uint8_t>& kept,
                                           matrix<double> h, double relative_damping = 0.01,
                                           const context& ctx = {}) {
  require_shape(kept.view(), w.rows(), w.cols(), "kept");
  require_shape(h.view(), w.cols(), w.cols(), "h");
  require_finite(h.view(), "h");
  const index_t in = w.cols();
  updated_weight u;
  u.dead = repair_dead_inputs(h, w);
  double mean = 0;
  for (index_t j = 0; j < in; ++j) mean += h(j, j) / static_cast<double>(in);
  u.damping = relative_damping * mean;
  for (index_t j = 0; j < in; ++j) h(j, j) += u.damping;

  u.weight = w;
  u.row_loss.resize(static_cast<std::size_t>(w.rows()));
  std::vector<int> retries(static_cast<std::size_t>(w.rows()));
  parallel_for(w.rows(), ctx, [&](index_t r) {
    std::vector<index_t> s, p;
    for (index_t j = 0; j < in; ++j) (kept(r, j) != 0 ? s : p).push_back(j);
    if (p.empty()) return;
    const auto n = static_cast<index_t>(s.size());
    const auto at = [](const std::vector<index_t>& v, index_t i) { return v[static_cast<std::size_t>(i)]; };
    matrix<double> sub(n, n), change(n, 1);
    for (index_t i = 0; i < n; ++i) {
      for (index_t j = 0; j < n; ++j) sub(i, j) = h(at(s, i), at(s, j));
      for (const index_t j : p) change(i, 0) += h(at(s, i), j) * static_cast<double>(w(r, j));
    }
    if (n > 0) {
      const auto factored = linalg::cholesky(std::as_const(sub).view());
      retries[static_cast<std::size_t>(r)] = factored.retries;
      linalg::solve_lower(factored.factor, change.view());
      linalg::solve_upper<double>(factored.factor.view().transposed(), change.view());
    }
    for (index_t i = 0; i < n; ++i)
      u.weight(r, at(s, i)) = static_cast<float>(static_cast<double>(w(r, at(s, i))) + change(i, 0));
    for (const index_t j : p) u.weight(r, j) = 0.0F;
    std::vector<double> d(static_cast<std::size_t>(in));
    for (index_t j = 0; j < in; ++j)
      d[static_cast<std::size_t>(j)] = static_cast<double>(w(r, j)) - static_cast<double>(u.weight(r, j));
    double loss = 0;
    for (index_t i = 0; i < in; ++i)
      for (index_t j = 0; j < in; ++j)
        loss += 0.5 * d[static_cast<std::size_t>(i)] * h(i, j) * d[static_cast<std::size_t>(j)];
    u.row_loss[static_cast<std::size_t>(r)] = loss;
  });
  for (const int n : retries) u.retries = std::max(u.retries, n);
  return u;
}

/// Moves kept weights towards those of `least_squares_update`, all rows at once: `steps` of conjugate
/// gradients, preconditioned by the diagonal of H, from `start` on. No row's d H dᵀ rises, up to rounding in
/// float. Cost out in² multiply-adds a step.
/// @param w what is approximated, start [out, in], zero where not kept; @param h Hessian [in, in] with
/// damping.
inline matrix<float> refine_update(const matrix<float>& w, const matrix<std::uint8_t>& kept,
                                   matrix<float> start, const matrix<double>& h, int steps,
                                   const context& ctx = {}) {
  const index_t out = w.rows(), in = w.cols();
  require_shape(kept.view(), out, in, "kept");
  require_shape(start.view(), out, in, "start");
  require_shape(h.view(), in, in, "h");
  const auto hessian = copy_as<float>(h.view());
  const auto masked_product = [&](const matrix<float>& x) {
    return masked(linalg::multiply(x, hessian, ctx), kept);
  };
  const auto for_rows = [&](const auto& f) {
    parallel_chunks(out, 16, ctx, [&](index_t r0, index_t r1) {
      for (index_t r = r0; r < r1; ++r) f(r);
    });
  };
  const auto dot = [in](std::span<const float> a, std::span<const float> b) {
    double sum = 0;
    for (std::size_t j = 0; j < static_cast<std::size_t>(in); ++j)
      sum += static_cast<double>(a[j]) * static_cast<double>(b[j]);
    return sum;
  };
  matrix<float> difference(out, in), z(out, in), p(out, in);
  for (index_t i = 0; i < w.size(); ++i) difference.data()[i] = w.data()[i] - start.data()[i];
  matrix<float> residual = masked_product(difference);
  std::vector<double> energy(static_cast<std::size_t>(out));  // residual · z of each row, of the step before
  for (int step = 0; step < steps; ++step) {
    for_rows([&](index_t r) {
      for (index_t j = 0; j < in; ++j) z(r, j) = residual(r, j) / hessian(j, j);
      double& before = energy[static_cast<std::size_t>(r)];
      const double now = dot(residual.row(r), z.row(r));
      const auto beta = static_cast<float>(step == 0 || before == 0 ? 0.0 : now / before);
      before = now;
      for (index_t j = 0; j < in; ++j) p(r, j) = z(r, j) + beta * p(r, j);
    });
    const auto q = masked_product(p);
    for_rows([&](index_t r) {
      const double curvature = dot(p.row(r), q.row(r));
      if (!(curvature > 0)) return;  // the row is at its optimum
      const auto alpha = static_cast<float>(energy[static_cast<std::size_t>(r)] / curvature);
      for (index_t j = 0; j < in; ++j) {
        start(r, j) += alpha * p(r, j);
        residual(r, j) -= alpha * q(r, j);
      }
    });
  }
  return start;
}

/// What is done to the weights that a mask keeps.
struct update_rule {
  weight_update update = weight_update::none;
  double percdamp = 0.01;    ///< damping of H, relative to the mean of its diagonal
  index_t block_size = 128;  ///< columns of a panel of the feedback
};

/// The rows of an option list for T's fields of an `update_rule`.
template <class T>
constexpr auto update_options() {
  return std::tuple{option{"update", &T::update, {.help = "how kept weights make up for the removed ones"}},
                    damping_option<T>("damping of H in the update, relative to the mean of its diagonal"),
                    block_size_option<T>("columns of a panel in the update")};
}
/// The row for T's `value_type`.
template <class T>
constexpr auto value_type_option(std::string_view help = "stored type of the kept weights") {
  return option{"value_type", &T::value_type, {.help = help}};
}

/// A remark where a pattern could not be stored as such because earlier stages had emptied groups.
inline void note_pattern(std::vector<std::string>& notes, std::string_view id, nm_pattern pattern,
                         const sparsity& s) {
  if (!pattern.empty() && s.m == 0)
    notes.push_back(concat(id, ": stored as a bitmap, some groups keep fewer than ", pattern.n, " of ",
                           pattern.m, " entries"));
}

/// What a pruner returns: w's kept entries as `value_type`, beside the constraint for the stages after it.
inline outcome pruned_outcome(std::string_view id, matrix_view<const float> w, sparsity s, nm_pattern pattern,
                              dtype value_type) {
  outcome result{sparse_operator(w, s, value_type), std::move(s), {}};
  note_pattern(result.notes, id, pattern, result.sparsity);
  return result;
}

/// The same for a layer and the entries that a pruner chose to keep, [out, in], in its weights, updated by
/// `rule`. An update takes the Gram matrix of the layer's inputs.
/// @param permutation order of the columns in which groups of the pattern run; empty: as they are.
template <class T>
outcome pruned_outcome(const T& pruner, const layer& l, matrix<std::uint8_t> kept,
                       const update_rule& rule = {}, std::vector<std::int32_t> permutation = {},
                       const context& ctx = {}) {
  const std::string_view id = T::info.id;
  auto constraint = constrain(std::move(kept), pruner.pattern, l.sparsity, std::move(permutation));
  if (rule.update == weight_update::none)
    return pruned_outcome(id, l.weight.view(), std::move(constraint), pruner.pattern, pruner.value_type);
  auto h = l.require_inputs(id).hessian();
  const auto u = rule.update == weight_update::feedback
                     ? feedback_update(l.weight, constraint.kept, std::move(h), rule.percdamp,
                                       rule.block_size, ctx, pruner.value_type)
                     : least_squares_update(l.weight, constraint.kept, std::move(h), rule.percdamp, ctx);
  auto result = pruned_outcome(id, u.weight.view(), std::move(constraint), pruner.pattern, pruner.value_type);
  note_damping(result.notes, id, u.retries, u.damping, u.dead);
  return result;
}

}  // namespace tersor::solve
