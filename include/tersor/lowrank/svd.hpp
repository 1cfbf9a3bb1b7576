// tersor - low-rank factors by truncated, randomized and activation-aware SVD
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::min, std::clamp
#include <cmath>      // std::sqrt, std::pow, std::floor
#include <limits>     // std::numeric_limits
#include <span>       // std::span
#include <tuple>      // std::tuple

#include <tersor/lowrank/whitening.hpp>
#include <tersor/op/dense.hpp>
#include <tersor/op/low_rank.hpp>
#include <tersor/solve/low_rank_fit.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::lowrank {

using solve::operator|;
using solve::operator+;

/// In which coordinates W is cut.
enum class svd_method {
  plain,       ///< W itself: smallest error of the weight; no data
  randomized,  ///< W itself through a random sketch (arXiv:0909.4061): for large W and small rank; no data
  asvd,        ///< W diag(s), s from the size of the activations, the Fisher information, or both (ASVD)
  whitened     ///< W S, S Sᵀ = XᵀX: smallest error of the outputs on the calibration data (SVD-LLM)
};
constexpr auto option_names(svd_method) {
  using row = std::pair<std::string_view, svd_method>;
  return std::array<row, 4>{{{"plain", svd_method::plain},
                             {"randomized", svd_method::randomized},
                             {"asvd", svd_method::asvd},
                             {"whitened", svd_method::whitened}}};
}

/// ASVD's size of an input channel.
enum class activation_scale {
  abs_mean,  ///< sum over the sequences of mean_t |x[t, j]|
  abs_max    ///< max_t |x[t, j]|
};
constexpr auto option_names(activation_scale) {
  using row = std::pair<std::string_view, activation_scale>;
  return std::array<row, 2>{
      {{"abs_mean", activation_scale::abs_mean}, {"abs_max", activation_scale::abs_max}}};
}

/// W ≈ A B before rounding to the stored type, and how it was found.
struct svd_factors {
  matrix<float> a;               ///< [out, rank], U √Σ
  matrix<float> b;               ///< [rank, in], √Σ Vᵀ in the coordinates of W
  std::vector<double> singular;  ///< [rank], descending, of W in the method's coordinates
  double truncation = 0;  ///< ‖(W - A B) S‖_F, S the method's coordinates: √ of the sum of the cut σ²
  std::vector<double> scale;  ///< asvd: s [in]
  double damping = 0;         ///< whitened: 0 unless XᵀX is singular
};

