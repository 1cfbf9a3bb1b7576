// tersor - grid fit: scale and zero point of a unit of weights, with or without a clip search
// SPDX-License-Identifier: MIT
#pragma once

#include <array>     // std::array
#include <limits>    // std::numeric_limits
#include <optional>  // std::optional

#include <tersor/core/options.hpp>
#include <tersor/core/parallel.hpp>
#include <tersor/core/real_array.hpp>
#include <tersor/core/rounding.hpp>
#include <tersor/op/permuted.hpp>
#include <tersor/op/quantized.hpp>
#include <tersor/op/sparse_bitmap.hpp>
#include <tersor/op/sparse_nm.hpp>
#include <tersor/solve/layer.hpp>

namespace tersor::solve {

/// How the range of a unit becomes a scale and a zero point. N = 2^bits - 1; codes are 0 .. N everywhere.
enum class grid_scheme {
  affine0,       ///< GPTQ: range widened to contain 0; s = (hi - lo) / N, z = round(-lo / s)
  sym_unsigned,  ///< GPTQ sym: range +-max|w|, z = (N + 1) / 2
  sym_signed,    ///< SmoothQuant: s = max|w| / (2^(bits-1) - 1), z = 2^(bits-1)
  affine_minmax  ///< AWQ: s = max(max - min, 1e-5) / N, z = clamp(-round(min / s), 0, N)
};
constexpr auto option_names(grid_scheme) {
  using row = std::pair<std::string_view, grid_scheme>;
  return std::array<row, 4>{{{"affine0", grid_scheme::affine0},
                             {"sym_unsigned", grid_scheme::sym_unsigned},
                             {"sym_signed", grid_scheme::sym_signed},
                             {"affine_minmax", grid_scheme::affine_minmax}}};
}

struct grid_rule {
  int bits = 4;
  grid_scheme scheme = grid_scheme::affine0;
  bool clip_search = false;       ///< shrink the range where that lowers sum |w^ - w|^norm
  float norm = 2.4F;              ///< of the clip search
  int grid = 100;                 ///< steps of the clip search over the full range
  float max_shrink = 0.8F;        ///< share of those steps that is tried
  dtype scale_type = dtype::f16;  ///< scales are rounded up to it before codes are computed
  bool compat_one_sided =
      false;  ///< sym_unsigned as released: a unit without negative weights keeps its lower bound 0
};

/// The options of a grid, for techniques that have the members of a `grid_rule` under the same names: two
/// parts, as a technique may list its own options between them.
template <class T>
constexpr auto group_size_option() {
  return option{
      "group_size",
      &T::group_size,
      {.help = "inputs that share a scale; -1: the whole row", .symbol = "g", .min = -1, .max = 1e6}};
}
template <class T>
constexpr auto scheme_option() {
  return option{"scheme", &T::scheme, {.help = "how a range becomes a scale and a zero point"}};
}
template <class T>
constexpr auto grid_options() {
  return std::tuple{
      option{"clip_search", &T::clip_search, {.help = "shrink ranges where that lowers the error"}},
      option{"norm", &T::norm, {.help = "exponent of the clip search's error", .min = 0.5, .max = 10}},
      option{
          "grid", &T::grid, {.help = "steps of the clip search over the full range", .min = 1, .max = 10000}},
      option{
          "max_shrink", &T::max_shrink, {.help = "share of those steps that is tried", .min = 0, .max = 1}},
      option{"scale_type", &T::scale_type, {.help = "stored type of the scales"}},
      option{"compat_one_sided",
             &T::compat_one_sided,
             {.help = "sym_unsigned as released by GPTQ: one-sided units keep a bound of 0"}}};
}
/// The rule that such a technique's options describe.
template <class T>
grid_rule rule_of(const T& t) {
  return {t.bits, t.scheme, t.clip_search, t.norm, t.grid, t.max_shrink, t.scale_type, t.compat_one_sided};
}

/// The grid of one unit: value = scale * (code - zero).
struct unit_grid {
  float scale = 1, zero = 0;
};

/// The code of w: clamp(round(w / s) + z, 0, N), ties to even; float division, as the reference programs do
/// it. A NaN gets code 0.
inline float grid_code(float w, unit_grid g, float n) {
  return std::min(std::max(0.0F, round_half_even(w / g.scale) + g.zero), n);
}
inline float grid_value(float w, unit_grid g, float n) { return g.scale * (grid_code(w, g, n) - g.zero); }

namespace detail {

/// The smallest number of `type` that is not below `scale`: rounded up, so that the codes still reach both
/// ends of the range and no weight is further than half a step from its value. Positive, also for a unit
/// whose weights are too small for the type.
inline float stored_scale(float scale, dtype type) {
  float s = round_to(type, scale, "scale");
  if (s < scale) {
    s = type == dtype::f16
            ? static_cast<float>(f16::from_bits(static_cast<std::uint16_t>(f16(s).bits + 1)))
            : static_cast<float>(bf16::from_bits(static_cast<std::uint16_t>(bf16(s).bits + 1)));
    require(!std::isinf(s), "scale", scale, "a number in the range of ", name(type));
  }
  if (s > 0.0F) return s;
  return type == dtype::f16 ? 0x1p-24F : std::numeric_limits<float>::min();
}

/// (hi - lo) / n, also where the difference itself is out of range.
inline float step_of_range(float lo, float hi, float n) {
  const float range = hi - lo;
  return std::isinf(range) ? hi / n - lo / n : range / n;
}

/// How many of the candidates 1, 1 - 1 / grid, 1 - 2 / grid ... a clip search tries: the share `max_shrink`
/// of them, a float that may lie a rounding error below the number that was written.
inline int clip_candidates(float max_shrink, int grid) {
  return static_cast<int>(static_cast<double>(max_shrink) * grid * (1.0 + 1e-7));
}

/// The grid of the closed range [lo, hi], p times shrunk; `zero` is kept for symmetric schemes.
inline unit_grid grid_of_range(float lo, float hi, float p, const grid_rule& rule) {
  const auto n = static_cast<float>((1 << rule.bits) - 1);
  unit_grid g;
  switch (rule.scheme) {
    case grid_scheme::affine0: {
      lo *= p;
      hi *= p;
      g.scale = stored_scale(step_of_range(lo, hi, n), rule.scale_type);
      g.zero = std::min(std::max(0.0F, round_half_even(-lo / g.scale)), n);
      break;
    }
    case grid_scheme::sym_unsigned:
      g.scale = stored_scale(step_of_range(p * lo, p * hi, n), rule.scale_type);
      g.zero = (n + 1.0F) / 2.0F;
      break;
    case grid_scheme::sym_signed: {
      const float half = std::max((n - 1.0F) / 2.0F, 1.0F);  // 2^(bits-1) - 1
      g.scale = stored_scale(std::max(p * hi, 1e-5F) / half, rule.scale_type);
      g.zero = (n + 1.0F) / 2.0F;
      break;
    }
    case grid_scheme::affine_minmax:
      lo *= p;
      hi *= p;
      g.scale = stored_scale(std::max(step_of_range(lo, hi, n), 1e-5F / n), rule.scale_type);
      g.zero = std::min(std::max(0.0F, -round_half_even(lo / g.scale)), n);
      break;
  }
  return g;
}

}  // namespace detail

/// The range that the scheme gives a unit whose smallest and largest values are lo and hi.
inline std::pair<float, float> grid_range(float lo, float hi, const grid_rule& rule) {
  if (rule.scheme == grid_scheme::affine_minmax) return {lo, hi};
  lo = std::min(lo, 0.0F);
  hi = std::max(hi, 0.0F);
  if (rule.scheme == grid_scheme::sym_unsigned || rule.scheme == grid_scheme::sym_signed) {
    hi = std::max(-lo, hi);
    if (!(rule.compat_one_sided && lo == 0.0F)) lo = -hi;
  }
  if (lo == 0.0F && hi == 0.0F && rule.scheme != grid_scheme::sym_signed) return {-1.0F, 1.0F};
  return {lo, hi};
}

/// Fits the grid of one unit of weights. Cost: one pass, or up to one per candidate with the clip search (80
/// by default); a candidate is dropped once it has more error than the best so far.
inline unit_grid fit_grid(std::span<const float> x, const grid_rule& rule) {
  float lo = std::numeric_limits<float>::infinity(), hi = -lo;
  for (const float v : x) {
    lo = std::min(lo, v);
    hi = std::max(hi, v);
  }
  if (x.empty()) lo = hi = 0.0F;
  std::tie(lo, hi) = grid_range(lo, hi, rule);
  unit_grid best = detail::grid_of_range(lo, hi, 1.0F, rule);
  if (!rule.clip_search) return best;
  const auto n = static_cast<float>((1 << rule.bits) - 1);
  double least = std::numeric_limits<double>::infinity();
  const int candidates = detail::clip_candidates(rule.max_shrink, rule.grid);
  for (int i = 0; i < candidates; ++i) {
    const auto p = static_cast<float>(1.0 - static_cast<double>(i) / rule.grid);
    const unit_grid g = detail::grid_of_range(lo, hi, p, rule);
    double error = 0.0;
    for (const float v : x) {
      error += static_cast<double>(std::pow(std::fabs(grid_value(v, g, n) - v), rule.norm));
      if (error >= least) break;
    }
    if (error < least) {
      least = error;
      best = g;
    }
  }
  return best;
}

/// Grids of a whole matrix, one per run of `group_size` columns of each row, or one for the tensor.
struct grid_parameters {
  index_t group_size = 0;
  matrix<float> scale, zero;  ///< [units, groups]; units = rows, or 1 for a grid of the whole tensor
  unit_grid at(index_t row, index_t group) const {
    const index_t u = scale.rows() == 1 ? 0 : row;
    return {scale(u, group), zero(u, group)};
  }
};

/// group_size -1 means the whole row.
inline index_t resolve_group_size(index_t group_size, index_t in_features) {
  require(group_size != 0, "group_size", group_size, "-1 or at least 1");
  return group_size < 0 ? std::max<index_t>(in_features, 1) : group_size;
}
inline index_t group_count(index_t in_features, index_t group_size) {
  return (in_features + group_size - 1) / group_size;
}

namespace detail {
inline void require_bits(int bits) { require(bits >= 1 && bits <= 8, "bits", bits, "1 .. 8"); }
}  // namespace detail

/// Fits every group of w [out, in]; with `per_tensor` one grid for all. The last group of a row may be
/// shorter.
inline grid_parameters fit_grids(matrix_view<const float> w, index_t group_size, bool per_tensor,
                                 const grid_rule& rule, const context& ctx = {}) {
  detail::require_bits(rule.bits);
  grid_parameters p;
  if (per_tensor) {
    const auto all = copy_as<float>(w);
    const unit_grid g = fit_grid(all.values(), rule);
    p.group_size = std::max<index_t>(w.cols(), 1);
    p.scale = matrix<float>(1, 1, g.scale);
    p.zero = matrix<float>(1, 1, g.zero);
    return p;
  }
  p.group_size = resolve_group_size(group_size, w.cols());
  const index_t groups = group_count(w.cols(), p.group_size);
  p.scale = matrix<float>(w.rows(), groups);
  p.zero = matrix<float>(w.rows(), groups);
  parallel_chunks(w.rows(), 16, ctx, [&](index_t r0, index_t r1) {
    std::vector<float> unit;
    for (index_t r = r0; r < r1; ++r)
      for (index_t g = 0; g < groups; ++g) {
        unit.clear();
        for (index_t j = g * p.group_size; j < std::min(w.cols(), (g + 1) * p.group_size); ++j)
          unit.push_back(w(r, j));
        const unit_grid fit = fit_grid(unit, rule);
        p.scale(r, g) = fit.scale;
        p.zero(r, g) = fit.zero;
      }
  });
  return p;
}

namespace detail {
/// f(row, column, grid, N) for every entry of a [rows, cols] matrix on its grids.
template <class F>
void for_each_on_grid(index_t rows, index_t cols, const grid_parameters& p, int bits, const context& ctx,
                      F&& f) {
  require_bits(bits);
  require_shape(p.zero.view(), p.scale.rows(), p.scale.cols(), "zero points of the grids");
  require(p.scale.rows() == 1 || p.scale.rows() == rows, "rows of the grids", p.scale.rows(), "1 or ", rows);
  require(p.group_size >= 1 && p.scale.cols() == group_count(cols, p.group_size), "groups of the grids",
          p.scale.cols(), "groups of ", p.group_size, " in ", cols, " columns");
  const auto n = static_cast<float>((1 << bits) - 1);
  parallel_chunks(rows, 16, ctx, [&](index_t r0, index_t r1) {
    for (index_t r = r0; r < r1; ++r)
      for (index_t g = 0; g < p.scale.cols(); ++g) {
        const unit_grid grid = p.at(r, g);
        for (index_t j = g * p.group_size; j < std::min(cols, (g + 1) * p.group_size); ++j) f(r, j, grid, n);
      }
  });
}
}  // namespace detail

/// Codes of w on given grids.
inline matrix<std::uint8_t> quantize(matrix_view<const float> w, const grid_parameters& p, int bits,
                                     const context& ctx = {}) {
  matrix<std::uint8_t> codes(w.rows(), w.cols());
  detail::for_each_on_grid(w.rows(), w.cols(), p, bits, ctx, [&](index_t r, index_t j, unit_grid g, float n) {
    codes(r, j) = static_cast<std::uint8_t>(grid_code(w(r, j), g, n));
  });
  return codes;
}
/// What w becomes on given grids.
inline matrix<float> rounded_to_grid(matrix_view<const float> w, const grid_parameters& p, int bits,
                                     const context& ctx = {}) {
  matrix<float> q(w.rows(), w.cols());
  detail::for_each_on_grid(w.rows(), w.cols(), p, bits, ctx, [&](index_t r, index_t j, unit_grid g, float n) {
    q(r, j) = grid_value(w(r, j), g, n);
  });
  return q;
}

/// The operator of codes on grids: dense codes, or, under a sparsity constraint, the kept ones beside their
/// positions.
inline op::any_operator quantized_operator(const matrix<std::uint8_t>& codes, const grid_parameters& p,
                                           const grid_rule& rule, const sparsity& s,
                                           std::vector<std::int32_t> g_idx = {}) {
  if (!s.permutation.empty()) {  // the constraint's order of columns; groups of the grid follow their columns
    std::vector<std::int32_t> moved;
    if (p.scale.cols() > 1)
      for (const auto j : s.permutation)
        moved.push_back(g_idx.empty() ? static_cast<std::int32_t>(j / p.group_size)
                                      : g_idx[static_cast<std::size_t>(j)]);
    const sparsity inner{gather_columns(s.kept, s.permutation), s.n, s.m, {}};
    return op::permuted<>(
        quantized_operator(gather_columns(codes, s.permutation), p, rule, inner, std::move(moved)),
        s.permutation);
  }
  op::affine_grid grid(rule.bits, codes.rows(), codes.cols(), p.group_size, p.scale.view(), p.zero.view(),
                       rule.scale_type, std::move(g_idx));
  if (s.empty()) return op::quantized(codes, std::move(grid));
  std::vector<std::uint8_t> kept;
  for (index_t i = 0; i < codes.size(); ++i)
    if (s.kept.data()[i] != 0) kept.push_back(codes.data()[i]);
  op::element_store values(kept, std::move(grid));
  if (s.m > 0) return op::sparse_nm(s.n, s.m, s.kept, std::move(values));
  return op::sparse_bitmap(s.kept, std::move(values));
}

/// The operator of pruned weights whose kept values are stored as reals.
inline op::any_operator sparse_operator(matrix_view<const float> w, const sparsity& s, dtype value_type) {
  if (!s.permutation.empty()) {
    const sparsity inner{gather_columns(s.kept, s.permutation), s.n, s.m, {}};
    const auto moved = gather_columns(copy_as<float>(w), s.permutation);
    return op::permuted<>(sparse_operator(moved.view(), inner, value_type), s.permutation);
  }
  auto values = op::element_store(
      op::gather_kept(w, value_type, [&](index_t r, index_t j) { return s.kept(r, j) != 0; }));
  if (s.m > 0) return op::sparse_nm(s.n, s.m, s.kept, std::move(values));
  return op::sparse_bitmap(s.kept, std::move(values));
}

}  // namespace tersor::solve
