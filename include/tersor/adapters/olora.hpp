// tersor - OLoRA: LoRA that starts at an orthonormal part of the weight
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/pissa.hpp>
#include <tersor/linalg/qr.hpp>

namespace tersor::adapters {

/// OLoRA (arXiv:2406.01775; code of huggingface/peft): of W = Q R the first r columns of Q are B and the
/// first r rows of R are A, and W - s B A is the frozen base from then on. Unlike with PiSSA, s stays in the
/// product. R's diagonal is >= 0 here, which changes signs inside A and B and not their product.
///
/// Cost: a QR of W, O(out in min(out, in)). Guarantee: BᵀB = I; base and adapter together are W up to
/// rounding. Stored: as PiSSA.
///
///     auto start = tersor::adapters::olora{.rank = 16, .alpha = 16}.init(W);
///     start.state.forward(start.weight, x, y);  // start.weight replaces W
struct olora {
  index_t rank = 8;
  double alpha = 8;
  bool rslora = false;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "olora",
                                              .family = "adapters",
                                              .title = "Orthonormal low-rank adaptation",
                                              .arxiv = "2406.01775",
                                              .header = "tersor/adapters/olora.hpp",
                                              .guarantee = "identity at the start; B starts orthonormal"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank", &olora::rank, {.help = "inner dimension", .symbol = "r", .min = 1, .max = 65536}},
        option{"alpha", &olora::alpha, {.help = "scale times the rank", .symbol = "alpha", .min = 0}},
        option{"rslora", &olora::rslora, {.help = "divide alpha by the root of the rank"}},
        option{"value_type", &olora::value_type, {.help = "type in files"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(std::isfinite(alpha), "olora: alpha", alpha, "a finite number");
  }

  /// Error if the rank is above min(out, in).
  template <std::floating_point T = float>
  changed_base<lora_state<T>, T> init(const layer_view<std::type_identity_t<T>>& layer,
                                      random_generator = random_generator(0), const context& ctx = {}) const {
    validate();
    const index_t out = layer.rows(), in = layer.cols();
    require(rank <= std::min(out, in), "olora: rank", rank, "at most min(", out, ", ", in, ")");
    matrix<T> w = layer.weight();
    const auto d = linalg::qr(w, ctx);
    const double s = lora{.rank = rank, .alpha = alpha, .rslora = rslora}.scale();
    return detail::take_out<T>(std::move(w), copy_as<T>(d.r.view().rows(0, rank)),
                               copy_as<T>(d.q.view().block(0, 0, out, rank)), s, value_type);
  }
};

}  // namespace tersor::adapters
