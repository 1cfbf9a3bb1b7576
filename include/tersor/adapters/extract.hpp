// tersor - a LoRA from the difference of two weights
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/lora.hpp>
#include <tersor/linalg/svd.hpp>

namespace tersor::adapters {

/// What `extract` found, and how much of the difference it holds.
struct extracted_lora {
  lora_state<float> state;
  double energy = 1;          ///< Σ_{i <= r} σ_i² / Σ σ_i²
  double relative_error = 0;  ///< ‖D - s B A‖_F / ‖D‖_F before the factors are rounded
};

/// LoRA of a fine-tuned weight (no paper; Eckart-Young): of D = W₁ - W₀ = U Σ Vᵀ the first r triplets,
/// B = U √Σ, A = √Σ Vᵀ, scale 1. The rank is given, or the least that holds a share of the energy, or that
/// keeps ‖D - B A‖_F <= error ‖D‖_F; of several the least that meets all. Never above `max_rank`.
///
/// Cost: an SVD of D. Guarantee: no adapter of that rank is closer to D.
///
///     auto found = tersor::adapters::extract{.energy = 0.95}(base, tuned);
struct extract {
  index_t rank = 0;
  double energy = 0;
  double error = 1;
  index_t max_rank = 65536;
  dtype value_type = dtype::f32;

  static constexpr solve::technique_info info{.id = "extract",
                                              .family = "adapters",
                                              .title = "LoRA of the difference of two weights",
                                              .arxiv = "",
                                              .header = "tersor/adapters/extract.hpp",
                                              .guarantee = "closest adapter of its rank"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank",
               &extract::rank,
               {.help = "of the adapter; 0: from energy and error", .symbol = "r", .min = 0, .max = 65536}},
        option{
            "energy", &extract::energy, {.help = "share of the squared singular values", .min = 0, .max = 1}},
        option{"error", &extract::error, {.help = "largest relative error", .min = 0, .max = 1}},
        option{"max_rank", &extract::max_rank, {.help = "bound of the rank", .min = 1, .max = 65536}},
        option{"value_type", &extract::value_type, {.help = "type in files"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(rank > 0 || energy > 0 || error < 1, "extract: rank", rank,
            "a rank, an energy > 0 or an error < 1");
    require(rank <= max_rank, "extract: rank", rank, "at most max_rank, ", max_rank);
  }

  /// @param base W₀ and @param tuned W₁ [out, in].
  extracted_lora operator()(matrix_view<const float> base, matrix_view<const float> tuned,
                            const context& ctx = {}) const {
    validate();
    require_shape(tuned, base.rows(), base.cols(), "extract: tuned");
    const index_t k = std::min(base.rows(), base.cols());
    require(k > 0, "extract: base", concat(base.rows(), " x ", base.cols()),
            "at least one row and one column");
    require(rank <= k, "extract: rank", rank, "at most min(", base.rows(), ", ", base.cols(), ")");
    matrix<double> d = copy_as<double>(tuned);
    for (index_t i = 0; i < d.rows(); ++i)
      for (index_t j = 0; j < d.cols(); ++j) d(i, j) -= static_cast<double>(base(i, j));
    const auto svd = linalg::svd(d, ctx);
    double all = 0;
    for (const double s : svd.s) all += s * s;
    index_t r = std::max<index_t>(rank, 1);
    if (rank == 0) {
      double part = 0;
      r = 0;
      const auto enough = [&] {
        return part >= energy * all && std::max(all - part, 0.0) <= error * error * all;
      };
      // what is left is summed from the small end, so that an exact rank is found
      while (r < k && (r == 0 || !enough())) part = all - rest(svd.s, ++r);
      r = std::min(r, max_rank);
    }
    extracted_lora result;
    const double left = rest(svd.s, r);
    result.energy = all > 0 ? 1 - left / all : 1;
    result.relative_error = all > 0 ? std::sqrt(left / all) : 0;
    matrix<float> a(r, base.cols()), b(base.rows(), r);
    for (index_t i = 0; i < r; ++i) {
      const double root = std::sqrt(svd.s[static_cast<std::size_t>(i)]);
      for (index_t j = 0; j < a.cols(); ++j)
        a(i, j) = round_to(value_type, static_cast<float>(root * svd.vt(i, j)));
      for (index_t o = 0; o < b.rows(); ++o)
        b(o, i) = round_to(value_type, static_cast<float>(root * svd.u(o, i)));
    }
    result.state = lora_state<float>(std::move(a), std::move(b), 1.0);
    result.state.for_each_tensor([&](parameter<float>& p) { p.stored_type = value_type; });
    return result;
  }

 private:
  /// Σ_{i > r} σ_i².
  static double rest(const std::vector<double>& s, index_t r) {
    double sum = 0;
    for (std::size_t i = s.size(); i-- > static_cast<std::size_t>(r);) sum += s[i] * s[i];
    return sum;
  }
};

}  // namespace tersor::adapters
