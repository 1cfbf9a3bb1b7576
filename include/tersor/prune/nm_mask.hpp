// tersor - N:M mask selection: along inputs, transposable, and for convolutions
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/prune/magnitude.hpp>

namespace tersor::prune {

enum class nm_layout {
  rows,                ///< n of every m consecutive inputs
  transposable,        ///< 2:4 along rows and columns of each 4 x 4 block, the best of all 90 patterns
  transposable_greedy  ///< n of m along rows and columns of each m x m block, largest first; may keep fewer
};
constexpr auto option_names(nm_layout) {
  using row = std::pair<std::string_view, nm_layout>;
  return std::array<row, 3>{{{"rows", nm_layout::rows},
                             {"transposable", nm_layout::transposable},
                             {"transposable_greedy", nm_layout::transposable_greedy}}};
}

/// The 90 binary 4 x 4 patterns with row and column sums of 2; bit 4 r + c is entry (r, c). Ascending.
inline std::array<std::uint16_t, 90> transposable_patterns() {
  constexpr std::array<unsigned, 6> pairs{3, 5, 6, 9, 10, 12};  // two of four
  std::array<std::uint16_t, 90> patterns{};
  std::size_t n = 0;
  for (const unsigned d : pairs)
    for (const unsigned c : pairs)
      for (const unsigned b : pairs)
        for (const unsigned a : pairs) {
          bool valid = true;
          for (unsigned j = 0; j < 4; ++j)
            valid = valid && ((a >> j) & 1U) + ((b >> j) & 1U) + ((c >> j) & 1U) + ((d >> j) & 1U) == 2;
          if (valid) patterns[n++] = static_cast<std::uint16_t>(a | b << 4 | c << 8 | d << 12);
        }
  assert(n == patterns.size());
  return patterns;
}

/// The transposable 2:4 mask of largest kept score. @param score [out, in] >= 0, both divisible by 4.
/// @return [out, in], 1 = kept; of equal patterns the first of `transposable_patterns()`. Cost 90 * 8
/// additions for each block of 16.
inline matrix<std::uint8_t> transposable_mask(const matrix<float>& score, const context& ctx = {}) {
  require(score.rows() % 4 == 0 && score.cols() % 4 == 0, "transposable_mask: score",
          concat(score.rows(), " x ", score.cols()), "both extents divisible by 4");
  solve::require_numbers(score);
  const auto patterns = transposable_patterns();
  matrix<std::uint8_t> kept(score.rows(), score.cols());
  parallel_for(score.rows() / 4, ctx, [&](index_t block) {
    for (index_t j = 0; j < score.cols(); j += 4) {
      std::array<double, 16> s{};
      for (index_t i = 0; i < 16; ++i)
        s[static_cast<std::size_t>(i)] = static_cast<double>(score(block * 4 + i / 4, j + i % 4));
      double most = -std::numeric_limits<double>::infinity();
      unsigned best = 0;
      for (const unsigned p : patterns) {
        double sum = 0;
        for (std::size_t i = 0; i < 16; ++i)
          if ((p >> i) & 1U) sum += s[i];
        if (sum > most) {
          most = sum;
          best = p;
        }
      }
      for (index_t i = 0; i < 16; ++i) kept(block * 4 + i / 4, j + i % 4) = (best >> i) & 1U;
    }
  });
  return kept;
}

/// Greedy transposable mask: the entries of each m x m block by descending score (of equal ones the first in
/// row-major order); one is kept while its row and its column have fewer than n. @param score [out, in], both
/// divisible by m.
inline matrix<std::uint8_t> transposable_mask_greedy(const matrix<float>& score,
                                                     solve::nm_pattern pattern = {2, 4},
                                                     const context& ctx = {}) {
  solve::selection_rule{.pattern = pattern}.validate("transposable_mask_greedy");
  const index_t m = pattern.m;
  require(m > 0 && score.rows() % m == 0 && score.cols() % m == 0, "transposable_mask_greedy: score",
          concat(score.rows(), " x ", score.cols()), "both extents divisible by m = ", m);
  solve::require_numbers(score);
  matrix<std::uint8_t> kept(score.rows(), score.cols());
  parallel_for(score.rows() / m, ctx, [&](index_t block) {
    const index_t i0 = block * m;
    std::vector<index_t> order(static_cast<std::size_t>(m * m)), row(static_cast<std::size_t>(m)), column;
    for (index_t j0 = 0; j0 < score.cols(); j0 += m) {
      const auto at = [&](index_t k) { return score(i0 + k / m, j0 + k % m); };
      std::iota(order.begin(), order.end(), index_t{0});
      std::ranges::stable_sort(order, [&](index_t a, index_t b) { return at(a) > at(b); });
      row.assign(static_cast<std::size_t>(m), 0);
      column = row;
      for (const index_t k : order) {
        index_t& in_row = row[static_cast<std::size_t>(k / m)];
        index_t& in_column = column[static_cast<std::size_t>(k % m)];
        if (in_row >= pattern.n || in_column >= pattern.n) continue;
        ++in_row;
        ++in_column;
        kept(i0 + k / m, j0 + k % m) = 1;
      }
    }
  });
  return kept;
}

/// N:M selection (arXiv:2104.08378; official code NVIDIA/apex, contrib/sparsity): keeps n of every m
/// consecutive inputs of a row, by any score (`mask`) or by |w| (the call), optionally so that the transposed
/// weight has the pattern too.
///
/// Cost: O(out in), 90 patterns a block for `transposable`. Guarantee: no other mask of the pattern keeps a
/// larger sum of scores (but for `transposable_greedy`). Bits per weight for b-bit values: b n / m + log2(m)
/// n / m or 1, whichever is less; 2:4 with 16-bit values 9.0. A last group of fewer than m inputs keeps
/// min(n, its width).
///
///     using namespace tersor::prune;
///     auto result = nm_mask{.pattern = {2, 4}}(W);  // W: [out, in], any tensor type
///     auto kept = nm_mask{.layout = nm_layout::transposable}.mask(score);
///     result.op.apply(x, y);  // x: [tokens, in]
struct nm_mask {
  solve::nm_pattern pattern{2, 4};
  nm_layout layout = nm_layout::rows;
  dtype value_type = dtype::bf16;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "nm_mask",
      .family = "prune",
      .title = "N:M mask selection",
      .arxiv = "2104.08378",
      .header = "tersor/prune/nm_mask.hpp",
      .guarantee = "largest kept score of all masks of the pattern (rows, transposable)"};
  static constexpr auto options() {
    return std::tuple{solve::pattern_option<nm_mask>(),
                      option{"layout", &nm_mask::layout, {.help = "along rows, or along rows and columns"}},
                      solve::value_type_option<nm_mask>()};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(!pattern.empty(), "nm_mask: pattern", "none", "n:m");
    solve::selection_rule{.pattern = pattern}.validate(info.id);
    require(layout != nm_layout::transposable || pattern == solve::nm_pattern{2, 4}, "nm_mask: pattern",
            concat(pattern.n, ":", pattern.m), "2:4 with layout = transposable");
  }

