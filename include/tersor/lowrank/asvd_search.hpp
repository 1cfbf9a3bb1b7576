// tersor - ASVD's search for the share of parameters that each layer keeps
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::ranges::stable_sort
#include <cmath>      // std::sqrt, std::pow, std::isnan
#include <span>       // std::span

#include <tersor/linalg/svd.hpp>

namespace tersor::lowrank {

// ASVD (arXiv:2312.05821; official code hahnyuan/ASVD4LLM) tries each layer alone at several ratios of kept
// parameters, sorts all trials by what they cost the model, and cuts the list where the model has its target
// size: of the trials that stay, each layer takes the one with the smallest ratio.
//
//     const std::vector<double> ratios{0.4, 0.5, 0.6, 0.7, 0.8, 0.9};
//     auto chosen = tersor::lowrank::search_ratios(sizes, ratios, 0.8, [&](index_t layer, double ratio) {
//       return perplexity_with(layer, ratio);                       // of the model, one layer compressed
//     });
//     tersor::lowrank::svd{.ratio = chosen.ratio[0]}(W0, inputs0);  // 1: leave the layer dense

namespace detail {

inline void require_ratio(double ratio, std::string_view what) {
  require(ratio > 0 && ratio < 1, what, ratio, "between 0 and 1");
}

}  // namespace detail

/// One layer, alone, at one ratio.
struct ratio_trial {
  index_t layer = 0;
  double ratio = 1;        ///< share of its parameters that it keeps, in (0, 1)
  double sensitivity = 0;  ///< what that costs, larger is worse: a perplexity, or `stable_rank_sensitivity`
};

/// Where the sorted list is cut.
enum class cut_rule {
  last_within,   ///< the largest size that is not above the target
  last_midpoint  ///< the last place that the official bisection looked at, on either side of the target
};

struct ratio_selection {
  std::vector<double> ratio;  ///< [layers]; 1: left dense
  double realised = 1;        ///< sum of ratio * size / sum of size
  index_t cut = 0;            ///< trials dropped, the most sensitive ones
};

/// The data-free score of each ratio >= 0: -(‖W‖_F / ‖W‖₂) ratio^0.1, the root of the stable rank. 0 for
/// W = 0. Cost of one SVD of w.
template <matrix_like W>
std::vector<double> stable_rank_sensitivity(const W& w, std::span<const double> ratios,
                                            const context& ctx = {}) {
  const auto s = linalg::svd<double>(to_matrix<double>(w).view(), ctx).s;
  double squares = 0;
  for (double v : s) squares += v * v;
  const double root = squares == 0 ? 0 : std::sqrt(squares) / s[0];
  std::vector<double> result;
  for (double ratio : ratios) {
    require(ratio >= 0, "stable_rank_sensitivity: ratio", ratio, "at least 0");
    result.push_back(-root * std::pow(ratio, 0.1));
  }
  return result;
}

/// The ratio of every layer. @param sizes [layers], parameters of each. @param target share of all parameters
/// to keep; error where even the smallest ratios keep more (with `last_within`). Trials of equal sensitivity
/// stay in the order given. Cost O(t log t) for t trials.
inline ratio_selection select_ratios(std::span<const ratio_trial> trials, std::span<const index_t> sizes,
                                     double target, cut_rule rule = cut_rule::last_within) {
  const auto layers = static_cast<index_t>(sizes.size());
  require(target > 0 && target <= 1, "select_ratios: target", target, "0 to 1");
  double total = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    require(sizes[i] > 0, concat("select_ratios: sizes[", i, "]"), sizes[i], "at least 1");
    total += static_cast<double>(sizes[i]);
  }
  for (std::size_t i = 0; i < trials.size(); ++i) {
    const ratio_trial& t = trials[i];
    require(t.layer >= 0 && t.layer < layers, concat("select_ratios: trials[", i, "].layer"), t.layer,
            "0 .. ", layers - 1);
    detail::require_ratio(t.ratio, concat("select_ratios: trials[", i, "].ratio"));
    require(!std::isnan(t.sensitivity), concat("select_ratios: trials[", i, "].sensitivity"), t.sensitivity,
            "a number");
  }
  std::vector<ratio_trial> sorted(trials.begin(), trials.end());
  std::ranges::stable_sort(
      sorted, [](const ratio_trial& a, const ratio_trial& b) { return a.sensitivity > b.sensitivity; });
  const auto count = static_cast<index_t>(sorted.size());
  const auto cut_at = [&](index_t cut) {
    ratio_selection s{std::vector<double>(sizes.size(), 1.0), 0, cut};
    for (index_t i = cut; i < count; ++i) {
      const ratio_trial& t = sorted[static_cast<std::size_t>(i)];
      double& kept = s.ratio[static_cast<std::size_t>(t.layer)];
      kept = std::min(kept, t.ratio);
    }
    for (std::size_t i = 0; i < sizes.size(); ++i) s.realised += s.ratio[i] * static_cast<double>(sizes[i]);
    s.realised = total == 0 ? 1 : s.realised / total;
    return s;
  };
  // The size rises with the cut.
  if (rule == cut_rule::last_midpoint) {
    ratio_selection seen = cut_at(0);
    for (index_t low = 0, high = count - 1; low < high;) {
      const index_t middle = (low + high) / 2;
      seen = cut_at(middle);
      if (seen.realised > target)
        high = middle;
      else
        low = middle + 1;
    }
    return seen;
  }
  const double most = target * (1 + 1e-12);  // a sum of equal ratios may exceed the ratio in the last bits
  const ratio_selection smallest = cut_at(0);
  require(smallest.realised <= most, "select_ratios: target", target, "at least ", smallest.realised,
          ", what the smallest ratios keep");
  index_t low = 0, high = count;
  while (low < high) {
    const index_t middle = low + (high - low + 1) / 2;
    if (cut_at(middle).realised <= most)
      low = middle;
    else
      high = middle - 1;
  }
  return cut_at(low);
}

/// ASVD's search: perplexity(layer, ratio) of the model with that layer alone compressed, for every layer and
/// ratio; then the threshold on it under which, each layer at its smallest ratio, the model has its target
/// size. @param sizes [layers], parameters of each. Cost layers * ratios evaluations.
template <class Perplexity>
ratio_selection search_ratios(std::span<const index_t> sizes, std::span<const double> ratios, double target,
                              Perplexity&& perplexity, const context& ctx = {}) {
  for (std::size_t i = 0; i < ratios.size(); ++i)  // before the evaluations, which may take hours
    detail::require_ratio(ratios[i], concat("search_ratios: ratios[", i, "]"));
  std::vector<ratio_trial> trials;
  const auto total = static_cast<long long>(sizes.size()) * static_cast<long long>(ratios.size());
  for (index_t layer = 0; layer < static_cast<index_t>(sizes.size()); ++layer)
    for (double ratio : ratios) {
      ctx.step("asvd: perplexity of one layer compressed", static_cast<long long>(trials.size()), total);
      trials.push_back({layer, ratio, static_cast<double>(perplexity(layer, ratio))});
    }
  return select_ratios(trials, sizes, target);
}

}  // namespace tersor::lowrank