/// Truncated SVD (Eckart-Young), its randomized form (arXiv:0909.4061), ASVD (arXiv:2312.05821; official code
/// hahnyuan/ASVD4LLM) and SVD-LLM (arXiv:2403.07378; official code AIoT-MLSys-Lab/SVD-LLM): W ≈ A B, A [out,
/// rank], B [rank, in]. The first `rank` left singular vectors U of W S are kept, S being the identity, a
/// diagonal or a Cholesky factor. A = U √Σ; B = √Σ Vᵀ S⁻¹ = Σ^-½ Uᵀ W needs no inverse of S, so B stays small
/// where S is nearly singular.
///
/// Cost: O(out in min(out, in)) for the SVD, in³/3 for whitening; randomized about 12 out in rank. Guarantee:
/// plain has the smallest ‖W - A B‖ of that rank, whitened the smallest ‖(W - A B) Xᵀ‖ on the calibration
/// data, each up to the rounding of A and B to `value_type`. Bits per weight: value bits * rank (out + in) /
/// (out in), so `ratio` times the value bits. Factors that `value_type` cannot hold leave the layer dense.
///
///     tersor::calib::statistics inputs(in_features);
///     inputs.add(X);                         // X: [tokens, in], one call per sequence
///     tersor::lowrank::svd svd_llm{.method = tersor::lowrank::svd_method::whitened, .ratio = 0.8};
///     auto result = svd_llm(W, inputs);      // W: [out, in], any tensor type
///     result.op.apply(x, y);                 // x: [tokens, in], y: [tokens, out]
struct svd {
  svd_method method = svd_method::plain;
  index_t rank = 0;
  double ratio = 0.8;
  index_t rank_align = 1;
  double alpha = 0.5;
  activation_scale asvd_scale = activation_scale::abs_mean;
  gram_damping damping = gram_damping::smallest_eigenvalue;
  index_t oversampling = 8;
  index_t power_iterations = 2;
  dtype value_type = dtype::bf16;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  /// The most that any method asks for; `needed()` says what this one does.
  static constexpr solve::calibration_need needs = solve::calibration_need::gram;
  static constexpr solve::technique_info info{
      .id = "svd",
      .family = "lowrank",
      .title = "Truncated SVD: plain, randomized, ASVD and SVD-LLM",
      .arxiv = "2403.07378",
      .header = "tersor/lowrank/svd.hpp",
      .guarantee =
          "of all factors of that rank, plain has the smallest weight error and whitened the smallest "
          "output error on the calibration data"};
  static constexpr auto options() {
    return std::tuple{
        option{"method", &svd::method, {.help = "coordinates in which the weight is cut"}},
        option{
            "rank", &svd::rank, {.help = "columns of A; 0: from ratio", .symbol = "r", .min = 0, .max = 1e6}},
        option{
            "ratio",
            &svd::ratio,
            {.help = "share of the parameters that is kept, where rank is 0: r = ratio out in / (out + in)",
             .symbol = "ρ",
             .min = 1e-6,
             .max = 1}},
        option{"rank_align",
               &svd::rank_align,
               {.help = "a rank from ratio is rounded up to a multiple of this", .min = 1, .max = 65536}},
        option{"alpha",
               &svd::alpha,
               {.help = "asvd: exponent of the activations' size", .symbol = "α", .min = 0, .max = 4}},
        option{"asvd_scale", &svd::asvd_scale, {.help = "asvd: size of an input channel's activations"}},
        option{"damping", &svd::damping, {.help = "whitened: what is added to a singular Gram matrix"}},
        option{"oversampling",
               &svd::oversampling,
               {.help = "randomized: extra columns of the sketch", .symbol = "p", .min = 0, .max = 1e6}},
        option{"power_iterations",
               &svd::power_iterations,
               {.help = "randomized: passes that sharpen the sketch", .symbol = "q", .min = 0, .max = 100}},
        option{"value_type", &svd::value_type, {.help = "stored type of the factors"}}};
  }
  void validate() const { validate_options(*this, info.id); }

  /// What this method asks of the calibration.
  constexpr solve::calibration_need needed() const {
    switch (method) {
      case svd_method::asvd:
        return solve::calibration_need::sums;
      case svd_method::whitened:
        return solve::calibration_need::gram;
      default:
        return solve::calibration_need::none;
    }
  }

  /// The rank of the factors of a weight [out, in]: `rank`, which must not exceed min(out, in), or from
  /// `ratio`, aligned, then within 1 .. min(out, in).
  index_t rank_for(index_t out, index_t in) const {
    const index_t most = std::min(out, in);
    require(rank <= most, "svd: rank", rank, "at most ", most, " for a weight of ", out, " x ", in);
    if (rank > 0) return rank;
    const index_t r = rank_of_ratio(out, in);
    return std::clamp<index_t>((r + rank_align - 1) / rank_align * rank_align, std::min<index_t>(1, most),
                               most);
  }

  /// @param w [out, in], any tensor type; @param inputs of the layer: needed by asvd and whitened, adds a
  /// weighted error to the report of the others.
  template <matrix_like W>
  solve::compressed<op::any_operator> operator()(const W& w, const calib::statistics* inputs = nullptr,
                                                 const context& ctx = {}) const {
    return solve::compress_weight<op::any_operator>(*this, w, inputs, ctx);
  }
  template <matrix_like W>
  solve::compressed<op::any_operator> operator()(const W& w, const calib::statistics& inputs,
                                                 const context& ctx = {}) const {
    return (*this)(w, &inputs, ctx);
  }
  /// asvd by the Fisher information of the input channels [in], `fisher_information::value()`; times the size
  /// of the activations where `inputs` are given.
  template <matrix_like W>
  solve::compressed<op::any_operator> operator()(const W& w, const calib::statistics* inputs,
                                                 std::span<const double> fisher,
                                                 const context& ctx = {}) const {
    return solve::compress_weight<op::any_operator>(with_fisher{*this, fisher}, w, inputs, ctx);
  }

