// tersor - LoftQ: a quantized weight and the low-rank start of an adapter, fitted in turns
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/random.hpp>
#include <tersor/op/low_rank.hpp>
#include <tersor/op/sum.hpp>
#include <tersor/solve/codebook.hpp>
#include <tersor/solve/low_rank_fit.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::quant {

using solve::operator|;
using solve::operator+;

/// W ≈ Q + A B before the factors are rounded to their stored type.
struct loftq_solution {
  op::codebook quantized;
  solve::low_rank_factors factors;
  std::vector<double> errors;  ///< ‖W - Q - A B‖_F after each iteration
};

/// LoftQ (arXiv:2310.08659; official code yxli2123/LoftQ): in turns, Q is the NormalFloat rounding of W - A B
/// and A B the best rank-r fit of W - Q. `iterations` = 0 is the usual start of QLoRA: A = 0 and B normal.
/// Unlike the official program, which returns the last iteration, the best one is returned: the error may
/// rise again.
///
/// Cost: an SVD for each iteration (randomized: 12 out in rank). Guarantee: from one iteration on, no larger
/// error than plain rounding, up to the rounding of A and B to `value_type`. Bits per weight: bits + 32 /
/// block_size for Q, value bits * rank (out + in) / (out in) for the factors.
///
///     auto result = tersor::quant::loftq{.rank = 16, .bits = 2}(W);   // W: [out, in], any tensor type
///     result.op.apply(x, y);                                          // a sum of codebook and low_rank
struct loftq {
  index_t rank = 32;
  int bits = 4;
  index_t block_size = 64;
  int iterations = 5;
  bool exact = false;
  dtype value_type = dtype::bf16;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "loftq",
      .family = "quant",
      .title = "LoftQ: NormalFloat weight and low-rank factors fitted in turns",
      .arxiv = "2310.08659",
      .header = "tersor/quant/loftq.hpp",
      .guarantee = "no larger error than NormalFloat alone, up to the rounding of the factors"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank", &loftq::rank, {.help = "columns of A", .symbol = "r", .min = 0, .max = 1e6}},
        option{"bits", &loftq::bits, {.help = "width of a code", .symbol = "b", .min = 2, .max = 8}},
        option{
            "block_size", &loftq::block_size, {.help = "weights with one scale", .min = 1, .max = 1 << 20}},
        option{
            "iterations",
            &loftq::iterations,
            {.help = "turns of rounding and fitting; 0: B is random", .symbol = "T", .min = 0, .max = 1000}},
        option{"exact", &loftq::exact, {.help = "exact SVD instead of a randomized one"}},
        option{"value_type", &loftq::value_type, {.help = "stored type of the factors"}}};
  }
  void validate() const { validate_options(*this, info.id); }
  solve::codebook_rule rule() const { return {.levels = normal_float(bits), .block_size = block_size}; }

  /// @param w [out, in], any tensor type. @param inputs only adds a weighted error to the report.
  template <matrix_like W>
  solve::compressed<op::any_operator> operator()(const W& w, const calib::statistics* inputs = nullptr,
                                                 const context& ctx = {}) const {
    return solve::compress_weight<op::any_operator>(*this, w, inputs, ctx);
  }

  solve::outcome compress(const solve::layer& l, const context& ctx = {}) const {
    validate();
    solve::check_layer(l);
    require(l.sparsity.empty(), concat("loftq: sparsity of ", l.name), "entries that must stay zero",
            "none: low-rank factors cannot keep them");
    auto s = decompose(l.weight, ctx);
    return {op::sum<>(op::operator_parts<>(
                {std::move(s.quantized), op::low_rank(s.factors.a.view(), s.factors.b.view(), value_type)})),
            {},
            {}};
  }

  /// The algorithm itself. @param w [out, in], finite. Randomness from `ctx.seed`.
  loftq_solution decompose(const matrix<float>& w, const context& ctx = {}) const {
    validate();
    require(rank <= std::min(w.rows(), w.cols()), "loftq: rank", rank, "at most ",
            std::min(w.rows(), w.cols()), " for a weight of ", w.rows(), " x ", w.cols());
    const auto levels = rule();
    loftq_solution best;
    if (iterations == 0) {
      best.quantized = solve::quantize_to_levels(w, levels, ctx);
      best.factors = {matrix<float>(w.rows(), rank), matrix<float>(rank, w.cols())};
      random_generator random(ctx.seed);
      for (float& v : best.factors.b.values()) v = static_cast<float>(random.normal());
      return best;
    }
    matrix<float> target = w;
    for (int t = 0; t < iterations; ++t) {
      ctx.step("loftq", t, iterations);
      auto q = solve::quantize_to_levels(target, levels, ctx);
      auto rest = w;
      const auto dense = q.to_dense();
      for (index_t i = 0; i < rest.size(); ++i) rest.data()[i] -= dense.data()[i];
      auto f = solve::fit_low_rank(rest, rank, {.exact = exact}, ctx);
      const auto product = f.product(ctx);
      double squared = 0;
      for (index_t i = 0; i < rest.size(); ++i) {
        const auto e = static_cast<double>(rest.data()[i] - product.data()[i]);
        squared += e * e;
        target.data()[i] = w.data()[i] - product.data()[i];
      }
      const double error = std::sqrt(squared);
      const bool better =
          best.errors.empty() || error < *std::min_element(best.errors.begin(), best.errors.end());
      best.errors.push_back(error);
      if (better) {
        best.quantized = std::move(q);
        best.factors = std::move(f);
      }
    }
    return best;
  }
};

}  // namespace tersor::quant