  /// @param score [out, in], non-negative. @return [out, in], 1 = kept.
  matrix<std::uint8_t> mask(const matrix<float>& score, const context& ctx = {}) const {
    validate();
    switch (layout) {
      case nm_layout::transposable:
        return transposable_mask(score, ctx);
      case nm_layout::transposable_greedy:
        return transposable_mask_greedy(score, pattern, ctx);
      case nm_layout::rows:
        break;
    }
    return solve::select_nm(score, pattern, ctx, solve::tie_rule::keep_lowest);
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
    auto score = magnitude::score(l.weight);
    auto kept = [&] {
      if (layout == nm_layout::rows)
        return solve::select(std::move(score), {.pattern = pattern}, l.sparsity, ctx,
                             solve::tie_rule::keep_lowest);
      return mask(l.sparsity.empty() ? score : solve::masked(score, l.sparsity.kept), ctx);
    }();
    return solve::pruned_outcome(*this, l, std::move(kept));
  }
};

/// The n:m mask by |w| of a convolution's weight [out, in, kernel ...] (or of a vector), with groups along
/// the second axis, separately for every output channel and kernel position; a transposable layout takes the
/// outputs of each kernel position together. @return one entry for each weight in row-major order of the
/// extents, 1 = kept.
template <class T, std::size_t Rank>
std::vector<std::uint8_t> nm_convolution_mask(tensor_view<T, Rank> w, solve::nm_pattern pattern = {2, 4},
                                              nm_layout layout = nm_layout::rows, const context& ctx = {}) {
  const nm_mask options{.pattern = pattern, .layout = layout};
  return solve::select_along_inputs(solve::magnitudes(w), w.extents,
                                    [&](const matrix<float>& score) { return options.mask(score, ctx); });
}

}  // namespace tersor::prune