  /// `op::low_rank`; `op::dense` where a factor does not fit `value_type`, with a note.
  solve::outcome compress(const solve::layer& l, const context& ctx = {},
                          std::span<const double> fisher = {}) const {
    validate();
    solve::check_layer(l);
    require(l.sparsity.empty(), concat("svd: sparsity of ", l.name), "entries that must stay zero",
            "none: low-rank factors cannot keep them (prune after svd, or add svd with '+')");
    if (needed() != solve::calibration_need::none && (l.inputs || fisher.empty())) l.require_inputs(info.id);
    const auto w = l.weight.view();
    const svd_factors f = factorize(w, l.inputs, ctx, fisher);
    solve::outcome result;
    if (rank == 0 && rank_of_ratio(w.rows(), w.cols()) < 1)
      result.notes.push_back(concat("svd: ratio ", ratio, " is less than rank 1, which was kept"));
    if (f.damping > 0)
      result.notes.push_back(concat("svd: singular Gram matrix, ", f.damping, " added to its diagonal"));
    if (!fits(f.a.view()) || !fits(f.b.view())) {
      const dtype stored = fits(w) ? value_type : dtype::f32;
      result.op = op::dense(w, stored);
      result.notes.push_back(
          concat("svd: factors out of the range of ", name(value_type), ", layer left dense"));
      return result;
    }
    op::low_rank factors(f.a.view(), f.b.view(), value_type);
    if (factors.rank() * (w.rows() + w.cols()) >= w.size())
      result.notes.push_back(concat("svd: rank ", factors.rank(), " saves nothing: ",
                                    factors.rank() * (w.rows() + w.cols()), " values instead of ", w.size()));
    result.op = std::move(factors);
    return result;
  }

  /// The algorithm itself. @param w [out, in], finite; @param inputs, fisher as for the calls. Randomness
  /// from `ctx.seed`. Memory beside w and the statistics: for a square w about 6 times its bytes, nearly all
  /// of it inside `linalg::left_singular`; 4 times for randomized at a rank of a quarter.
  svd_factors factorize(matrix_view<const float> w, const calib::statistics* inputs = nullptr,
                        const context& ctx = {}, std::span<const double> fisher = {}) const {
    validate();
    require(fisher.empty() || method == svd_method::asvd, "svd: fisher", "given", "method = asvd");
    const index_t r = rank_for(w.rows(), w.cols());
    svd_factors f;
    if (method == svd_method::randomized) {
      split(f,
            linalg::randomized_svd<float>(
                w, r, {.oversampling = oversampling, .power_iterations = power_iterations, .seed = ctx.seed},
                ctx),
            r);
      // A B = U Uᵀ W is a projection of W, so what is missing is the difference of the squares.
      for (index_t i = 0; i < w.rows(); ++i)
        for (index_t j = 0; j < w.cols(); ++j) f.truncation += static_cast<double>(w(i, j)) * w(i, j);
      for (double s : f.singular) f.truncation -= s * s;
      f.truncation = std::sqrt(std::max(f.truncation, 0.0));
      return f;
    }
    if (needed() != solve::calibration_need::none && (inputs || fisher.empty())) {
      require(inputs && !inputs->empty(), "svd: calibration", "empty",
              "at least one sequence for this method");
      require(inputs->in_features() == w.cols(), "svd: in_features of the statistics", inputs->in_features(),
              w.cols());
    }
    auto coordinates = copy_as<double>(w);
    if (method == svd_method::asvd) {
      f.scale = channel_scales(inputs, fisher, w.cols());
      for (index_t i = 0; i < w.rows(); ++i)
        for (index_t j = 0; j < w.cols(); ++j) coordinates(i, j) *= f.scale[static_cast<std::size_t>(j)];
    } else if (method == svd_method::whitened) {
      auto s = whitening_factor(inputs->gram(), damping, ctx);
      coordinates = linalg::multiply(coordinates, s.factor, ctx);
      f.damping = s.damping;
    }
    auto d = linalg::left_singular(std::move(coordinates), r, ctx);
    double cut = 0;
    for (std::size_t k = d.s.size(); k-- > static_cast<std::size_t>(r);) cut += d.s[k] * d.s[k];
    f.truncation = std::sqrt(cut);
    auto vt = linalg::multiply(d.u.view().transposed(), copy_as<double>(w), ctx);  // √Σ Vᵀ S⁻¹ = Σ^-½ Uᵀ W
    const double negligible =
        static_cast<double>(std::max(w.rows(), w.cols())) * std::numeric_limits<double>::epsilon();
    for (index_t k = 0; k < r; ++k) {
      double& s = d.s[static_cast<std::size_t>(k)];
      if (s * s <= negligible * d.s[0] * d.s[0]) s = 0;
      for (double& v : vt.row(k)) v = s == 0 ? 0 : v / s;
    }
    split(f, linalg::svd_result<double>{std::move(d.u), std::move(d.s), std::move(vt)}, r);
    return f;
  }

