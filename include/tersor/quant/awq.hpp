// tersor - AWQ: channel scales and clips that protect the weights of salient activations
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/quant/rtn.hpp>
#include <tersor/solve/equivalent.hpp>

namespace tersor::quant {

/// What a search for channel scales found.
struct awq_scales {
  std::vector<float> scales;   ///< s [in]
  double exponent = 0;         ///< the chosen alpha; 0: no scaling was better
  std::vector<double> losses;  ///< mean squared error of the inspected function for alpha = k / n_grid
};

/// AWQ (arXiv:2306.00978; official code mit-han-lab/llm-awq): scales input channels with large activations up
/// before rounding, and the activations down where they are produced. The exponent of the mean activation is
/// searched on the output error of the function around the layers; then each group of weights gets the clip
/// that lowers its own output error. A transformation: `awq | rtn`, `awq | gptq` store the result.
///
/// Cost: n_grid evaluations of the inspected function on `search_sequences` sequences per site, whose inputs
/// are held in memory; clip: out in g FLOPs per candidate. Guarantee: on the data of the search never worse
/// than no scaling and no clip (both are candidates). Stored: nothing of its own, scales fold into the
/// producer.
///
/// Mean activations are those of all calibration data. The official program also searches on all of it (128
/// samples of 512 tokens), here `search_sequences = 0`. The default of 8 takes a fraction of the time and
/// memory and found scales as good: on the embedded model (25 windows of 1024 tokens) perplexity 38.0 with 8
/// and 38.4 with all at 3 bits in groups of 32, 36.0 and 36.1 at 4 bits in groups of 128.
///
///     auto recipe = tersor::quant::awq{} | tersor::quant::rtn{.bits = 4, .group_size = 128};
///     tersor::pipeline::compress(model, recipe, calibration);
struct awq {
  int bits = 4;
  index_t group_size = 128;
  solve::grid_scheme scheme = solve::grid_scheme::affine_minmax;
  bool match_next = true;
  int n_grid = 20;
  bool clip = true;
  int clip_grid = 20;
  float max_shrink = 0.5F;
  index_t clip_tokens = 512;
  index_t search_sequences = 8;

