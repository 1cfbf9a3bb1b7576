// tersor - LQ-LoRA: a quantized weight plus low-rank factors, optionally weighted by Fisher information
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/low_rank.hpp>
#include <tersor/op/sum.hpp>
#include <tersor/solve/codebook.hpp>
#include <tersor/solve/low_rank_fit.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::quant {

using solve::operator|;
using solve::operator+;

/// W ≈ Q + A B before the factors are rounded to their stored type.
struct lqlora_solution {
  op::codebook quantized;
  solve::low_rank_factors factors;
  double error = 0;            ///< ‖√F ⊙ (W - Q - A B)‖_F of the pair that is returned
  std::vector<double> errors;  ///< the same after each iteration, the last one included, which may be larger
};

/// LQ-LoRA (arXiv:2311.12023; official code HanGuo97/lq-lora): in turns, A B is the best rank-r fit of W - Q
/// and Q the NormalFloat rounding of W - A B, until the error rises. The maxima of the blocks are integers of
/// `scale_bits` bits above the smallest one, with one real of `scale_type` for `scale_block_size` of them.
/// With Fisher information F [out, in] the fit is that of diag(√row means) (W - Q) diag(√column means).
///
/// Cost: an SVD for each iteration (randomized: 12 out in rank). Guarantee: no larger error than rounding
/// alone, which is a candidate too; the best pair is returned, not the last as officially. Bits per weight:
/// bits + scale_bits / block_size + scale_type bits / (block_size scale_block_size) for Q, value bits * rank
/// (out + in) / (out in) for the factors.
///
///     auto result = tersor::quant::lqlora{.rank = 16, .bits = 3}(W);   // W: [out, in], any tensor type
///     result.op.apply(x, y);                                           // a sum of codebook and low_rank
struct lqlora {
  index_t rank = 64;
  int bits = 4;
  index_t block_size = 64;
  int scale_bits = 8;
  index_t scale_block_size = 256;
  dtype scale_type = dtype::f32;
  int iterations = 100;
  bool exact = false;
  index_t oversampling = 10;
  index_t power_iterations = 2;
  dtype value_type = dtype::bf16;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "lqlora",
      .family = "quant",
      .title = "LQ-LoRA: NormalFloat weight plus low-rank factors, Fisher-weighted",
      .arxiv = "2311.12023",
      .header = "tersor/quant/lqlora.hpp",
      .guarantee = "no larger error than NormalFloat alone, up to the rounding of the factors"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank", &lqlora::rank, {.help = "columns of A", .symbol = "r", .min = 0, .max = 1e6}},
        option{"bits", &lqlora::bits, {.help = "width of a code", .symbol = "b", .min = 2, .max = 8}},
        option{"block_size",
               &lqlora::block_size,
               {.help = "weights with one scale", .symbol = "B0", .min = 1, .max = 1 << 20}},
        option{"scale_bits",
               &lqlora::scale_bits,
               {.help = "width of a scale's code", .symbol = "b0", .min = 1, .max = 8}},
        option{"scale_block_size",
               &lqlora::scale_block_size,
               {.help = "scales with one maximum", .symbol = "B1", .min = 1, .max = 1 << 20}},
        option{"scale_type", &lqlora::scale_type, {.help = "stored type of these maxima", .symbol = "b1"}},
        option{"iterations", &lqlora::iterations, {.help = "turns at most", .min = 1, .max = 10000}},
        option{"exact", &lqlora::exact, {.help = "exact SVD instead of a randomized one"}},
        option{"oversampling",
               &lqlora::oversampling,
               {.help = "randomized: extra columns of the sketch", .min = 0, .max = 1e6}},
        option{"power_iterations",
               &lqlora::power_iterations,
               {.help = "randomized: passes that sharpen the sketch", .min = 0, .max = 100}},
        option{"value_type", &lqlora::value_type, {.help = "stored type of the factors"}}};
  }
  void validate() const { validate_options(*this, info.id); }
  solve::codebook_rule rule() const {
    return {.levels = normal_float(bits),
            .block_size = block_size,
            .scales = {.coding = op::scale_coding::linear,
                       .bits = scale_bits,
                       .block_size = scale_block_size,
                       .type = scale_type}};
  }
  /// Bits per weight of Q alone, without the table of levels and the offset.
  double quantized_bits() const {
    const auto b0 = static_cast<double>(block_size);
    return bits + scale_bits / b0 + bits_of(scale_type) / (b0 * static_cast<double>(scale_block_size));
  }

  /// @param w [out, in], any tensor type. @param inputs only adds a weighted error to the report.
  template <matrix_like W>
  solve::compressed<op::any_operator> operator()(const W& w, const calib::statistics* inputs = nullptr,
                                                 const context& ctx = {}) const {
    return solve::compress_weight<op::any_operator>(*this, w, inputs, ctx);
  }
  /// @param fisher [out, in], mean squared gradients of the loss, any tensor type.
  template <matrix_like W, matrix_like F>
  solve::compressed<op::any_operator> operator()(const W& w, const calib::statistics* inputs, const F& fisher,
                                                 const context& ctx = {}) const {
    const auto f = to_matrix<float>(fisher);
    return solve::compress_weight<op::any_operator>(with_fisher{*this, f}, w, inputs, ctx);
  }

  solve::outcome compress(const solve::layer& l, const context& ctx = {}) const {
    return compress(l, nullptr, ctx);
  }

  /// The algorithm itself. @param w [out, in], finite; @param fisher [out, in], >= 0, or null. Randomness
  /// from `ctx.seed`.
  lqlora_solution decompose(const matrix<float>& w, const matrix<float>* fisher = nullptr,
                            const context& ctx = {}) const {
    validate();
    require_finite(w.view(), "lqlora: w");
    require(rank <= std::min(w.rows(), w.cols()), "lqlora: rank", rank, "at most ",
            std::min(w.rows(), w.cols()), " for a weight of ", w.rows(), " x ", w.cols());
    const auto levels = rule();
    const auto [row, column] = fisher ? weights_of(*fisher, w) : two_sided{};
    const solve::low_rank_rule low_rank{exact, oversampling, power_iterations};
    lqlora_solution best{solve::quantize_to_levels(w, levels, ctx),
                         {matrix<float>(w.rows(), rank), matrix<float>(rank, w.cols())},
                         0,
                         {}};
    best.error = weighted_norm(minus(w, best.quantized.to_dense()), fisher);
    matrix<float> rest = w;  // W - Q
    double before = std::numeric_limits<double>::infinity();
    for (int i = 0; i < iterations; ++i) {
      ctx.step("lqlora", i, iterations);
      auto f = fisher ? solve::fit_low_rank(rest, rank, row, column, low_rank, ctx)
                      : solve::fit_low_rank(rest, rank, low_rank, ctx);
      const auto target = minus(w, f.product(ctx));
      auto q = solve::quantize_to_levels(target, levels, ctx);
      const auto dense = q.to_dense();
      const double error = weighted_norm(minus(target, dense), fisher);
      best.errors.push_back(error);
      if (error < best.error) {
        best.error = error;
        best.quantized = std::move(q);
        best.factors = std::move(f);
      }
      if (error > before) break;
      before = error;
      rest = minus(w, dense);
    }
    return best;
  }

 private:
  struct two_sided {
    std::vector<float> row, column;
  };
  struct with_fisher {
    const lqlora& options;
    const matrix<float>& fisher;
    solve::outcome compress(const solve::layer& l, const context& ctx) const {
      return options.compress(l, &fisher, ctx);
    }
  };

  solve::outcome compress(const solve::layer& l, const matrix<float>* fisher, const context& ctx) const {
    validate();
    solve::check_layer(l);
    require(l.sparsity.empty(), concat("lqlora: sparsity of ", l.name), "entries that must stay zero",
            "none: low-rank factors cannot keep them");
    auto s = decompose(l.weight, fisher, ctx);
    op::low_rank factors(s.factors.a.view(), s.factors.b.view(), value_type);
    // The codes once more for the factors as they are stored, where that is better.
    const auto target = minus(l.weight, factors.to_dense());
    auto again = solve::quantize_to_levels(target, rule(), ctx);
    if (weighted_norm(minus(target, again.to_dense()), fisher) <
        weighted_norm(minus(target, s.quantized.to_dense()), fisher))
      s.quantized = std::move(again);
    return {op::sum<>(op::operator_parts<>({std::move(s.quantized), std::move(factors)})), {}, {}};
  }

  static matrix<float> minus(matrix<float> a, const matrix<float>& b) {
    for (index_t i = 0; i < a.size(); ++i) a.data()[i] -= b.data()[i];
    return a;
  }
  /// ‖√F ⊙ d‖_F.
  static double weighted_norm(const matrix<float>& d, const matrix<float>* fisher) {
    double sum = 0;
    for (index_t i = 0; i < d.size(); ++i) {
      const auto v = static_cast<double>(d.data()[i]);
      sum += v * v * (fisher ? static_cast<double>(fisher->data()[i]) : 1.0);
    }
    return std::sqrt(sum);
  }
  /// √ of the means of F over the columns [out] and over the rows [in], no less than 1e-12 of the largest.
  static two_sided weights_of(const matrix<float>& fisher, const matrix<float>& w) {
    require_shape(fisher.view(), w.rows(), w.cols(), "lqlora: fisher");
    std::vector<double> row(static_cast<std::size_t>(w.rows())), column(static_cast<std::size_t>(w.cols()));
    for (index_t i = 0; i < w.rows(); ++i)
      for (index_t j = 0; j < w.cols(); ++j) {
        const auto f = static_cast<double>(fisher(i, j));
        require(std::isfinite(f) && f >= 0, concat("lqlora: fisher[", i, ", ", j, "]"), f,
                "a finite number >= 0");
        row[static_cast<std::size_t>(i)] += f / static_cast<double>(w.cols());
        column[static_cast<std::size_t>(j)] += f / static_cast<double>(w.rows());
      }
    const auto roots = [](const std::vector<double>& mean) {
      std::vector<float> d;
      d.reserve(mean.size());
      const double most = std::sqrt(*std::max_element(mean.begin(), mean.end()));
      require(most > 0, "lqlora: fisher", "all zero", "a positive entry");
      for (const double m : mean) d.push_back(static_cast<float>(std::max(std::sqrt(m), 1e-12 * most)));
      return d;
    };
    return {roots(row), roots(column)};
  }
};

}  // namespace tersor::quant
