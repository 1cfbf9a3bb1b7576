// tersor - SmoothQuant: activation outliers moved into the weights
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/quant/w8a8.hpp>
#include <tersor/solve/equivalent.hpp>

namespace tersor::quant {

/// SmoothQuant (arXiv:2211.10438; official code mit-han-lab/smoothquant): s_j = max|X_j|^alpha /
/// max|W_j|^(1-alpha) divides the activations behind a norm and multiplies the weights that read them, so
/// that both fit 8 bits with one scale per token and per row. A transformation: `smoothquant | w8a8`.
///
/// Cost: one pass over the weights. Guarantee: the function is unchanged before quantization; with alpha =
/// 0.5 the channel maxima of activations and weights agree. Stored: nothing of its own, s folds into the
/// norm.
///
///     auto recipe = tersor::quant::smoothquant{.alpha = 0.5F} | tersor::quant::w8a8{};
///     tersor::pipeline::compress(model, recipe, calibration);
struct smoothquant {
  float alpha = 0.5F;
  bool compat_dead = false;

  static constexpr solve::stage_kind kind = solve::stage_kind::transformation;
  static constexpr solve::calibration_need needs = solve::calibration_need::sums;
  static constexpr solve::technique_info info{
      .id = "smoothquant",
      .family = "quant",
      .title = "SmoothQuant: activation outliers moved into the weights",
      .arxiv = "2211.10438",
      .header = "tersor/quant/smoothquant.hpp",
      .guarantee = "the function is unchanged before quantization"};
  static constexpr auto options() {
    return std::tuple{
        option{"alpha",
               &smoothquant::alpha,
               {.help = "share of the range that moves into the weights", .symbol = "α", .min = 0, .max = 1}},
        option{"compat_dead",
               &smoothquant::compat_dead,
               {.help = "channels that were always zero get s = 1e-5, as released, instead of 1"}}};
  }
  void validate() const { validate_options(*this, info.id); }

  /// s [in] of consumers with a common input whose channel maxima are `activation_max` [in].
  std::vector<float> scales(std::span<const float> activation_max,
                            std::span<const matrix<float>> weights) const {
    validate();
    require(!weights.empty(), "smoothquant: weights", weights.size(), "at least one");
    std::vector<float> s(activation_max.size());
    std::vector<float> weight_max(s.size(), 1e-5F);
    for (std::size_t k = 0; k < weights.size(); ++k) {
      const auto& w = weights[k];
      require(w.cols() == static_cast<index_t>(s.size()), concat("smoothquant: columns of weight ", k),
              w.cols(), s.size());
      require_finite(w.view(), concat("smoothquant: weight ", k));
      for (index_t r = 0; r < w.rows(); ++r)
        for (std::size_t j = 0; j < s.size(); ++j)
          weight_max[j] = std::max(weight_max[j], std::fabs(w(r, static_cast<index_t>(j))));
    }
    for (std::size_t j = 0; j < s.size(); ++j) {
      const float m = weight_max[j], a = activation_max[j];
      require(std::isfinite(a) && a >= 0.0F, concat("smoothquant: activation_max[", j, "]"), a,
              "a finite number >= 0");
      s[j] =
          a == 0.0F && !compat_dead ? 1.0F : std::max(std::pow(a, alpha) / std::pow(m, 1.0F - alpha), 1e-5F);
    }
    return s;
  }
  /// The scales of one site; none where the producer is not a norm, which the method leaves alone.
  std::vector<float> scales(const solve::scale_site& site, const context& = {}) const {
    if (!site.producer_is_norm) return {};
    require(site.inputs && !site.inputs->empty(), concat("smoothquant: calibration of ", site.name), "empty",
            "at least one sequence");
    const auto largest = site.inputs->max_abs();
    return scales(std::vector<float>(largest.begin(), largest.end()), site.weights);
  }
};

}  // namespace tersor::quant