  static constexpr solve::stage_kind kind = solve::stage_kind::transformation;
  static constexpr solve::calibration_need needs = solve::calibration_need::sums;
  static constexpr solve::technique_info info{
      .id = "awq",
      .family = "quant",
      .title = "AWQ: activation-aware channel scales and clips",
      .arxiv = "2306.00978",
      .header = "tersor/quant/awq.hpp",
      .guarantee = "on its search data never worse than the same grid without scales and clips"};
  static constexpr auto options() {
    return std::tuple{
        option{
            "bits", &awq::bits, {.help = "width of a code in the search", .symbol = "b", .min = 2, .max = 8}},
        solve::group_size_option<awq>(),
        option{"scheme", &awq::scheme, {.help = "how a range becomes a scale and a zero point"}},
        option{
            "match_next",
            &awq::match_next,
            {.help =
                 "search on the grid of the stage that follows, if it has one, instead of the three above"}},
        option{
            "n_grid", &awq::n_grid, {.help = "exponents that are tried: k / n_grid", .min = 1, .max = 1000}},
        option{"clip", &awq::clip, {.help = "search a clip for each group of weights"}},
        option{"clip_grid",
               &awq::clip_grid,
               {.help = "steps of the clip over the full range", .min = 1, .max = 1000}},
        option{"max_shrink",
               &awq::max_shrink,
               {.help = "share of those steps that is tried", .min = 0, .max = 1}},
        option{"clip_tokens", &awq::clip_tokens, {.help = "tokens of the clip search", .min = 1, .max = 1e9}},
        option{"search_sequences",
               &awq::search_sequences,
               {.help = "calibration sequences of the searches; 0: all", .min = 0, .max = 1e9}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(group_size != 0, "awq: group_size", group_size, "-1 or at least 1");
  }
  /// The grid that the searches imitate.
  solve::grid_target target(const std::optional<solve::grid_target>& next = {}) const {
    if (match_next && next) return *next;
    return {{.bits = bits, .scheme = scheme, .scale_type = dtype::f32}, group_size};
  }

  /// The scales of one site.
  std::vector<float> scales(const solve::scale_site& site, const context& ctx = {}) const {
    return search_scales(site, ctx).scales;
  }
  awq_scales search_scales(const solve::scale_site& site, const context& ctx = {}) const {
    validate();
    require(site.inputs && !site.inputs->empty() && !site.samples.empty(),
            concat("awq: calibration of ", site.name), "empty", "at least one sequence");
    require(site.targets.empty() || site.targets.size() == site.weights.size(),
            concat("awq: targets of ", site.name), site.targets.size(), "0 or ", site.weights.size());
    for (std::size_t k = 0; k < site.weights.size(); ++k)
      require_finite(site.weights[k].view(), concat("awq: weight ", k, " of ", site.name));
    for (std::size_t k = 0; k < site.samples.size(); ++k)
      require_finite(site.samples[k].view(), concat("awq: sample ", k, " of ", site.name));
    const auto activation = site.inputs->mean_abs();
    const auto samples = static_cast<index_t>(site.samples.size());
    std::vector<matrix<float>> expected(site.samples.size());
    parallel_for(samples, ctx, [&](index_t i) {
      const auto k = static_cast<std::size_t>(i);
      expected[k] = site.inspect(site.samples[k].view(), site.weights);
    });
    awq_scales best;
    double least = std::numeric_limits<double>::infinity();
    for (int step = 0; step < n_grid; ++step) {
      const double exponent = static_cast<double>(step) / n_grid;
      const auto s = candidate(activation, exponent);
      std::vector<matrix<float>> weights;
      for (std::size_t k = 0; k < site.weights.size(); ++k) {
        matrix<float> w = site.weights[k];
        solve::scale_columns(w, s);
        w = solve::rounded_to_grid(w.view(), target(site.targets.empty() ? std::nullopt : site.targets[k]),
                                   ctx);
        for (index_t r = 0; r < w.rows(); ++r)
          for (index_t j = 0; j < w.cols(); ++j) w(r, j) /= s[static_cast<std::size_t>(j)];
        weights.push_back(std::move(w));
      }
      std::vector<double> errors(site.samples.size());
      parallel_for(samples, ctx, [&](index_t i) {
        const auto k = static_cast<std::size_t>(i);
        const auto y = site.inspect(site.samples[k].view(), weights);
        for (index_t e = 0; e < y.size(); ++e) {
          const double d = static_cast<double>(expected[k].data()[e]) - static_cast<double>(y.data()[e]);
          errors[k] += d * d;
        }
      });
      double loss = 0.0, count = 0.0;
      for (std::size_t k = 0; k < errors.size(); ++k) {
        loss += errors[k];
        count += static_cast<double>(expected[k].size());
      }
      best.losses.push_back(loss / count);
      // no scaling (step 0) always competes; a loss that is not finite never wins
      if (step == 0 || best.losses.back() < least) {
        if (!std::isnan(best.losses.back())) least = best.losses.back();
        best.exponent = exponent;
        best.scales = s;
      }
    }
    return best;
  }

  /// The largest magnitudes to which w [out, in] is best clipped, [out, groups]. @param x inputs [tokens,
  /// in], of which every (tokens / clip_tokens)-th is used.
  matrix<float> search_clips(matrix_view<const float> w, matrix_view<const float> x,
                             const std::optional<solve::grid_target>& next = {},
                             const context& ctx = {}) const {
    validate();
    require(x.cols() == w.cols(), "awq: columns of x", x.cols(), w.cols());
    require(x.rows() > 0, "awq: tokens of the clip search", x.rows(), "at least 1");
    require_finite(w, "awq: w");
    require_finite(x, "awq: x");
    const auto grid = target(next);
    const index_t g = solve::resolve_group_size(grid.group_size, w.cols()),
                  groups = solve::group_count(w.cols(), g);
    const index_t stride = std::max<index_t>(1, x.rows() / clip_tokens);
    const auto n = static_cast<float>((1 << grid.rule.bits) - 1);
    const int candidates = solve::detail::clip_candidates(max_shrink, clip_grid);
    matrix<float> clips(w.rows(), groups);
    for (index_t group = 0; group < groups; ++group) {
      const index_t first = group * g, width = std::min(g, w.cols() - first);
      const auto gram = sampled_gram(x.block(0, first, x.rows(), width), stride);
      parallel_chunks(w.rows(), 16, ctx, [&](index_t r0, index_t r1) {
        std::vector<float> clipped(static_cast<std::size_t>(width));
        std::vector<double> d(static_cast<std::size_t>(width));
        for (index_t r = r0; r < r1; ++r) {
          float largest = 0.0F;
          for (index_t j = 0; j < width; ++j) largest = std::max(largest, std::fabs(w(r, first + j)));
          clips(r, group) = largest;
          double least = std::numeric_limits<double>::infinity();
          for (int i = 0; i < candidates; ++i) {
            const float limit = largest * static_cast<float>(1.0 - static_cast<double>(i) / clip_grid);
            for (index_t j = 0; j < width; ++j)
              clipped[static_cast<std::size_t>(j)] = std::min(std::max(w(r, first + j), -limit), limit);
            const auto unit = solve::fit_grid(clipped, grid.rule);
            for (index_t j = 0; j < width; ++j)
              d[static_cast<std::size_t>(j)] =
                  static_cast<double>(solve::grid_value(clipped[static_cast<std::size_t>(j)], unit, n)) -
                  static_cast<double>(w(r, first + j));
            const double error = quadratic_form(gram, d);
            if (error < least) {
              least = error;
              clips(r, group) = limit;
            }
          }
        }
      });
    }
    return clips;
  }
  /// w with every group clamped to its clip.
  static void apply_clips(matrix<float>& w, const matrix<float>& clips, index_t group_size) {
    const index_t g = solve::resolve_group_size(group_size, w.cols());
    for (index_t r = 0; r < w.rows(); ++r)
      for (index_t j = 0; j < w.cols(); ++j) {
        const float limit = clips(r, j / g);
        w(r, j) = std::min(std::max(w(r, j), -limit), limit);
      }
  }
  /// The second half of the transformation, once all scales are folded: clips one layer's weight.
  void adjust(matrix<float>& w, matrix_view<const float> x, const std::optional<solve::grid_target>& next,
              const context& ctx = {}) const {
    if (clip) apply_clips(w, search_clips(w.view(), x, next, ctx), target(next).group_size);
  }

 private:
  /// max(a^alpha, 1e-4), scaled so that the largest and the smallest are inverse to each other.
  static std::vector<float> candidate(std::span<const double> activation, double exponent) {
    std::vector<float> s(activation.size());
    for (std::size_t j = 0; j < s.size(); ++j)
      s[j] = std::max(
          static_cast<float>(std::pow(static_cast<float>(activation[j]), static_cast<float>(exponent))),
          1e-4F);
    const auto [least, largest] = std::ranges::minmax(s);
    const float middle = std::sqrt(largest * least);
    for (float& v : s) v /= middle;
    return s;
  }
  static matrix<double> sampled_gram(matrix_view<const float> x, index_t stride) {
    matrix<double> gram(x.cols(), x.cols());
    for (index_t t = 0; t < x.rows(); t += stride)
      for (index_t i = 0; i < x.cols(); ++i) {
        const double v = static_cast<double>(x(t, i));
        for (index_t j = i; j < x.cols(); ++j) gram(i, j) += v * static_cast<double>(x(t, j));
      }
    return gram;  // upper triangle
  }
  static double quadratic_form(const matrix<double>& upper, std::span<const double> d) {
    double total = 0.0;
    for (index_t i = 0; i < upper.rows(); ++i) {
      double row = 0.0;
      for (index_t j = i + 1; j < upper.cols(); ++j) row += upper(i, j) * d[static_cast<std::size_t>(j)];
      const double di = d[static_cast<std::size_t>(i)];
      total += di * (upper(i, i) * di + 2.0 * row);
    }
    return total;
  }
};

}  // namespace tersor::quant
