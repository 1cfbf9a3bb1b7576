// tersor - 8-bit weights times 8-bit activations that are quantized on the fly
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::clamp
#include <array>      // std::array
#include <cmath>      // std::fabs, std::isfinite

#include <tersor/core/rounding.hpp>
#include <tersor/op/operator.hpp>

namespace tersor::op {

/// What shares one scale of the activations.
enum class activation_unit {
  per_token,     ///< each row of x, when it is applied
  per_tensor,    ///< all of x, when it is applied
  fixed_tensor,  ///< one value from the calibration; what lies beyond it is clipped
};
constexpr auto option_names(activation_unit) {
  using row = std::pair<std::string_view, activation_unit>;
  return std::array<row, 3>{{{"per_token", activation_unit::per_token},
                             {"per_tensor", activation_unit::per_tensor},
                             {"fixed_tensor", activation_unit::fixed_tensor}}};
}

/// The scale of symmetric 8-bit codes for values up to `largest` in magnitude.
inline float int8_scale(float largest) { return std::max(largest, 1e-5F) / 127.0F; }

/// Symmetric int8 activations: codes -127 .. 127 as floats and their scales ([tokens], or one).
struct int8_activations {
  matrix<float> codes;  ///< integers
  std::vector<float> scale;
};
/// @param fixed_scale of `activation_unit::fixed_tensor`.
inline int8_activations quantize_activations(matrix_view<const float> x, activation_unit unit,
                                             float fixed_scale = 0.0F) {
  int8_activations q{matrix<float>(x.rows(), x.cols()), {}};
  auto absmax = [&](index_t first, index_t count) {
    float a = 0.0F;
    for (index_t t = first; t < first + count; ++t)
      for (index_t j = 0; j < x.cols(); ++j) a = std::max(a, std::fabs(x(t, j)));
    return int8_scale(a);
  };
  const bool per_token = unit == activation_unit::per_token;
  if (unit == activation_unit::fixed_tensor)
    q.scale.push_back(fixed_scale);
  else
    for (index_t t = 0; t < (per_token ? x.rows() : 1); ++t)
      q.scale.push_back(per_token ? absmax(t, 1) : absmax(0, x.rows()));
  for (index_t t = 0; t < x.rows(); ++t) {
    const float s = q.scale[per_token ? static_cast<std::size_t>(t) : 0];
    for (index_t j = 0; j < x.cols(); ++j)
      q.codes(t, j) = std::clamp(round_half_even(x(t, j) / s), -127.0F, 127.0F);
  }
  return q;
}

/// y[t, r] = s_x[t] * s_w[r] * sum_j qx[t, j] qw[r, j], the sum in exact integer arithmetic. Weights are
/// symmetric int8 with one scale per row or one for all: 8 + 32 / cols bits per weight. Activations are
/// quantized per token, per call, or by one scale that was fixed before.
class w8a8 : public described_operator<w8a8> {
 public:
  w8a8() = default;
  /// @param codes [rows, cols]; @param scale [rows] or one value; @param fixed_scale of the activations, for
  /// `fixed_tensor`.
  w8a8(index_t rows, index_t cols, std::vector<std::int8_t> codes, std::vector<float> scale,
       activation_unit unit, float fixed_scale = 0.0F)
      : rows_(rows),
        cols_(cols),
        units_(static_cast<index_t>(scale.size())),
        unit_(unit),
        fixed_scale_(unit == activation_unit::fixed_tensor ? 1 : 0, fixed_scale),
        codes_(std::move(codes)),
        scale_(std::move(scale)) {
    require(static_cast<index_t>(codes_.size()) == rows * cols, "w8a8: number of codes", codes_.size(),
            rows * cols);
    require(units_ == rows || units_ == 1, "w8a8: length of scale", units_, "1 or ", rows);
    check_fixed_scale("w8a8");
  }

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  std::span<const std::int8_t> codes() const { return codes_; }
  /// [rows], or one value for all.
  std::span<const float> scale() const { return scale_; }
  activation_unit activations() const { return unit_; }
  /// Of the activations, with `fixed_tensor`; else 0.
  float fixed_scale() const { return fixed_scale_.empty() ? 0.0F : fixed_scale_[0]; }
  static constexpr std::string_view kind() { return "w8a8"; }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, cols_, y, rows_);
    const auto q = quantize_activations(x, unit_, fixed_scale());
    // Products of codes are at most 127 * 128, so a float sum of 1024 of them is an exact integer (below
    // 2^24): the floating-point product runs the integer sum, piece by piece.
    constexpr index_t exact = 1024;
    parallel_chunks(rows_, detail::decode_rows(rows_, cols_), ctx, [&](index_t r0, index_t r1) {
      matrix<float> w(r1 - r0, cols_);
      for (index_t i = 0; i < w.size(); ++i)
        w.data()[i] = static_cast<float>(codes_[static_cast<std::size_t>(r0 * cols_ + i)]);
      matrix<float> piece(x.rows(), r1 - r0);
      matrix<double> total(x.rows(), r1 - r0);
      for (index_t j0 = 0; j0 < cols_; j0 += exact) {
        const index_t n = std::min(exact, cols_ - j0);
        linalg::gemm<float>(1.0F, q.codes.view().block(0, j0, x.rows(), n),
                            w.view().block(0, j0, r1 - r0, n).transposed(), 0.0F, piece.view(), ctx);
        for (index_t i = 0; i < piece.size(); ++i) total.data()[i] += static_cast<double>(piece.data()[i]);
      }
      for (index_t t = 0; t < x.rows(); ++t)
        for (index_t r = r0; r < r1; ++r)
          y(t, r) = static_cast<float>(
              total(t, r - r0) *
              static_cast<double>(q.scale[q.scale.size() == 1 ? 0 : static_cast<std::size_t>(t)]) *
              static_cast<double>(row_scale(r)));
    });
  }
  /// Gradients go through the weights alone (straight through the activation quantizer).
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, rows_, y, cols_);
    const auto w = to_dense();
    detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
      linalg::gemm<float>(1.0F, input, w.view(), 0.0F, output, ctx);
    });
  }
  matrix<float> to_dense() const {
    matrix<float> w(rows_, cols_);
    for (index_t r = 0; r < rows_; ++r)
      for (index_t j = 0; j < cols_; ++j)
        w(r, j) = row_scale(r) * static_cast<float>(codes_[static_cast<std::size_t>(r * cols_ + j)]);
    return w;
  }

 private:
  friend class described_operator<w8a8>;
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a) {
    a.extents(self.rows_, self.cols_);
    a.attribute("units", self.units_);
    a.attribute("activations", self.unit_);
    if constexpr (Archive::loading)
      require(self.units_ == self.rows_ || self.units_ == 1, concat(a.in.where(), ": units"), self.units_,
              "1 or ", self.rows_);
    a.tensor("codes", self.codes_, {self.rows_, self.cols_});
    a.tensor("scale", self.scale_, {self.units_});
    if (self.unit_ == activation_unit::fixed_tensor) a.tensor("activation_scale", self.fixed_scale_, {1});
    if constexpr (Archive::loading) self.check_fixed_scale(a.in.where());
  }
  void check_fixed_scale(std::string_view where) const {
    for (const float s : fixed_scale_)
      require(std::isfinite(s) && s > 0, concat(where, ": activation_scale"), s, "a finite number > 0");
  }
  float row_scale(index_t r) const { return scale_[units_ == 1 ? 0 : static_cast<std::size_t>(r)]; }

  index_t rows_ = 0, cols_ = 0, units_ = 0;
  activation_unit unit_ = activation_unit::per_token;
  std::vector<float> fixed_scale_;  // one value, or empty
  std::vector<std::int8_t> codes_;
  std::vector<float> scale_;
};

}  // namespace tersor::op