 private:
  /// int(ratio out in / (out + in)), in the order of rounding of each official program.
  index_t rank_of_ratio(index_t out, index_t in) const {
    const double kept = static_cast<double>(out) * static_cast<double>(in) * ratio;
    return static_cast<index_t>((method == svd_method::asvd ? std::floor(kept) : kept) /
                                static_cast<double>(std::max<index_t>(out + in, 1)));
  }
  /// ASVD's s [in]: size of the activations and Fisher information, each to the power of alpha, multiplied.
  std::vector<double> channel_scales(const calib::statistics* inputs, std::span<const double> fisher,
                                     index_t in) const {
    std::vector<double> s(static_cast<std::size_t>(in), 1.0);
    const auto multiply = [&](std::span<const double> size) {
      for (std::size_t j = 0; j < s.size(); ++j) s[j] *= std::pow(size[j], alpha);
    };
    if (inputs)
      multiply(asvd_scale == activation_scale::abs_mean ? inputs->sum_sequence_mean_abs()
                                                        : inputs->max_abs());
    if (!fisher.empty()) {
      require(fisher.size() == s.size(), "svd: length of fisher", fisher.size(), in);
      for (std::size_t j = 0; j < fisher.size(); ++j)
        require(std::isfinite(fisher[j]) && fisher[j] >= 0, concat("svd: fisher[", j, "]"), fisher[j],
                "a finite number >= 0");
      multiply(fisher);
    }
    for (double& v : s) v += 1e-6;  // after the product, as released
    return s;
  }
  /// The direct call's technique where Fisher information is given.
  struct with_fisher {
    const svd& options;
    std::span<const double> fisher;
    solve::outcome compress(const solve::layer& l, const context& ctx) const {
      return options.compress(l, ctx, fisher);
    }
  };
  template <class T>
  static void split(svd_factors& f, const linalg::svd_result<T>& d, index_t r) {
    f.singular.assign(d.s.begin(), d.s.begin() + r);
    auto factors = solve::balanced_factors(d, r);
    f.a = std::move(factors.a);
    f.b = std::move(factors.b);
  }
  bool fits(matrix_view<const float> x) const {
    for (index_t i = 0; i < x.rows(); ++i)
      for (index_t j = 0; j < x.cols(); ++j) {
        const float v = x(i, j);
        if (!std::isfinite(value_type == dtype::f16    ? static_cast<float>(f16(v))
                           : value_type == dtype::bf16 ? static_cast<float>(bf16(v))
                                                       : v))
          return false;
      }
    return true;
  }
};

}  // namespace tersor::lowrank
