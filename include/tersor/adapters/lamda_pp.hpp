// tersor - LaMDA++: the rank of each layer from the spectrum of its weight
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::stable_sort, std::clamp
#include <array>      // std::array
#include <numeric>    // std::iota
#include <span>       // std::span
#include <tuple>      // std::tuple
#include <vector>     // std::vector

#include <tersor/core/view.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::adapters {

/// How ranks follow from spectra.
enum class rank_rule {
  groups,    ///< layers sorted by their energy, the flattest spectra get the largest rank
  threshold  ///< the least rank with a share of the energy, the same for all
};
constexpr auto option_names(rank_rule) {
  using row = std::pair<std::string_view, rank_rule>;
  return std::array<row, 2>{{{"groups", rank_rule::groups}, {"threshold", rank_rule::threshold}}};
}

/// LaMDA++ (arXiv:2406.12832; the formula is not in the released program, this is a reconstruction from the
/// description): E_l(r) = Σ_{i <= r} σ_i² / Σ σ_i² of layer l. With `groups`, layers are sorted by E_l at the
/// mean rank and cut into `levels` groups of equal size (what is left over goes to the middle one); the group
/// of the lowest energy gets `max_rank`, that of the highest `min_rank`, the others equally spaced ranks
/// between. With `threshold`, r_l = min{r : E_l(r) >= τ}, within [min_rank, max_rank], τ found by bisection
/// so that the sum is at most layers times the mean rank.
///
/// Cost: that of the spectra. Guarantee: the sum of the ranks is at most layers · (min_rank + max_rank) / 2;
/// equal spectra get equal ranks with `threshold`.
///
///     const auto ranks = tersor::adapters::lamda_pp{.min_rank = 16, .max_rank = 48}.ranks(spectra);
struct lamda_pp {
  index_t min_rank = 32;
  index_t max_rank = 96;
  index_t levels = 3;
  rank_rule rule = rank_rule::groups;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "lamda_pp",
                                              .family = "adapters",
                                              .title = "Ranks of LaMDA from spectra",
                                              .arxiv = "2406.12832",
                                              .header = "tersor/adapters/lamda_pp.hpp",
                                              .guarantee = "the sum of the ranks is within the budget"};
  static constexpr auto options() {
    return std::tuple{
        option{"min_rank", &lamda_pp::min_rank, {.help = "smallest rank", .min = 1, .max = 65536}},
        option{"max_rank", &lamda_pp::max_rank, {.help = "largest rank", .min = 1, .max = 65536}},
        option{"levels", &lamda_pp::levels, {.help = "number of groups", .symbol = "q", .min = 1}},
        option{"rule", &lamda_pp::rule, {.help = "how ranks are found"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(min_rank <= max_rank, "lamda_pp: min_rank", min_rank, "at most max_rank, ", max_rank);
  }

  /// @param spectra singular values of each layer, descending. A rank is never above their number.
  std::vector<index_t> ranks(std::span<const std::vector<double>> spectra) const {
    validate();
    for (std::size_t l = 0; l < spectra.size(); ++l)
      require(!spectra[l].empty(), concat("lamda_pp: spectrum of layer ", l), "empty",
              "at least one singular value");
    if (spectra.empty()) return {};
    return rule == rank_rule::groups ? by_groups(spectra) : by_threshold(spectra);
  }
  /// E(r), the share of the energy in the first r values; 1 for a spectrum of zeros.
  static double energy(std::span<const double> spectrum, index_t r) {
    double part = 0, all = 0;
    for (std::size_t i = 0; i < spectrum.size(); ++i) {
      const double e = spectrum[i] * spectrum[i];
      all += e;
      if (static_cast<index_t>(i) < r) part += e;
    }
    return all > 0 ? part / all : 1;
  }

 private:
  static index_t available(const std::vector<double>& spectrum) {
    return static_cast<index_t>(spectrum.size());
  }

  std::vector<index_t> by_groups(std::span<const std::vector<double>> spectra) const {
    const std::size_t n = spectra.size();
    const index_t probe = (min_rank + max_rank) / 2;
    std::vector<double> e;
    for (const auto& s : spectra) e.push_back(energy(s, probe));
    const bool equal = std::ranges::all_of(e, [&](double x) { return x == e[0]; });
    std::vector<index_t> ranks(n);
    if (equal) {
      for (std::size_t l = 0; l < n; ++l) ranks[l] = std::min(probe, available(spectra[l]));
      return ranks;
    }
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return e[a] < e[b]; });
    const auto q = static_cast<std::size_t>(levels);
    const std::size_t each = n / q, middle = (q - 1) / 2;
    std::size_t next = 0;
    for (std::size_t group = 0; group < q; ++group) {
      const std::size_t size = each + (group == middle ? n % q : 0);
      // of an even number of levels the middle one is above the mean: the sum stays within the budget
      const double place = q == 1 ? 0.5 : static_cast<double>(group) / static_cast<double>(q - 1);
      const auto rank = static_cast<index_t>(static_cast<double>(max_rank) -
                                             place * static_cast<double>(max_rank - min_rank));
      for (std::size_t k = 0; k < size; ++k, ++next)
        ranks[order[next]] = std::min(rank, available(spectra[order[next]]));
    }
    return trimmed(std::move(ranks), order);
  }
  /// Lowers ranks, those of the highest energy first, until the sum is within the budget.
  std::vector<index_t> trimmed(std::vector<index_t> ranks, const std::vector<std::size_t>& order) const {
    index_t excess = std::accumulate(ranks.begin(), ranks.end(), index_t{0}) - budget(ranks.size());
    for (std::size_t k = order.size(); k-- > 0 && excess > 0;) {
      index_t& r = ranks[order[k]];
      const index_t cut = std::min(excess, std::max<index_t>(r - min_rank, 0));
      r -= cut;
      excess -= cut;
    }
    return ranks;
  }
  std::vector<index_t> by_threshold(std::span<const std::vector<double>> spectra) const {
    const auto at = [&](double tau) {
      std::vector<index_t> ranks;
      for (const auto& s : spectra) {
        double all = 0, part = 0;
        for (const double x : s) all += x * x;
        index_t r = 0;
        while (r < available(s) && part < tau * all) {
          part += s[static_cast<std::size_t>(r)] * s[static_cast<std::size_t>(r)];
          ++r;
        }
        ranks.push_back(std::min(std::clamp(r, min_rank, max_rank), available(s)));
      }
      return ranks;
    };
    const auto sum = [](const std::vector<index_t>& r) {
      return std::accumulate(r.begin(), r.end(), index_t{0});
    };
    double low = 0, high = 1;
    if (sum(at(1)) <= budget(spectra.size())) return at(1);
    for (int i = 0; i < 60; ++i) {
      const double tau = (low + high) / 2;
      (sum(at(tau)) <= budget(spectra.size()) ? low : high) = tau;
    }
    return at(low);
  }
  index_t budget(std::size_t layers) const {
    return static_cast<index_t>(layers) * (min_rank + max_rank) / 2;
  }
};

}  // namespace tersor::adapters
