// tersor - PiSSA: LoRA that starts at the principal part of the weight
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/lora.hpp>
#include <tersor/linalg/svd.hpp>

namespace tersor::adapters {

namespace detail {

/// The factors in their stored type, and what is left of W: rounded first, so that both together are W.
template <class T>
changed_base<lora_state<T>, T> take_out(matrix<T> weight, matrix<T> a, matrix<T> b, double scale,
                                        dtype type) {
  if (type != dtype::f32)
    for (matrix<T>* m : {&a, &b})
      for (T& v : m->values()) v = static_cast<T>(round_to(type, static_cast<float>(v)));
  lora_state<T> state(std::move(a), std::move(b), scale);
  state.for_each_tensor([&](parameter<T>& p) { p.stored_type = type; });
  linalg::gemm<T>(static_cast<T>(-scale), state.b(), state.a(), T(1), weight);
  return {std::move(state), std::move(weight)};
}

}  // namespace detail

/// PiSSA (arXiv:2404.02948; official code GraphPKU/PiSSA, layout of huggingface/peft): of the thin SVD
/// W = U Σ Vᵀ the first r triplets train, B = U_r √(Σ_r / s), A = √(Σ_r / s) V_rᵀ, and W - s B A is the
/// frozen base from then on. Forward, backward and merging are LoRA's.
///
/// Cost: an SVD of W, O(out in min(out, in)), or about 12 out in r with `power_iterations` of the randomized
/// one. Guarantee: base and adapter together are W up to rounding; the largest singular value of the new base
/// is σ_{r+1}(W). Stored: r (in + out) values, and the changed base, or twice the rank without it
/// (adapters/combine.hpp, `as_plain_lora`).
///
///     auto start = tersor::adapters::pissa{.rank = 16, .alpha = 16}.init(W);
///     start.state.forward(start.weight, x, y);  // start.weight replaces W
struct pissa {
  index_t rank = 8;
  double alpha = 8;
  bool rslora = false;
  index_t power_iterations = 0;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "pissa",
      .family = "adapters",
      .title = "Principal singular values and vectors adaptation",
      .arxiv = "2404.02948",
      .header = "tersor/adapters/pissa.hpp",
      .guarantee = "identity at the start; the base keeps the smallest singular values"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank", &pissa::rank, {.help = "inner dimension", .symbol = "r", .min = 1, .max = 65536}},
        option{"alpha", &pissa::alpha, {.help = "scale times the rank", .symbol = "alpha", .min = 0}},
        option{"rslora", &pissa::rslora, {.help = "divide alpha by the root of the rank"}},
        option{"power_iterations",
               &pissa::power_iterations,
               {.help = "of a randomized SVD; 0: the exact one", .symbol = "niter", .min = 0, .max = 1000}},
        option{"value_type", &pissa::value_type, {.help = "type in files"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(alpha > 0 && std::isfinite(alpha), "pissa: alpha", alpha, "a finite number > 0");
  }

  /// @param random seeds the randomized SVD. Error if the rank is above min(out, in).
  template <std::floating_point T = float>
  changed_base<lora_state<T>, T> init(const layer_view<std::type_identity_t<T>>& layer,
                                      random_generator random = random_generator(0),
                                      const context& ctx = {}) const {
    validate();
    const index_t out = layer.rows(), in = layer.cols();
    require(rank <= std::min(out, in), "pissa: rank", rank, "at most min(", out, ", ", in, ")");
    matrix<T> w = layer.weight();
    const auto d =
        power_iterations > 0
            ? linalg::randomized_svd(
                  w, rank, {.oversampling = 0, .power_iterations = power_iterations, .seed = random()}, ctx)
            : linalg::svd(w, ctx);
    const double s = lora{.rank = rank, .alpha = alpha, .rslora = rslora}.scale();
    matrix<T> a(rank, in), b(out, rank);
    for (index_t k = 0; k < rank; ++k) {
      const auto root = static_cast<T>(std::sqrt(static_cast<double>(d.s[static_cast<std::size_t>(k)]) / s));
      for (index_t j = 0; j < in; ++j) a(k, j) = root * d.vt(k, j);
      for (index_t o = 0; o < out; ++o) b(o, k) = root * d.u(o, k);
    }
    return detail::take_out<T>(std::move(w), std::move(a), std::move(b), s, value_type);
  }
};

}  // namespace tersor::adapters
